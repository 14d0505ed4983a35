"""Excerpts: they give what the whole model gives, from the value that it has in between."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import zoo
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from oracles import untouched
from protos import classifier_proto, normal, parsed

from onnxviz import load
from onnxviz.passes.excerpt import excerpt
from onnxviz.runtime.session import RunOptions, Session

IMAGE = {"image": normal(2, 3, 16, 12)}


def inputs(proto: onnx.ModelProto) -> list[str]:
    return [value.name for value in proto.graph.input]


@pytest.mark.parametrize(
    ("start", "ends"), [("r1", ["c2", "logits"]), ("c3", ["r3"]), ("p1", ["logits"]), ("f", ["logits"])]
)
def test_an_end_from_the_value_in_between(start, ends) -> None:
    proto = classifier_proto()
    known = untouched(proto, [start, *ends], IMAGE)
    model = load(proto)
    cut = excerpt(model, start, ends)
    assert inputs(cut) == [start]
    assert [value.name for value in cut.graph.output] == ends
    session = Session.of(model, cut, RunOptions())  # larger weights are in the file of the model
    for name, found in zip(ends, session.run(ends, {start: known[start]}), strict=True):
        np.testing.assert_allclose(found, known[name], rtol=1e-4, atol=1e-5)


def test_another_value_is_what_follows() -> None:
    """A start of zeros: the excerpt does not compute it itself."""
    cut = excerpt(load(classifier_proto()), "r3", ["logits"])
    (logits,) = ReferenceEvaluator(cut).run(["logits"], {"r3": np.zeros((1, 4, 8, 6), np.float32)})
    np.testing.assert_array_equal(logits, np.zeros((1, 5)))


def test_an_input_may_be_the_start() -> None:
    proto = classifier_proto()
    cut = excerpt(load(proto), "image", ["r1"])
    assert inputs(cut) == ["image"]
    assert {node.op_type for node in cut.graph.node} == {"Conv", "Relu"}
    known = untouched(proto, ["r1"], IMAGE)["r1"]
    np.testing.assert_allclose(ReferenceEvaluator(cut).run(["r1"], IMAGE)[0], known, rtol=1e-4, atol=1e-5)


def test_other_inputs_stay_where_they_are_needed() -> None:
    """A residual connection goes past the start."""
    proto = parsed(
        "g (float[n,3,6,5] x) => (float[n,3,6,5] y) { c = Conv (x, w) r = Relu (c) y = Add (r, x) }",
        w=normal(3, 3, 1, 1),
    )
    x = {"x": normal(1, 3, 6, 5)}
    known = untouched(proto, ["c", "y"], x)
    cut = excerpt(load(proto), "c", ["y"])
    assert sorted(inputs(cut)) == ["c", "x"]
    (found,) = ReferenceEvaluator(cut).run(["y"], {**x, "c": known["c"]})
    np.testing.assert_allclose(found, known["y"], rtol=1e-6)


def test_a_start_that_no_end_depends_on_is_no_input() -> None:
    assert inputs(excerpt(load(classifier_proto()), "r2", ["r1"])) == ["image"]


@pytest.mark.parametrize("start", ["p", "q"])
def test_of_a_node_with_several_outputs_the_others_are_still_made(start) -> None:
    proto = parsed("g (float[n,4,5] x) => (float[n,2,5] y) { p, q = Split <axis=1, num_outputs=2> (x) y = Sub (p, q) }")
    x = {"x": normal(1, 4, 5)}
    cut = excerpt(load(proto), start, ["y"])
    assert sorted(inputs(cut)) == sorted([start, "x"])
    (found,) = ReferenceEvaluator(cut).run(["y"], {**x, start: np.ones((1, 2, 5), np.float32)})
    p, q = np.split(x["x"], 2, 1)
    np.testing.assert_array_equal(found, 1 - q if start == "p" else p - 1)


def test_the_type_of_the_start() -> None:
    model = load(zoo.model("quantized"))
    found = {value.name: value.type.tensor_type.elem_type for value in excerpt(model, "a", ["b"]).graph.input}
    assert found["a"] == TensorProto.UINT8
    found = excerpt(load(classifier_proto()), "r1", ["c2"], TensorProto.FLOAT16).graph.input
    assert [value.type.tensor_type.elem_type for value in found] == [TensorProto.FLOAT16]


def test_the_model_is_not_changed() -> None:
    proto = classifier_proto()
    model = load(proto)
    before = model.proto.SerializeToString()
    excerpt(model, "r1", ["logits"])
    assert model.proto.SerializeToString() == before
