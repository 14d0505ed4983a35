"""Batches, sizes and what training left behind: planted in the sample models, and found by running them."""

from __future__ import annotations

import numpy as np
import pytest
import zoo
from onnx import helper, numpy_helper
from planted import MODELS, audited, found, node, sample
from protos import normal, parsed

OWN = "G07,G09,G10"


@pytest.mark.parametrize(("name", "expected"), [("classifier", []), ("unet", [("G09", "note")])])
def test_the_sample_models(name, expected):
    audit = audited(MODELS / f"{name}.onnx", OWN)
    assert [(one.code, one.severity.value) for one in audit.findings] == expected
    assert not audit.not_run


@pytest.mark.parametrize("name", zoo.NAMES)
def test_the_zoo_has_no_error(name):
    assert not [severity for _, severity in found(zoo.model(name), OWN) if severity == "error"]


# ---------------------------------------------------------------- G07


def stored(model, **arrays):
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    return model


def reshaped(*shape):
    """The classifier with its Flatten written as a Reshape to these sizes."""
    model = stored(sample(), sizes=np.array(shape, np.int64))
    node(model, "Flatten").CopyFrom(helper.make_node("Reshape", ["average", "sizes"], ["flatten"], name="flatten"))
    return model


@pytest.mark.parametrize("shape", [(1, 128), (1, -1), (2, 128)])
def test_a_reshape_to_a_fixed_batch(shape):
    audit = audited(reshaped(*shape), "G07")
    if shape == (2, 128):  # even one sample fails: G09 says so
        assert "see G09" in audit.not_run[0].why
        return
    (one,) = audit.findings
    assert (one.code, one.severity.value) == ("G07", "error")
    assert "declared open" in one.message


@pytest.mark.parametrize("shape", [(-1, 128), (0, 128), (0, -1)])
def test_a_reshape_that_keeps_the_batch(shape):
    assert found(reshaped(*shape), OWN) == []


def test_samples_that_are_merged():
    model = parsed(
        "g (float[n,2,4,4] x) => (float[1,m] y) { y = Reshape (x, sizes) }", sizes=np.array([1, -1], np.int64)
    )
    (one,) = audited(model, "G07").findings
    assert "merged" in one.message
    assert "1x96" in one.message


def coupled(strength):
    """The classifier whose logits hold so much of the mean over the batch of their difference from the first sample."""
    model = stored(sample(), strength=np.float32(strength).reshape(1), axes=np.array([0], np.int64))
    node(model, "Gemm").output[0] = "own"
    model.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["own", "axes"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["mean", "own"], ["away"]),
            helper.make_node("Mul", ["away", "strength"], ["weak"]),
            helper.make_node("Add", ["own", "weak"], ["logits"]),
        ]
    )
    return model


def moved(strength):
    """What the check measures, in numpy, of the untouched model's logits on the check's noise."""
    import onnxruntime

    from onnxviz.inputs.noise import noise_samples
    from onnxviz.inputs.samples import ImageOptions
    from onnxviz.model.model import load

    model = load(MODELS / "classifier.onnx")
    session = onnxruntime.InferenceSession(sample().SerializeToString(), providers=["CPUExecutionProvider"])
    rows = [session.run(None, s.read())[0][0] for s in noise_samples(model, ImageOptions.of(model), 3)]
    mean = np.mean(rows, 0)
    return max(np.abs(strength * (mean - row)).max() / np.ptp(row) for row in rows)


@pytest.mark.parametrize("factor", [1.02, 5, 50])
def test_samples_that_see_each_other(factor):
    strength = factor * 0.01 / moved(1.0)
    (one,) = audited(coupled(strength), OWN).findings
    assert (one.code, one.severity.value, one.where) == ("G07", "error", "logits")
    assert one.value == pytest.approx(factor * 0.01, rel=1e-2)


def test_samples_that_hardly_see_each_other():
    assert found(coupled(0.98 * 0.01 / moved(1.0)), OWN) == []


def test_a_fixed_batch_has_nothing_to_compare():
    model = sample()
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    audit = audited(model, "G07")
    assert audit.not_run[0].why == "the batch is fixed at 4"


@pytest.mark.parametrize(("power", "expected"), [(40.0, [("G07", "note")]), (0.1, [])])
def test_scales_of_the_whole_batch_are_a_note(power, expected):
    """Samples whose ranges differ much share the scale that DynamicQuantizeLinear takes from the batch."""
    model = parsed(
        "g (float[n,1,4,4] x) => (float[n,1,4,4] y) { m = ReduceMean <keepdims=1> (x, axes) p = Mul (m, power)"
        " e = Exp (p) w = Mul (x, e) q, s, z = DynamicQuantizeLinear (w) y = DequantizeLinear (q, s, z) }",
        axes=np.array([1, 2, 3]), power=np.float32(power),
    )  # fmt: skip
    assert found(model, "G07") == expected


# ---------------------------------------------------------------- G09


def strided(levels):
    """Down `levels` times by 2 and up again, joined with the input: takes multiples of 2 ** levels."""
    body, last = "", "x"
    for level in range(levels):
        body += f"d{level} = MaxPool <kernel_shape=[2,2], strides=[2,2]> ({last}) "
        last = f"d{level}"
    scales = np.array([1, 1, 2**levels, 2**levels], np.float32)
    return parsed(
        f"g (float[n,3,h,w] x) => (float[n,3,h,w] y) {{ {body} u = Resize <mode=\"nearest\"> ({last}, , scales) "
        "y = Add (x, u) }",
        scales=scales,
    )  # fmt: skip


