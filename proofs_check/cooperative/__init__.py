"""Rows that matrices mix: identities, spectra and rates of cooperative SGD."""

from proofs_check.cooperative import certificate as certificate
from proofs_check.cooperative import client_sampling as client_sampling
from proofs_check.cooperative import elastic_spectrum as elastic_spectrum
from proofs_check.cooperative import late_averages as late_averages
from proofs_check.cooperative import mean_dynamics as mean_dynamics
from proofs_check.cooperative import mixing_rate as mixing_rate
from proofs_check.cooperative import pure_noise as pure_noise
from proofs_check.cooperative import reductions as reductions
from proofs_check.cooperative import unrolled_consensus as unrolled_consensus
