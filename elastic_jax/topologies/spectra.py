"""Spectral constants of mixing matrices and graphs."""

from __future__ import annotations

import networkx
import numpy as np

from elastic_jax.topologies.topology import Topology, degrees, norm_of_deviations, num_workers


def zeta(topology: Topology) -> float:
    """ζ = ‖W - J‖₂ in [0, 1): ‖W X - X̄‖ <= ζ ‖X - X̄‖."""
    return norm_of_deviations(topology.mixing_matrix)


def spectral_gap(topology: Topology) -> float:
    """1 - max(|λ₂|, |λ_n|) of W, in (0, 1]; 1 with one worker."""
    eigenvalues = np.linalg.eigvalsh(topology.mixing_matrix)[::-1]
    return float(1.0 - np.abs(eigenvalues[1:]).max(initial=0.0))


def mixing_rate(topology: Topology) -> float:
    """P = 1 - ζ² in (0, 1]: ‖W X - X̄‖² <= (1 - p) ‖X - X̄‖².

    Source: Koloskova, Loizou, Boreiri, Jaggi, Stich, A Unified Theory of Decentralized SGD, ICML 2020, arXiv
    2003.10422.
    """
    return 1.0 - zeta(topology) ** 2


def laplacian_lambda_2(topology: Topology) -> float:
    """λ₂ of the graph's Laplacian D - A, > 0: 2 - 2 cos(2π/n) for a ring; ∞ for n = 1."""
    if num_workers(topology) == 1:
        return float("inf")
    return float(np.linalg.eigvalsh(np.diag(degrees(topology)) - topology.adjacency.astype(float))[1])


def is_bipartite(topology: Topology) -> bool:
    """Whether workers fall into two halves with edges only between them: then W needs a positive diagonal."""
    return bool(networkx.is_bipartite(networkx.from_numpy_array(topology.adjacency.astype(int))))
