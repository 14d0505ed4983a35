"""`compare`, beside full captures by untouched runs that numpy reduces in float64."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from oracles import untouched
from protos import normal, parsed
from quantised import quantise
from samples import CLASSIFIER, UNET, photo_crops

import onnxviz
from onnxviz import compare
from onnxviz.errors import InputError, ProviderError, SelectionError


def real(proto: onnx.ModelProto, tensor: str, values: np.ndarray) -> np.ndarray:
    """A quantised tensor's numbers, by the scale that the operator behind or before it names; others as they are."""
    if values.dtype.kind == "f":
        return values.astype(np.float64)
    stored = {one.name: numpy_helper.to_array(one) for one in proto.graph.initializer}
    name = tensor.removesuffix("_quantized")
    return (values.astype(np.float64) - stored[f"{name}_zero_point"]) * stored[f"{name}_scale"].astype(np.float64)


def captured(proto: onnx.ModelProto, tensors: list[str], feeds: np.ndarray) -> dict[str, np.ndarray]:
    """All samples at once, float64."""
    rows = [untouched(proto, tensors, {proto.graph.input[0].name: one[None]}) for one in feeds]
    return {name: np.concatenate([real(proto, name, row[name]) for row in rows]) for name in tensors}


def decibels(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10((a**2).sum() / ((a - b) ** 2).sum()))


@pytest.mark.parametrize("form", ["QDQ", "QOperator", "half"])
def test_numbers_are_those_of_a_full_capture(form, lower, protos, crops) -> None:
    found = compare(CLASSIFIER, lower[form], crops)
    rows = [*found.layers, *found.outputs]
    assert [one.a for one in found.layers] == ["conv1", "conv2", "conv3", "conv4", "conv5", "dense"]
    assert (found.only_a, found.only_b, found.not_compared, found.samples) == ((), (), (), 6)
    a = captured(protos["float"], [one.tensors[0] for one in rows], crops)
    b = captured(protos[form], [one.tensors[1] for one in rows], crops)
    for one in rows:
        x, y = a[one.tensors[0]], b[one.tensors[1]]
        assert one.channels == x.shape[1]
        assert one.sqnr == pytest.approx(decibels(x, y), rel=1e-6), one.a
        assert one.cosine == pytest.approx(float((x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum())), rel=1e-9)
        assert one.max_abs_diff == pytest.approx(np.abs(x - y).max(), rel=1e-6)
        assert one.rmse == pytest.approx(np.sqrt(((x - y) ** 2).mean()), rel=1e-6)
        noise = ((x - y) ** 2).sum(tuple(axis for axis in range(x.ndim) if axis != 1))
        assert one.worst_channel == noise.argmax()
        assert one.worst_channel_share == pytest.approx(noise.max() / noise.sum(), rel=1e-6)
        per_sample = [decibels(*pair) for pair in zip(x, y, strict=True)]
        assert one.worst_sample == f"array[{int(np.argmin(per_sample))}]"
    truth = sorted(found.layers, key=lambda one: decibels(a[one.tensors[0]], b[one.tensors[1]]))
    assert sorted(found.layers, key=lambda one: one.sqnr) == truth
    assert found.worst is truth[0]
    same = a["logits"].argmax(1) == b[found.outputs[0].tensors[1]].argmax(1)
    assert (found.agreement.agreeing, found.agreement.total) == (same.sum(), 6)
    assert [flip.sample for flip in found.agreement.flips] == [f"array[{n}]" for n in np.flatnonzero(~same)]


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_rounding_is_measured_in_the_tensors_own_steps(form, lower, protos, crops) -> None:
    """Rounding alone costs 1/√12 of a step; a layer fed with what A feeds it costs that, and its weights' rounding."""
    found = compare(CLASSIFIER, lower[form], crops)
    stored = {one.name: numpy_helper.to_array(one) for one in protos[form].graph.initializer}
    for one in found.layers:
        name = one.tensors[1].removesuffix("_quantized").removesuffix("_DequantizeLinear_Output")
        step = float(stored[f"{name}_scale"])
        assert one.rmse_over_scale == pytest.approx(one.rmse / step, rel=1e-5)
        assert 0.9 / np.sqrt(12) < one.alone.rmse_over_scale <= one.rmse_over_scale * 1.5


