"""Batches: each sample's maps are those it has alone, whatever runs beside it; files that change are noticed."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import oracles
import pytest
import zoo
from onnx import helper, numpy_helper
from PIL import Image

from onnxviz import capture, load, stream
from onnxviz.errors import InputError, ModelError, OnnxvizError
from onnxviz.runtime.batching import MAX_BATCH
from onnxviz.runtime.difference import difference

RNG = np.random.default_rng(0)


def parsed(text: str, **weights: np.ndarray) -> onnx.ModelProto:
    proto = onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]>' + text)
    for name, array in weights.items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto


def weight(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).standard_normal(shape).astype(np.float32)


def test_an_input_without_a_batch_axis_is_one_sample() -> None:
    proto = parsed(
        "g (float[3,8,8] x) => (float[1,4,6,6] y) <int64[1] zero = {0}>{ u = Unsqueeze (x, zero) y = Conv (u, w) }",
        w=weight(4, 3, 3, 3),
    )
    x = images(3, 8, 8)
    maps = capture(load(proto), x)
    expected = oracles.untouched(proto, ["y"], {"x": x})["y"]
    assert oracles.relative(maps["y"] if "y" in maps else next(iter(maps.values())), expected) < 1e-6
    assert len(maps.samples) == 1


def test_a_picture_of_open_height_is_one_sample() -> None:
    proto = parsed(
        "g (float[h,w,3] x) => (float[1,4,a,b] y) <int64[1] zero = {0}>"
        "{ t = Transpose <perm=[2,0,1]> (x) u = Unsqueeze (t, zero) y = Conv (u, k) }",
        k=weight(4, 3, 3, 3),
    )
    x = images(8, 9, 3)
    maps = capture(load(proto), x)
    assert oracles.relative(next(iter(maps.values())), oracles.untouched(proto, ["y"], {"x": x})["y"]) < 1e-6


def looped(batch: str) -> onnx.ModelProto:
    return parsed(
        f"g (float[{batch},4,6,6] x) => (float[{batch},4,6,6] y) <int64 turns = {{3}}, bool go = {{1}}>"
        "{ [again] y = Loop (turns, go, x) < body = b (int64 i, bool c, float[n,4,6,6] s) => (bool d, float[n,4,6,6] t)"
        " { d = Identity (c) [inner] t = Conv <pads=[1,1,1,1]> (s, w) } > }",
        w=weight(4, 4, 3, 3) / 6,
    )


@pytest.mark.parametrize("batch", ["n", "4"])
@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_turns_of_a_loop_are_not_taken_for_samples(batch: str, count: int) -> None:
    proto, x = looped(batch), images(count, 4, 6, 6)
    maps = next(iter(capture(load(proto), x).values()))
    assert maps.shape == (3, count, 4, 6, 6)
    expected = oracles.referenced(looped("n"), ["y"], {"x": x})["y"]
    assert oracles.relative(maps[-1], expected) < 1e-5


def test_two_inputs_with_a_fixed_batch() -> None:
    proto = parsed(
        "g (float[4,3,6,6] a, float[4,3,6,6] b) => (float[4,2,4,4] y) { s = Add (a, b) y = Conv (s, w) }",
        w=weight(2, 3, 3, 3),
    )
    for rows in (1, 3, 4, 8):
        feeds = {"a": images(rows, 3, 6, 6), "b": images(rows, 3, 6, 6) * 2}
        open_batch = onnx.ModelProto()
        open_batch.CopyFrom(proto)
        for value in (*open_batch.graph.input, *open_batch.graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = "n"
        expected = oracles.untouched(open_batch, ["y"], feeds)["y"]
        assert oracles.relative(next(iter(capture(load(proto), feeds).values())), expected) < 1e-6


def test_samples_that_give_several_rows_each() -> None:
    """N pictures become 2N patches: they must not be told apart by guess."""
    proto = parsed(
        "g (float[n,3,4,8] x) => (float[m,2,2,2] y) <int64[4] patches = {-1,3,4,4}>"
        "{ p = Reshape (x, patches) y = Conv (p, w) }",
        w=weight(2, 3, 3, 3),
    )
    x = images(5, 3, 4, 8)
    maps = capture(load(proto), x)
    expected = np.concatenate([oracles.untouched(proto, ["y"], {"x": x[i : i + 1]})["y"] for i in range(5)])
    assert oracles.relative(maps["y"] if "y" in maps else next(iter(maps.values())), expected) < 1e-6
    assert len(maps.samples) == 5
    tapped = next(iter(maps.origin.layers.values()))
    assert tapped.rows == (0, 0, 1, 1, 2, 2, 3, 3, 4, 4)


def test_entries_of_a_branch_say_whose_they_are() -> None:
    proto = zoo.model("subgraphs")
    nodes = [n for n in proto.graph.node if n.name != "choose"]
    choose = next(n for n in proto.graph.node if n.name == "choose")
    del proto.graph.node[:]
    proto.graph.node.extend(
        [
            helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
            helper.make_node("Greater", ["top", "limit"], ["flag"]),
        ]
    )
    del proto.graph.input[1]
    proto.graph.initializer.append(numpy_helper.from_array(np.float32(10), "limit"))
    proto.graph.node.extend([*nodes[:2], choose, *nodes[2:]])
    x = images(4, 3, 10, 10)
    x[2, 0, 0, 0] = 50
    maps = capture(load(proto), x)
    assert maps["then"].shape[0] == 1
    assert maps["else"].shape[0] == 3
    assert maps.origin.layers["then"].rows == (2,)
    assert maps.origin.layers["else"].rows == (0, 1, 3)
    alone = capture(load(proto), x[2:3])
    np.testing.assert_allclose(maps["then"], alone["then"], rtol=1e-5)


def test_a_branch_that_never_ran_survives_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["onnxviz.maps.map_store"], "KEPT_BYTES", 1000)
    proto = zoo.model("subgraphs")
    for value in proto.graph.input:
        if value.name == "x":
            value.type.tensor_type.shape.dim[0].dim_value = 1
    maps = capture(load(proto), {"x": images(3, 3, 10, 10), "flag": np.array(True)}, memory=2**20)
    assert maps["else"].shape == (0,)
    assert any(isinstance(array, np.memmap) for array in maps.values()), "nothing went to the disk"


def test_a_batch_that_shares_its_range_is_not_made() -> None:
    """DynamicQuantizeLinear takes its range over all samples that run together."""
    proto = parsed(
        "g (float[n,3,6,6] x) => (float[n,2,4,4] y)"
        "{ q, s, z = DynamicQuantizeLinear (x) d = DequantizeLinear (q, s, z) y = Conv (d, w) }",
        w=weight(2, 3, 3, 3),
    )
    x = images(4, 3, 6, 6) * np.array([1, 100, 0.01, 10], np.float32).reshape(4, 1, 1, 1)
    maps = next(iter(capture(load(proto), [x]).values()))
    for index in range(4):
        alone = oracles.untouched(proto, ["y"], {"x": x[index : index + 1]})["y"]
        assert oracles.relative(maps[index : index + 1], alone) < 1e-6


def test_each_size_of_picture_is_measured_anew(tmp_path: Path) -> None:
    proto = parsed("g (float[n,3,h,w] x) => (float[n,16,a,b] y) { y = Conv (x, k) }", k=weight(16, 3, 3, 3))
    for index, side in enumerate([8, *[300] * 8]):
        Image.fromarray(RNG.integers(0, 255, (side, side, 3)).astype(np.uint8)).save(tmp_path / f"{index}.png")
    sizes = [len(maps.samples) for maps in stream(load(proto), tmp_path, memory=2**26, preprocess="unit")]
    assert sizes[:2] == [1, 1]
    assert max(sizes) < MAX_BATCH // 8
    assert sum(sizes) == 9


def test_inputs_that_the_taps_do_not_need_do_not_decide_the_batch(tmp_path: Path) -> None:
    proto = parsed(
        "g (float[1,3,8,8] image, float[n,5] z) => (float[1,2,6,6] y, float[n,5] o){ y = Conv (image, w) o = Neg (z) }",
        w=weight(2, 3, 3, 3),
    )
    for index in range(4):
        Image.fromarray(RNG.integers(0, 255, (8, 8, 3)).astype(np.uint8)).save(tmp_path / f"{index}.png")
    assert next(iter(capture(load(proto), tmp_path).values())).shape == (4, 2, 6, 6)


def test_block_ends_with_a_bad_first_image(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"nonsense")
    Image.fromarray(RNG.integers(0, 255, (8, 8, 3)).astype(np.uint8)).save(tmp_path / "1.png")
    proto = parsed("g (float[n,3,h,w] x) => (float[n,16,a,b] y) { y = Conv (x, k) }", k=weight(16, 3, 3, 3))
    maps = capture(load(proto), tmp_path, layers="block-ends", errors="skip")
    assert maps.samples == ("1.png",)


def test_names_do_not_depend_on_what_is_listed() -> None:
    proto = parsed(
        "g (float[n,3,8,8] x) => (float[n,3,8,8] y) { a = Conv (x, k) y = ConvTranspose (a, t) }",
        k=weight(4, 3, 3, 3),
        t=weight(4, 3, 3, 3),
    )
    for tensor in proto.graph.initializer:  # names that say nothing
        for node in proto.graph.node:
            node.input[:] = [f"onnx::{name}" if name == tensor.name else name for name in node.input]
        tensor.name = f"onnx::{tensor.name}"
    model = load(proto)
    names = {layer.taps["conv"]: layer.name for layer in model.layers}
    assert names == {"a": "conv_0", "y": "conv_1"}
    for ops in (["ConvTranspose"], ["Conv"], ["Conv", "ConvTranspose"]):
        assert all(layer.name == names[layer.taps["conv"]] for layer in model.layers_of(ops))
    assert all(layer.name == names[layer.taps["conv"]] for layer in model.all_layers)


def test_verify_without_an_output_to_compare() -> None:
    proto = parsed("g (float[1,3,8,8] x) => (seq(float[1,4,6,6]) y) { c = Conv (x, w) y = SequenceConstruct (c, c) }",
                   w=weight(4, 3, 3, 3))  # fmt: skip
    assert capture(load(proto), images(1, 3, 8, 8), verify=True).observer_effect == {
        "max_abs_diff": 0.0,
        "max_rel_diff": 0.0,
    }


def test_difference_of_odd_values() -> None:
    nan, inf = np.full(3, np.nan), np.full(3, np.inf)
    assert difference(nan, nan) == (0, 0)
    assert difference(inf, inf) == (0, 0)
    assert difference(inf, -inf) == (np.inf, np.inf)
    assert difference(np.array([1j, 2]), np.array([1j, 4])) == (2, 0.5)


def test_stream_says_of_each_batch_what_moved() -> None:
    maps = list(stream(load(zoo.model("classifier")), images(3, 3, 32, 32), verify=True))
    assert len({id(one.observer_effect) for one in maps}) == len(maps)
    with pytest.raises(InputError, match="'ignore'"):
        stream(load(zoo.model("classifier")), images(1, 3, 32, 32), errors="ignore")


def test_transposed_pads_of_a_stated_output() -> None:
    proto = parsed(
        "g (float[n,4,6,7] x) => (float[n,3,13,14] y, float[n,3,a,b] z)"
        "{ y = ConvTranspose <strides=[2,2], output_shape=[13,14]> (x, w)"
        '  z = ConvTranspose <auto_pad="SAME_LOWER", strides=[2,2], output_padding=[1,1]> (x, w) }',
        w=weight(4, 3, 5, 5),
    )
    x = {"x": images(2, 4, 6, 7)}
    for layer in load(proto).layers[:1]:
        node = next(n for n in proto.graph.node if n.output[0] == layer.taps["conv"])
        expected = oracles.untouched(proto, [node.output[0]], x)[node.output[0]]
        kept = [a for a in node.attribute if a.name == "strides"]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("pads", layer.pads)])
        np.testing.assert_array_equal(oracles.untouched(proto, [node.output[0]], x)[node.output[0]], expected)


def saved(path: Path, scale: float = 1.0, note: str = "") -> onnx.ModelProto:
    proto = zoo.model("classifier")
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array((array * scale).astype(array.dtype), tensor.name))
    proto.graph.doc_string = note
    path.write_bytes(proto.SerializeToString())
    return proto


def test_a_file_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    saved(path)
    model = load(path)
    x = images(1, 3, 32, 32)
    capture(model, x)
    other = tmp_path / "other.onnx"
    saved(other, 2.0, "longer")
    other.replace(path)
    for use in (lambda: capture(model, x), lambda: model.layers[1].weight, lambda: model.sha256):
        with pytest.raises(ModelError, match=r"m\.onnx changed since the model was opened: load it again"):
            use()
    assert capture(load(path), x)


def test_a_layer_keeps_a_model_in_memory_readable() -> None:
    layer = load(zoo.model("classifier")).layers[1]
    gc.collect()
    assert layer.weight.shape == (12, 8, 3, 3)


def test_external_data_of_a_model_hub(tmp_path: Path) -> None:
    """A snapshot folder of links into a folder of blobs."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "1"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    onnx.save(
        zoo.model("classifier"), tmp_path / "model.onnx", save_as_external_data=True, location="model.onnx_data",
        size_threshold=0,
    )  # fmt: skip
    (tmp_path / "model.onnx").rename(blobs / "aaa")
    (tmp_path / "model.onnx_data").rename(blobs / "bbb")
    (snapshot / "model.onnx").symlink_to(blobs / "aaa")
    (snapshot / "model.onnx_data").symlink_to(blobs / "bbb")
    model = load(snapshot / "model.onnx")
    assert capture(model, images(1, 3, 32, 32))["stem/conv1"].shape == (1, 8, 32, 32)
    stored = next(t for t in zoo.model("classifier").graph.initializer if t.name == "layers.0.conv.weight")
    np.testing.assert_array_equal(model.layer("layers.0.conv").weight, numpy_helper.to_array(stored))


