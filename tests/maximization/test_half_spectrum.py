"""The half spectrum: its adjoint, and what is odd and even in it."""

import numpy as np
import pytest
from adjoints import CHANNELS, SIZES, assert_adjoint, noise
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxviz.maximization.half_spectrum import HalfSpectrum


def parts(spectra):
    return np.stack([spectra.real, spectra.imag], -1).astype(np.float32)


@given(size=SIZES, channels=CHANNELS, seed=st.integers(0, 99))
@settings(max_examples=examples(20, 60), deadline=None)
def test_planes_have_their_adjoint(size, channels, seed):
    half = HalfSpectrum((channels, *size))
    x = noise(2, channels, *half.frequencies.shape, 2, seed=seed)
    y = noise(2, channels, *size, seed=seed + 1)
    assert_adjoint(lambda z: half.planes(z[..., 0] + 1j * z[..., 1]), lambda g: parts(half.adjoint(g)), x, y)


@pytest.mark.parametrize("size", [(8,), (7,), (6, 5), (5, 8), (4, 3, 6)])
def test_what_is_odd_is_the_phase_of_real_planes(size):
    """numpy's own transform of real noise is the oracle: its phase is odd already, its magnitude even."""
    half = HalfSpectrum((2, *size))
    spectra = np.fft.rfftn(noise(3, 2, *size, seed=1).astype(np.float64), axes=half.axes)
    np.testing.assert_allclose(half.odd(spectra.imag), spectra.imag, atol=1e-12)
    np.testing.assert_allclose(half.even(spectra.real), spectra.real, atol=1e-12)
    other = noise(*spectra.shape, seed=2)
    assert not np.allclose(half.odd(other), other)
    np.testing.assert_allclose(half.odd(half.odd(other)), half.odd(other), atol=1e-6)
