"""The model with its gradient: the same values, any tensors, any runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest
import zoo
from protos import classifier_proto

import onnxviz
from onnxviz.errors import SelectionError
from onnxviz.gradients.add_gradient import add_gradient
from onnxviz.model.graph.scopes import walk


def test_the_model_is_not_changed_and_the_result_runs_anywhere(tmp_path):
    import onnxruntime as ort

    path = tmp_path / "m.onnx"
    onnx.save(classifier_proto(), path)
    model = onnxviz.load(path)
    before = model.proto.SerializeToString()
    gradient = add_gradient(model)
    assert model.proto.SerializeToString() == before
    x = np.random.default_rng(0).normal(size=(2, 3, 16, 12)).astype(np.float32)
    seed = np.ones((2, 5), np.float32)
    here = gradient.session().run({"image": x}, seed)
    saved = gradient.save(tmp_path / "gradient.onnx")
    onnx.checker.check_model(saved, full_check=True)
    session = ort.InferenceSession(saved, providers=["CPUExecutionProvider"])
    value, found = session.run([gradient.of, gradient.outputs["image"]], {"image": x, gradient.seed: seed})
    np.testing.assert_array_equal(value, here.value)
    np.testing.assert_array_equal(found, here.gradients["image"])


def test_the_value_is_bit_for_bit_that_of_the_untouched_model():
    from oracles import untouched

    x = np.random.default_rng(0).normal(size=(2, 3, 16, 12)).astype(np.float32)
    value = add_gradient(onnxviz.load(classifier_proto())).session().run({"image": x}, np.ones((2, 5))).value
    np.testing.assert_array_equal(value, untouched(classifier_proto(), ["logits"], {"image": x})["logits"])


def test_two_tensors_and_a_target_inside():
    gradient = add_gradient(onnxviz.load(classifier_proto()), of="c3", wrt=["image", "r1"])
    assert repr(gradient).startswith("Gradient(of 'c3' wrt 'image', 'r1', ")
    x = np.random.default_rng(0).normal(size=(1, 3, 16, 12)).astype(np.float32)
    session = gradient.session()
    found = session.run({"image": x}, np.ones_like(session.value({"image": x}))).gradients
    assert {name: array.shape for name, array in found.items()} == {"image": x.shape, "r1": (1, 6, 16, 12)}


def test_a_tensor_with_respect_to_itself_is_the_seed():
    found = add_gradient(onnxviz.load(classifier_proto()), of="r1", wrt="r1").session()
    seed = np.random.default_rng(0).normal(size=(1, 6, 16, 12)).astype(np.float32)
    x = np.zeros((1, 3, 16, 12), np.float32)
    np.testing.assert_array_equal(found.run({"image": x}, seed).gradients["r1"], seed)


def test_a_type_that_is_read_from_the_input_is_no_dependence():
    """PyTorch's exporter leaves CastLike(constant, x): x gives a type only."""
    proto = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 18]>
        g (float[2,3] x) => (float[2,3] y) <int64[1] two = {2}> {
            like = CastLike (two, x)
            y = Mul (x, like)
        }"""
    )
    model = onnxviz.load(proto)
    assert onnxviz.grad_support(model)
    x = np.ones((2, 3), np.float32)
    found = onnxviz.add_gradient(model).session().run({"x": x}, x)
    assert np.array_equal(found.gradients["x"], 2 * x)


def test_a_tensor_inside_control_flow_is_refused_with_its_place():
    model = onnxviz.load(zoo.model("subgraphs"))
    inside = next(name for scope, node in walk(model.scope) if scope.parent for name in node.output)
    with pytest.raises(SelectionError, match=f"'{inside}' lies inside control flow .*need none"):
        add_gradient(model, of=inside)