def test_a_link_that_leaves_the_hub_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "secret").mkdir()
    onnx.save(
        zoo.model("classifier"), tmp_path / "a" / "m.onnx", save_as_external_data=True, location="w", size_threshold=0
    )
    (tmp_path / "a" / "w").rename(tmp_path / "secret" / "w")
    (tmp_path / "a" / "w").symlink_to(tmp_path / "secret" / "w")
    (tmp_path / "link.onnx").symlink_to(tmp_path / "a" / "m.onnx")
    for path in (tmp_path / "a" / "m.onnx", tmp_path / "link.onnx"):
        with pytest.raises(OnnxvizError, match="'w'"):
            load(path)


def test_scaled_activations() -> None:
    """x·sigmoid(x) is whole; a factor after it belongs to the residual branch."""
    proto = parsed(
        "g (float[n,3,8,8] x) => (float[n,3,8,8] y) <float half = {0.5}>"
        "{ c = Conv <pads=[1,1,1,1]> (x, w) s = Sigmoid (c) a = Mul (c, s) h = Mul (a, half) y = Add (h, x) }",
        w=weight(3, 3, 3, 3),
    )
    assert load(proto).layers[0].taps["activation"] == "a"


def test_a_convolution_used_as_a_slope_is_not_followed() -> None:
    proto = parsed(
        "g (float[n,3,8,8] x) => (float[n,3,8,8] y) { c = Conv <pads=[1,1,1,1]> (x, w) y = PRelu (x, c) }",
        w=weight(3, 3, 3, 3),
    )
    assert load(proto).layers[0].taps["activation"] == "c"
