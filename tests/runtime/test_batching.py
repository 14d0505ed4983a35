"""Batches: which inputs have a batch axis, how a fixed batch is filled, and whether its rows see each other."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from onnxviz import capture, explain, explain_each, load, maximize, top_patches
from onnxviz.cli import run
from onnxviz.errors import InputError
from onnxviz.explanations.methods import METHODS
from onnxviz.explanations.methods.perturbation import Occlusion, Rise
from onnxviz.maps.tapped_run import TappedRun
from onnxviz.model.batch_axis import batch_inputs
from onnxviz.model.ports import Port
from onnxviz.runtime.batching import MAX_BATCH, Batching, pad_rows


def quick(method):
    """The method with few samples, where it draws any."""
    default = METHODS[method]
    return replace(default, samples=20) if "samples" in default.options else default


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def parsed(text: str, **weights: np.ndarray) -> onnx.ModelProto:
    proto = onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 18]>' + text)
    for name, array in weights.items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto


TAIL = "r = Relu (c) p = GlobalAveragePool (r) f = Flatten (p) d = MatMul (f, v)"
WEIGHTS = {"w": normal(4, 3, 3, 3, seed=1), "v": normal(4, 2, seed=2)}
SCALE = np.array([1.0, 2.0], np.float32)


def scaled(batch: str = "n") -> onnx.ModelProto:
    """A classifier of pictures whose two scores are multiplied by a second input, which has no batch axis."""
    graph = f"g (float[{batch},3,8,8] x, float[2] scale) => (float[{batch},2] y)"
    return parsed(graph + "{ c = Conv (x, w) " + TAIL + " y = Mul (d, scale) }", **WEIGHTS)


def plain(batch: str = "n") -> onnx.ModelProto:
    graph = f"g (float[{batch},3,8,8] x) => (float[{batch},2] d)"
    return parsed(graph + "{ c = Conv (x, w) " + TAIL + " }", **WEIGHTS)


# Which inputs have a batch axis.

PICTURE = ("n", 3, 8, 8)


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([("n", 10)], "a"),
        ([(4, 10)], "a"),
        ([(None, 10)], "a"),
        ([None], ""),
        ([()], ""),
        ([("height", "width", 3)], ""),
        ([("seq_length", 576)], ""),
        ([PICTURE, (2,)], "a"),
        ([(2,), PICTURE], "b"),
        ([PICTURE, ("n",)], "ab"),
        ([PICTURE, (8, 3, 3, 3)], "a"),
        ([PICTURE, (77, 768)], "a"),
        ([PICTURE, (5, 77, 768)], "a"),
        ([(4, 3, 8, 8), (2,)], "a"),
        ([(4, 3, 8, 8), (4, 2)], "ab"),
        ([(4, 3, 8, 8), ("n", 2)], "ab"),
        ([(1, 3, 8, 8), (8, 3, 3, 3)], "a"),
        ([("n", 10), (2,)], "a"),
        ([(None, None), (2, None, 128), ()], "a"),
    ],
)
def test_inputs_with_a_batch_axis(shapes, expected):
    layouts = {5: "NCDHW", 4: "NCHW", 3: "NCW"}
    ports = [
        Port(name, "float32", shape, layouts.get(len(shape or ()), ""))
        for name, shape in zip("abc", shapes, strict=False)
    ]
    assert batch_inputs(ports) == set(expected)


@pytest.mark.parametrize("method", METHODS)
def test_an_input_without_a_batch_axis_is_no_sample(method):
    """The scores are those of a model with the second input built in, and so are the maps."""
    x = normal(1, 3, 8, 8)
    built_in = scaled()
    del built_in.graph.input[1]
    built_in.graph.initializer.append(numpy_helper.from_array(SCALE, "scale"))
    options = {"method": quick(method), "class_": 1}
    expected = explain(load(built_in), x, **options)
    found = explain(load(scaled()), {"x": x, "scale": SCALE}, **options)
    assert found.score == pytest.approx(expected.score, rel=1e-6)
    assert found.map == pytest.approx(expected.map, rel=1e-4, abs=1e-5 * float(np.abs(expected.map).max()))


@pytest.mark.parametrize("count", [2, 3])
def test_it_goes_with_every_sample(count):
    """Also where there are as many samples as it has entries."""
    x = normal(count, 3, 8, 8)
    model = load(scaled())
    given = {"x": x, "scale": SCALE}
    maps = capture(model, given)
    assert maps.samples == tuple(f"array[{row}]" for row in range(count))
    assert maps["conv_0"] == pytest.approx(capture(load(plain()), x)["conv_0"], rel=1e-5, abs=1e-6)
    scores = [found.score for found in explain_each(model, given, class_=1, method="saliency")]
    alone = [found.score for found in explain_each(load(plain()), x, class_=1, method="saliency")]
    assert scores == pytest.approx([2 * score for score in alone], rel=1e-5)
    patches = top_patches(model, given, count=1)["conv_0"]
    assert len(patches.labels) == count
    assert set(patches.samples[:, 0].tolist()) <= set(range(count))


def test_it_goes_with_every_picture_that_is_made():
    found = maximize(load(scaled()), class_=[0, 1], steps=2, fixed={"scale": SCALE})
    expected = maximize(load(plain()), class_=[0, 1], steps=2)
    assert found.before == pytest.approx(expected.before * SCALE, rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_picture_without_a_batch_axis_is_not_explained_row_by_row(method):
    graph = "g (float[h,w,3] x) => (float[1,2] d) <int64[1] zero = {0}>"
    proto = parsed(
        graph + "{ t = Transpose <perm=[2,0,1]> (x) u = Unsqueeze (t, zero) c = Conv (u, w) " + TAIL + " }", **WEIGHTS
    )
    with pytest.raises(InputError, match="'x' of the model is hxwx3, without a batch axis in front"):
        explain(load(proto), normal(8, 9, 3), method=method)


# A fixed batch.


def of(proto: onnx.ModelProto, **options: int) -> Batching:
    return Batching.of(load(proto), **options)


def test_the_fixed_batch():
    assert of(plain()).fixed is None
    assert of(scaled()).fixed is None
    assert of(plain("4")).fixed == 4
    assert of(scaled("4")).fixed == 4
    assert of(plain("1")).fixed == 1


def test_a_fixed_batch_is_filled_with_copies_of_the_last():
    batching = of(scaled("4"))
    x = normal(2, 3, 8, 8)
    filled = batching.padded({"x": x, "scale": SCALE})
    assert np.array_equal(filled["x"], x[[0, 1, 1, 1]])
    assert filled["scale"] is SCALE
    values = normal(4, 5)
    assert np.array_equal(batching.unpadded(values, 2), values[:2])
    assert np.array_equal(batching.unpadded(values.T, 2, axis=1), values.T[:, :2])
    assert batching.unpadded(values, 4) is values  # a full batch
    assert batching.unpadded(values[:3], 2).shape == (3, 5)  # what does not count samples
    assert of(scaled()).padded({"x": x, "scale": SCALE})["x"] is x
    assert of(scaled()).unpadded(values, 2) is values


def test_a_fixed_batch_that_does_not_fit_the_memory_is_refused():
    batching = of(plain("64"), memory=1000)
    with pytest.raises(InputError, match=r"takes batches of 64 only, 49,152 bytes; raise memory="):
        batching.padded({"x": normal(1, 3, 8, 8)})


@pytest.mark.parametrize("method", METHODS)
def test_a_fixed_batch_gives_what_an_open_one_gives(method):
    x = normal(1, 3, 8, 8)
    options = {"method": quick(method), "class_": 1}
    expected = explain(load(plain()), x, **options)
    found = explain(load(plain("4")), x, **options)
    assert found.map == pytest.approx(expected.map, rel=1e-4, abs=1e-5 * float(np.abs(expected.map).max()))


def test_rows_are_split_repeated_and_joined():
    batching = of(scaled())
    x = normal(3, 3, 8, 8)
    rows = batching.rows({"x": x, "scale": SCALE})
    assert [row["scale"] is SCALE for row in rows] == [True] * 3
    joined = batching.joined(rows)
    assert np.array_equal(joined["x"], x)
    assert joined["scale"] is SCALE
    assert batching.count(joined) == 3
    repeated = batching.repeated(rows[1], 2)
    assert np.array_equal(repeated["x"], x[[1, 1]])
    assert repeated["scale"] is SCALE


def test_inputs_of_different_numbers_of_samples_are_no_batch():
    batching = of(parsed("g (float[n,3,8,8] x, float[n,2] s) => (float[n,2] y) { c = Relu (x) y = Relu (s) }"))
    feeds = {"x": normal(3, 3, 8, 8), "s": normal(2, 2)}
    with pytest.raises(InputError, match="the inputs have different numbers of samples: 3, 2"):
        batching.rows(feeds)
    assert batching.count(feeds) == 1


def test_rows_are_padded_with_the_last_or_with_zeros():
    rows = np.array([[1, 2], [3, 4]])
    assert pad_rows(rows, 4).tolist() == [[1, 2], [3, 4], [3, 4], [3, 4]]
    assert pad_rows(rows, 3, zero=True).tolist() == [[1, 2], [3, 4], [0, 0]]
    assert pad_rows(rows, 2) is rows


def test_the_size_follows_from_the_memory():
    assert of(plain(), memory=2000).size(100) == 10
    assert of(plain(), memory=2000).size(1e9) == 1
    assert of(plain()).size(1) == MAX_BATCH
    assert of(plain(), limit=7).size(1) == 7
    assert of(plain("4"), memory=1).size(1e9) == 4


# Whether samples of a batch see each other.


COUPLED = {
    "softmax over the batch": "s = Softmax <axis=0> (x) e = Conv (s, w)",
    "mean of the batch": "m = ReduceMean <keepdims=1> (x, zero) z = Sub (x, m) e = Conv (z, w)",
    "a range that the batch shares": "q, qs, qz = DynamicQuantizeLinear (x) z = DequantizeLinear (q, qs, qz) "
    "e = Conv (z, w)",
}


@pytest.mark.parametrize("nodes", COUPLED.values(), ids=COUPLED)
@pytest.mark.parametrize("batch", ["n", "4"])
def test_samples_that_see_each_other_run_alone(nodes, batch):
    """Each sample's maps are those that it has when nothing else is given."""
    proto = parsed(
        f"g (float[{batch},3,8,8] x) => (float[{batch},4,6,6] e) <int64[1] zero = {{0}}> {{ {nodes} }}", w=WEIGHTS["w"]
    )
    x = normal(6, 3, 8, 8) * np.float32([1, 5, 2, 3, 1, 4]).reshape(-1, 1, 1, 1)
    model = load(proto)
    together = capture(model, [x[row : row + 1] for row in range(6)])
    alone = [capture(model, x[row : row + 1]) for row in range(6)]
    for name, maps in together.items():
        assert np.array_equal(maps, np.concatenate([one[name] for one in alone]))


