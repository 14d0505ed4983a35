"""Costs beside budgets: the figures by hand, a budget just met and one just missed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, shape_inference
from planted import MODELS, audited, changed, found, sample
from protos import normal, parsed
from quantised import quantise

from onnxviz.auditing.checks import costs
from onnxviz.auditing.cost import cost_of
from onnxviz.inputs.samples import ImageOptions
from onnxviz.model.model import load


def budget(folder: Path, **limits: float) -> Path:
    path = folder / "onnxviz.toml"
    lines = [f"{name.replace('_', '-')} = {value}" for name, value in limits.items()]
    path.write_text("[audit.budgets]\n" + "\n".join(lines))
    return path


def cost(model, size=None):
    opened = load(model)
    return cost_of(opened, ImageOptions.of(opened, size=size), lambda names: {})


def by_hand(model):
    """Multiply-accumulates and the largest tensor of the classifier, from onnx's shapes at a batch of 1."""
    model = shape_inference.infer_shapes(changed(model, "conv1.weight", lambda values: None))
    sizes = {}
    for value in (*model.graph.value_info, *model.graph.output):
        sizes[value.name] = [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
    stored = {one.name: tuple(one.dims) for one in model.graph.initializer}
    macs = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            _, outputs, height, width = sizes[node.output[0]]
            for _ in range(outputs):
                macs += height * width * int(np.prod(stored[node.input[1]][1:]))
        elif node.op_type == "Gemm":
            macs += stored[node.input[1]][0] * stored[node.input[1]][1]
    return macs, max(4 * int(np.prod(shape)) for shape in sizes.values())


def test_the_classifier_costs_what_a_count_by_hand_says():
    model = sample()
    values = [numpy_helper.to_array(one) for one in model.graph.initializer]
    macs, largest = by_hand(model)
    got = cost(model)
    assert (got.macs, got.activation_bytes, got.unknown) == (macs, largest, "")
    assert got.weight_bytes == sum(value.nbytes for value in values)
    gathered = {name for node in model.graph.node if node.op_type == "BatchNormalization" for name in node.input[3:]}
    trained = [one for one in model.graph.initializer if one.name not in gathered]
    assert got.parameters == sum(numpy_helper.to_array(one).size for one in trained)


def naive_transposed(x, w):
    """The products that a transposed convolution makes: one for each element of the input and of its window."""
    return sum(w.shape[1] * w.shape[2] * w.shape[3] for _ in range(x.size))


@pytest.mark.parametrize("group", [1, 2])
def test_a_transposed_convolution(group):
    weight = normal(4, 3, 2, 5)
    text = f"g (float[n,4,6,7] x) => (float[n,c,h,w0] y) {{ y = ConvTranspose <group={group}> (x, w) }}"
    assert cost(parsed(text, w=weight)).macs == naive_transposed(np.zeros((1, 4, 6, 7)), weight)


def test_groups_and_products_of_matrices():
    model = parsed(
        "g (float[n,6,5,5] x) => (float[n,6,5,2] y) { c = Conv <group=3> (x, k) y = MatMul (c, m) }",
        k=normal(6, 2, 1, 1), m=normal(5, 2),
    )  # fmt: skip
    assert cost(model).macs == 6 * 25 * 2 + 6 * 5 * 2 * 5


def test_a_model_of_open_size_needs_one():
    model = MODELS / "unet.onnx"
    assert cost(model).macs is None
    small, large = cost(model, (64, 64)).macs, cost(model, (128, 128)).macs
    assert small is not None
    assert large == 4 * small


@pytest.mark.parametrize("name", ["parameters", "macs", "weight_bytes", "activation_bytes"])
def test_each_budget(tmp_path, name):
    value = getattr(cost(sample()), name)
    for limit in (value - 1, value * 0.9, 1):
        (one,) = audited(sample(), "G08", config=budget(tmp_path, **{name: limit})).findings
        assert (one.code, one.severity.value, one.value, one.threshold) == ("G08", "note", value, limit)
        assert f"{value:,}" in one.message
    assert found(sample(), "G08", config=budget(tmp_path, **{name: value})) == []


def test_without_a_budget_it_is_not_run():
    audit = audited(sample(), "G08")
    assert not audit.passed
    assert "306,507 parameters" in audit.not_run[0].why


def test_what_is_over_a_budget_is_said_even_where_another_cannot_be_told(tmp_path):
    audit = audited(MODELS / "unet.onnx", "G08", config=budget(tmp_path, parameters=1, macs=1))
    assert [one.code for one in audit.findings] == ["G08"]
    assert "size=" in audit.not_run[0].why
    assert not audit.passed


def test_a_budget_of_weights_alone_runs_nothing(tmp_path, monkeypatch):
    path = quantise(MODELS / "classifier.onnx", tmp_path / "q.onnx", [normal(1, 3, 96, 96)], form="QOperator")
    monkeypatch.setattr(costs, "Session", None)  # an AttributeError where one is opened
    for limits in ({"parameters": 1}, {"weight_bytes": 1}):
        assert [one.code for one in audited(path, "G08", config=budget(tmp_path, **limits)).findings] == ["G08"]
    with pytest.raises(AttributeError):
        audited(path, "G08", config=budget(tmp_path, macs=1))


def test_sizes_that_inference_does_not_tell_are_measured(tmp_path):
    """onnx infers nothing behind an operator of com.microsoft."""
    photos = [normal(1, 3, 96, 96, seed=seed) for seed in range(2)]
    path = quantise(MODELS / "classifier.onnx", tmp_path / "q.onnx", photos, form="QOperator")
    model = onnx.load(path)
    assert any(node.domain == "com.microsoft" for node in model.graph.node)
    (one,) = audited(path, "G08", config=budget(tmp_path, macs=1)).findings
    assert one.value == by_hand(sample())[0]
