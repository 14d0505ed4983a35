"""Filters that are silent, and what `maximize` refuses."""

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from protos import normal, parsed
from small_classifier import STILL, edited, small, with_weight

import onnxviz
from onnxviz.errors import InputError, SelectionError, UnsupportedGradientError
from onnxviz.gradients.leaky_relu import cut_of
from onnxviz.gradients.table import RULES
from onnxviz.maximization.maximize import maximize
from onnxviz.maximization.objectives import Neuron
from onnxviz.maximization.penalties import Diversity


def test_a_filter_that_a_grey_picture_does_not_reach_is_woken():
    """A Relu that gives nothing has no slope; the leak takes the picture to where it gives something."""
    sleepy = with_weight("block1_conv2/bias", lambda bias: bias - 0.3)
    model = onnxviz.load(sleepy)
    silent = maximize(model, "block1_conv2", filters=list(range(8)), steps=60, leak=0.0, transforms="none")
    woken = maximize(model, "block1_conv2", filters=list(range(8)), steps=60, transforms="none")
    assert (silent.before == 0).any()
    assert silent.dead.sum() > woken.dead.sum()
    assert (woken.after[silent.dead] > 0).any()
    assert woken.after.sum() > silent.after.sum()


def test_a_dead_filter_is_said_to_be_dead():
    dead = with_weight("block1_conv2/kernel", lambda kernel: kernel * (np.arange(8) != 3)[:, None, None, None])
    found = maximize(dead, "block1_conv2", filters=[2, 3], steps=8)
    assert found.dead.tolist() == [False, bool(found.after[1] == found.before[1])]
    assert any("block1_conv2 3 is dead" in warning for warning in found.warnings)
    alone = maximize(dead, "block1_conv2", filters=3, steps=30)
    assert alone.dead.tolist() == [True]
    np.testing.assert_array_equal(alone.trace[0], alone.before[0])


@pytest.mark.parametrize("operator", ["Relu", "Clip"])
def test_a_leak_is_in_the_gradient_alone(operator):
    """Values stay; where the activation cuts, the slope is the leak's; elsewhere it is the true one."""
    from onnxviz.gradients.add_gradient import add_gradient
    from onnxviz.gradients.leaky_relu import leaky

    bounds = [numpy_helper.from_array(np.array(b, np.float32), n) for b, n in ((-0.5, "lo"), (0.7, "hi"))]
    inputs = ["c3"] if operator == "Relu" else ["c3", "lo", "hi"]
    proto = edited(helper.make_node(operator, inputs, ["r3"]), weights=bounds, drop=4, output="r3")
    model = onnxviz.load(proto)
    cut = cut_of(model, "r3")
    assert (cut.before, cut.low) == ("c3", 0.0 if operator == "Relu" else -0.5)
    x = np.random.default_rng(0).standard_normal((2, 3, 16, 12)).astype(np.float32)
    shapes = {"image": x.shape}
    true = add_gradient(model, "r3", "image", shapes=shapes).session()
    inner = add_gradient(model, "c3", "image", shapes=shapes)
    made = leaky(inner, cut)
    session = made.gradient.session()
    seed = np.random.default_rng(1).standard_normal(inner.shapes["c3"]).astype(np.float32)
    exact = true.run({"image": x}, seed)
    plain = session.run({"image": x, **made.feed(np.zeros(2))}, seed)
    np.testing.assert_array_equal(plain.value, exact.value)
    np.testing.assert_allclose(plain.gradients["image"], exact.gradients["image"], atol=1e-6)
    c3 = inner.session().value({"image": x})
    below = inner.session().run({"image": x}, seed * (c3 <= cut.low)).gradients["image"]
    leaking = session.run({"image": x, **made.feed(np.array([0.25, 0]))}, seed).gradients["image"]
    np.testing.assert_allclose(leaking[0], exact.gradients["image"][0] + 0.25 * below[0], atol=1e-5)
    np.testing.assert_allclose(leaking[1], exact.gradients["image"][1], atol=1e-6)


