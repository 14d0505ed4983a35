"""Layouts of inputs that their first readers do not tell: views and frames, volumes, and what nobody can tell."""

from __future__ import annotations

import pytest
from protos import normal, parsed

from onnxviz import explain, load
from onnxviz.errors import InputError

FLAT, VOLUME = {"w": normal(4, 3, 1, 1)}, {"w": normal(4, 3, 1, 1, 1)}
FOLD = "<int64[4] s = {-1, 3, 8, 8}> { r = Reshape (x, s) y = Conv (r, w) }"
MODELS = {
    "views": ("float[n,4,3,8,8] x", FOLD, FLAT, "NVCHW"),
    "frames by the input's name": ("float[n,4,3,8,8] video_1", FOLD.replace("(x", "(video_1"), FLAT, "NTCHW"),
    "frames by the axis's name": ("float[n,frames,3,8,8] x", FOLD, FLAT, "NTCHW"),
    "channels last": (
        "float[n,4,8,8,3] x",
        "<int64[4] s = {-1, 8, 8, 3}> { r = Reshape (x, s) t = Transpose <perm=[0,3,1,2]> (r) y = Conv (t, w) }",
        FLAT,
        "NVHWC",
    ),
    "picked one by one": (
        "float[n,2,3,8,8] x",
        "<int64 i = {0}, int64 j = {1}> { a = Gather <axis=1> (x, i) b = Gather <axis=1> (x, j) c = Conv (a, w) "
        "d = Conv (b, w) y = Add (c, d) }",
        FLAT,
        "NVCHW",
    ),
    "frames beside one another as channels": (
        "float[n,5,3,8,8] x",
        "<int64[4] s = {-1, 15, 8, 8}> { r = Reshape (x, s) y = Conv (r, w) }",
        {"w": normal(4, 15, 1, 1)},
        "NVCHW",
    ),
    "a volume": ("float[n,3,4,8,8] x", "{ y = Conv (x, w) }", VOLUME, "NCDHW"),
    "a volume behind a slice": (
        "float[n,3,4,8,8] x",
        "<int64[1] b = {0}, int64[1] e = {2}, int64[1] a = {2}> { s = Slice (x, b, e, a) y = Conv (s, w) }",
        VOLUME,
        "NCDHW",
    ),
    "frames under a 3-D convolution": (
        "float[n,4,3,8,8] x",
        "{ t = Transpose <perm=[0,2,1,3,4]> (x) y = Conv (t, w) }",
        VOLUME,
        "NDCHW",
    ),
    "views of clips": (
        "float[n,2,5,3,8,8] x",
        "<int64[4] s = {-1, 3, 8, 8}> { r = Reshape (x, s) y = Conv (r, w) }",
        FLAT,
        "NVTCHW",
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_an_input_is_what_the_convolutions_behind_it_make_of_it(name: str) -> None:
    given, body, weights, layout = MODELS[name]
    proto = parsed(f"g ({given}) => (int64[k] z) {body[:-1]} z = Shape (y) }}", **weights)
    assert load(proto).inputs[0].layout == layout


def test_what_cannot_be_told_is_asked_for_and_can_be_said() -> None:
    text = (
        "g (float[1,4,3,8,8] x) => (float[1,4] z) <int64[4] s = {4, 3, 8, 8}, int64[1] one = {1}> "
        "{ q = Unique (x) t = ReduceMean <keepdims=0> (q) v = Where (b, x, t) c = Compress (v, k) "
        "r = Reshape (c, s) y = Conv (r, w) p = GlobalAveragePool (y) f = Flatten (p) "
        "z = ReduceSum <keepdims=1> (f, o) }"
    )
    proto = parsed(text, b=normal(1, 4, 3, 8, 8) > 0, k=normal(768) < 9, o=normal(1).astype("int64") * 0, **FLAT)
    assert load(proto).inputs[0].layout == ""
    x = normal(1, 4, 3, 8, 8)
    with pytest.raises(
        InputError, match=r"axes of input 'x' .1x4x3x8x8. count cannot be told.*axes={'x': 'N,V,C,H,W'}"
    ):
        explain(proto, x, method="occlusion")
    found = explain(proto, x, method="occlusion", axes={"x": "N,V,C,H,W"})
    assert found.map.shape == (4, 8, 8)
    assert found.labels == ("view 0", "view 1", "view 2", "view 3")
    frames = explain(proto, x, method="occlusion", axes={"x": "N,T,C,H,W"})
    assert frames.labels[0] == "frame 0"
    assert (frames.map == found.map).all()
