"""One layer exchanged at a time, beside models that onnx's own extractor cuts; and EfficientNet-Lite0 as int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from lite import export_lite, lite_crops
from onnx.utils import Extractor
from oracles import untouched
from quantised import UNSIGNED, quantise
from samples import CLASSIFIER

from onnxviz import compare


def extracted(path: Path, start: str, end: str) -> onnx.ModelProto:
    """The part of a model between two tensors, as onnx cuts it."""
    proto = onnx.shape_inference.infer_shapes(onnx.load(path))
    return Extractor(proto).extract_model([start], [end])


def decibels(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(10 * np.log10((a**2).sum() / ((a - b) ** 2).sum()))


def test_a_layer_alone_costs_what_a_model_with_that_layer_exchanged_shows(lower, crops) -> None:
    """A up to the layer, B's layer with the rounding of its input, A behind it: three models, run one by one."""
    found = compare(CLASSIFIER, lower["QDQ"], crops)
    enters = {"conv2": "pool1", "conv3": "pool2", "conv4": "relu3", "conv5": "relu4"}
    kept = {one.a: one for one in found.layers}
    for name, start in enters.items():
        one = kept[name]
        a, b = one.tensors
        before = untouched(onnx.load(CLASSIFIER), [start, a, "logits"], {"image": crops})
        layer = extracted(lower["QDQ"], start, b)
        made = untouched(layer, [b], {start: before[start]})[b]
        answer = untouched(extracted(CLASSIFIER, a, "logits"), ["logits"], {a: made})["logits"]
        assert one.alone.sqnr == pytest.approx(decibels(before[a], made), abs=0.02)
        assert one.alone.output_sqnr == pytest.approx(decibels(before["logits"], answer), abs=0.1)
    last = kept["dense"]
    assert last.alone.output_sqnr == pytest.approx(last.alone.sqnr)


def test_both_quantised_forms_cost_the_same(lower, crops) -> None:
    one, other = (compare(CLASSIFIER, lower[form], crops) for form in ("QDQ", "QOperator"))
    for x, y in zip(one.layers[:5], other.layers[:5], strict=True):
        assert x.alone.sqnr == pytest.approx(y.alone.sqnr, abs=0.1)
        assert x.alone.output_sqnr == pytest.approx(y.alone.output_sqnr, abs=0.3)
    assert one.exclusion.nodes == other.exclusion.nodes


def test_the_list_begins_with_the_layer_that_was_spoilt(tmp_path, crops) -> None:
    """One filter a hundred times as large as the others: its layer's steps are too coarse for the rest."""
    proto = onnx.load(CLASSIFIER)
    for tensor in proto.graph.initializer:
        if tensor.name == "conv4.weight":
            weight = onnx.numpy_helper.to_array(tensor).copy()
            weight[5] *= 100
            tensor.CopyFrom(onnx.numpy_helper.from_array(weight, tensor.name))
        if tensor.name in ("bn4.running_mean", "bn4.running_var"):
            values = onnx.numpy_helper.to_array(tensor).copy()
            values[5] *= 100 if tensor.name.endswith("mean") else 10_000
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(proto, tmp_path / "spoilt.onnx")
    calibration = [one[None] for one in crops[:3]]
    lower = quantise(tmp_path / "spoilt.onnx", tmp_path / "q.onnx", calibration, types=UNSIGNED)
    found = compare(tmp_path / "spoilt.onnx", lower, crops)
    assert found.exclusion.nodes[0] == "conv4"
    better = quantise(
        tmp_path / "spoilt.onnx", tmp_path / "better.onnx", calibration, types=UNSIGNED,
        exclude=found.exclusion.nodes[:4],
    )  # fmt: skip
    mended = compare(tmp_path / "spoilt.onnx", better, crops)
    assert mended.outputs[0].sqnr > found.outputs[0].sqnr + 3


@pytest.mark.framework
def test_efficientnet_lite_loses_less_without_the_listed_nodes(tmp_path) -> None:
    """Its ImageNet weights as int8, per tensor: both forms give one list, which raises the answer's ratio by 3 dB."""
    path, photos = export_lite(tmp_path / "lite0.onnx"), lite_crops(40)
    calibration = [one[None] for one in photos[:10]]
    fed = photos[10:14]
    lists = []
    for form in ("QDQ", "QOperator"):
        lower = quantise(path, tmp_path / f"{form}.onnx", calibration, form=form)
        found = compare(path, lower, fed)
        assert len(found.layers) == 50  # 49 convolutions and the dense layer
        lists.append(found.exclusion.nodes)
    assert lists[0] == lists[1]
    better = quantise(path, tmp_path / "better.onnx", calibration, exclude=lists[0])
    models = path, tmp_path / "QDQ.onnx", better
    truth, before, after = (untouched(onnx.load(one), ["scores"], {"image": photos[10:]})["scores"] for one in models)
    assert decibels(truth, after) > decibels(truth, before) + 3
    same = [(truth.argmax(1) == one.argmax(1)).sum() for one in (before, after)]
    assert same[1] >= same[0]
