"""Equalities that hold in every run, to rounding; no statistics."""

from proofs_check.identities import conserved_mass as conserved_mass
from proofs_check.identities import global_step as global_step
from proofs_check.identities import missing_gradients as missing_gradients
from proofs_check.identities import unsent_memory as unsent_memory
