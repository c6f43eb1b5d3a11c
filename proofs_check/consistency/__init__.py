"""Elastic consistency: how far views are from the global parameters, E‖x_t - v_t^i‖² <= α² B²."""

from proofs_check.consistency import declared_bound as declared_bound
from proofs_check.consistency import error_feedback as error_feedback
from proofs_check.consistency import stale_reads as stale_reads
