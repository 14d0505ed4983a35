"""`onnxviz.maximize` as a person uses it: what comes back, what it promises, what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from matplotlib.figure import Figure
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from protos import classifier_proto, two_inputs_proto

import onnxviz
from onnxviz import cli
from onnxviz.errors import InputError, SelectionError, UnsupportedGradientError
from onnxviz.gradients.leaky_relu import cut_of
from onnxviz.gradients.table import RULES
from onnxviz.maximization.maximize import Progress, maximize
from onnxviz.maximization.objectives import Class, Direction, Filter, Neuron
from onnxviz.maximization.penalties import Diversity, Norm, TotalVariation
from onnxviz.maximization.transforms import Jitter
from onnxviz.output.synthetic import file_names, sheet_figure

SAMPLE = Path(__file__).resolve().parents[2] / "models" / "classifier.onnx"
STILL = {"transforms": "none", "leak": 0.0}


def small(**options):
    """`classifier_proto` opened: 6, 8 and 4 filters, 5 classes, images of 16x12."""
    return onnxviz.load(classifier_proto(**options))


def edited(*nodes, weights=(), output=None, drop=0):
    """`classifier_proto` with other nodes at the end."""
    proto = classifier_proto()
    if drop:
        del proto.graph.node[-drop:]
    proto.graph.node.extend(nodes)
    proto.graph.initializer.extend(weights)
    if output is not None:
        del proto.graph.output[:]
        proto.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    return proto


def with_weight(name, change):
    """`classifier_proto` with one of its weights changed."""
    proto = classifier_proto()
    for tensor in proto.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), name))
    return proto


def activation_of(model, layer, images):
    """What capture sees of a layer: (N, C, spatial…)."""
    return onnxviz.capture(model, (images.transpose(0, 3, 1, 2)), layers=layer)[layer]


# --- what comes back ----------------------------------------------------------------------------------------------


def test_the_result_says_what_it_is():
    found = maximize(small(), "block1_conv2", filters=[5, 0], steps=6, seed=3)
    assert found.images.shape == (2, 16, 12, 3)
    assert found.images.dtype == np.float32
    assert 0 <= found.images.min() < found.images.max() <= 1
    assert [(target.layer, target.filter, str(target)) for target in found.targets] == [
        ("block1_conv2", 5, "block1_conv2 5"),
        ("block1_conv2", 0, "block1_conv2 0"),
    ]
    assert found.trace.shape == (2, 6)
    assert repr(found) == "SyntheticInputs(2 of 16x12x3, 'the model')"
    assert len(found) == 2
    for array in (found.images, found.before, found.after, found.trace, found.best_step, found.dead):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(AttributeError):
        found.images = None


def test_activations_are_those_of_the_pictures():
    """Before and after are what any run of the model on the pictures gives, neither moved about."""
    model = small()
    found = maximize(model, ["block1_conv2", 2], filters=[1, 3], steps=8)
    assert [target.layer for target in found.targets] == ["block1_conv2"] * 2 + ["block2_conv1"] * 2
    for image, target, after in zip(found.images, found.targets, found.after, strict=True):
        seen = activation_of(model, target.layer, image[None])[0, target.filter].mean()
        assert after == pytest.approx(seen, rel=1e-4)


def test_the_first_of_the_trace_is_the_start_where_nothing_moves():
    found = maximize(small(), 1, filters=2, steps=3, **STILL)
    assert found.trace[0, 0] == pytest.approx(found.before[0], rel=1e-5)
    assert found.best_step[0] == 3
    assert found.after[0] > found.trace[0, -1]


def test_the_best_picture_is_kept():
    """With a rate that overshoots, the last picture is not the best."""
    found = maximize(small(), 1, filters=list(range(8)), steps=40, rate=30.0, seed=1, **STILL)
    np.testing.assert_allclose(found.after, np.maximum(found.trace.max(axis=1), found.after), rtol=1e-6)
    assert (found.best_step < 40).any()


def test_same_seed_same_pictures_whatever_else_is_asked_for():
    model = small()
    both = maximize(model, 1, filters=[4, 6], steps=5, seed=1)
    again = maximize(model, 1, filters=[4, 6], steps=5, seed=1)
    np.testing.assert_array_equal(both.images, again.images)
    alone = maximize(model, 1, filters=6, steps=5, seed=1)
    np.testing.assert_allclose(alone.images[0], both.images[1], atol=2e-4)
    other = maximize(model, 1, filters=6, steps=5, seed=2)
    assert np.abs(other.images - alone.images).max() > 1e-3


@pytest.mark.parametrize("batch", ["batch", 1, 2])
def test_batches_do_not_show(batch):
    """One batch, batches of what fits, or what the model insists on: the same pictures."""
    whole = maximize(small(), 1, filters=[0, 1, 2, 3, 4], steps=4)
    dealt = maximize(small(batch=batch), 1, filters=[0, 1, 2, 3, 4], steps=4, memory=100_000)
    assert len(dealt) == 5
    np.testing.assert_allclose(dealt.images, whole.images, atol=2e-4)
    np.testing.assert_allclose(dealt.after, whole.after, rtol=1e-3)


def test_a_model_that_takes_one_picture_and_says_any():
    """A Reshape with the 1 written in, as careless exports have it."""
    shape = numpy_helper.from_array(np.array([1, -1, 8, 6], np.int64), "shape")
    proto = classifier_proto()
    proto.graph.initializer.append(shape)
    proto.graph.node.insert(5, helper.make_node("Reshape", ["p1", "shape"], ["fixed"]))
    proto.graph.node[6].input[0] = "fixed"
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info("r3", TensorProto.FLOAT, None))
    found = maximize(proto, "block2_conv1", filters=[0, 1, 2], steps=3)
    assert found.images.shape == (3, 16, 12, 3)


def test_random_filters_are_drawn_by_the_seed():
    model = small()
    drawn = [t.filter for t in maximize(model, 0, random=3, steps=1, seed=5).targets]
    assert len(set(drawn)) == 3
    assert drawn == sorted(drawn)
    assert drawn == [t.filter for t in maximize(model, 0, random=3, steps=1, seed=5).targets]
    assert [t.filter for t in maximize(model, "block2_conv1", steps=1).targets] == [0, 1, 2, 3]  # there are but 4


def test_classes_by_their_scores_and_names():
    model = small().with_metadata({"classes": json.dumps(["ant", "bee", "cat", "dog", "eel"])})
    softmaxed = edited(helper.make_node("Softmax", ["logits"], ["p"]), output="p")
    found = maximize(model, class_=[2], steps=5, **STILL)
    assert [(t.class_, t.name, t.label) for t in found.targets] == [(2, "cat", "2 cat")]
    same = maximize(softmaxed, class_=2, steps=5, **STILL)
    np.testing.assert_allclose(same.images, found.images, atol=1e-4)
    np.testing.assert_allclose(same.after, found.after, rtol=1e-3)


def test_any_objective():
    vector = (1.0, 0.0, -1.0, 0.5)
    wanted = [
        Neuron("block1_conv2", 3),
        Neuron("block1_conv2", 3, (0, 1)),
        Direction("block2_conv1", vector, "dot-cosine"),
        Filter("block1_conv1", 1) + 0.5 * Filter("block2_conv1", 0),
        Class(1) - Class(0),
    ]
    found = maximize(small(), wanted, steps=10, transforms="none", plus=-0.01 * (TotalVariation() + Norm()), seed=1)
    assert (found.after > found.before).all()
    assert str(found.targets[4].objective) == "class 1 + -1 · class 0"


def test_penalties_do_what_they_say_and_are_not_counted():
    plain = maximize(small(), 1, filters=1, steps=20, param="pixel", **STILL)
    smooth = maximize(small(), 1, filters=1, steps=20, param="pixel", plus=-30 * TotalVariation(), **STILL)
    assert np.abs(np.diff(smooth.images, axis=1)).mean() < 0.5 * np.abs(np.diff(plain.images, axis=1)).mean()
    seen = activation_of(small(), "block1_conv2", smooth.images)[0, 1].mean()
    assert smooth.after[0] == pytest.approx(seen, rel=1e-4)


def test_variants_can_be_made_to_differ():
    model = small()
    options = {"filters": [0, 1], "variants": 3, "steps": 25, "seed": 1, **STILL}
    alike = maximize(model, "block2_conv1", **options)
    apart = maximize(model, "block2_conv1", plus=20 * Diversity("block1_conv2"), **options)
    assert [t.variant for t in apart.targets] == [0, 1, 2] * 2 == [t.variant for t in alike.targets]
    assert apart.images.shape == (6, 16, 12, 3)

    def resemblance(found):
        return -Diversity("block1_conv2").value(activation_of(model, "block1_conv2", found.images[:3])).sum()

    assert resemblance(apart) < resemblance(alike)


def test_at_conv_climbs_what_the_operator_makes():
    model = small()
    found = maximize(model, "block1_conv1", filters=2, at="conv", steps=10)
    seen = onnxviz.capture(model, found.images.transpose(0, 3, 1, 2), layers="block1_conv1", at="conv")
    assert found.after[0] == pytest.approx(seen["block1_conv1"][0, 2].mean(), rel=1e-4)


def test_progress_counts_every_step_of_every_picture():
    told = []
    maximize(small(), [0, 1], filters=[0, 1, 2], steps=4, memory=50_000, progress=told.append)
    assert all(isinstance(one, Progress) for one in told)
    assert [one.done for one in told] == sorted(one.done for one in told)
    assert told[-1].done == told[-1].total == 2 * 3 * 4
    assert {one.target for one in told} == {"block1_conv1", "block1_conv2"}


def test_the_model_is_not_changed():
    model = small()
    before = model.proto.SerializeToString()
    maximize(model, 1, filters=0, steps=2)
    assert model.proto.SerializeToString() == before


def test_saved_whole_with_what_made_it(tmp_path):
    found = maximize(small(), 1, filters=[1], steps=3, jitter=2, seed=9)
    path = found.save(tmp_path / "made.npz")
    with np.load(path) as archive:
        np.testing.assert_array_equal(archive["images"], found.images)
        np.testing.assert_array_equal(archive["trace"], found.trace)
    note = json.loads((tmp_path / "made.npz.manifest.json").read_text())
    assert (note["steps"], note["seed"], note["param"], note["preprocessing"]["name"]) == (3, 9, "fourier", "unit")
    assert note["transforms"][0] == {"kind": "jitter", "pixels": 2}
    assert note["pictures"][0]["filter"] == 1
    assert note["pictures"][0]["after"] == found.after[0]


# --- other inputs than colour photos ------------------------------------------------------------------------------


def network(shape, spatial):
    """One convolution and a Relu for an input (N, C, spatial…) of `shape`."""
    rng = np.random.default_rng(2)
    kernel = rng.normal(size=(4, shape[1], *[3] * spatial)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "conv.weight"], ["c"]), helper.make_node("Relu", ["c"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(kernel, "conv.weight")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize(
    ("shape", "pictures"),
    [
        (["n", 1, 12, 10], (2, 12, 10, 1)),
        (["n", 2, 12, 10], (2, 12, 10, 2)),
        (["n", 5, 12, 10], (2, 12, 10, 5)),
        (["n", 1, 40], (2, 40, 1)),
        (["n", 3, 40], (2, 40, 3)),
        (["n", 1, 8, 9, 10], (2, 8, 9, 10, 1)),
    ],
)
def test_grey_many_channels_signals_and_volumes(shape, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    proto = network(shape, len(shape) - 2)
    found = maximize(proto, "conv", filters=[0, 3], steps=40)
    assert found.images.shape == pictures
    assert (found.after > found.before).all()
    assert isinstance(sheet_figure(found), Figure)
    onnx.save(proto, "net.onnx")
    assert cli.run(["maximize", "net.onnx", "conv", "--filters", "0", "--steps", "2", "-q"]) == 0
    assert {path.name for path in Path("maximize").iterdir()} == {"conv_0.png", "sheet.png", "manifest.json"}


def test_channels_last_and_bgr(tmp_path):
    """The same network behind a Transpose and with colours turned round makes the same pictures, in RGB."""
    first = network(["n", 3, 12, 10], 2)
    last = network(["n", 3, 12, 10], 2)
    last.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 12, 10, 3]))
    last.graph.node[0].input[0] = "t"
    last.graph.node.insert(0, helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]))
    turned = numpy_helper.to_array(last.graph.initializer[0])[:, ::-1].copy()
    last.graph.initializer[0].CopyFrom(numpy_helper.from_array(turned, "conv.weight"))
    one = maximize(first, "conv", filters=[0, 1], steps=6, preprocess="scale=0.01,mean=1")
    two = maximize(last, "conv", filters=[0, 1], steps=6, preprocess="scale=0.01,mean=1,order=BGR")
    np.testing.assert_allclose(two.images, one.images, atol=1e-4)


def test_a_model_with_open_sides_takes_the_size_given():
    proto = network(["n", 3, "h", "w"], 2)
    assert maximize(proto, "conv", filters=0, steps=1, size=(20, 24)).images.shape == (1, 20, 24, 3)
    assert maximize(proto, "conv", filters=0, steps=1).images.shape == (1, 128, 128, 3)


def test_other_inputs_are_fixed(tmp_path):
    proto = two_inputs_proto()
    array = np.ones((1, 3, 4, 4), np.float32)
    with pytest.raises(InputError, match="several inputs"):
        maximize(proto, "left_conv", filters=0, steps=1)
    proto.graph.input[1].CopyFrom(helper.make_tensor_value_info("right", TensorProto.FLOAT, ["batch", 2]))
    proto.graph.node[1].CopyFrom(helper.make_node("ReduceMean", ["right", "axes"], ["r"], keepdims=1))
    proto.graph.node.insert(2, helper.make_node("Reshape", ["r", "to"], ["rr"]))
    proto.graph.node[3].input[1] = "rr"
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "axes"))
    proto.graph.initializer.append(numpy_helper.from_array(np.array([-1, 1, 1, 1], np.int64), "to"))
    with pytest.raises(InputError, match="--fixed right=PATH"):
        maximize(proto, class_=[0, 1], steps=1)
    found = maximize(proto, class_=[0, 1], steps=4, fixed={"right": array[0, 0, :1, :2]})
    assert (found.after > found.before).all()
    with pytest.raises(InputError, match=r"'left'.*cannot be fixed"):
        maximize(proto, class_=0, fixed={"left": array})


# --- what is silent -----------------------------------------------------------------------------------------------


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


# --- refusals -----------------------------------------------------------------------------------------------------


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


def test_integer_inputs_are_refused(one_conv):
    with pytest.raises(InputError, match="uint8; only float"):
        maximize(one_conv(("n", 3, 8, 8), dtype=TensorProto.UINT8), 0)


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


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def command(capsys, tmp_path, monkeypatch, classifier):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        code = cli.run(["maximize", "classifier.onnx", *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


def test_the_command_writes_a_picture_each_a_sheet_and_a_manifest(command):
    code, out, err = command(
        "block1_conv1", "block2_conv1", "--filters", "0,2", "--class", "4", "--steps", "2", "-o", "d"
    )
    assert code == 0, err
    files = ["block1_conv1_0", "block1_conv1_2", "block2_conv1_0", "block2_conv1_2", "class_4", "sheet"]
    assert out.splitlines() == [*(f"d/{name}.png" for name in files), "d/manifest.json"]
    for name in files[:-1]:
        with Image.open(f"d/{name}.png") as picture:
            assert picture.size == (12, 16)
    note = json.loads(Path("d/manifest.json").read_text())
    assert [(p["layer"], p["filter"], p["class"], p["file"]) for p in note["pictures"]][1:4:2] == [
        ("block1_conv1", 2, None, "block1_conv1_2.png"),
        ("block2_conv1", 2, None, "block2_conv1_2.png"),
    ]
    assert all(p["after"] >= p["before"] for p in note["pictures"])
    assert "assumed 'unit'" in err


def test_pictures_are_the_pixels(command):
    command("block1_conv1", "--filters", "1", "--steps", "3", "-o", "d", "--save", "d.npz", "--seed", "4")
    with np.load("d.npz") as archive, Image.open("d/block1_conv1_1.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
        np.testing.assert_array_equal(pixels, np.rint(archive["images"][0] * 255).astype(np.uint8))


def test_json_is_one_document(command):
    code, out, _ = command("0", "--random", "2", "--steps", "1", "--json", "-q")
    document = json.loads(out)
    assert code == 0
    assert document["model"] == "classifier.onnx"
    assert len(document["pictures"]) == 2
    assert document["sheet"] == "sheet.png"
    assert [Path(file).exists() for file in document["files"]] == [True] * 4


def test_only_arrays_where_only_arrays_are_wanted(command):
    code, out, _ = command("0", "--filters", "0", "--steps", "1", "--save", "only.npz")
    assert code == 0
    assert out.splitlines() == ["only.npz", "only.npz.manifest.json"]
    assert not Path("maximize").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["conv7"], "no layer is called 'conv7'"),
        (["0", "--filters", "6"], "no filter 6; it has 6 filters"),
        (["--class", "9"], "no class 9; it has 5 classes"),
        (["0", "--size", "9x9"], "16x12, not of 9x9"),
        (["0", "-o", "one.png"], "looks like a file"),
        (["0", "--fixed", "y=z.npy"], "no input called 'y'"),
        (["0", "--preprocess", "scale=1,mean=1:2"], "2 mean values for 3 channels"),
    ],
)
def test_the_command_refuses_in_one_line(command, arguments, message):
    code, out, err = command(*arguments, "--steps", "1")
    assert code == 2
    assert out == ""
    assert message in " ".join(err.split())
    assert not Path("maximize").exists()


def test_files_have_names_of_their_own():
    model = onnxviz.load(classifier_proto())
    found = maximize(model, [Filter(0, 1), Neuron(0, 1), Neuron(0, 1)], steps=1)
    names = file_names(found)
    assert len({name.lower() for name in names}) == 3
    assert names[0] == "block1_conv1_1.png"
    varied = maximize(model, 0, filters=1, variants=2, steps=1)
    assert file_names(varied) == ["block1_conv1_1_1.png", "block1_conv1_1_2.png"]


# --- pictures -----------------------------------------------------------------------------------------------------


def high_frequencies(images):
    """Share of the power above a quarter of a cycle per pixel, the mean left out."""
    power = np.abs(np.fft.fft2(images - images.mean(axis=(1, 2), keepdims=True), axes=(1, 2))) ** 2
    down, across = np.fft.fftfreq(images.shape[1])[:, None], np.fft.fftfreq(images.shape[2])
    return power[:, np.hypot(down, across) > 0.25].sum() / power.sum()


def test_pictures_of_a_trained_network_excite_it_and_are_no_noise():
    """On the sample classifier: far above the start, random images and the photo, and smoother than from pixels."""
    options = {"filters": [5, 63, 78], "steps": 64, "threads": 1}
    made = maximize(SAMPLE, "conv5", **options)
    from_pixels = maximize(SAMPLE, "conv5", param="pixel", transforms="none", **options)
    model = onnxviz.load(SAMPLE)
    noise = np.random.default_rng(0).random((8, 96, 96, 3), np.float32) * 2 - 1
    usual = activation_of(model, "conv5", noise)[:, options["filters"]].mean(axis=(2, 3))
    assert (made.after > made.before + 1).all()
    assert (made.after > usual.mean(axis=0) + 3 * usual.std(axis=0)).all()
    assert high_frequencies(made.images) < 0.5 * high_frequencies(from_pixels.images)


def test_movement_makes_pictures_that_hold_when_moved():
    """Moved about by a few pixels, they keep more of their activation than those made without."""
    options = {"class_": [2, 8], "steps": 48, "threads": 1}
    kept = []
    for transforms in ("none", [Jitter(7)]):
        found = maximize(SAMPLE, transforms=transforms, **options)
        model = onnxviz.load(SAMPLE)
        moved = [np.roll(found.images, step, (1, 2)) * 2 - 1 for step in ((3, 2), (-4, 5), (6, -3))]
        run = [onnxviz.capture(model, x.transpose(0, 3, 1, 2), layers="conv5")["conv5"].mean() for x in moved]
        still = onnxviz.capture(model, found.images.transpose(0, 3, 1, 2) * 2 - 1, layers="conv5")["conv5"].mean()
        kept.append(np.mean(run) / still)
    assert kept[1] > kept[0] - 0.05


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
    with pytest.raises(InputError, match="give all but one: --fixed y=PATH"):
        maximize(model, 0, filters=0, steps=2)
    found = maximize(model, 0, filters=0, steps=2, fixed={"y": np.zeros((1, 3, 8, 8), np.float32)}, preprocess="unit")
    assert found.images.shape == (1, 8, 8, 3)
