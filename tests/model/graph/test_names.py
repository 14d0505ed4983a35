"""Fresh names: none that anything in a model has; and models that already have the names which rewriting wants."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import onnx
import onnx.parser
import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from random_graphs import random_graphs

import onnxviz
from onnxviz.gradients.add_gradient import add_gradient
from onnxviz.model.graph.names import FreshNames, distinct, tensor_names
from onnxviz.passes.expose import Tap, expose
from onnxviz.runtime.session import Session

NAMES = st.lists(st.sampled_from(["a", "a_2", "a_3", "a_2_2", "b", "", "_2"]) | st.text(max_size=3), max_size=12)


@settings(deadline=None)
@given(NAMES)
def test_distinct_names_differ_and_keep_what_they_can(names):
    result = distinct(names)
    assert len(result) == len(names)
    assert len(set(result)) == len(result)
    times = Counter(names)
    for position, (before, after) in enumerate(zip(names, result, strict=True)):
        assert after.startswith(before)
        if times[before] == 1 or before not in names[:position]:
            assert after == before


@settings(deadline=None)
@given(NAMES, NAMES)
def test_reserved_names_are_none_of_the_distinct_ones(names, reserved):
    result = distinct(names, reserved)
    assert not set(result) & set(reserved)
    assert len(set(result)) == len(names)
    assert result == distinct([*dict.fromkeys(reserved), *names])[len(set(reserved)) :]


TENSORS = {"ValueInfoProto.name", "TensorProto.name", "NodeProto.input", "NodeProto.output", "FunctionProto.input"}
TENSORS.add("FunctionProto.output")


def strings(message: Message) -> Iterator[tuple[str, str]]:
    """Every string anywhere in a message, with the field that it stands in."""
    for field, value in message.ListFields():
        for one in value if field.is_repeated else [value]:
            if isinstance(one, Message):
                yield from strings(one)
            elif isinstance(one, str):
                yield f"{message.DESCRIPTOR.name}.{field.name}", one


@st.composite
def models(draw: st.DrawFn) -> onnx.ModelProto:
    """A drawn graph; a function of it beside it, sparse weights, declared shapes and names that nothing makes."""
    proto = draw(random_graphs()).model
    graph = proto.graph
    inner = draw(random_graphs()).model
    for node in inner.graph.node:
        node.name = f"function/{node.name}"
    names = [value.name for value in inner.graph.input]
    outputs = [value.name for value in inner.graph.output]
    function = helper.make_function("d", "f", names, outputs, inner.graph.node, inner.opset_import)
    proto.functions.append(function)
    values = numpy_helper.from_array(np.ones(1, np.float32), "sparse/values")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "sparse/indices")
    graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3]))
    graph.value_info.append(helper.make_tensor_value_info("declared", 1, [1]))
    graph.node.append(helper.make_node("Relu", ["from nowhere"], ["to nowhere"], name="alone"))
    return proto


@settings(deadline=None, max_examples=40)
@given(models(), st.data())
def test_a_fresh_name_is_none_that_anything_has(proto, data):
    """Held against every string in the model, so that no place where a name can stand is forgotten."""
    there = list(strings(proto))
    stems = [*sorted({name for _, name in there}), "new", "also"]
    names = FreshNames(proto, also=["also"])
    chosen = data.draw(st.lists(st.sampled_from(stems), min_size=1, max_size=20))
    tensors, nodes = [names.tensor(stem) for stem in chosen], [names.node(stem) for stem in chosen]
    for fresh in (tensors, nodes):
        assert len(set(fresh)) == len(chosen)
        assert all(name == stem or name.startswith(f"{stem}_") for name, stem in zip(fresh, chosen, strict=True))
    assert not set(nodes) & {name for field, name in there if field == "NodeProto.name"}
    assert not set(tensors) & {"also", *(name for field, name in there if field in TENSORS)}


def everything(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Every node: of the graph, of the functions, and of the branches of both."""
    nodes = [*proto.graph.node, *(node for function in proto.functions for node in function.node)]
    for node in nodes:  # grows while it is read
        nodes += [inner for attribute in node.attribute for inner in attribute.g.node]
    return nodes


def test_many_names_of_one_stem_take_linear_time():
    def seconds(count: int) -> float:
        begin = time.process_time()
        names = FreshNames(onnx.GraphProto())
        assert len({names.tensor("part") for _ in range(count)}) == count
        assert len(set(distinct(["a"] * count))) == count
        return time.process_time() - begin

    assert min(seconds(40_000) for _ in range(3)) < 30 * min(seconds(4_000) for _ in range(3))


def parsed(text: str, opset: int = 17) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> g {text}')