def test_a_model_and_itself(crops) -> None:
    found = compare(CLASSIFIER, CLASSIFIER, crops)
    assert all(one.identical and one.sqnr == np.inf and one.worst_channel == -1 for one in found.layers)
    assert found.first_divergent is None
    assert found.worst is None
    assert found.exclusion is None
    assert found.worst_maps is None
    assert found.agreement.share == 1
    assert found.below == 60


def test_without_graph_optimisations_a_model_differs_by_rounding(crops) -> None:
    found = compare(CLASSIFIER, f"{CLASSIFIER}@noopt", crops)
    assert found.labels[1].endswith("@noopt")
    assert found.first_divergent is None
    assert not all(one.identical for one in found.layers)  # optimisation folds the batch normalisations
    assert all(one.sqnr > 100 for one in found.layers)


def test_less_memory_gives_the_same(lower, crops) -> None:
    """Layers are run in several groups then."""
    whole = compare(CLASSIFIER, lower["QDQ"], crops)
    parts = compare(CLASSIFIER, lower["QDQ"], crops, memory=2**20)
    assert [one.as_dict() for one in parts.layers] == [one.as_dict() for one in whole.layers]
    assert parts.as_dict() == whole.as_dict()


def test_first_divergent_layer_is_the_one_that_was_broken(crops) -> None:
    broken = onnx.load(CLASSIFIER)
    for tensor in broken.graph.initializer:
        if tensor.name == "conv3.weight":
            weight = numpy_helper.to_array(tensor).copy()
            weight[7] *= 1.5
            tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
    found = compare(CLASSIFIER, broken, crops)
    assert found.first_divergent.a == "conv3"
    assert found.first_divergent.worst_channel == 7
    assert found.first_divergent.worst_channel_share == pytest.approx(1)
    assert [one.identical for one in found.layers[:2]] == [True, True]


def test_overflow_in_half_precision_is_found_where_it_begins(tmp_path, crops) -> None:
    """A convolution whose output passes 65,504, in float16; the next one brings it back."""
    from quantised import halve

    proto = onnx.load(CLASSIFIER)
    for tensor in proto.graph.initializer:
        factor = {"bn2.weight": 1e6, "bn2.bias": 1e6, "conv3.weight": 1e-6}.get(tensor.name)
        if factor is not None:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), tensor.name))
    onnx.save(proto, tmp_path / "large.onnx")
    half = halve(tmp_path / "large.onnx", tmp_path / "half.onnx")
    found = compare(tmp_path / "large.onnx", half, crops)
    assert found.first_divergent.a == "conv2"
    assert found.first_divergent.unlike > 0
    assert np.isnan(found.first_divergent.sqnr)
    assert found.below == 40
    assert found.exclusion.option == "node_block_list"
    assert found.exclusion.nodes[0] == "conv2"
    mended = halve(tmp_path / "large.onnx", tmp_path / "mended.onnx", blocked=found.exclusion.nodes)
    assert all(np.isfinite(one.sqnr) for one in compare(tmp_path / "large.onnx", mended, crops).layers)
    json.dumps(found.as_dict(), allow_nan=False)


