"""The difference of two runs: absolute, and relative to what is largest."""

from __future__ import annotations

import numpy as np
import pytest

from onnxviz.runtime.difference import difference


@pytest.mark.parametrize(
    ("a", "b", "absolute", "relative"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0, 0),
        ([1.0, 2.5], [1.0, 2.0], 0.5, 0.25),
        ([np.nan, 2.0], [np.nan, 2.0], 0, 0),
        ([np.nan, 2.0], [1.0, 2.0], np.inf, np.inf),
        ([1.0], [1.0, 2.0], np.inf, np.inf),
    ],
)
def test_difference(a: list, b: list, absolute: float, relative: float) -> None:
    assert difference(np.array(a), np.array(b)) == (absolute, relative)
