"""Maps of layers that hold several pictures of a sample: fixed batches, copies of one layer, what is said, refusals."""

from __future__ import annotations

import json

import numpy as np
import onnx
import oracles
import pytest
from command_line import error_of
from oracles import relative
from protos import normal, parsed

from onnxviz import explain, explain_each, explain_faithfulness, explain_sanity
from onnxviz.errors import InputError
from onnxviz.explanations.methods import METHODS


def clip(batch: str = "n", name: str = "x") -> onnx.ModelProto:
    """A convolution of four frames in the batch, the mean of their features, two classes."""
    return parsed(
        f"g (float[{batch},4,3,6,8] {name}) => (float[{batch},2] z) <int64[4] s = {{-1,3,6,8}}, "
        "int64[3] b = {-1,4,5}, int64[1] a = {1}> "
        f"{{ r = Reshape ({name}, s) c = Conv <pads=[1,1,1,1]> (r, w) y = Sigmoid (c) p = GlobalAveragePool (y) "
        "q = Reshape (p, b) m = ReduceMean <keepdims=0> (q, a) z = MatMul (m, d) }",
        w=normal(5, 3, 3, 3),
        d=normal(5, 2),
    )


def expected(x: np.ndarray, class_: int) -> np.ndarray:
    """Grad-CAM of one sample in closed form: the mean over 4 frames of 48 positions, then a product with `d`."""
    proto = parsed(
        "g (float[n,3,6,8] x) => (float[n,5,6,8] y) { c = Conv <pads=[1,1,1,1]> (x, w) y = Sigmoid (c) }",
        w=normal(5, 3, 3, 3),
    )
    maps = oracles.untouched(proto, ["y"], {"x": x})["y"]
    return np.maximum(np.einsum("c,tchw->thw", normal(5, 2)[:, class_] / 4 / 48, maps), 0)


@pytest.mark.parametrize("batch", ["n", "1", "2", "3"])
def test_a_fixed_batch_is_filled_and_its_copies_are_left_out(batch: str) -> None:
    x = normal(2, 4, 3, 6, 8)
    for sample, found in zip(x, explain_each(clip(batch), x, class_=1), strict=True):
        assert relative(found.map, expected(sample, 1)) < 1e-5
        assert found.labels == ("view 0", "view 1", "view 2", "view 3")


@pytest.mark.parametrize("method", [name for name in METHODS if name != "rise"])
def test_every_method_gives_each_frame_a_map_that_can_be_checked(method: str) -> None:
    few = {"samples": 3} if "samples" in METHODS[method].options else {}
    found = explain(clip(), normal(1, 4, 3, 6, 8), class_=0, method=method, **few)
    assert found.map.shape == (4, 6, 8)
    assert found.axes.letters == "VHW"
    if found.map.any():
        explain_faithfulness(found, steps=2)
        assert explain_sanity(found, stages=2).true.shape == (4, 6, 8)


def test_occlusion_covers_one_view_at_a_time() -> None:
    """With a linear score, covering a pixel of a view takes its own part away."""
    proto = parsed(
        "g (float[n,2,3,4,4] x) => (float[n,2] z) <int64[4] s = {-1,3,4,4}, int64[2] b = {-1,32}> "
        "{ r = Reshape (x, s) c = Conv (r, w) q = Reshape (c, b) z = MatMul (q, d) }",
        w=normal(1, 3, 1, 1),
        d=normal(32, 2),
    )
    x = normal(1, 2, 3, 4, 4)
    found = explain(proto, x, class_=0, method="occlusion", window=1)
    parts = np.einsum("c,vchw->vhw", normal(1, 3, 1, 1).reshape(3), x[0]) * normal(32, 2)[:, 0].reshape(2, 4, 4)
    assert relative(found.map, parts) < 1e-5


def test_what_is_said_holds_in_checks_too() -> None:
    proto = parsed(
        "g (float[1,3,6,8] x) => (float[1,2] z) <int64[4] s = {2,3,6,4}, int64[1] a = {0}> "
        "{ l = Unique (x) k = ReduceMean <keepdims=0> (l) g = Sub (k, k) v = Add (x, g) t = Compress (v, o) "
        "r = Reshape (t, s) c = Conv <pads=[1,1,1,1]> (r, w) y = Sigmoid (c) m = ReduceMean <keepdims=1> (y, u) "
        "q = Reshape (m, b) z = MatMul (q, d) }",
        w=normal(5, 3, 3, 3),
        d=normal(10, 2),
        o=np.ones(144, bool),
        u=np.array([2, 3]),
        b=np.array([1, 10]),
    )
    x = normal(1, 3, 6, 8)
    with pytest.raises(
        InputError, match=r"axes of 'y' count cannot be told.*2x5x6x4 is \?,C,H,W.*axes={'y': 'N,C,H,W'}"
    ):
        explain(proto, x, method="eigen-cam")
    found = explain(proto, x, method="eigen-cam", axes={"y": "N*V,C,H,W"})
    assert (found.map.shape, found.labels) == ((2, 6, 4), ("view 0", "view 1"))
    assert explain_sanity(found, stages=2).true.shape == (6, 8)


