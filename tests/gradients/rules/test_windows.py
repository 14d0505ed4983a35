"""Thousands of convolutions and poolings, drawn at random, against PyTorch's autograd.

ONNXVIZ_EXAMPLES sets how many of each are drawn; 75 by default.
"""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
from examples import examples
from gradient_cases import TOLERANCE, Case, ours, relative, seed_for, seeded, spaced
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from onnxviz.errors import UnsupportedGradientError

torch = pytest.importorskip("torch", reason="the oracle is PyTorch's autograd: pip install torch")
tf = torch.nn.functional

EXAMPLES = int(os.environ.get("ONNXVIZ_EXAMPLES", examples(25, 75)))
drawn = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def geometries(draw, *, deepest=3, max_kernel=5, dilated=True):
    """Sizes, kernel, strides, dilations and pads of one to three spatial axes; every window fits."""
    rank = draw(st.integers(1, deepest))
    top = 11 if rank < 3 else 6
    found = {"sizes": [], "kernel": [], "strides": [], "dilations": [], "begin": [], "end": []}
    for _ in range(rank):
        kernel = draw(st.integers(1, max_kernel))
        dilation = draw(st.integers(1, 3)) if dilated else 1
        extent = (kernel - 1) * dilation + 1
        begin, end = draw(st.integers(0, extent - 1)), draw(st.integers(0, extent - 1))
        size = draw(st.integers(1, top))
        assume(size + begin + end >= extent)
        for key, value in (
            ("sizes", size),
            ("kernel", kernel),
            ("strides", draw(st.integers(1, 4))),
            ("dilations", dilation),
            ("begin", begin),
            ("end", end),
        ):
            found[key].append(value)
    return found


def attributes_of(geometry, **more):
    return {
        "kernel_shape": geometry["kernel"],
        "strides": geometry["strides"],
        "pads": [*geometry["begin"], *geometry["end"]],
        **more,
    }


def padding_of(begin, end):
    """As torch's pad takes it: from the last axis to the first."""
    return [pad for pair in zip(reversed(begin), reversed(end), strict=True) for pad in pair]


def agrees(case, function):
    """Holds value and gradients against torch's, in float64."""
    try:
        value, gradients = ours(case)
    except UnsupportedGradientError as refusal:
        if "a last window in the padding" not in str(refusal):
            raise
        return
    assume(np.isfinite(value).all())  # a dilated window may see padding only
    tensors = {n: torch.tensor(a.astype(np.float64), requires_grad=n in case.wrt) for n, a in case.given.items()}
    y = function(*tensors.values())
    assert relative(value, y.detach().numpy()) < TOLERANCE
    y.backward(torch.tensor(seed_for(value).astype(np.float64)))
    for name in case.wrt:
        error = relative(gradients[name], tensors[name].grad.numpy())
        assert error < TOLERANCE, f"gradient of '{name}' is off by {error:.2e}"


