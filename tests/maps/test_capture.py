"""Captured maps against onnx.reference, and against onnxruntime on models that nobody rewrote."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import oracles
import pytest
import specimens
import zoo
from examples import representatives
from old_versions import misread_by_reference
from onnx import helper

from onnxviz import capture
from onnxviz.errors import InputError, ModelError, SelectionError
from onnxviz.model.model import load
from onnxviz.passes.expose import Tap, expose

PLAIN = [n for n in zoo.NAMES if n not in ("functions", "subgraphs", "quantized")]
CLOSE = 1e-5


@pytest.mark.parametrize("at", ["activation", "conv"])
@pytest.mark.parametrize("name", PLAIN)
def test_zoo(name: str, at: str) -> None:
    proto = zoo.model(name)
    feeds = zoo.feeds(proto)
    model = load(proto)
    tensors = [layer.taps[at] for layer in model.layers]
    maps = capture(model, feeds, at=at)
    assert list(maps) == [layer.name for layer in model.layers]
    for oracle in (oracles.untouched, oracles.referenced):
        # The reference implementation computes half precision in another order.
        close = 2e-3 if name == "half" and oracle is oracles.referenced else CLOSE
        if oracle is oracles.referenced:  # whose ConvTranspose does not know groups
            known = [(x, t) for x, t in zip(model.layers, tensors, strict=True) if x.name != "up_grouped"]
            proto = without_output(proto, "y8") if name == "geometry" else proto
            misread = {output for node in proto.graph.node if misread_by_reference(node) for output in node.output}
            known = [(x, t) for x, t in known if t not in misread]
        else:
            known = list(zip(model.layers, tensors, strict=True))
        expected = oracle(proto, [tensor for _, tensor in known], feeds)
        for layer, tensor in known:
            assert oracles.relative(maps[layer.name], expected[tensor]) <= close, layer.name


def without_output(proto: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """The model without one output and the node that makes it."""
    nodes = [node for node in proto.graph.node if output not in node.output]
    outputs = [value for value in proto.graph.output if value.name != output]
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.graph.node[:], copy.graph.output[:]
    copy.graph.node.extend(nodes)
    copy.graph.output.extend(outputs)
    return copy


# Grouped convolutions, and branches that are concatenated; the other seven chain what these have.
LIGHT = {"light_shufflenet", "light_inception_v1"}


@pytest.mark.parametrize("name", representatives([path.stem for path in specimens.light()], LIGHT))
def test_light_models(name: str) -> None:
    (path,) = [path for path in specimens.light() if path.stem == name]
    proto, model = onnx.load(path), load(path)
    rng = np.random.default_rng(0)
    feeds = {port.name: rng.uniform(0.1, 1, port.shape).astype(np.float32) for port in model.inputs}
    layers = model.layers if len(model.layers) < 30 else model.select("every:9,last")
    for at in ("activation", "conv"):
        tensors = [layer.taps[at] for layer in layers]
        expected = oracles.untouched(proto, tensors, feeds)
        maps = capture(model, feeds, layers=[layer.name for layer in layers], at=at)
        for layer, tensor in zip(layers, tensors, strict=True):
            assert oracles.relative(maps[layer.name], expected[tensor]) <= CLOSE, layer.name


def branch_model(proto: onnx.ModelProto, graph: onnx.GraphProto, outer: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A branch of an If as a model of its own, what it takes from outside as inputs."""
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in outer.items()
    ]
    copy = onnx.GraphProto()
    copy.CopyFrom(graph)
    copy.input.extend(inputs)
    return helper.make_model(copy, opset_imports=proto.opset_import, ir_version=proto.ir_version)


@pytest.mark.parametrize("flag", [True, False])
def test_maps_inside_if(flag: bool) -> None:
    proto = zoo.model("subgraphs")
    feeds = zoo.feeds(proto) | {"flag": np.array(flag)}
    maps = capture(load(proto), feeds)
    outer = oracles.untouched(proto, ["sr"], feeds)
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    node = next(n for n in proto.graph.node if n.name == "choose")
    branches = {a.name: a.g for a in node.attribute}
    branch = branches["then_branch" if flag else "else_branch"]
    given = outer | {n: stored[n] for n in ("then.weight", "else.weight", "inner.weight", "yes")}
    wanted = ["tr", "ty"] if flag else ["ey"]
    expected = oracles.referenced(branch_model(proto, branch, given), wanted, given)
    if flag:
        assert oracles.relative(maps["then"], expected["tr"]) <= CLOSE
        assert oracles.relative(maps["inner"], expected["ty"]) <= CLOSE  # inside an If inside the If
        assert maps["else"].size == 0
    else:
        assert oracles.relative(maps["else"], expected["ey"]) <= CLOSE
        assert maps["then"].size == maps["inner"].size == 0
    assert {name for name, tapped in maps.origin.layers.items() if tapped.conditional} == {"then", "else", "inner"}