def test_what_does_not_cut_does_not_leak():
    assert cut_of(small(), "c1") is None
    assert cut_of(small(), "r1").before == "c1"
    capped = edited(helper.make_node("Clip", ["logits", "", "most"], ["z"]), weights=[], output="z")
    capped.graph.initializer.append(numpy_helper.from_array(np.float32(3), "most"))
    assert cut_of(onnxviz.load(capped), "z") is None


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (["conv9"], {}, SelectionError, "'conv9'.*block1_conv1, block1_conv2, block2_conv1"),
        (["block1_conv2"], {"filters": 8}, SelectionError, "no filter 8; it has 8 filters, 0 to 7"),
        (["block1_conv2"], {"filters": -1}, SelectionError, "no filter -1"),
        (["block1_conv2"], {"filters": []}, SelectionError, "no number"),
        ([], {"class_": 5}, SelectionError, "no class 5; it has 5 classes, 0 to 4"),
        ([], {}, SelectionError, "nothing to maximise"),
        ([0], {"steps": 0}, InputError, "steps is 1 or more, not 0"),
        ([0], {"random": 0}, SelectionError, "0 filters"),
        ([0], {"rate": 0}, InputError, "rate of 0"),
        ([0], {"leak": 2}, InputError, "leak is 0 to 1, not 2"),
        ([0], {"seed": -1}, InputError, "seed.*-1"),
        ([0], {"jitter": -2}, InputError, "jitter of -2"),
        ([0], {"param": "wavelet"}, InputError, "'wavelet'.*fourier, pixel"),
        ([0], {"transforms": "wild"}, InputError, "'wild'.*standard, jitter, none"),
        ([0], {"at": "nowhere"}, InputError, "'nowhere'.*activation, conv"),
        ([0], {"size": (8, 8)}, InputError, "16x12, not of 8x8"),
        ([0], {"variants": 0}, InputError, "variants is 1 or more"),
        ([Diversity("block1_conv1")], {}, InputError, "excites nothing"),
        ([Neuron("block1_conv1", 0, (99, 0))], {"steps": 1}, SelectionError, r"\(99, 0\).*16x12"),
    ],
)
def test_what_cannot_be_done_is_said(arguments, options, error, message):
    with pytest.raises(error, match=message):
        maximize(small(), *arguments, **options)


def test_whole_numbers_that_no_cast_makes_real_are_refused_with_the_part_that_can_be_climbed(tmp_path):
    proto = parsed(
        """net (uint8["n", 3, 8, 8] x) => (float["n", 4, 6, 6] y) {
             f = DequantizeLinear (x, scale, zero)
             c = Conv (f, w)
             y = Relu (c)
           }""",
        scale=np.float32(0.1), zero=np.uint8(3), w=normal(4, 3, 3, 3),
    )  # fmt: skip
    with pytest.raises(InputError, match=r"which no Cast alone makes real, .*extract\(model, layer, from_="):
        maximize(proto, 0)
    model = onnxviz.load(proto)
    part = onnxviz.extract(model, model.layers[0].name, from_=model.layers[0].name)
    assert maximize(part, 0, filters=0, steps=2).after.size == 1


def test_a_target_without_gradient_is_refused_before_anything_runs():
    top = edited(helper.make_node("Cast", ["logits"], ["whole"], to=TensorProto.INT64), output="whole")
    top.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    with pytest.raises(UnsupportedGradientError, match="holds int64"):
        maximize(top, class_=0)


def test_a_size_that_the_network_cannot_take_is_named():
    proto = edited(drop=3)
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"]))
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((1, 4, 8, 6), np.float32), "mask"))
    proto.graph.node.extend(
        [helper.make_node("Mul", ["r3", "mask"], ["m"]), helper.make_node("Conv", ["m", "last"], ["y"])]
    )
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((1, 4, 1, 1), np.float32), "last"))
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))
    assert maximize(proto, -1, filters=0, steps=1, size=(16, 12)).images.shape == (1, 16, 12, 3)
    with pytest.raises(onnxviz.OnnxvizError, match="20x20"):
        maximize(proto, -1, filters=0, steps=1, size=(20, 20))


def test_values_that_are_not_finite_are_said_with_the_step():
    broken = with_weight("block1_conv2/kernel", lambda kernel: kernel * np.float32(np.inf))
    with pytest.raises(InputError, match="not finite"):
        maximize(broken, "block2_conv1", filters=0, steps=3)
    node = helper.make_node
    rooted = edited(
        node("Sub", ["logits", "logits"], ["nil"]),
        node("Sqrt", ["nil"], ["root"]),
        node("Add", ["root", "logits"], ["z"]),
        output="z",
    )
    with pytest.raises(InputError, match=r"step 1 .*Sqrt"):
        maximize(rooted, class_=0, steps=3)


def test_a_wrong_gradient_is_told(monkeypatch):
    """It is held against the model's own slope before the first step."""
    rule = RULES["", "Conv"]
    assert not maximize(small(), 1, filters=[1, 2], steps=1, **STILL).warnings
    monkeypatch.setitem(RULES, ("", "Conv"), replace(rule, apply=lambda step: rule.apply(step) * 1.3))
    (warning,) = maximize(small(), 1, filters=[1, 2], steps=1, **STILL).warnings
    assert "69% off the model's own slope" in warning


def test_jitter_beyond_the_picture_is_refused():
    with pytest.raises(InputError, match="a jitter of 17 pixels moves pictures of 16x12 out of sight"):
        maximize(small(), 1, filters=1, jitter=17)


def test_of_two_pictures_one_may_be_given():
    def picture(name):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, 8, 8])

    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Add", ["x", "y"], ["s"]), helper.make_node("Conv", ["s", "w"], ["z"], name="c")]
    output = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 4, 6, 6])
    graph = helper.make_graph(
        nodes, "g", [picture("x"), picture("y")], [output], [numpy_helper.from_array(weight, "w")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    with pytest.raises(InputError, match=r"give all but one: fixed=\{'y': array\}"):
        maximize(model, 0, filters=0, steps=2)
    found = maximize(model, 0, filters=0, steps=2, fixed={"y": np.zeros((1, 3, 8, 8), np.float32)}, preprocess="unit")
    assert found.images.shape == (1, 8, 8, 3)
