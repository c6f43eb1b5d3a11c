"""Convergence theorems, step by step and summed up."""

from proofs_check.rates import nonconvex_parallel as nonconvex_parallel
from proofs_check.rates import nonconvex_single as nonconvex_single
from proofs_check.rates import strongly_convex_parallel as strongly_convex_parallel
from proofs_check.rates import strongly_convex_single as strongly_convex_single