def test_maps_inside_loop_and_scan_have_an_axis_of_turns() -> None:
    proto = zoo.model("subgraphs")
    # The Scan goes over the batch, which is fixed here, so that both samples are run at once.
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    feeds = zoo.feeds(proto) | {"flag": np.array(True)}
    maps = capture(load(proto), feeds)
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    state = oracles.untouched(proto, ["sr"], feeds)["sr"]
    assert maps["loop"].shape == (3, 2, 4, 8, 8)

    def conv(x: np.ndarray, weight: str) -> np.ndarray:
        node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
        given = {"x": x, "w": stored[weight]}
        return oracles.referenced(branch_model(proto, helper.make_graph([node], "g", [], []), given), ["y"], given)["y"]

    for turn in range(3):
        state = np.maximum(conv(state, "loop.weight"), 0)
        assert oracles.relative(maps["loop"][turn], state) <= CLOSE
    for index in range(2):
        value = conv(state[index : index + 1], "scan.weight")
        value = np.where(value > 0, value, np.exp(value) - 1)
        assert oracles.relative(maps["scan"][index], value) <= CLOSE


def test_functions_give_the_maps_of_the_model_written_out_by_hand() -> None:
    called, written = zoo.model("functions"), zoo.model("functions_by_hand")
    feeds = zoo.feeds(called)
    one, other = capture(load(called), feeds), capture(load(written), feeds)
    for a, b in zip(one.values(), other.values(), strict=True):
        np.testing.assert_array_equal(a, b)
    final = oracles.untouched(called, ["y"], feeds)["y"]
    assert oracles.relative(list(one.values())[-1], final) <= CLOSE


def test_quantised_maps_are_dequantised_and_it_is_said() -> None:
    proto = zoo.model("quantized")
    feeds = zoo.feeds(proto)
    maps = capture(load(proto), feeds)
    raw = oracles.untouched(proto, ["a", "b", "z", "w"], feeds)
    np.testing.assert_allclose(maps["q1"], (raw["a"].astype(np.float32) - 120) * np.float32(0.05), rtol=1e-6)
    np.testing.assert_allclose(maps["q2"], (raw["b"].astype(np.float32) + 5) * np.float32(0.1), rtol=1e-6)
    assert oracles.relative(maps["i1"], raw["z"]) <= CLOSE
    assert oracles.relative(maps["q3"], raw["w"]) <= CLOSE
    assert {n: t.dequantized for n, t in maps.origin.layers.items()} == {
        "q1": True, "q2": True, "i1": False, "q3": False,
    }  # fmt: skip


def silero_feeds(path: Path) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = {"input": (1, 576), "state": (2, 1, 128), "h": (1, 1, 128), "c": (1, 1, 128), "sr": ()}
    ports = load(path).inputs
    feeds = {port.name: rng.standard_normal(sizes[port.name]).astype(port.dtype) * 0.1 for port in ports}
    if "sr" in feeds:
        feeds["sr"] = np.array(16000, np.int64)
    return {name: array.astype(port.dtype) for (name, array), port in zip(feeds.items(), ports, strict=True)}


@pytest.mark.parametrize("path", specimens.silero(), ids=lambda path: path.stem)
def test_silero_models(path: Path) -> None:
    """Layers at the top against an untapped run; layers inside If against the branch run by itself."""
    proto, model = onnx.load(path), load(path)
    feeds = silero_feeds(path)
    maps = capture(model, feeds)
    top = [layer for layer in model.layers if not layer.scope]
    expected = oracles.untouched(proto, [layer.taps["activation"] for layer in top], feeds) if top else {}
    for layer in top:
        assert oracles.relative(maps[layer.name], expected[layer.taps["activation"]]) <= CLOSE, layer.name
    node = next((n for n in proto.graph.node if n.op_type == "If"), None)
    if node is None or len(top) == len(model.layers):
        return
    graphs = {a.name: a.g for a in node.attribute}
    ran = {layer.scope.rpartition("/")[2] for layer in model.layers if layer.scope and maps[layer.name].size}
    assert len(ran) == 1  # one branch ran
    branch = graphs[ran.pop()]
    made = {name for n in branch.node for name in n.output} | {t.name for t in branch.initializer}
    outer = sorted({name for n in branch.node for name in n.input if name and name not in made})
    values = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    for inner in branch.node:  # tensors that a nested If takes from the outermost graph
        for a in inner.attribute:
            if a.HasField("g"):
                outer += [n for m in a.g.node for n in m.input if n in values or n in feeds]
    given = {n: feeds[n] if n in feeds else values[n] for n in outer if n in feeds or n in values}
    missing = [n for n in outer if n not in given and n not in made]
    given |= oracles.untouched(proto, missing, feeds) if missing else {}
    layers = [layer for layer in model.layers if layer.scope and maps[layer.name].size and layer.scope.count("/") == 1]
    tensors = [layer.taps["activation"] for layer in layers]
    expected = oracles.untouched(branch_model(proto, branch, given), tensors, given)
    assert layers
    for layer, tensor in zip(layers, tensors, strict=True):
        assert oracles.relative(maps[layer.name], expected[tensor]) <= CLOSE, layer.name


