"""Statistics of channels, beside maps that were captured whole and reduced by numpy in float64."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from protos import normal, parsed

import onnxviz
from onnxviz import Statistics, capture, statistics
from onnxviz.errors import InputError, SelectionError
from onnxviz.maps.histogram import histogram

# Of onnxruntime's float32 sums, as parts of the root mean square and of the mean square.
MEAN, SQUARE = 1e-5, 1e-5
ROOT = Path(__file__).resolve().parents[2]


def reduced(maps: np.ndarray, axis: int) -> dict[str, np.ndarray]:
    """What numpy finds in maps whose axis `axis` counts samples."""
    values = np.moveaxis(maps, axis + 1, 0).reshape(maps.shape[axis + 1], -1).astype(np.float64)
    return {
        "count": np.full(len(values), values.shape[1]),
        "nonfinite": (~np.isfinite(values)).sum(1),
        "mean": np.array([row[np.isfinite(row)].mean() for row in values]),
        "var": np.array([row[np.isfinite(row)].var() for row in values]),
        "min": np.array([row[np.isfinite(row)].min() for row in values]),
        "max": np.array([row[np.isfinite(row)].max() for row in values]),
        "zeros": (values == 0).sum(1),
    }


def assert_as_captured(found: Statistics, maps: Any, *, complete: bool = False) -> None:
    assert list(found) == list(maps)
    for name, layer in found.items():
        truth = reduced(maps[name], maps.origin.layers[name].sample_axis)
        np.testing.assert_array_equal(layer.count, truth["count"])
        np.testing.assert_array_equal(layer.nonfinite, truth["nonfinite"])
        np.testing.assert_array_equal(layer.max, truth["max"])
        known = np.isfinite(layer.min)
        np.testing.assert_array_equal(layer.min[known], truth["min"][known])
        if complete or not layer.rectified:
            assert known.all()
        else:
            np.testing.assert_array_equal(known, truth["zeros"] > 0)
        assert (layer.zeros is None) == (not complete and not layer.rectified)
        if layer.zeros is not None:
            np.testing.assert_array_equal(layer.zeros, truth["zeros"])
        squares = truth["mean"] ** 2 + truth["var"]
        assert (np.abs(layer.mean - truth["mean"]) <= MEAN * np.sqrt(squares)).all(), name
        assert (np.abs(layer.var - truth["var"]) <= SQUARE * squares).all(), name
        nearly = (truth["var"] > 0) & (squares < 1000 * truth["var"])
        assert (np.abs(layer.var - truth["var"])[nearly] <= 1e-3 * truth["var"][nearly]).all(), name


@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize("at", ["activation", "conv"])
@pytest.mark.parametrize("name", [n for n in zoo.NAMES if n != "functions"])
def test_zoo(name: str, at: str, complete: bool) -> None:
    """1-D to 3-D, channels last, half precision, quantised both ways, branches and loops, several inputs."""
    proto = zoo.model(name)
    feeds = zoo.feeds(proto)
    maps = capture(proto, feeds, at=at)
    if any(not array.size for array in maps.values()):
        pytest.skip("a branch did not run")
    assert_as_captured(statistics(proto, feeds, at=at, complete=complete), maps, complete=complete)


def net(
    weight: np.ndarray, *, activation: str = "Relu", bias: np.ndarray | None = None, batch: str = "n"
) -> onnx.ModelProto:
    """A convolution over (batch, 2, 9, 7) with an activation."""
    return parsed(
        f"g (float[{batch},2,9,7] x) => (float[{batch},{len(weight)},h,v] y)"
        f" {{ c = Conv (x, w, b) y = {activation} (c) }}",
        w=weight.astype(np.float32), b=(np.zeros(len(weight)) if bias is None else bias).astype(np.float32),
    )  # fmt: skip


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6), activation=st.sampled_from(["Relu", "Tanh", "Identity", "LeakyRelu"]),
    shift=st.floats(-1e3, 1e3), scale=st.floats(1e-3, 1e3), images=st.integers(1, 5),
)  # fmt: skip
def test_drawn_layers(seed: int, activation: str, shift: float, scale: float, images: int) -> None:
    rng = np.random.default_rng(seed)
    proto = net(scale * rng.standard_normal((4, 2, 3, 2)), activation=activation, bias=shift * rng.standard_normal(4))
    x = rng.standard_normal((images, 2, 9, 7)).astype(np.float32)
    assert_as_captured(statistics(proto, x), capture(proto, x))


def drawn_net(kind: str, rank: int, rng: np.random.Generator, batch: str) -> onnx.ModelProto:
    """A convolution over (batch, 2, five along each of `rank` axes) of one kind."""
    sizes = ",".join(["5"] * rank)
    weight = rng.standard_normal((3, 2, *[2] * rank)).astype(np.float32)
    x = f"(float[{batch},2,{sizes}] x)"
    scales = {"s": np.float32(0.05), "z": np.uint8(rng.integers(0, 250))}
    quantised = {"wq": rng.integers(-90, 90, weight.shape).astype(np.int8), "ws": np.float32(0.02), "wz": np.int8(0)}
    last, first = [0, *range(2, rank + 2), 1], [0, rank + 1, *range(1, rank + 1)]
    text, arrays = {
        "float": (f"{x} => (float[{batch},3,?] y) {{ c = Conv (x, w) y = Relu (c) }}", {"w": weight}),
        "half": (
            f"{x} => (float[{batch},3,?] y) "
            "{ h = Cast <to=10> (x) c = Conv (h, w) r = Relu (c) y = Cast <to=1> (r) }",
            {"w": weight.astype(np.float16)},
        ),
        "channels last": (
            f"(float[{batch},{sizes},2] x) => (float[{batch},?] y) "
            f"{{ t = Transpose <perm={first}> (x) c = Conv (t, w) r = Relu (c) y = Transpose <perm={last}> (r) }}",
            {"w": weight},
        ),
        "qdq": (
            f"{x} => (float[{batch},3,?] y) {{ c = Conv (x, w) q = QuantizeLinear (c, s, z) "
            "y = DequantizeLinear (q, s, z) }",
            {"w": weight, **scales},
        ),
        "qoperator": (
            f"{x} => (float[{batch},3,?] y) {{ xq = QuantizeLinear (x, s, z) "
            "q = QLinearConv (xq, s, z, wq, ws, wz, s, z) y = DequantizeLinear (q, s, z) }",
            {**scales, **quantised},
        ),
        "two inputs": (
            f"(float[{batch},2,{sizes}] x, float[{batch},2,{sizes}] other) => (float[{batch},3,?] y) "
            "{ both = Add (x, other) c = Conv (both, w) y = Relu (c) }",
            {"w": weight},
        ),
    }[kind]  # fmt: skip
    return parsed("g " + text.replace(",?", ",k" * rank if kind != "channels last" else ",k" * (rank + 1)), **arrays)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["float", "half", "channels last", "qdq", "qoperator", "two inputs"]), rank=st.integers(1, 3),
    batch=st.sampled_from(["n", "1", "2"]), images=st.integers(1, 4), complete=st.booleans(),
    seed=st.integers(0, 10**6),
)  # fmt: skip
def test_drawn_models(kind: str, rank: int, batch: str, images: int, complete: bool, seed: int) -> None:
    """One to three axes of positions, channels last, half precision, quantised both ways, two inputs, fixed batches."""
    rng = np.random.default_rng(seed)
    proto = drawn_net(kind, rank, rng, batch)
    feeds = {
        value.name: rng.standard_normal((images, *(d.dim_value for d in value.type.tensor_type.shape.dim[1:]))).astype(
            np.float32
        )
        for value in proto.graph.input
    }
    found = statistics(proto, feeds, complete=complete)
    assert found.images == (1 if batch == str(images) else images)  # a batch that is just as large is one sample
    assert_as_captured(found, capture(proto, feeds), complete=complete)


def test_layers_that_see_a_sample_as_several() -> None:
    """The second convolution runs over four tiles of each sample."""
    proto = parsed(
        "g (float[n,2,8,8] x) => (float[m,3,4,4] y) "
        "{ c = Conv (x, w) t = Relu (c) tiles = Reshape (t, s) d = Conv (tiles, v) y = Relu (d) }",
        w=normal(2, 2, 1, 1), v=normal(3, 2, 1, 1), s=np.array([-1, 2, 4, 4]),
    )  # fmt: skip
    x = normal(3, 2, 8, 8)
    found, maps = statistics(proto, x), [capture(proto, x[number : number + 1]) for number in range(3)]
    for name in found:
        rows = np.concatenate([one[name].reshape(-1, *one[name].shape[-3:]) for one in maps]).astype(np.float64)
        np.testing.assert_array_equal(found[name].count, rows[:, 0].size)
        np.testing.assert_allclose(found[name].mean, rows.mean((0, 2, 3)), rtol=1e-6)
        np.testing.assert_allclose(found[name].var, rows.var((0, 2, 3)), rtol=1e-5)
        np.testing.assert_array_equal(found[name].max, rows.max((0, 2, 3)))
        np.testing.assert_array_equal(found[name].zeros, (rows == 0).sum((0, 2, 3)))
    assert len(found) == 2


def test_a_second_axis_that_does_not_count_channels() -> None:
    """Such a sample fails, the others go on."""
    proto = parsed("g (float[n,c,v] x) => (float[n,c,v] y) { y = MatMul (x, w) }", w=normal(4, 4))
    x = [normal(1, 3, 4), normal(1, 5, 4), normal(1, 3, 4)]
    with pytest.raises(InputError, match="3 channels for one input and 5 for another"):
        statistics(proto, x, ops=["MatMul"])
    found = statistics(proto, x, ops=["MatMul"], errors="skip")
    assert (found.images, len(found.failed)) == (2, 1)


@pytest.mark.parametrize("shape", [(224, 224), (30_000,), (1, 20_000)], ids=str)
def test_means_of_many_values_of_which_most_are_the_same(shape: tuple[int, ...]) -> None:
    """A float32 sum of 50,000 such values, one after the other, is off by more than 1e-5."""
    given = ",".join(map(str, shape))
    proto = parsed(
        f"g (float[n,4,{given}] x) => (float[n,4,{given}] y) {{ c = Conv <group=4> (x, w) y = Clip (c, low, high) }}",
        w=np.ones((4, 1, *[1] * len(shape)), np.float32), low=np.float32(-9), high=np.float32(0.7),
    )  # fmt: skip
    x = np.random.default_rng(0).exponential(6, (2, 4, *shape)).astype(np.float32) - 0.3
    assert_as_captured(statistics(proto, x), capture(proto, x))


@pytest.mark.parametrize("ratio", [10, 100, 1000, 3000])
def test_channels_that_vary_little_around_their_mean(ratio: float) -> None:
    """float32 sums of squares do not tell their variance; `ratio` is the mean over the standard deviation."""
    proto = net(normal(3, 2, 1, 1), activation="Identity", bias=np.array([1.0, -1.0, 5.0]) * ratio)
    x = np.random.default_rng(1).standard_normal((70, 2, 9, 7)).astype(np.float32)
    found, maps = statistics(proto, x), capture(proto, x)["conv_0"].astype(np.float64)
    np.testing.assert_allclose(found["conv_0"].var, maps.var((0, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(found["conv_0"].mean, maps.mean((0, 2, 3)), rtol=1e-6)


def test_a_channel_of_one_value() -> None:
    weight = normal(3, 2, 3, 3)
    weight[1] = 0
    found = statistics(net(weight, bias=np.array([0, 0.1, -100])), normal(5, 2, 9, 7))["conv_0"]
    np.testing.assert_array_equal(found.constant, [False, True, True])
    np.testing.assert_array_equal(found.var[1:], 0)
    np.testing.assert_array_equal(found.mean[1:], [np.float32(0.1), 0])
    assert found.zeros[2] == found.count[2]


def test_nan_and_infinity_are_counted_and_left_out() -> None:
    x = normal(4, 2, 9, 7)
    x[1, 0, 4, 3], x[3, 1, 0, 0] = np.nan, np.inf
    proto = net(normal(3, 2, 3, 3), activation="LeakyRelu")
    found = statistics(proto, x)
    assert found["conv_0"].nonfinite.min() >= 9
    assert_as_captured(found, capture(proto, x))


def test_the_sample_that_gave_the_maximum() -> None:
    x = normal(6, 2, 9, 7)
    proto = net(normal(3, 2, 3, 3))
    found = statistics(proto, x)
    maps = capture(proto, x)
    for channel in range(3):
        assert found.top_sample("conv_0", channel) == f"array[{maps['conv_0'].max((2, 3)).argmax(0)[channel]}]"
    highest = maps["conv_0"].max((1, 2, 3)).argmax()
    assert found.top_sample("conv_0") == f"array[{highest}]"
    assert f"array[{highest}]" in found.as_dict()["layers"][0]["top_sample"]


@pytest.mark.parametrize("batch", ["1", "3"])
def test_a_fixed_batch(batch: str) -> None:
    weight, x = normal(3, 2, 3, 3), normal(7, 2, 9, 7)
    assert_as_captured(statistics(net(weight, batch=batch), x), capture(net(weight), x))


@pytest.mark.parametrize("options", [{}, {"complete": True}, {"histogram": True}], ids=str)
def test_saved_and_loaded(tmp_path: Path, options: dict[str, bool]) -> None:
    found = statistics(net(normal(8, 2, 3, 3)), normal(5, 2, 9, 7), **options)
    again = Statistics.load(found.save(tmp_path / "s.npz"))
    assert again.as_dict() == found.as_dict()
    assert json.loads((tmp_path / "s.npz.manifest.json").read_text())["images"] == 5
    assert [again.top_sample("conv_0", 2), again.head, again.at] == [
        found.top_sample("conv_0", 2),
        found.head,
        found.at,
    ]
    with pytest.raises(ValueError, match="read-only"):
        again["conv_0"].count[0] = 1


@pytest.mark.parametrize("histogram", [False, True])
def test_merged(histogram: bool) -> None:
    proto, x = net(normal(8, 2, 3, 3)), normal(90, 2, 9, 7)
    whole = statistics(proto, x, histogram=histogram)
    both = statistics(proto, x[:64], histogram=histogram).merged(statistics(proto, x[64:], histogram=histogram))
    # Blocks are of 64, so that even the roundings are the same.
    assert both["conv_0"].as_dict() == whole["conv_0"].as_dict()
    assert both.images == 90
    assert both.top_sample("conv_0", 0).startswith("array[")


def test_what_cannot_be_merged() -> None:
    x = normal(2, 2, 9, 7)
    first = statistics(net(normal(8, 2, 3, 3)), x)
    with pytest.raises(InputError, match="of other models cannot be merged"):
        first.merged(statistics(net(normal(7, 2, 3, 3)), x))
    two = parsed(
        "g (float[n,2,9,7] x) => (float[n,2,9,7] y) { c = Conv (x, w) y = Conv (c, w) }", w=normal(2, 2, 1, 1)
    )  # fmt: skip
    with pytest.raises(InputError, match="of other layers cannot be merged"):
        statistics(two, x).merged(statistics(two, x, layers="first"))
    with pytest.raises(InputError, match="not both complete"):
        first.merged(statistics(net(normal(8, 2, 3, 3)), x, complete=True))


@pytest.mark.parametrize("harm", ["cut", "no archive", "another archive", "later", "a layer gone", "shapes"])
def test_broken_files(harm: str, tmp_path: Path) -> None:
    path = statistics(net(normal(8, 2, 3, 3)), normal(2, 2, 9, 7)).save(tmp_path / "s.npz")
    with np.load(path) as archive:
        arrays = dict(archive)
    head = json.loads(arrays["onnxviz-statistics"].tobytes())
    match = "holds broken statistics"
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:400])
    elif harm == "no archive":
        np.save(tmp_path / "s.npy", np.zeros(3))
        (tmp_path / "s.npy").replace(path)
        match = "holds no statistics"
    elif harm == "another archive":
        np.savez(path, x=np.zeros(3))
        match = "holds no statistics: give a file of Statistics.save"
    else:
        if harm == "later":
            head["statistics"] = 2
            match = "version 2, written by a later onnxviz; this one reads version 1"
        elif harm == "a layer gone":
            del arrays["conv_0/mean"]
        else:
            arrays["conv_0/mean"] = arrays["conv_0/mean"][:3]
            match = "no number for each channel"
        arrays["onnxviz-statistics"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
        np.savez(path, **arrays)
    with pytest.raises(InputError, match=match):
        Statistics.load(path)


def test_there_is_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        Statistics.load(tmp_path / "s.npz")


def test_histograms() -> None:
    x = normal(5, 2, 9, 7)
    proto = net(normal(8, 2, 3, 3), activation="Identity")
    found, maps = statistics(proto, x, histogram=True), capture(proto, x)
    np.testing.assert_array_equal(found["conv_0"].histogram, histogram(maps["conv_0"]))
    assert_as_captured(found, maps, complete=True)


def test_skipped_inputs_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    photos = [tmp_path / "bad.png", *sorted((ROOT / "models" / "photos").glob("*.jpg"))]
    model = onnxviz.load(ROOT / "models" / "classifier.onnx")
    found = statistics(model, photos, errors="skip")
    assert [label for label, _ in found.failed] == ["bad.png"]
    assert found.images == 3
    assert found.top_sample("conv1", 0) in ("cat.jpg", "dog.jpg", "macaw.jpg")
    assert_as_captured(found, capture(model, photos[1:]))
    with pytest.raises(InputError, match=r"bad.png"):
        statistics(model, photos)
    with pytest.raises(InputError, match="none of 1 inputs could be used"):
        statistics(model, photos[:1], errors="skip")


def test_refusals() -> None:
    proto, x = net(normal(8, 2, 3, 3)), normal(2, 2, 9, 7)
    with pytest.raises(SelectionError, match="no layer"):
        statistics(proto, x, layers="nothing")
    with pytest.raises(InputError, match="threads are 0 or more"):
        statistics(proto, x, threads=-1)
    with pytest.raises(InputError, match="way to treat errors"):
        statistics(proto, x, errors="forget")


def test_progress_counts_samples() -> None:
    told: list[tuple[int, int]] = []
    statistics(net(normal(8, 2, 3, 3)), normal(70, 2, 9, 7), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (70, 70)
    assert all(total == 70 for _, total in told)


def test_quantised_by_channel() -> None:
    """A tap of integers whose scale is one a channel is read as real numbers."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, 5, 5])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, 5, 5])
    arrays = {
        "w": normal(3, 2, 1, 1), "s": np.array([0.1, 0.2, 0.05], np.float32), "z": np.array([3, 0, -7], np.int8),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["conv_0"], name="c"),
        helper.make_node("QuantizeLinear", ["c", "s", "z"], ["q"], axis=1),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=1),
    ]
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(a, n) for n, a in arrays.items()])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    given_x = normal(4, 2, 5, 5)
    assert_as_captured(statistics(proto, given_x), capture(proto, given_x))