@given(geometries(), st.sampled_from([(1, 2, 3), (2, 4, 2), (3, 3, 6), (4, 4, 4)]), st.booleans())
@drawn
def test_conv(monkeypatch, geometry, channels, many):
    """`many`: in the form that many channels get."""
    monkeypatch.setattr("onnxviz.gradients.rules.convolution.BLOCK", 1 if many else 16)
    group, inputs, outputs = channels
    x, w = (1, inputs, *geometry["sizes"]), (outputs, inputs // group, *geometry["kernel"])
    attributes = attributes_of(geometry, group=group, dilations=geometry["dilations"])
    case = Case("Conv", "", {"x": seeded(*x), "w": seeded(*w, key="w")}, ("w",), attributes)
    conv = (tf.conv1d, tf.conv2d, tf.conv3d)[len(geometry["sizes"]) - 1]
    padding = padding_of(geometry["begin"], geometry["end"])
    agrees(
        case,
        lambda x, w: conv(
            tf.pad(x, padding), w, stride=geometry["strides"], dilation=geometry["dilations"], groups=group
        ),
    )


@given(geometries(), st.sampled_from([(1, 2, 3), (2, 4, 2), (3, 3, 6)]), st.data())
@drawn
def test_conv_transpose(geometry, channels, data):
    group, inputs, outputs = channels
    strides, dilations = geometry["strides"], geometry["dilations"]
    extra = [data.draw(st.integers(0, stride - 1)) for stride in strides]  # onnxruntime takes no more
    full = [
        (size - 1) * s + (k - 1) * d + 1 + more
        for size, s, k, d, more in zip(geometry["sizes"], strides, geometry["kernel"], dilations, extra, strict=True)
    ]
    assume(all(out > b + e for out, b, e in zip(full, geometry["begin"], geometry["end"], strict=True)))
    x, w = (1, inputs, *geometry["sizes"]), (inputs, outputs // group, *geometry["kernel"])
    attributes = attributes_of(geometry, group=group, dilations=dilations, output_padding=extra)
    case = Case("ConvTranspose", "", {"x": seeded(*x), "w": seeded(*w, key="w")}, ("w",), attributes)
    conv = (tf.conv_transpose1d, tf.conv_transpose2d, tf.conv_transpose3d)[len(strides) - 1]

    def function(x, w):
        y = conv(x, w, stride=strides, dilation=dilations, groups=group)
        cut = [-b for b in geometry["begin"]], [more - e for more, e in zip(extra, geometry["end"], strict=True)]
        return tf.pad(y, padding_of(*cut))

    agrees(case, function)


def ceiled(geometry):
    """Output sizes with ceil_mode: a window more, unless it would begin in the padding behind (as torch has it)."""
    sizes = []
    for size, k, s, d, b, e in zip(*(geometry[key] for key in geometry_keys), strict=True):
        reach = size + b + e - (k - 1) * d - 1
        count = -(-reach // s) + 1
        sizes.append(count - 1 if (count - 1) * s >= size + b else count)
    return sizes


geometry_keys = ("sizes", "kernel", "strides", "dilations", "begin", "end")


def overhang(geometry, counts):
    """The padding behind that the windows need."""
    return [
        max((count - 1) * s + (k - 1) * d + 1 - size - b, e)
        for count, size, k, s, d, b, e in zip(counts, *(geometry[key] for key in geometry_keys), strict=True)
    ]


def small_pads(geometry):
    """Poolings may not have windows that lie in the padding altogether."""
    for axis, (k, d) in enumerate(zip(geometry["kernel"], geometry["dilations"], strict=True)):
        reach = ((k - 1) * d + 1) // 2
        for side in ("begin", "end"):
            geometry[side][axis] = min(geometry[side][axis], reach, k - 1)
        padded = geometry["sizes"][axis] + geometry["begin"][axis] + geometry["end"][axis]
        assume(padded >= (k - 1) * d + 1)
        starts = np.arange(padded - (k - 1) * d) - geometry["begin"][axis]
        taps = starts[:, None] + np.arange(k) * d  # a dilated window may see padding only
        assume(((taps >= 0) & (taps < geometry["sizes"][axis])).any(1).all())


@given(geometries(), st.booleans())
@drawn
def test_max_pool(geometry, ceil):
    small_pads(geometry)
    counts = ceiled(geometry) if ceil else None
    end = overhang(geometry, counts) if counts else geometry["end"]
    case = Case(
        "MaxPool",
        "",
        {"x": spaced(1, 2, *geometry["sizes"])},
        attributes=attributes_of(geometry, dilations=geometry["dilations"], ceil_mode=int(ceil)),
    )
    pool = (tf.max_pool1d, tf.max_pool2d, tf.max_pool3d)[len(geometry["sizes"]) - 1]
    padding = padding_of(geometry["begin"], end)
    agrees(
        case,
        lambda x: pool(
            tf.pad(x, padding, value=-math.inf),
            geometry["kernel"],
            geometry["strides"],
            dilation=geometry["dilations"],
        ),
    )


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2)), min_size=1, max_size=3), st.data())
@drawn
def test_max_pools_side_by_side(axes, data):
    """Windows without gaps, values that often tie: all goes to the first maximum, as in PyTorch."""
    kernel = [k for k, _, _ in axes]
    sizes = [k * count + rest % k for k, count, rest in axes]
    x = np.random.default_rng(data.draw(st.integers(0, 99))).integers(-1, 2, (2, 3, *sizes)).astype(np.float32)
    case = Case("MaxPool", "", {"x": x}, attributes={"kernel_shape": kernel, "strides": kernel})
    pool = (tf.max_pool1d, tf.max_pool2d, tf.max_pool3d)[len(axes) - 1]
    agrees(case, lambda x: pool(x, kernel, kernel))


@given(geometries(dilated=False), st.booleans(), st.booleans())
@drawn
def test_average_pool(geometry, ceil, padded):
    small_pads(geometry)
    counts = ceiled(geometry) if ceil else None
    end = overhang(geometry, counts) if counts else geometry["end"]
    case = Case(
        "AveragePool",
        "",
        {"x": seeded(1, 2, *geometry["sizes"])},
        attributes=attributes_of(geometry, ceil_mode=int(ceil), count_include_pad=int(padded)),
    )
    rank = len(geometry["sizes"])
    conv = (tf.conv1d, tf.conv2d, tf.conv3d)[rank - 1]
    ones = torch.ones((1, 1, *geometry["kernel"]), dtype=torch.float64)
    given = padding_of(geometry["begin"], geometry["end"])
    more = padding_of([0] * rank, [far - e for far, e in zip(end, geometry["end"], strict=True)])

    def function(x):
        x = x.reshape(2, 1, *geometry["sizes"])
        inside = torch.ones_like(x)
        inside = tf.pad(tf.pad(inside, given, value=float(padded)), more)
        total = conv(tf.pad(tf.pad(x, given), more), ones, stride=geometry["strides"])
        y = total / conv(inside, ones, stride=geometry["strides"])
        return y.reshape(1, 2, *y.shape[2:])

    agrees(case, function)


@given(geometries(), st.sampled_from([(1, 2, 3), (2, 4, 2)]))
@drawn
def test_a_convolution_and_its_gradient_are_adjoint(geometry, channels):
    """⟨w, J v⟩ = ⟨Jᵀ w, v⟩, J v by the model itself, which is linear."""
    group, inputs, outputs = channels
    x, w = (1, inputs, *geometry["sizes"]), (outputs, inputs // group, *geometry["kernel"])
    attributes = attributes_of(geometry, group=group, dilations=geometry["dilations"])
    given = {"x": seeded(*x), "w": seeded(*w, key="w")}
    value, gradients = ours(Case("Conv", "", given, ("w",), attributes))
    one = float((seed_for(value).astype(np.float64) * value).sum())
    other = float((gradients["x"].astype(np.float64) * given["x"]).sum())
    size = np.linalg.norm(seed_for(value)) * np.linalg.norm(value)
    assert abs(one - other) <= TOLERANCE * max(size, 1e-6)