def test_poolings_and_other_operators() -> None:
    proto = zoo.model("classifier")
    feeds = zoo.feeds(proto)
    maps = capture(load(proto), feeds, ops=["Conv", "MaxPool", "GlobalAveragePool"])
    assert [a.shape for a in maps.values()] == [
        (2, 8, 32, 32), (2, 8, 16, 16), (2, 12, 16, 16), (2, 16, 8, 8), (2, 16, 1, 1),
    ]  # fmt: skip
    expected = oracles.untouched(proto, ["p1", "g"], feeds)
    assert oracles.relative(list(maps.values())[1], expected["p1"]) <= CLOSE
    assert oracles.relative(list(maps.values())[4], expected["g"]) <= CLOSE


def test_only_what_is_needed_is_kept() -> None:
    model = load(zoo.model("classifier"))
    before = model.proto.SerializeToString()
    exposed = expose(model, [Tap("c2")])
    assert [node.op_type for node in exposed.proto.graph.node] == [
        "Conv",
        "BatchNormalization",
        "Clip",
        "MaxPool",
        "Conv",
    ]
    used = {name for node in exposed.proto.graph.node for name in node.input}
    assert {t.name for t in exposed.proto.graph.initializer} < used
    assert model.proto.SerializeToString() == before
    with pytest.raises(SelectionError, match="no tensor 'nope'"):
        expose(model, [Tap("nope")])


def test_inputs_that_a_layer_does_not_need_need_not_be_given() -> None:
    proto = zoo.model("geometry")
    feeds = zoo.feeds(proto)
    maps = capture(load(proto), {"line": feeds["line"]}, layers="line,line_up")
    assert list(maps) == ["line", "line_up"]
    with pytest.raises(InputError, match="also needs volume"):
        capture(load(proto), {"line": feeds["line"]}, layers="line,volume")


def test_verify_compares_with_the_untapped_model(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = zoo.model("classifier")
    maps = capture(load(proto), zoo.feeds(proto), at="conv", verify=True)
    assert maps.observer_effect is not None
    assert maps.observer_effect["max_rel_diff"] < 1e-5
    # A tapped graph that computes something else must show.
    room = sys.modules["onnxviz.maps.tapped_model"]
    original = room.expose

    def broken(model, taps, *, keep_outputs=False):
        exposed = original(model, taps, keep_outputs=keep_outputs)
        for node in exposed.proto.graph.node:
            if node.op_type == "LeakyRelu":
                node.attribute[0].f = 0.5
        return exposed

    monkeypatch.setattr(room, "expose", broken)
    moved = capture(load(proto), zoo.feeds(proto), at="conv", verify=True).observer_effect
    assert moved["max_rel_diff"] > 1e-3


def test_a_failing_run_says_the_shape() -> None:
    proto = zoo.model("classifier")
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "channels"
    with pytest.raises(InputError, match="x 1x4x32x32"):
        capture(load(proto), np.zeros((1, 4, 32, 32), np.float32))


def test_custom_operators_are_named_only_where_they_are_needed() -> None:
    proto = zoo.model("classifier")
    proto.graph.node[-1].domain, proto.graph.node[-1].op_type = "com.acme", "Dense"
    proto.opset_import.append(helper.make_opsetid("com.acme", 1))
    x = np.zeros((1, 3, 32, 32), np.float32)
    assert len(capture(load(proto), x)) == 3  # the convolutions come before it
    with pytest.raises(ModelError, match=r"com\.acme::Dense \(1\)"):
        capture(load(proto), x, verify=True)
