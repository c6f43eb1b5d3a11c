"""The digits that scikit-learn ships: 1,797 images of 8 × 8 pixels, for tests and sweeps that last seconds.

Source: E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI, 1998.
"""

from __future__ import annotations

import numpy as np

from elastic_jax.data.dataset import Dataset, stratified_test


def load() -> Dataset:
    """float32[8, 8, 1] in [0, 1] (17 grey levels), 10 labels; every fifth image of a label is for testing."""
    from sklearn.datasets import load_digits  # slow to import, and few need it

    pixels, targets = load_digits(return_X_y=True)
    inputs = (pixels / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    targets = targets.astype(np.int32)
    is_test = stratified_test(targets)
    return Dataset("digits", inputs[~is_test], targets[~is_test], inputs[is_test], targets[is_test], 10)
