"""What mixing costs: convergence of workers that average now and then, with springs, or with neighbours."""

from proofs_check.cooperative_rates import decomposition as decomposition
