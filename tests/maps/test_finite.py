"""Values that are not finite: said with the layer where they begin, and never the reason for a wrong picture."""

import json
import tracemalloc

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from PIL import Image
from protos import normal

from onnxviz import capture, load, stream, top_patches
from onnxviz.cli import run
from onnxviz.maps.finite import FiniteWatch, words
from onnxviz.plots import plot_patches

# The logarithm of what a convolution gives, channel by channel: NaN where that is negative, −∞ where it is 0.
LOG = (
    '<ir_version: 8, opset_import: ["" : 17]> g (float[n,3,9,7] x) => (float[n,3,9,7] y)'
    "{ a = Conv <pads=[1,1,1,1]> (x, u) l = Log (a) b = Conv <group=4> (l, v) y = Conv <pads=[1,1,1,1]> (b, w) }"
)
TENSORS = ["a", "b", "y"]
LAYERS = ["first", "second", "third"]


def proto(**weights):
    model = onnx.parser.parse_model(LOG)
    shapes = {"u": (4, 3, 3, 3), "v": (4, 1, 1, 1), "w": (3, 4, 3, 3)}
    for (name, shape), layer in zip(shapes.items(), LAYERS, strict=True):
        array = weights.get(name, normal(*shape, seed=len(layer)))
        stored = numpy_helper.from_array(array.astype(np.float32), f"{layer}/kernel")
        model.graph.initializer.append(stored)
        for node in model.graph.node:
            node.input[:] = [stored.name if one == name else one for one in node.input]
    return model


def truth(model, x):
    """The maps of each layer by onnx.reference."""
    open_ended = onnx.ModelProto()
    open_ended.CopyFrom(model)
    del open_ended.graph.output[:]
    open_ended.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, None) for name in TENSORS)
    with np.errstate(all="ignore"):
        return dict(zip(LAYERS, ReferenceEvaluator(open_ended).run(TENSORS, {"x": x}), strict=True))


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("memory", [2**20, 2**30])
def test_what_is_not_finite_is_counted(memory):
    x = normal(5, 3, 9, 7)
    x[[1, 3]] = 0  # the logarithm of 0
    model = proto()
    expected = truth(model, x)
    maps = capture(load(model), x, memory=memory)
    assert [one.name for one in maps.not_finite] == ["second", "third"]
    for one in maps.not_finite:
        values = expected[one.name]
        bad = [number for number in range(5) if not np.isfinite(values[number]).all()]
        assert (one.where, one.nan, one.infinite) == ("layer", np.isnan(values).sum(), np.isinf(values).sum())
        assert (one.samples, one.first) == (len(bad), f"array[{bad[0]}]")
        assert one.values == values[0].size * len(bad)
    # Batches tell it all up to there.
    *_, last = stream(load(model), x, memory=memory)
    assert last.not_finite == maps.not_finite
    assert maps.origin.manifest()["not_finite"] == [one.as_dict() for one in maps.not_finite]


def test_where_all_is_finite_nothing_is_said():
    assert capture(load(proto()), normal(2, 3, 9, 7), layers="first").not_finite == ()
    assert words((), 3) == ""


def test_what_was_fed_is_named_before_the_layers():
    x = normal(3, 3, 9, 7)
    x[1, 0, 4, 4] = np.nan
    x[2, 0, 4, 4] = np.inf
    found = capture(load(proto()), x, layers="first").not_finite
    assert [(one.where, one.name) for one in found] == [("input", "x"), ("layer", "first")]
    assert (found[0].nan, found[0].infinite, found[0].samples, found[0].first) == (1, 1, 2, "array[1]")
    said = words(found, 3)
    assert said == (
        "NaN and infinity in the maps: it begins in input 'x', in 2 of 378 values of 2 of 3 inputs, first in array[1]; "
        "1 other layer has values that are not finite, too"
    )


def test_looking_holds_no_copy():
    watch, values = FiniteWatch(), np.ones((2, 64, 128, 128), np.float32)
    tracemalloc.start()
    watch.see("layer", "one", values, ["a", "b"])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100_000 < values.nbytes / 50
    for dtype in (np.float16, np.int8, bool):
        watch.see("layer", "one", np.ones((2, 3), dtype), ["a", "b"])
    watch.see("layer", "one", np.ones((0, 3)), [])
    assert watch.found(["one"]) == ()
    watch.see("layer", "one", np.array([[1, np.inf], [np.nan, np.nan]], np.float16), ["a"])  # not one row a sample
    assert watch.found(["one"])[0].as_dict() == {
        "where": "layer", "name": "one", "nan": 2, "infinite": 1, "values": 4, "samples": 1, "first": "a",
    }  # fmt: skip


