"""Networks: identities of parameters that are pushed along directed graphs, and of gossip with compressed messages."""

from proofs_check.networks import as_gossip as as_gossip
from proofs_check.networks import estimated_mean as estimated_mean
from proofs_check.networks import lyapunov as lyapunov
from proofs_check.networks import pushed_mass as pushed_mass
