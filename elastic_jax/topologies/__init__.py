"""Topologies: undirected graphs on workers, their mixing matrices and the spectral constants of both.

    x^i = Σ_j W_ij y^j          one mixing, W symmetric and doubly stochastic

W is zero where two workers are no neighbours. ζ = ‖W - J‖₂, J = 11ᵀ/n, is the factor by which one mixing at
least shrinks the distance to the mean; for a symmetric W it is max(|λ₂|, |λ_n|).

Sources: Xiao, Boyd, Fast Linear Iterations for Distributed Averaging, Systems & Control Letters 2004, for the
weights; Wang, Joshi, Cooperative SGD, JMLR 2021, arXiv 1808.07576, for ζ.
"""

from elastic_jax.topologies.exchange import mix as mix
from elastic_jax.topologies.graphs import complete as complete
from elastic_jax.topologies.graphs import erdos_renyi as erdos_renyi
from elastic_jax.topologies.graphs import exponential as exponential
from elastic_jax.topologies.graphs import hypercube as hypercube
from elastic_jax.topologies.graphs import ring as ring
from elastic_jax.topologies.graphs import star as star
from elastic_jax.topologies.graphs import torus as torus
from elastic_jax.topologies.spectra import is_bipartite as is_bipartite
from elastic_jax.topologies.spectra import laplacian_lambda_2 as laplacian_lambda_2
from elastic_jax.topologies.spectra import mixing_rate as mixing_rate
from elastic_jax.topologies.spectra import spectral_gap as spectral_gap
from elastic_jax.topologies.spectra import zeta as zeta
from elastic_jax.topologies.topology import ROUNDING as ROUNDING
from elastic_jax.topologies.topology import Topology as Topology
from elastic_jax.topologies.topology import check as check
from elastic_jax.topologies.topology import degrees as degrees
from elastic_jax.topologies.topology import edges as edges
from elastic_jax.topologies.topology import from_adjacency as from_adjacency
from elastic_jax.topologies.topology import from_matrix as from_matrix
from elastic_jax.topologies.topology import from_networkx as from_networkx
from elastic_jax.topologies.topology import neighbours as neighbours
from elastic_jax.topologies.topology import num_workers as num_workers
from elastic_jax.topologies.weights import WEIGHTS as WEIGHTS
