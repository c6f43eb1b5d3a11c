"""Shares: who pushes which share of what it has to whom, the same in every round or changing.

    x^i <- Σ_j P_k,ij x^j          worker j sends the share P_k,ij to i and keeps P_k,jj

Every P_k is column-stochastic: all shares of one sender sum to 1, so that the sum over workers stays, and nobody has to
know from whom it receives. Rows need not sum to 1: what that does to x^i it does to a weight w^i pushed alike, and
x^i/w^i comes near the mean. Everybody keeps a share of its own, so that no weight is ever 0. P_k depends on k, how many
rounds there were before, and on coins from the key of the schedule, never on that of the samples.

Source: Kempe, Dobra, Gehrke, Gossip-Based Computation of Aggregate Information, FOCS 2003, for push-sum; Assran,
Loizou, Ballas, Rabbat, Stochastic Gradient Push for Distributed Deep Learning, ICML 2019, arXiv 1811.10792, for graphs.
"""

from elastic_jax.shares.directed import cycle as cycle
from elastic_jax.shares.directed import directed_ring as directed_ring
from elastic_jax.shares.directed import everybody as everybody
from elastic_jax.shares.directed import from_matrix as from_matrix
from elastic_jax.shares.directed import from_networkx as from_networkx
from elastic_jax.shares.directed import of_topology as of_topology
from elastic_jax.shares.directed import one_peer_exponential as one_peer_exponential
from elastic_jax.shares.drawn import random_peers as random_peers
from elastic_jax.shares.shares import Shares as Shares
from elastic_jax.shares.shares import check as check
from elastic_jax.shares.spread import spread as spread
