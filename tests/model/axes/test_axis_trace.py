"""Axes followed through a graph: each tensor, set out by them, is the picture that numpy makes of the input."""

from __future__ import annotations

import numpy as np
import onnx
import oracles
import pytest
from protos import normal, parsed

from onnxviz import load
from onnxviz.errors import InputError, SelectionError
from onnxviz.model.axes.arrangement import UntoldAxesError
from onnxviz.model.axes.axis_trace import AxisTrace
from onnxviz.model.axes.factors import kinds


def traced(proto: onnx.ModelProto, feeds: dict[str, np.ndarray], axes: dict[str, str] | None = None) -> AxisTrace:
    model = load(proto).with_axes(axes)
    sizes = {name: array.shape for name, array in feeds.items()}
    samples = next(iter(feeds.values())).shape[0]
    return model.axes_at(sizes, model.shapes_at(sizes).of, samples)


def letters(trace: AxisTrace, tensor: str) -> list[str]:
    found = trace.of(tensor)
    assert found is not None
    return [kinds(axis) for axis in found.axes]


def conv(x: np.ndarray) -> np.ndarray:
    """1x1 convolution by `w` of (n, 3, H, W)."""
    return np.einsum("oi,nihw->nohw", normal(4, 3, 1, 1)[:, :, 0, 0], x)


# The end of a graph that begins with views (n, 3, 3, 4, 6), and what of it is (V, C, H, W) for one sample.
VIEWS = {
    "flattened by -1": "<int64[4] s = {-1, 3, 4, 6}> { r = Reshape (x, s) y = Conv (r, w) }",
    "flattened by computed sizes": "<int64[1] o = {-1}, int64[3] t = {3, 4, 6}> "
    "{ s = Concat <axis=0> (o, t) r = Reshape (x, s) y = Conv (r, w) }",
    "one by one": "<int64 i = {0}, int64 j = {1}, int64 k = {2}> { a = Gather <axis=1> (x, i) "
    "b = Gather <axis=1> (x, j) c = Gather <axis=1> (x, k) s = Concat <axis=0> (a, b, c) y = Conv (s, w) }",
    "split": "<int64[1] one = {1}> { a, b, c = Split <axis=1, num_outputs=3> (x) d = Squeeze (a, one) "
    "e = Squeeze (b, one) f = Squeeze (c, one) s = Concat <axis=0> (d, e, f) y = Conv (s, w) }",
    "channels last between": "<int64[4] s = {-1, 4, 6, 3}> { t = Transpose <perm=[0,1,3,4,2]> (x) r = Reshape (t, s) "
    "u = Transpose <perm=[0,3,1,2]> (r) y = Conv (u, w) }",
}


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("body", VIEWS.values(), ids=VIEWS)
def test_views_folded_into_the_batch_come_apart(body: str, samples: int) -> None:
    proto = parsed("g (float[n,3,3,4,6] x) => (float[m,4,4,6] y) " + body, w=normal(4, 3, 1, 1))
    x = normal(samples, 3, 3, 4, 6)
    assert load(proto).inputs[0].layout == "NVCHW"
    value = oracles.untouched(proto, ["y"], {"x": x})["y"]
    found = traced(proto, {"x": x}).arrangement("y")
    assert [part.labels for part in found.parts] == [("view 0", "view 1", "view 2")]
    assert found.positions == "HW"
    for sample in range(samples):
        assert np.allclose(found.of(value, sample), conv(x[sample]), atol=1e-6)


def test_stacked_inputs_are_branches_by_name() -> None:
    proto = parsed(
        "g (float[n,3,4,6] before, float[n,3,4,6] after) => (float[m,4,4,6] y) "
        "{ s = Concat <axis=0> (before, after) y = Conv (s, w) }",
        w=normal(4, 3, 1, 1),
    )
    for samples in (1, 3):
        feeds = {"before": normal(samples, 3, 4, 6), "after": normal(samples, 3, 4, 6, seed=9)}
        value = oracles.untouched(proto, ["y"], feeds)["y"]
        trace = traced(proto, feeds)
        found = trace.arrangement("y")
        assert found.parts[0].labels == ("before", "after")
        for sample in range(samples):
            both = [conv(feeds[name][sample : sample + 1])[0] for name in ("before", "after")]
            assert np.allclose(found.of(value, sample), both, atol=1e-6)
        entries = trace.entries("y")
        assert entries is not None
        assert entries.samples == (*range(samples), *range(samples))
        assert entries.labels == ("before",) * samples + ("after",) * samples


