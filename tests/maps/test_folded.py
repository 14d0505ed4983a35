"""Maps of views and stacked inputs: whose each entry of the batch is, in arrays, manifests and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import oracles
import pytest
from command_line import error_of
from protos import normal, parsed

from onnxviz import capture, stream, top_patches
from onnxviz.errors import InputError


def views(batch: str = "n") -> onnx.ModelProto:
    return parsed(
        f"g (float[{batch},4,3,6,8] views) => (float[k] z) <int64[4] s = {{-1,3,6,8}}>"
        "{ r = Reshape (views, s) y = Conv <pads=[1,1,1,1]> (r, w) z = GlobalMaxPool (y) }",
        w=normal(5, 3, 3, 3),
    )


def pair() -> onnx.ModelProto:
    return parsed(
        "g (float[n,3,6,8] before, float[n,3,6,8] after) => (float[k] z)"
        "{ s = Concat <axis=0> (before, after) y = Conv <pads=[1,1,1,1]> (s, w) z = GlobalMaxPool (y) }",
        w=normal(5, 3, 3, 3),
    )


def each(x: np.ndarray) -> np.ndarray:
    """The convolution of pictures (n, 3, 6, 8), on its own."""
    proto = parsed(
        "g (float[n,3,6,8] x) => (float[n,5,6,8] y) { y = Conv <pads=[1,1,1,1]> (x, w) }", w=normal(5, 3, 3, 3)
    )
    return oracles.untouched(proto, ["y"], {"x": x})["y"]


@pytest.mark.parametrize("batch", ["n", "2", "3"])
def test_entries_are_told_whose_they_are_and_copies_are_left_out(batch: str) -> None:
    x = normal(3, 4, 3, 6, 8)
    found = capture(views(batch), x)
    maps, origin = found["conv_0"], found.origin.layers["conv_0"]
    assert np.allclose(maps, each(x.reshape(12, 3, 6, 8)), atol=1e-6)
    assert len(found.samples) == 3
    assert origin.rows == (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2)
    assert origin.parts == ("view 0", "view 1", "view 2", "view 3") * 3
    batches = list(stream(views(batch), x))
    assert sum(len(one["conv_0"]) for one in batches) == 12
    assert all(one.origin.layers["conv_0"].parts is not None for one in batches)


def test_stacked_inputs_are_told_by_name() -> None:
    feeds = {"before": normal(3, 3, 6, 8), "after": normal(3, 3, 6, 8, seed=5)}
    found = capture(pair(), feeds)
    origin = found.origin.layers["conv_0"]
    assert origin.rows == (0, 0, 1, 1, 2, 2)
    assert origin.parts == ("before", "after") * 3
    for entry, (row, part) in enumerate(zip(origin.rows, origin.parts, strict=True)):
        assert np.allclose(found["conv_0"][entry], each(feeds[part][row : row + 1])[0], atol=1e-6)


def test_what_is_said_of_a_layer_tells_its_entries() -> None:
    proto = parsed(
        "g (float[1,3,6,8] x) => (float[k] z) <int64[4] s = {2,3,6,4}> { q = NonZero (x) f = Cast <to=1> (q) "
        "t = ReduceMean <keepdims=0> (f) v = Add (x, t) r = Reshape (v, s) y = Conv (r, w) z = GlobalMaxPool (y) }",
        w=normal(5, 3, 1, 1),
    )
    untold = capture(proto, normal(1, 3, 6, 8)).origin.layers["conv_0"]
    assert untold.parts is None
    assert untold.rows == (0, 0)
    said = capture(proto, normal(1, 3, 6, 8), axes={"conv_0": "N*T,C,H,W"}).origin.layers["conv_0"]
    assert said.parts == ("frame 0", "frame 1")


def test_patches_of_several_pictures_of_a_sample_are_refused() -> None:
    feeds = {"before": normal(1, 3, 6, 8), "after": normal(1, 3, 6, 8)}
    with pytest.raises(InputError, match=r"2 entries for a sample.*draw maps"):
        top_patches(pair(), feeds)


def test_pictures_show_the_first_and_a_row_of_all(run_command, tmp_path: Path) -> None:
    onnx.save(views(), tmp_path / "views.onnx")
    np.save(tmp_path / "x.npy", normal(2, 4, 3, 6, 8))
    ran = run_command("maps", "views.onnx", "x.npy", "-o", "d", "--json")
    assert ran.code == 0, ran
    files = [Path(entry["file"]).name for entry in ran.document["pictures"]]
    assert files == ["000-conv_0.png", "000-conv_0-views.png"] * 2
    manifest = json.loads((tmp_path / "d" / "manifest.json").read_text())
    assert manifest["layers"]["conv_0"]["rows"] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert manifest["layers"]["conv_0"]["parts"] == ["view 0", "view 1", "view 2", "view 3"] * 2
    unlike = run_command("maps", "views.onnx", "x.npy", "--axes", "conv_0=N,C,H", "-o", "e")
    assert (unlike.code, unlike.lines) == (2, [])
    assert "'y' has 4 axes (4x5x6x8), not 3: N,C,H" in unlike.err
    for wrong in ("views", "=N,C", "nothing=N,C,H,W", "views=N,V,C"):
        assert error_of(run_command("maps", "views.onnx", "x.npy", "--axes", wrong, "-o", "e"))
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize("batch", ["n", "2"])
def test_a_layer_that_runs_once_a_frame_says_which_frame_it_is_of(batch: str) -> None:
    proto = parsed(
        f"g (float[{batch},2,3,6,8] clip) => (float[k] z) <int64 i = {{0}}, int64 j = {{1}}> {{ a = Gather <axis=1> "
        "(clip, i) b = Gather <axis=1> (clip, j) c = Conv <pads=[1,1,1,1]> (a, w) e = Conv <pads=[1,1,1,1]> (b, w) "
        "s = Add (c, e) z = GlobalMaxPool (s) }",
        w=normal(5, 3, 3, 3),
    )
    x = normal(3, 2, 3, 6, 8)
    found = capture(proto, x)
    for number, layer in enumerate(found):
        assert np.allclose(found[layer], each(x[:, number]), atol=1e-6)
        assert found.origin.layers[layer].parts == (f"frame {number}",) * 3
        assert found.origin.layers[layer].rows is None
