"""What mixing costs: convergence of workers that average now and then, with springs, or with neighbours."""

from proofs_check.cooperative_rates import decomposition as decomposition
from proofs_check.cooperative_rates import different_data as different_data
from proofs_check.cooperative_rates import fixed_point as fixed_point
from proofs_check.cooperative_rates import heterogeneous as heterogeneous
from proofs_check.cooperative_rates import identical_data as identical_data
from proofs_check.cooperative_rates import network_error as network_error
from proofs_check.cooperative_rates import periodic_against_gossip as periodic_against_gossip