def test_a_tensor_of_a_branch_comes_out_although_a_weight_has_its_name():
    proto = parsed(
        """(float[2] x, bool flag) => (float[2] y, float[2] z) <float[2] weight = {3, 4}> {
            y = If (flag) <then_branch = t () => (float[2] a) { b = Neg (x) a = Exp (b) },
                           else_branch = f () => (float[2] c) { c = Identity (x) }>
            z = Add (y, weight)
        }"""
    )
    proto.graph.node[0].name = "If_0"
    proto.graph.node[1].input[1] = proto.graph.initializer[0].name = "b@If_0/then_branch"
    model = onnxviz.load(proto)
    exposed = expose(model, [Tap("b", "If_0/then_branch")], keep_outputs=True)
    session = Session(exposed.proto, model.folder, model.label)
    x = np.array([1, -2], np.float32)
    z, b = session.run(["z", *exposed.outputs], {"x": x, "flag": np.array(True)})
    np.testing.assert_array_equal(b, -x)
    np.testing.assert_allclose(z - np.exp(-x), [3, 4], rtol=1e-6)


def test_a_decided_branch_moves_out_although_its_names_are_taken_there():
    proto = parsed(
        """(float[2, 3] x) => (float[2, 3] y) <int64 axis = {1}, int64 limit = {2}> {
            s = Shape (x)
            h = Gather (s, axis)
            c = Greater (h, limit)
            t = Neg (x)
            y = If (c) <then_branch = big () => (float[2, 3] b) { a = Exp (x) b = Mul (a, t) },
                        else_branch = small () => (float[2, 3] x) { unused = Neg (x) }>
        }"""
    )
    taken = "branch/then_branch/a"
    proto.graph.node[4].name = "branch"
    proto.graph.node[3].output[0] = taken
    proto.graph.node[4].attribute[0].g.node[1].input[1] = taken
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    found = add_gradient(onnxviz.load(proto)).session().run({"x": x}, np.ones_like(x))
    np.testing.assert_allclose(found.value, -x * np.exp(x), rtol=1e-5)
    np.testing.assert_allclose(found.gradients["x"], -(1 + x) * np.exp(x), rtol=1e-5)


def test_half_precision_is_widened_although_a_branch_has_the_name_wanted():
    """A weight of the main graph, kept under another name, would be hidden by the branch's own tensor."""
    proto = parsed(
        """(float16[2] x, bool flag) => (float16[2] y) <float16[2] w = {3, 4}> {
            y = If (flag) <then_branch = t () => (float16[2] a) { a = Mul (x, w) },
                           else_branch = f () => (float16[2] c) { c = Add (x, w) }>
        }"""
    )
    inner = proto.graph.node[0].attribute[0].g
    extra = helper.make_node("Neg", ["x"], ["w/half"])
    inner.node.insert(0, extra)
    inner.node[1].input[0] = "w/half"
    from onnxviz.passes.widen_half import widen

    assert widen(proto)
    made = [name for node in everything(proto) for name in node.output]
    assert len(made) == len(set(made))
    stored = {tensor.name for tensor in proto.graph.initializer}
    assert not stored & set(made)


def test_the_nodes_of_a_gradient_have_names_of_their_own():
    """onnxruntime takes no two nodes of one name."""
    proto = parsed("(float[2] x) => (float[2] y) { y = Exp (x) }")
    proto.graph.node[0].name = "gradient/r/Mul"
    proto.graph.node.insert(0, helper.make_node("Exp", ["x"], ["r"], name="r"))
    proto.graph.node[1].input[0] = "r"
    x = np.array([0.5, -1], np.float32)
    found = add_gradient(onnxviz.load(proto)).session().run({"x": x}, np.ones_like(x))
    np.testing.assert_allclose(found.gradients["x"], np.exp(np.exp(x) + x), rtol=1e-5)


def test_a_function_is_inlined_beside_a_sparse_weight_of_its_tensors_name():
    proto = parsed("(float[3] x) => (float[3] y) { y = Add (x, w) }")
    body = [helper.make_node("Neg", ["a"], ["b"]), helper.make_node("Exp", ["b"], ["c"])]
    opsets = [helper.make_opsetid("", 17)]
    proto.functions.append(helper.make_function("d", "f", ["a"], ["c"], body, opsets))
    proto.opset_import.append(helper.make_opsetid("d", 1))
    proto.graph.node[0].input[:] = ["m", "call/b"]
    proto.graph.node.insert(0, helper.make_node("f", ["x"], ["m"], name="call", domain="d"))
    values = numpy_helper.from_array(np.array([5], np.float32), "call/b")
    indices = numpy_helper.from_array(np.array([1], np.int64), "call/b/indices")
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3]))
    model = onnxviz.load(proto)
    assert Counter(name for node in model.proto.graph.node for name in node.output)["call/b"] == 0


@pytest.mark.parametrize("name", ["values", "indices", "read", "declared", "given", "fed", "stored", "made"])
def test_each_place_of_a_name_counts(name):
    graph = onnx.GraphProto()
    graph.initializer.add(name="stored")
    graph.sparse_initializer.add().values.name = "values"
    graph.sparse_initializer[0].indices.name = "indices"
    graph.value_info.add(name="declared")
    graph.output.add(name="given")
    graph.input.add(name="fed")
    graph.node.append(helper.make_node("Relu", ["read"], ["made"]))
    outer = onnx.GraphProto(node=[helper.make_node("If", ["flag"], ["y"], then_branch=graph)])
    assert tensor_names(outer) >= tensor_names(graph) == {*"values indices read declared given fed stored made".split()}
    assert FreshNames(outer).tensor(name) == f"{name}_2"