@pytest.mark.parametrize("nodes", COUPLED.values(), ids=COUPLED)
def test_variants_that_see_each_other_run_alone(nodes):
    proto = parsed(
        f"g (float[n,3,8,8] x) => (float[n,2] d) <int64[1] zero = {{0}}> {{ {nodes} {TAIL.replace('(c)', '(e)')} }}",
        **WEIGHTS,
    )
    only = parsed(
        f"g (float[1,3,8,8] x) => (float[1,2] d) <int64[1] zero = {{0}}> {{ {nodes} {TAIL.replace('(c)', '(e)')} }}",
        **WEIGHTS,
    )
    x = normal(1, 3, 8, 8)
    for method in (Occlusion(), Rise(samples=20)):
        found, expected = (explain(load(one), x, method=method, class_=1) for one in (proto, only))
        assert np.array_equal(found.map, expected.map)


def test_ordinary_samples_run_together(monkeypatch):
    sizes = []
    real = TappedRun._run

    def counted(self, batch):
        sizes.append(len(batch))
        return real(self, batch)

    monkeypatch.setattr(TappedRun, "_run", counted)
    capture(load(plain()), normal(9, 3, 8, 8))
    assert sizes == [1, 8]


def test_the_trial_is_made_once_and_only_where_it_decides_something(monkeypatch):
    tried = []
    real = Batching.independent
    monkeypatch.setattr(Batching, "independent", lambda self, *given: tried.append(1) or real(self, *given))
    capture(load(plain()), normal(2, 3, 8, 8))
    assert tried == []  # one sample is left: there is no batch to choose
    capture(load(plain("1")), normal(9, 3, 8, 8))
    assert tried == []
    capture(load(plain()), normal(2 * MAX_BATCH + 5, 3, 8, 8))
    assert tried == [1]


def test_the_memory_of_top_patches_is_that_of_the_fixed_batch(tmp_path, capsys):
    onnx.save(plain("64"), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", normal(1, 3, 512, 512)[:, :, :8, :8])
    command = ["maps", str(tmp_path / "m.onnx"), str(tmp_path / "x.npy"), "--top-patches", "1", "-q", "--json"]
    assert run([*command, "-o", str(tmp_path / "out")]) == 0
    assert json.loads(capsys.readouterr().out)["patches"]
    with pytest.raises(InputError, match="raise memory="):
        top_patches(load(plain("64")), normal(1, 3, 8, 8), memory=1000)
