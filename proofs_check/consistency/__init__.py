"""Elastic consistency: how far views are from the global parameters, E‖x_t - v_t^i‖² <= α² B²."""

from proofs_check.consistency import crashes as crashes
from proofs_check.consistency import declared_bound as declared_bound
from proofs_check.consistency import error_feedback as error_feedback
from proofs_check.consistency import gradient_differences as gradient_differences
from proofs_check.consistency import late_and_lost_messages as late_and_lost_messages
from proofs_check.consistency import late_messages as late_messages
from proofs_check.consistency import lost_for_ever as lost_for_ever
from proofs_check.consistency import lost_messages as lost_messages
from proofs_check.consistency import norm_bounded_scheduler as norm_bounded_scheduler
from proofs_check.consistency import piggybacked_messages as piggybacked_messages
from proofs_check.consistency import rounds_in_flight as rounds_in_flight
from proofs_check.consistency import stale_reads as stale_reads
from proofs_check.consistency import unbiased_gradients as unbiased_gradients
from proofs_check.consistency import unseen_writes as unseen_writes
from proofs_check.consistency import unsent_and_undelivered as unsent_and_undelivered
from proofs_check.consistency import unsent_and_unseen as unsent_and_unseen
from proofs_check.consistency import variance_bounded_scheduler as variance_bounded_scheduler