@pytest.mark.parametrize("samples", [1, 2])
def test_tiles_in_the_batch_are_laid_side_by_side_again(samples: int) -> None:
    """A network that runs on both halves of a photo, or on its tiles, has the positions of the whole."""
    halves = (
        "g (float[n,3,4,6] x) => (float[m,4,4,3] y) <int64[1] o = {0}, int64[1] h = {3}, int64[1] e = {6}, "
        "int64[1] a = {3}> { l = Slice (x, o, h, a) r = Slice (x, h, e, a) s = Concat <axis=0> (l, r) y = Conv (s, w) }"
    )
    tiles = (
        "g (float[n,3,4,6] x) => (float[m,4,2,3] y) <int64[6] f = {-1,3,2,2,2,3}, int64[4] t = {-1,3,2,3}> "
        "{ c = Reshape (x, f) p = Transpose <perm=[0,2,4,1,3,5]> (c) s = Reshape (p, t) y = Conv (s, w) }"
    )
    x = normal(samples, 3, 4, 6)
    for text in (halves, tiles):
        proto = parsed(text, w=normal(4, 3, 1, 1))
        found = traced(proto, {"x": x}).arrangement("y")
        value = oracles.untouched(proto, ["y"], {"x": x})["y"]
        assert (found.parts, found.positions) == ((), "HW")
        for sample in range(samples):
            assert np.allclose(found.of(value, sample), conv(x)[sample], atol=1e-6)


def test_overlapping_crops_are_untold() -> None:
    proto = parsed(
        "g (float[n,3,4,6] x) => (float[m,4,4,4] y) <int64[1] o = {0}, int64[1] h = {4}, int64[1] i = {2}, "
        "int64[1] e = {6}, int64[1] a = {3}> { l = Slice (x, o, h, a) r = Slice (x, i, e, a) "
        "s = Concat <axis=0> (l, r) y = Conv (s, w) }",
        w=normal(4, 3, 1, 1),
    )
    with pytest.raises(UntoldAxesError, match=r"axis of 2 counts .2x4x4x4 is \?\*N,C,H,W."):
        traced(proto, {"x": normal(1, 3, 4, 6)}).arrangement("y")


def test_a_chunk_of_a_stack_is_one_inputs() -> None:
    """As `torch.cat(…, 0).chunk(2)` is exported: half of the size, worked out in the graph."""
    proto = parsed(
        "g (float[n,3,4,6] a, float[n,3,4,6] b) => (float[n,4,4,6] z) <int64 zero = {0}, int64 two = {2}, "
        "int64[1] o = {0}, int64[1] u = {0}> { s = Concat <axis=0> (a, b) y = Conv (s, w) h = Shape (y) "
        "g = Gather (h, zero) d = Div (g, two) e = Unsqueeze (d, u) f = Mul (e, t) z = Slice (y, e, f, o) }",
        w=normal(4, 3, 1, 1),
        t=np.array([2], np.int64),
    )
    feeds = {"a": normal(2, 3, 4, 6), "b": normal(2, 3, 4, 6, seed=9)}
    found = traced(proto, feeds).arrangement("z")
    assert found.parts == ()
    value = oracles.untouched(proto, ["z"], feeds)["z"]
    assert np.allclose(found.of(value, 1), conv(feeds["b"][1:])[0], atol=1e-6)


TOKENS = """g (float[n,3,8,12] x) => (float[n,7,4] y) <int64[3] s = {0, 4, -1}, float[1,1,4] token = {1,2,3,4}> {
  p = Conv <strides=[4,4]> (x, w) r = Reshape (p, s) t = Transpose <perm=[0,2,1]> (r)
  q = Concat <axis=1> (token, t) a = Add (q, e) n = LayerNormalization (a, g, b) m = MatMul (n, d)
  k = Transpose <perm=[0,2,1]> (m) u = MatMul (m, k) f = Softmax <axis=-1> (u) v = MatMul (f, m) y = Add (a, v) }"""


def tokens() -> onnx.ModelProto:
    more = {"e": normal(1, 7, 4), "g": normal(4), "b": normal(4), "d": normal(4, 4)}
    return parsed(TOKENS, w=normal(4, 3, 4, 4), **more)


def test_tokens_behind_attention_are_the_pictures() -> None:
    x = normal(1, 3, 8, 12)
    trace = traced(tokens(), {"x": x})
    found = trace.arrangement("y")
    assert (found.positions, found.extra, found.parts) == ("HW", 1, ())
    value = oracles.untouched(tokens(), ["y"], {"x": x})["y"]
    assert np.array_equal(found.of(value), value[0, 1:].T.reshape(4, 2, 3))
    with pytest.raises(UntoldAxesError, match=r"axis of 7 counts|rows"):
        trace.arrangement("u")  # tokens by tokens