# ---------------------------------------------------------------- the command


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(5)
    for name in "abc":
        Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8)).save(tmp_path / "in" / f"{name}.png")
    kernels = np.abs(normal(4, 3, 3, 3))  # of pixels, which are positive
    kernels[0, :2, 1, 1] = 1, -1.003
    kernels[0, 2], kernels[0, :2, [0, 2]], kernels[0, :2, :, [0, 2]] = 0, 0, 0
    onnx.save(proto(u=kernels), tmp_path / "m.onnx")
    return tmp_path / "in"


@pytest.mark.parametrize("several", [True, False])
def test_the_command_says_where_it_begins(photos, tmp_path, capsys, several):
    given = "in" if several else "in/b.png"
    assert run(["maps", "m.onnx", given, "-o", "out", "--save", "m.npz", "--json"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)["not_finite"]
    with np.load("m.npz") as saved:
        counts = {name: int(np.isnan(saved[name]).sum()) for name in saved.files}
    assert counts["first"] == 0 < counts["second"] < counts["third"]
    assert {one["name"]: one["nan"] for one in told} == {name: counts[name] for name in ("second", "third")}
    line = next(line for line in err.splitlines() if "NaN" in line)
    whose = "of 3 of 3 inputs, first in a.png" if several else "of b.png"
    assert line == (
        f"NaN in the maps: it begins in layer 'second', in {counts['second']:,} of {told[0]['values']:,} values {whose}"
        "; 1 other layer has values that are not finite, too"
    )
    for manifest in ("out/manifest.json", "m.npz.manifest.json"):
        assert json.loads((tmp_path / manifest).read_text())["not_finite"] == told
    assert run(["maps", "m.onnx", given, "-q"]) == 0
    assert capsys.readouterr().err == ""


# ---------------------------------------------------------------- regions


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_regions_are_never_those_of_a_comparison_with_nan(photos):
    """Of NaN and other values, onnxruntime's largest depends on where the NaN stands: the channel has no region."""
    model = load("m.onnx")
    maps = capture(model, photos)
    assert np.isnan(maps["second"]).any(axis=(0, 2, 3)).tolist() == [True, False, False, False]
    assert not np.isnan(maps["second"]).all(axis=(2, 3)).any()
    for name, patches in top_patches(model, photos, layers="all", count=3).items():
        peaks = maps[name].reshape(3, -1, 63).max(axis=2)  # NaN where any is
        usable = np.isfinite(peaks)
        assert np.array_equal((patches.samples >= 0).sum(axis=1), usable.sum(axis=0))
        for channel in range(peaks.shape[1]):
            best = [number for number in np.argsort(-peaks[:, channel], kind="stable") if usable[number, channel]]
            assert patches.samples[channel][: len(best)].tolist() == best
            np.testing.assert_allclose(patches.values[channel][: len(best)], peaks[best, channel], rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("worst", [np.nan, np.inf, -np.inf])
def test_regions_of_an_array_with_one_such_value(worst):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 13]> g (float[1,3,9,7] x) => (float[1,3,9,7] y)'
        "{ y = Conv <group=3> (x, w) }"
    )
    model.graph.initializer.append(numpy_helper.from_array(np.ones((3, 1, 1, 1), np.float32), "w"))
    x = normal(2, 3, 9, 7)
    x[0, 1, 2, 3] = worst
    patches = top_patches(load(model), x, count=2)["conv_0"]
    maps = np.stack([capture(load(model), one[None])["conv_0"][0] for one in x])
    peaks = maps.reshape(2, 3, -1).max(axis=2)
    usable = np.isfinite(peaks)
    assert (~usable).sum() == (worst != -np.inf)  # beside −∞ there is a largest value
    assert np.array_equal((patches.samples >= 0).sum(axis=1), usable.sum(axis=0))


def test_a_layer_without_any_finite_value(photos, tmp_path, capsys):
    onnx.save(proto(u=-np.ones((4, 3, 3, 3))), tmp_path / "m.onnx")
    found = top_patches("m.onnx", photos, layers="all", count=2)
    assert (found["second"].samples == -1).all()
    assert found["second"].crops().shape[:2] == (4, 2)
    plot_patches(found["second"])
    assert run(["maps", "m.onnx", "in", "--top-patches", "2", "-o", "out", "--json"]) == 0
    out, err = capsys.readouterr()
    assert [one["name"] for one in json.loads(out)["not_finite"]] == ["second", "third"]
    assert "NaN in the maps: it begins in layer 'second', in 12 of 12 values of 3 of 3 inputs, first in a.png" in err
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["not_finite"][0]["name"] == "second"