def test_a_folded_batch_normalisation_is_compared_behind_it() -> None:
    """Without an activation behind it: the tensor that both models have is the normalised one."""
    weight, scale, offset = normal(4, 3, 3, 3), normal(4, seed=2), normal(4, seed=3)
    mean, var = normal(4, seed=4), np.abs(normal(4, seed=5)) + 0.5
    head, tail = "g (float[n,3,8,8] x) => (float[n,4,5,5] y) { ", "y = MaxPool <kernel_shape = [2, 2]> (z) }"
    apart = parsed(
        f"{head} c = Conv (x, w) z = BatchNormalization (c, s, o, m, v) {tail}",
        w=weight, s=scale, o=offset, m=mean, v=var,
    )  # fmt: skip
    factor = scale / np.sqrt(var + 1e-5)
    folded = parsed(
        f"{head} z = Conv (x, f, b) {tail}",
        f=weight * factor[:, None, None, None], b=offset - mean * factor,
    )  # fmt: skip
    (layer,) = compare(apart, folded, normal(5, 3, 8, 8, seed=6)).layers
    assert layer.tensors == ("z", "z")
    assert layer.sqnr > 120


def test_an_activation_that_one_model_has_apart_is_left_out_of_both() -> None:
    """B's convolution is read by another node too, so that its tap ends before the activation that A's tap has."""
    w, v = normal(4, 3, 3, 3), normal(4, 4, 3, 3, seed=2)
    head = "g (float[n,3,8,8] x) => "
    a = parsed(head + "(y) { c = Conv (x, w) t = Sigmoid (c) y = Conv (t, v) }", w=w, v=v)
    both = "(y, z) { c = Conv (x, w) t = Sigmoid (c) y = Conv (t, v) z = MaxPool <kernel_shape = [2, 2]> (c) }"
    b = parsed(head + both, w=w * np.float32(1.001), v=v)
    x = normal(4, 3, 8, 8, seed=3)
    first = compare(a, b, x).layers[0]
    assert first.tensors == ("c", "c")
    assert first.sqnr == pytest.approx(60, abs=0.05)  # a thousandth of each value
    normalised = parsed(
        head + "(y) { c = Conv (x, w) m = BatchNormalization (c, s, o, o, s) t = Sigmoid (m) y = Conv (t, v) }",
        w=w, v=v, s=np.full(4, 2, np.float32), o=np.zeros(4, np.float32),
    )  # fmt: skip
    found = compare(normalised, b, x)
    ((one, other, why),) = found.not_compared
    assert one == other
    assert "after BatchNormalization, Sigmoid" in why
    assert [layer.a for layer in found.layers] == [onnxviz.load(a).layers[1].name]


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_an_activation_of_two_quantised_operators(form, tmp_path) -> None:
    proto = parsed(
        "g (float[n,3,8,8] x) => (float[n,4,6,6] y) "
        "{ c = Conv (x, w) t = Sigmoid (c) a = Mul (c, t) y = Conv <pads = [1,1,1,1]> (a, v) }",
        w=normal(4, 3, 3, 3), v=normal(4, 4, 3, 3, seed=2),
    )  # fmt: skip
    for place, node in enumerate(proto.graph.node):
        node.name = f"n{place}"
    onnx.save(proto, tmp_path / "float.onnx")
    x = normal(4, 3, 8, 8, seed=3)
    lower = quantise(tmp_path / "float.onnx", tmp_path / "q.onnx", list(x[:, None]), form=form)
    first, _ = compare(tmp_path / "float.onnx", lower, x).layers
    assert first.tensors[0] == "a"
    assert first.sqnr > 30


def test_images_of_two_layouts_and_what_a_model_scores(tmp_path) -> None:
    found = compare(UNET, f"{UNET}@noopt", [str(CLASSIFIER.parent / "photos" / "cat.jpg")], size=(64, 96))
    assert found.agreement.positions
    assert found.agreement.total == 64 * 96
    assert found.data == "images"
    assert found.fed == "1 image"


