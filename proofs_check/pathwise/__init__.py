"""Inequalities that hold in every run, at every step and for every worker; no statistics."""

from proofs_check.pathwise import barrier_rule as barrier_rule
from proofs_check.pathwise import co_coercive as co_coercive
from proofs_check.pathwise import descent as descent
from proofs_check.pathwise import lipschitz_gradients as lipschitz_gradients
from proofs_check.pathwise import missing_norms as missing_norms
from proofs_check.pathwise import number_missing as number_missing
from proofs_check.pathwise import strong_convexity as strong_convexity
