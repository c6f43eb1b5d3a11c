"""Pairs that meet: identities, potential and rates of SwarmSGD, and the quantiser that it needs."""

from proofs_check.swarms import conserved_mean as conserved_mean
from proofs_check.swarms import convergence as convergence
from proofs_check.swarms import fine_levels as fine_levels
from proofs_check.swarms import lattice as lattice
from proofs_check.swarms import one_sided as one_sided
from proofs_check.swarms import spread_bound as spread_bound
from proofs_check.swarms import spread_contraction as spread_contraction
from proofs_check.swarms import spread_identity as spread_identity
