"""What the mixing that a variant declares does to rows: how long they remember, and how much noise they keep.

Of W the same every time ζ = ‖W - J‖₂ is known; of W that changes, p over b mixings (`mixings`), which for b = 1 is
1 - ζ² in the mean over draws. What was mixed m times has at most ζ^{2m}, or (1 - p)^⌊m/b⌋, of its square left.
"""

from __future__ import annotations

import numpy as np

from proofs_check.mixed import Mixed


def zeta(found: Mixed) -> float | None:
    """ζ = ‖W - J‖₂; None if W is not the same in every mixing."""
    W = found.mixing.constant_matrix
    return None if W is None else float(np.linalg.norm(W - 1 / len(W), 2))


def length(found: Mixed) -> float:
    """K + 1 = H/(1 - ζ), or H b/(1 - √(1 - p)): the sum over all steps since of the norm that is left of a gradient."""
    norm, mixing = zeta(found), found.mixing
    if norm is not None:
        return found.period / (1 - norm)
    return found.period * mixing.block / (1 - float(np.sqrt(1 - mixing.contraction)))


def noise(found: Mixed) -> float:
    """N: the network error of noise, in units of α² L² σ²."""
    norm, mixing = zeta(found), found.mixing
    if norm is not None:
        return noise_of(found.period, norm)
    return found.period * (2 * mixing.block / mixing.contraction - 1) - 1


def noise_of(period: int, norm: float) -> float:
    """N of one W, τ (1 + ζ²)/(1 - ζ²) - 1 with τ = H."""
    return period * (1 + norm**2) / (1 - norm**2) - 1


def is_average(found: Mixed) -> bool:
    """W = J, all rows being workers."""
    norm = zeta(found)
    return norm is not None and norm < 1e-12 and not found.num_auxiliary


def is_late_average(found: Mixed) -> bool:
    """W = J, but not after every step."""
    return is_average(found) and found.period > 1


def is_sparse(found: Mixed) -> bool:
    """W is one matrix on the workers, but not J."""
    return zeta(found) is not None and not is_average(found) and not found.num_auxiliary


def is_everything(found: Mixed) -> bool:
    """No choice is made."""
    del found
    return True