def test_a_volume_stays_one_and_frames_under_a_1d_convolution_are_frames() -> None:
    volume = parsed("g (float[n,3,5,4,6] x) => (float[n,4,5,4,6] y) { y = Conv (x, w) }", w=normal(4, 3, 1, 1, 1))
    found = traced(volume, {"x": normal(1, 3, 5, 4, 6)}).arrangement("y")
    assert (found.parts, found.positions) == ((), "DHW")
    text = """g (float[n,5,3,4,6] clip) => (float[m,2,5] y) <int64[4] s = {-1, 3, 4, 6}, int64[5] b = {-1, 5, 4, 4, 6},
        int64[3] f = {-1, 4, 5}> { r = Reshape (clip, s) c = Conv (r, w) u = Reshape (c, b)
        t = Transpose <perm=[0,3,4,2,1]> (u) q = Reshape (t, f) y = Conv <pads=[1,1]> (q, v) }"""
    proto = parsed(text, w=normal(4, 3, 1, 1), v=normal(2, 4, 3))
    clip = normal(1, 5, 3, 4, 6)
    found = traced(proto, {"clip": clip}).arrangement("y")
    assert [(part.kind, len(part.branches)) for part in found.parts] == [("T", 5)]
    assert found.positions == "HW"
    value = oracles.untouched(proto, ["y"], {"clip": clip})["y"]
    assert np.array_equal(found.of(value), value.reshape(4, 6, 2, 5).transpose(3, 2, 0, 1))


OPERATORS = {
    "y = GlobalAveragePool (c)": ["N", "C", "H", "W"],
    "y = MaxPool <kernel_shape=[2,2], strides=[2,2]> (c)": ["N", "C", "H", "W"],
    "y = Pad (c, p)": ["N", "C", "H", "W"],
    "y = ReduceMean <keepdims=0> (c, a)": ["N", "C"],
    "y = Flatten (c)": ["N", "CHW"],
    "y = DepthToSpace <blocksize=2> (c)": ["N", "", "H", "W"],
    "m = GlobalAveragePool (c) y = Mul (c, m)": ["N", "C", "H", "W"],
    'y = Einsum <equation="nchw->nwhc"> (c)': ["N", "W", "H", "C"],
    "y = Concat <axis=1> (c, c)": ["N", "C", "H", "W"],
    "y = Resize (c, , z)": ["N", "C", "H", "W"],
    "y = NonZero (c)": ["?", "?"],
}


@pytest.mark.parametrize("body", OPERATORS)
def test_what_operators_leave_of_axes(body: str) -> None:
    proto = parsed(
        "g (float[n,3,4,6] x) => (int64[k] o) <int64[8] p = {0,0,1,1,0,0,1,1}, int64[2] a = {2,3}, "
        "float[4] z = {1,1,2,2}> { c = Conv (x, w) " + body + " o = Shape (y) }",
        w=normal(4, 3, 1, 1),
    )
    trace = traced(proto, {"x": normal(2, 3, 4, 6)})
    found = trace.of("y")
    if OPERATORS[body] == ["?", "?"]:
        assert found is None or set(letters(trace, "y")) == {"?"}
    else:
        assert [one or "" for one in letters(trace, "y")] == OPERATORS[body]


def test_what_is_said_of_a_tensor_takes_the_place_of_what_is_told() -> None:
    proto = parsed(
        "g (float[1,3,4,6] x) => (int64[k] o) <int64[3] s = {4,2,12}> { c = Conv (x, w) q = NonZero (c) "
        "f = Cast <to=1> (q) t = ReduceSum <keepdims=0> (f) v = Add (c, t) r = Reshape (v, s) y = Relu (r) "
        "o = Shape (y) }",
        w=normal(4, 3, 1, 1),
    )
    x = normal(1, 3, 4, 6)
    said = traced(proto, {"x": x}, {"y": "C,N*V,H3*W4"}).arrangement("y")
    assert ([part.kind for part in said.parts], said.positions) == (["V"], "HW")
    array = np.arange(96).reshape(4, 2, 12)
    assert np.array_equal(said.of(array), array.transpose(1, 0, 2).reshape(2, 4, 3, 4))
    for wrong, match in (
        ({"y": "N,C,H,W"}, "has 3 axes .4x2x12., not 4"),
        ({"y": "C,N*V,H*W"}, "axis 2 of 'y' .4x2x12. cannot be what was said"),
        ({"x": "N,C,H"}, "must be one letter for each axis"),
        ({"y": "N,Q,C"}, "does not say what axes count"),
        ({"y": "H,C,H"}, "says H of two axes"),
    ):
        with pytest.raises(InputError, match=match):
            traced(proto, {"x": x}, wrong)
    with pytest.raises(SelectionError, match="no input, layer or tensor 'nothing'"):
        traced(proto, {"x": x}, {"nothing": "N,C,H,W"})
