"""Occlusion's windows where none is given: how many runs they make, and that slices are no side of a picture."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx
import pytest
from oracles import relative
from protos import normal, parsed

from onnxviz import explain
from onnxviz.errors import InputError


def linear(*sizes: int) -> onnx.ModelProto:
    """A convolution over all axes of which the score is a weighted sum: covering takes its own part away."""
    count = int(np.prod(sizes))
    shape = ",".join(map(str, sizes))
    return parsed(
        f"g (float[n,1,{shape}] x) => (float[n,2] z) <int64[2] f = {{-1,{count}}}> "
        "{ c = Conv (x, w) r = Reshape (c, f) z = MatMul (r, d) }",
        w=np.ones((1, 1, *[1] * len(sizes)), np.float32), d=normal(count, 2),
    )  # fmt: skip


def naive(x: np.ndarray, weights: np.ndarray, window: tuple[int, ...], stride: tuple[int, ...]) -> np.ndarray:
    """The mean fall over the boxes that cover a position."""
    falls, times = np.zeros(x.shape), np.zeros(x.shape)
    corners = []
    for size, side, step in zip(x.shape, window, stride, strict=True):
        starts = [0]
        while starts[-1] + side < size:
            starts.append(starts[-1] + step)
        corners.append(starts)
    for corner in product(*corners):
        box = tuple(slice(start, start + side) for start, side in zip(corner, window, strict=True))
        falls[box] += (x * weights)[box].sum()
        times[box] += 1
    return falls / times


@pytest.mark.parametrize(
    ("sizes", "window", "stride", "runs"),
    [
        ((64,), (8,), (4,), 15),
        ((16, 24), (2, 2), (1, 1), 15 * 23),
        ((8, 24, 32), (2, 6, 6), (1, 3, 3), 7 * 7 * 10),  # a clip: frames are no side of the picture
        ((2, 24, 24), (1, 6, 6), (1, 3, 3), 2 * 7 * 7),  # half a frame cannot be covered
        ((24, 12, 12), (6, 3, 3), (3, 1, 1), 7 * 10 * 10),
    ],
)
def test_windows_along_each_axis(sizes, window, stride, runs):
    told = []
    x = normal(1, *sizes)
    found = explain(linear(*sizes), x, class_=0, method="occlusion", progress=lambda *counts: told.append(counts))
    assert relative(found.map, naive(x[0], normal(int(np.prod(sizes)), 2)[:, 0].reshape(sizes), window, stride)) < 1e-4
    assert told[0] == (0, runs)
    assert told[-1] == (runs, runs)


@pytest.mark.parametrize("sizes", [(8, 112, 112), (16, 160, 160), (32, 96, 96), (224, 224), (96, 96, 96)])
def test_no_default_takes_more_than_some_hundred_runs(sizes):
    """The largest of them took 745,935; the first call of the progress stops it."""

    class Stop(Exception):
        pass

    def stop(done, total):
        assert done == 0
        assert total <= 400
        raise Stop

    with pytest.raises(Stop):
        explain(linear(*sizes), normal(1, *sizes), class_=0, method="occlusion", progress=stop)


def test_a_window_that_is_given_is_a_cube():
    x = normal(1, 6, 8, 8)
    found = explain(linear(6, 8, 8), x, class_=0, method="occlusion", window=4, stride=3)
    expected = naive(x[0], normal(384, 2)[:, 0].reshape(6, 8, 8), (4, 4, 4), (3, 3, 3))
    assert relative(found.map, expected) < 1e-4
    with pytest.raises(InputError, match="with a stride of 3, squares of 2 would leave gaps; take 2 or less"):
        explain(linear(6, 8, 8), x, class_=0, method="occlusion", stride=3)