@pytest.mark.parametrize("levels", [1, 3, 5])
def test_sizes_that_are_refused(levels):
    (one,) = audited(strided(levels), OWN).findings
    assert (one.code, one.severity.value, one.value) == ("G09", "note", 2**levels)
    assert f"multiples of {2**levels}" in one.message


def test_sizes_that_are_all_taken():
    model = parsed("g (float[n,3,h,w] x) => (float[n,4,a,b] y) { y = Conv (x, k) }", k=normal(4, 3, 3, 3))
    assert audited(model, OWN).passed == ("G07", "G09", "G10")


def test_one_size_alone():
    """Exported at 224 and declared open: the dense layer takes nothing else."""
    model = parsed(
        "g (float[n,3,h,w] x) => (float[n,2] y) { p = MaxPool <kernel_shape=[28,28], strides=[28,28]> (x)"
        " f = Flatten (p) y = MatMul (f, m) }",
        m=normal(192, 2),
    )
    (one,) = audited(model, OWN).findings
    assert (one.code, one.severity.value, one.value) == ("G09", "note", 224)
    assert "256x256 is refused; 224x224 runs" in one.message


def test_the_declared_size_fails():
    for shape in ((2, 128), (5, 128), (8, -1)):
        assert found(reshaped(*shape), "G09") == [("G09", "error")]
    assert found(reshaped(1, -1), "G09") == []


def test_a_size_that_was_given_is_the_one_that_is_tried():
    assert audited(MODELS / "unet.onnx", "G09", size=(64, 72)).passed == ("G09",)
    assert found(MODELS / "unet.onnx", "G09", size=(64, 70)) == [("G09", "error")]


# ---------------------------------------------------------------- G10


def training_norm(count):
    """The classifier with so many batch normalisations left in training mode, as the specification has them."""
    model = sample()
    for number in range(count):
        one = node(model, "BatchNormalization", number)
        one.attribute.append(helper.make_attribute("training_mode", 1))
        one.output.extend([f"mean{number}", f"variance{number}"])
    return model


@pytest.mark.parametrize("count", [1, 2, 5])
def test_batch_normalisations_in_training_mode(count):
    findings = audited(training_norm(count), "G").findings
    assert [(one.code, one.severity.value) for one in findings] == [("G10", "error")]
    assert f"{count} x batch normalisation" in findings[0].message


def dropout(ratio, training):
    model = stored(sample(), ratio=np.float32(ratio), training=np.bool_(training))
    node(model, "Gemm").input[0] = "dropped"
    place = [one.op_type for one in model.graph.node].index("Gemm")
    model.graph.node.insert(
        place, helper.make_node("Dropout", ["flatten", "ratio", "training"], ["dropped"], name="drop")
    )
    return model


@pytest.mark.parametrize("ratio", [0.01, 0.1, 0.5])
def test_a_live_dropout(ratio):
    (one,) = audited(dropout(ratio, True), OWN).findings
    assert one.code == "G10"
    assert "1 x dropout ('drop')" in one.message


@pytest.mark.parametrize(("ratio", "training"), [(0.5, False), (0.0, True)])
def test_a_dropout_that_drops_nothing(ratio, training):
    assert found(dropout(ratio, training), OWN) == []


def drawing(share):
    """The classifier with noise on its logits."""
    model = stored(sample(), share=np.float32(share).reshape(1))
    node(model, "Gemm").output[0] = "own"
    model.graph.node.extend(
        [
            helper.make_node("RandomNormalLike", ["own"], ["noise"], name="draw"),
            helper.make_node("Mul", ["noise", "share"], ["weak"]),
            helper.make_node("Add", ["own", "weak"], ["logits"]),
        ]
    )
    return model


@pytest.mark.parametrize("share", [0.0, 0.1, 10])
def test_random_numbers_are_a_warning(share):
    (one,) = audited(drawing(share), OWN).findings
    assert (one.code, one.severity.value, one.where) == ("G10", "warning", "draw")
    assert ("a repetition moves it" in one.message) == (share > 0)


def test_random_numbers_that_nothing_depends_on():
    model = drawing(0.1)
    node(model, "Add").input[1] = "own"
    assert found(model, OWN) == []


@pytest.mark.parametrize("outputs", [[], ["unread"]])
def test_random_numbers_that_nothing_in_their_branch_depends_on(outputs):
    """Such a node may make nothing at all."""
    model = parsed(
        "g (bool c, float[1,2] x) => (float[1,2] y) { y = If (c) <"
        "then_branch = t () => (float[1,2] a) { a = Relu (x) }, "
        "else_branch = e () => (float[1,2] d) { d = Identity (x) }> }"
    )
    branch = model.graph.node[0].attribute[0].g
    branch.node.append(helper.make_node("RandomNormal", [], outputs, shape=[1]))
    assert found(model, "G10") == []
    branch.node.extend(
        [helper.make_node("RandomNormalLike", ["x"], ["noise"]), helper.make_node("Add", ["a", "noise"], ["b"])]
    )
    branch.output[0].name = "b"
    assert found(model, "G10") == [("G10", "warning")]


def test_before_opset_14_further_outputs_are_training():
    text = "g (float[n,2,4,4] x) => (float[n,2,4,4] y) {{ y{} = BatchNormalization (x, s, b, m, v) }}"
    weights = {"s": normal(2), "b": normal(2), "m": normal(2), "v": np.abs(normal(2)) + 1}
    for outputs, expected in (("", []), (", om, ov, sm, sv", ["G10"])):
        model = parsed(text.format(outputs), opset=9, **weights)
        assert [code for code, _ in found(model, "G10")] == expected
