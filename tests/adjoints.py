"""Linear maps against their adjoints."""

import numpy as np
from hypothesis import strategies as st

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple)
CHANNELS = st.sampled_from([1, 2, 3, 4])


def dot(a, b):
    return float((a.astype(np.float64) * b).sum())


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_adjoint(forward, adjoint, x, y):
    """⟨Ax, y⟩ = ⟨x, Aᵀy⟩, relative to the sizes."""
    image, pulled = forward(x), adjoint(y)
    assert image.shape == y.shape
    assert pulled.shape == x.shape
    scale = np.linalg.norm(image.astype(np.float64)) * np.linalg.norm(y) + 1e-30
    assert abs(dot(image, y) - dot(x, pulled)) < 2e-6 * scale + 1e-6
