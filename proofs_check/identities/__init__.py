"""Equalities that hold in every run, to rounding; no statistics."""

from proofs_check.identities import conserved_mass as conserved_mass
from proofs_check.identities import crashed_workers as crashed_workers
from proofs_check.identities import global_step as global_step
from proofs_check.identities import late_layers as late_layers
from proofs_check.identities import missing_gradients as missing_gradients
from proofs_check.identities import pending_messages as pending_messages
from proofs_check.identities import polarisation as polarisation
from proofs_check.identities import sgd_limit as sgd_limit
from proofs_check.identities import squared_distance as squared_distance
from proofs_check.identities import stand_ins as stand_ins
from proofs_check.identities import unseen_writes as unseen_writes
from proofs_check.identities import unsent_and_undelivered as unsent_and_undelivered
from proofs_check.identities import unsent_and_unseen as unsent_and_unseen
from proofs_check.identities import unsent_memory as unsent_memory
from proofs_check.identities import window_of_writes as window_of_writes
