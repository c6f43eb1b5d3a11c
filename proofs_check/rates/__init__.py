"""Convergence theorems, step by step and summed up."""

from proofs_check.rates import contraction_step as contraction_step
from proofs_check.rates import descent_step as descent_step
from proofs_check.rates import noise_alone as noise_alone
from proofs_check.rates import nonconvex_parallel as nonconvex_parallel
from proofs_check.rates import nonconvex_single as nonconvex_single
from proofs_check.rates import strongly_convex_parallel as strongly_convex_parallel
from proofs_check.rates import strongly_convex_single as strongly_convex_single
from proofs_check.rates import telescoped as telescoped