def test_one_frame_of_a_network_that_is_written_once_for_each_lies_on_that_frame() -> None:
    proto = parsed(
        "g (float[n,2,3,6,8] x) => (float[n,2] z) <int64 i = {0}, int64 j = {1}> "
        "{ a = Gather <axis=1> (x, j) b = Gather <axis=1> (x, i) c = Conv (a, w) e = Conv (b, w) f = Sigmoid (c) "
        "g = Sigmoid (e) s = Sub (f, g) p = GlobalAveragePool (s) q = Flatten (p) z = MatMul (q, d) }",
        w=normal(5, 3, 1, 1),
        d=normal(5, 2),
    )
    x = normal(1, 2, 3, 6, 8)
    both = explain(proto, x, class_=0)
    assert both.labels == ("view 0", "view 1")
    first, second = (explain(proto, x, class_=0, layer=layer) for layer in (1, 0))
    assert np.array_equal(both.map, np.stack([first.map, second.map]))
    assert np.array_equal(second.upsampled(), np.stack([np.zeros_like(second.map), second.map]))
    assert second.photo().shape == first.photo().shape
    assert not np.array_equal(second.photo(), first.photo())


def test_the_command_draws_a_row_and_says_what_the_axes_are(run_command, tmp_path) -> None:
    onnx.save(clip(name="clip"), tmp_path / "clip.onnx")
    np.save(tmp_path / "x.npy", normal(1, 4, 3, 6, 8))
    ran = run_command("explain", "clip.onnx", "x.npy", "-o", "d", "--json", "--save", "x.npz")
    assert ran.code == 0, ran
    entry = ran.document["explanations"][0]
    assert (entry["map_axes"], entry["map_shape"]) == (["T", "H", "W"], [4, 6, 8])
    assert entry["maps"] == ["frame 0", "frame 1", "frame 2", "frame 3"]
    assert json.loads((tmp_path / "d" / "manifest.json").read_text())["explanations"][0]["maps"] == entry["maps"]
    with np.load(tmp_path / "x.npz") as saved:
        assert saved["map"].shape == (4, 6, 8)
    views = run_command("explain", "clip.onnx", "x.npy", "--axes", "clip=N,V,C,H,W", "-o", "v.png", "--json")
    assert views.document["explanations"][0]["maps"][0] == "view 0"
    wrong = run_command("explain", "clip.onnx", "x.npy", "--axes", "clip=N,C,H,W", "-o", "w.png")
    assert "one letter for each axis" in error_of(wrong)


def test_an_input_that_comes_in_behind_the_stack_has_the_maps_of_all_branches() -> None:
    proto = parsed(
        "g (float[n,3,6,8] a, float[n,3,6,8] b, float[n,5] gate) => (float[n,2] z) <int64[3] s = {2,-1,5}, "
        "int64[1] o = {0}, int64[2] u = {2,3}> { s1 = Concat <axis=0> (a, b) c = Conv (s1, w) g1 = Unsqueeze (gate, u) "
        "g2 = Concat <axis=0> (g1, g1) h = Mul (c, g2) y = Sigmoid (h) v = Conv (y, w2) t = Sigmoid (v) "
        "p = GlobalAveragePool (t) q = Reshape (p, s) m = ReduceSum <keepdims=0> (q, o) z = MatMul (m, d) }",
        w=normal(5, 3, 1, 1),
        w2=normal(5, 5, 1, 1),
        d=normal(5, 2),
    )
    feeds = {"a": normal(1, 3, 6, 8), "b": normal(1, 3, 6, 8, seed=4), "gate": normal(1, 5)}
    found = [explain(proto, feeds, class_=0, wrt=wrt, layer="v").map for wrt in ("a", "b", "gate")]
    assert [heat.shape for heat in found] == [(6, 8), (6, 8), (2, 6, 8)]
    assert np.array_equal(found[2], np.stack(found[:2]))