def test_flips_are_named(crops) -> None:
    """The scores of two classes exchanged."""
    turned = onnx.load(CLASSIFIER)
    order = np.arange(11)
    order[[0, 1]] = 1, 0
    for tensor in turned.graph.initializer:
        if tensor.name in ("dense.weight", "dense.bias"):
            array = numpy_helper.to_array(tensor)
            axis = array.shape.index(11)
            tensor.CopyFrom(numpy_helper.from_array(array.take(order, axis), tensor.name))
    found = compare(CLASSIFIER, turned, crops)
    top = untouched(onnx.load(CLASSIFIER), ["logits"], {"image": crops})["logits"].argmax(1)
    moved = [number for number, one in enumerate(top) if one in (0, 1)]
    assert [flip.sample for flip in found.agreement.flips] == [f"array[{number}]" for number in moved]
    names = json.loads(onnxviz.load(CLASSIFIER).metadata["classes"])
    for flip, number in zip(found.agreement.flips, moved, strict=True):
        assert flip.a[:2] == (top[number], names[top[number]])
        assert flip.b[0] == 1 - top[number]


def test_a_fixed_batch_is_filled_and_not_counted(crops) -> None:
    fixed = onnx.load(CLASSIFIER)
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    found = compare(CLASSIFIER, fixed, crops)
    assert found.samples == 6
    assert all(one.sqnr > 100 for one in found.layers)


def test_selected_layers(crops, lower) -> None:
    found = compare(CLASSIFIER, lower["QDQ"], crops, layers="conv2,4")
    assert [one.a for one in found.layers] == ["conv2", "conv5"]
    assert [one.a for one in compare(CLASSIFIER, lower["QDQ"], crops, layers="dense").layers] == ["dense"]
    assert [one.a for one in compare(CLASSIFIER, CLASSIFIER, crops, ops=["MaxPool"]).layers] == ["pool1", "pool2"]
    with pytest.raises(SelectionError, match="nothing"):
        compare(CLASSIFIER, lower["QDQ"], crops, layers="nothing")


def test_of_another_width_layers_are_listed_and_not_compared(crops) -> None:
    weights = {"w": normal(4, 3, 3, 3), "v": normal(5, 4, 3, 3, seed=2)}
    text = "g (float[n,3,96,96] image) => (y) { a = Conv (image, w) y = Conv (a, v) }"
    wide = {"w": normal(6, 3, 3, 3, seed=3), "v": normal(5, 6, 3, 3, seed=4)}
    found = compare(parsed(text, **weights), parsed(text, **wide), crops)
    for a, _, why in found.not_compared:
        assert a in ("conv_0", "a")
        assert "1x4x94x94" in why
        assert "1x6x94x94" in why


def test_what_cannot_be_fed_the_same(crops) -> None:
    other = parsed("g (float[n,3,32,32] image) => (y) { y = Conv (image, w) }", w=normal(4, 3, 3, 3))
    with pytest.raises(InputError, match=r"cannot be fed the same data: 'image' is .*96.*'image' .*32"):
        compare(CLASSIFIER, other, crops)
    with pytest.raises(ProviderError, match="no provider 'abacus'"):
        compare(CLASSIFIER, f"{CLASSIFIER}@abacus", crops)


def test_an_image_that_cannot_be_read_is_skipped_or_raised(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"nothing")
    given = [str(tmp_path / "bad.png"), str(CLASSIFIER.parent / "photos" / "dog.jpg")]
    with pytest.raises(InputError):
        compare(CLASSIFIER, CLASSIFIER, given)
    found = compare(CLASSIFIER, CLASSIFIER, given, errors="skip")
    assert [label for label, _ in found.failed] == ["bad.png"]
    assert found.samples == 1


def test_a_convolution_that_rounding_rectifies_has_no_output_of_its_own(lower, crops) -> None:
    """Before its ReLU, A's convolution has values below zero; B's, whose quantiser left the ReLU out, has none."""
    found = compare(CLASSIFIER, lower["QOperator"], crops, at="conv")
    assert found.not_compared
    assert all("cuts" in why for _, _, why in found.not_compared)
    assert not {"conv1", "conv5"} & {one.a for one in found.layers}


