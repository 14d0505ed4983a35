"""Where a convolution's channels come from: what is told is measured, what cannot be told is not guessed."""

import numpy as np
import pytest
from protos import normal, parsed
from samples import UNET

from onnxviz import capture, load
from onnxviz.model.channel_sources import channel_sources

WEIGHTS = {"u": normal(4, 3, 3, 3), "v": normal(2, 4, 1, 1), "w": normal(5, 4, 1, 1), "six": normal(5, 6, 1, 1)}


def model(body, **more):
    return load(parsed(f"g (float[n,3,8,8] x) => (float[n,k,h,t] y) {{ a = Conv (x, u) r = Relu (a) {body} }}",
                       **WEIGHTS, **more))  # fmt: skip


def told(opened):
    first = opened.layers[0].name
    found = channel_sources(opened, opened.layers[-1])
    return found, first


@pytest.mark.parametrize(
    "body",
    [
        "y = Conv (r, w)",
        "p = MaxPool <kernel_shape=[2,2]> (r) s = Sigmoid (p) m = Mul (p, s) y = Conv (m, w)",
        "p = Add (r, bias) q = Pad (p, pads) y = Conv (q, w)",
        "p = Add (r, r) y = Conv (p, w)",
    ],
)
def test_channels_of_the_layer_before_keep_their_places(body):
    opened = model(body, bias=normal(1, 4, 1, 1), pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    found, first = told(opened)
    assert found == tuple(((first, number),) for number in range(4))
    assert channel_sources(opened, opened.layers[0]) == tuple((("x", number),) for number in range(3))


def test_of_a_concatenation_each_has_its_own_and_of_a_sum_all():
    opened = model("b = Conv (r, v) c = Concat <axis=-3> (r, b) y = Conv (c, six)")
    one, two, _ = (layer.name for layer in opened.layers)
    assert channel_sources(opened, opened.layers[2]) == (
        *(((one, number),) for number in range(4)),
        *(((two, number),) for number in range(2)),
    )
    opened = model("b = Conv (r, e) s = Add (r, b) y = Conv (s, w)", e=normal(4, 4, 1, 1))
    one, two, _ = (layer.name for layer in opened.layers)
    assert channel_sources(opened, opened.layers[2]) == tuple(((one, number), (two, number)) for number in range(4))


@pytest.mark.parametrize(
    "body",
    [
        "b = Reshape (r, shape) c = Transpose <perm=[0,2,1,3,4]> (b) d = Reshape (c, back) y = Conv (d, w)",
        "b = Slice (r, zero, two, one) y = Conv (b, v2)",
        "b = Concat <axis=2> (r, r) y = Conv (b, w)",
    ],
)
def test_channels_that_are_moved_or_cut_are_not_told(body):
    opened = model(
        body, shape=np.array([0, 2, 2, 6, 6]), back=np.array([0, 4, 6, 6]), zero=np.array([0]), two=np.array([2]),
        one=np.array([1]), v2=normal(5, 2, 1, 1),
    )  # fmt: skip
    assert told(opened)[0] is None


def test_what_is_told_of_a_real_network_is_what_it_reads():
    """The maps of the filters that are named, put through the convolution by hand, give the layer's own maps."""
    opened = load(UNET)
    layer = opened.layer("up3.conv1")
    sources = channel_sources(opened, layer)
    names = dict.fromkeys(name for one in sources for name, _ in one)
    assert list(names) == ["up3.deconv", "down3.conv2"]
    x = np.random.default_rng(0).uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32)
    maps = capture(opened, x, layers=["up3.conv1"], at="conv")
    made = {name: capture(opened, x, layers=[name])[name][0] for name in names}
    fed = np.stack([made[name][number] for ((name, number),) in sources])
    weight, bias = layer.weight.astype(np.float64), layer.bias
    padded = np.pad(fed.astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    wanted = np.einsum("chwij,ocij->ohw", windows, weight) + (0 if bias is None else bias[:, None, None])
    np.testing.assert_allclose(maps["up3.conv1"][0], wanted, atol=1e-4)