def test_a_layer_behind_the_scores_is_held_against_the_output(tmp_path) -> None:
    """U-Net's last convolution is read behind its sigmoid, and the scores are before it."""
    photo = np.asarray(photo_crops(2, 64, 5), np.float32).transpose(0, 3, 1, 2) / 255
    lower = quantise(UNET, tmp_path / "q.onnx", list(photo[:, None]))
    found = compare(UNET, lower, photo)
    head = next(one for one in found.layers if one.a == "head")
    assert head.tensors[0] == "mask"
    assert np.isfinite(head.alone.output_sqnr)
    assert head.alone.output_sqnr == pytest.approx(head.alone.sqnr)


def test_outputs_without_axes() -> None:
    """A mean over everything, such as an auxiliary loss: a number alone, which is one channel."""
    text = "g (float[n,2,5,4] x) => (float m, float[n,3,5,4] y) { y = Conv (x, w) m = ReduceMean<keepdims=0> (y) }"
    models = [parsed(text, w=normal(3, 2, 1, 1, seed=seed)) for seed in (1, 2)]
    x = normal(6, 2, 5, 4, seed=3)
    found = compare(*models, x)
    a, b = ([untouched(one, ["m"], {"x": row[None]})["m"] for row in x] for one in models)
    mean = next(one for one in found.outputs if one.a == "m")
    assert mean.channels == 1
    assert mean.sqnr == pytest.approx(decibels(np.array(a, np.float64), np.array(b, np.float64)), rel=1e-6)
    assert mean.max_abs_diff == pytest.approx(max(abs(x - y) for x, y in zip(a, b, strict=True)), rel=1e-6)


def test_an_output_that_is_stored_as_integers_is_read_as_real_numbers() -> None:
    """A model that ends in a QuantizeLinear gives uint8: not 128 beside 0.0, and classes part by scores, not steps."""
    head = "{ c = Conv (x, w) p = GlobalAveragePool (c) y = Flatten (p) }"
    plain = parsed(f"g (float[n,3,8,8] x) => (float[n,4] y) {head}", w=normal(4, 3, 3, 3))
    step, zero = np.float32(0.05), np.uint8(100)
    stored = parsed(
        f"g (float[n,3,8,8] x) => (uint8[n,4] y) {head.replace('y =', 'f =')[:-1]} y = QuantizeLinear (f, s, z) }}",
        w=normal(4, 3, 3, 3) + 0.2 * normal(4, 3, 3, 3, seed=2), s=step, z=zero,
    )  # fmt: skip
    x = normal(40, 3, 8, 8, seed=3)
    found = compare(plain, stored, x)
    a, b = (np.concatenate([untouched(one, ["y"], {"x": row[None]})["y"] for row in x]) for one in (plain, stored))
    assert b.dtype == np.uint8
    numbers = (b.astype(np.float64) - int(zero)) * float(step)
    (output,) = found.outputs
    assert output.sqnr == pytest.approx(decibels(a.astype(np.float64), numbers), rel=1e-6)
    assert output.rmse_over_scale == pytest.approx(np.sqrt(((numbers - a) ** 2).mean()) / step, rel=1e-6)
    assert found.agreement.agreeing == (a.argmax(1) == b.argmax(1)).sum() < 40
    flip = found.agreement.flips[0]
    scores = np.sort(numbers[int(flip.sample[6:-1])])
    assert flip.b[2] == pytest.approx(scores[-1] - scores[-2], abs=1e-6)


def test_models_without_layers_that_have_weights() -> None:
    """Nothing to match; their outputs are compared."""
    one = parsed("g (float[n,2,5,4] x) => (float[n,2,5,4] y) { y = Relu (x) }")
    other = parsed("g (float[n,2,5,4] x) => (float[n,2,5,4] y) { y = LeakyRelu (x) }")
    x = normal(3, 2, 5, 4)
    found = compare(one, other, x)
    assert found.layers == ()
    assert found.outputs[0].max_abs_diff == pytest.approx(0.01 * -x.min(), rel=1e-5)
