"""The range of an input, derived from the graph: every case is run untouched and compared with what it was trained on.

A case is arithmetic in front of a convolution, and the values that the convolution has been trained on, in closed form.
The oracle: onnxruntime runs the arithmetic on a photo that is prepared as the range says, and must give those values.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
import zoo
from cases_input_range import CAFFE, CASES, IMAGENET, LEARNT, PHOTO, RNG, SILENT, SPREAD, column, graph
from onnx import TensorProto, helper, numpy_helper
from oracles import untouched

from onnxviz import load
from onnxviz.inputs.preprocessing import NAMED, Preprocessing
from onnxviz.model.pixels.input_range import NAMED_RANGES, InputRange, range_words

SAMPLES = sorted((Path(__file__).resolve().parents[2] / "models").glob("*.onnx"))


def seen(proto, found: InputRange | Preprocessing, photo=PHOTO):
    """What the convolution is fed, (N, C, H, W), for a photo that is prepared as the range says."""
    how = found if isinstance(found, Preprocessing) else Preprocessing.expected(found)
    port = load(proto).inputs[0]
    values = how.apply(photo)[None]
    values = values if port.layout == "NHWC" else values.transpose(0, 3, 1, 2)
    return untouched(proto, ["z"], {"x": values.astype(port.dtype)})["z"]


@pytest.mark.parametrize("case", CASES)
def test_the_range_gives_the_network_what_it_was_trained_on(case):
    text, trained, words, options = CASES[case]
    proto = graph(text, **options)
    found = load(proto).expected_range
    assert found is not None
    assert (found.words, found.order_is_open) == (words, False), found
    np.testing.assert_allclose(
        seen(proto, found)[0].transpose(1, 2, 0), trained, rtol=1e-4, atol=1e-3 * np.abs(trained).max()
    )
    assert found.why.startswith(("the model ", "its first batch "))


def test_constants_aligned_by_an_axis_as_before_operator_set_7():
    """onnxruntime has no such kernels any more; the specification of Sub 6 says how they meet."""
    text = "t = Sub <axis=1, broadcast=1> (x, m) z = Div <broadcast=1> (t, d)"
    found = load(graph(text, m=CAFFE[::-1], d=np.array([58.8]), opset=6)).expected_range
    assert found is not None
    assert (found.words, found.why) == ("raw", "the model subtracts 123.7, 116.8, 103.9 and divides by 58.8 itself")


def test_grey_pictures():
    grey = PHOTO[..., :1]
    mnist = ({"m": 0.1307, "s": 0.3081}, "t = Sub (x, m) z = Div (t, s)", (grey / 255 - 0.1307) / 0.3081, "unit")
    raw = ({"a": 255.0}, "z = Div (x, a)", grey / 255, "raw")
    three = {"e": np.array([1, 3, 1, 1]), "m": column(IMAGENET), "s": column(SPREAD), "kernel": 3}
    expanded = (three, "e1 = Expand (x, e) t = Sub (e1, m) z = Div (t, s)", (grey / 255 - IMAGENET) / SPREAD, "unit")
    joined = (three, "e1 = Concat <axis=1> (x, x, x) t = Sub (e1, m) z = Div (t, s)", expanded[2], "unit")
    met = (three, "t = Sub (x, m) z = Div (t, s)", expanded[2], "unit")
    for options, text, trained, words in (mnist, raw, expanded, joined, met):
        proto = graph(text, **{"shape": "n,1,8,6", "kernel": 1, **options})
        found = load(proto).expected_range
        assert found is not None, text
        assert found.words == words, text
        np.testing.assert_allclose(seen(proto, found, grey)[0].transpose(1, 2, 0), trained, rtol=1e-4, atol=1e-4)


def test_a_dense_network_on_flattened_pictures():
    """Behind a Reshape the channels are lost; what is done to all of them alike still tells."""
    text = "f = Flatten (x) t = Div (f, a) u = Reshape (t, s) z = Identity (u)"
    proto = graph(text, a=255.0, s=np.array([-1, 3, 8, 6]))
    found = load(proto).expected_range
    assert found is not None
    assert (found.words, found.why) == ("raw", "the model divides by 255 itself")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", SILENT)
def test_what_tells_nothing_is_not_guessed_from(case):
    text, options = SILENT[case]
    assert load(graph(text, **options)).input_ranges == {}


@pytest.mark.parametrize("name", zoo.NAMES)
def test_the_zoo_does_not_normalise(name):
    assert load(zoo.model(name)).input_ranges == {}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_the_sample_models_do_not_normalise(path):
    """They say in their metadata what they expect, and nothing contradicts that."""
    model = load(path)
    assert (model.input_ranges, model.preprocessing_source, model.preprocessing_conflict) == ({}, "metadata", "")


@pytest.mark.parametrize(("scale", "words"), [(1 / 255, "unit"), (1.0, "raw")])
@pytest.mark.parametrize("zero", [np.uint8(0), np.int8(-128)])
def test_one_sided_calibration_tells_the_range(scale, words, zero):
    """A calibrator that saw 0…1 makes 0 the least and 1 the greatest of what the integers stand for."""
    found = load(graph("q = QuantizeLinear (x, s, o) z = DequantizeLinear (q, s, o)", s=scale, o=zero)).expected_range
    assert found is not None
    assert (found.words, found.why) == (words, "the model cuts off what lies outside it")


@pytest.mark.parametrize(
    ("mean", "variance", "words"),
    [
        ((121, 117, 101), (4100, 3900, 4200), "raw"),
        ((0.47, 0.45, 0.4), (0.07, 0.065, 0.075), "unit"),
        ((-0.05, -0.09, -0.19), (0.29, 0.29, 0.29), "signed"),
    ],
)
def test_a_trained_batch_normalisation_in_front_tells_by_its_statistics(mean, variance, words):
    numbers = {"m": np.array(mean, np.float32), "v": np.array(variance, np.float32)}
    found = load(graph("z = BatchNormalization (x, g, b, m, v)", **LEARNT, **numbers)).expected_range
    assert found is not None
    assert found.words == words
    assert found.why.startswith("its first batch normalisation has the mean ")


def test_behind_the_first_layer_nothing_is_read():
    found = load(graph("c = Conv <pads=[1,1,1,1]> (x, w) z = Div (c, a)", w=RNG.normal(size=(3, 3, 3, 3)), a=255.0))
    assert found.input_ranges == {}
    found = load(graph("c = Conv <group=3, pads=[1,1,1,1]> (x, w) z = Div (c, a)", w=np.ones((3, 1, 3, 3)), a=255.0))
    assert found.input_ranges == {}


def test_a_reversal_alone_leaves_the_order_open():
    found = load(graph("t = Gather <axis=1> (x, i) z = Div (t, a)", i=np.array([2, 1, 0]), a=255.0)).expected_range
    assert found is not None
    assert (found.words, found.order_is_open, found.reverses) == ("raw", True, True)
    assert found.why == "the model divides by 255 and reverses the channels itself"


@pytest.mark.parametrize(
    ("case", "order"),
    [("Caffe by Gather", "BGR"), ("Caffe, unturned: pictures in BGR", "BGR"), ("ImageNet in pixels", "RGB"),
     ("ImageNet, turned: pictures in BGR", "RGB")],
)  # fmt: skip
def test_the_order_that_the_first_layer_sees(case, order):
    text, _, _, options = CASES[case]
    assert load(graph(text, **options)).first_layer_order == order


WORDS = {
    "divided by 255": "the model divides by 255 itself",
    "Keras Rescaling(1/127.5, -1)": "the model divides by 127.5 and subtracts 1 itself",
    "by 255, then ImageNet": "the model subtracts 123.7, 116.3, 103.5 and divides by 58.4, 57.12, 57.37 itself",
    "ImageNet": "the model subtracts 0.485, 0.456, 0.406 and divides by 0.229, 0.224, 0.225 itself",
    "Caffe by Gather": "the model subtracts 123.7, 116.8, 103.9 and reverses the channels itself",
    "doubled, minus one": "the model multiplies by 2 and subtracts 1 itself",
    "inverted 0…1": "the model subtracts it from 1 itself",
    "ImageNet taken back": "the model adds 2.118, 2.036, 1.804 and divides by 4.367, 4.464, 4.444 itself",
    "cut to 0…1": "the model cuts off what lies outside it",
}


@pytest.mark.parametrize("case", WORDS)
def test_why(case):
    text, _, _, options = CASES[case]
    found = load(graph(text, **options)).expected_range
    assert found is not None
    assert found.why == WORDS[case]


# ---- every way from one range to another

WRITTEN = {
    "Mul and Add": ("t = Mul (x, a) z = Add (t, b)", lambda a, b: {"a": a, "b": b}),
    "Sub and Div": ("t = Sub (x, m) z = Div (t, s)", lambda a, b: {"m": -b / a, "s": 1 / a}),
    "Sub and Mul": ("t = Sub (x, m) z = Mul (t, a)", lambda a, b: {"m": -b / a, "a": a}),
    "Div and Sub": ("t = Div (x, s) z = Sub (t, m)", lambda a, b: {"s": 1 / a, "m": -b}),
    "three steps": ("t = Mul (x, c) u = Sub (t, m) z = Div (u, s)",
                    lambda a, b: {"c": 0.5, "m": -b / a / 2, "s": 0.5 / a}),
}  # fmt: skip


def affine(name, channels_as="RGB"):
    """(factor, summand) of each channel that a range means for pixels, in the channels' own order."""
    scale, mean, std, order = NAMED_RANGES[name]
    assert order == channels_as or len({*mean}) == 1
    mean, std = (np.resize(np.array(one), 3) for one in (mean, std))
    return scale / std, -mean / std


@pytest.mark.parametrize("way", WRITTEN)
@pytest.mark.parametrize(("start", "end"), list(itertools.permutations(("raw", "unit", "signed", "torch"), 2)))
def test_from_every_range_to_every_other(start, end, way):
    (first, added), (wanted, less) = affine(start), affine(end)
    a = wanted / first
    text, constants = WRITTEN[way]
    proto = graph(text, **{name: column(np.resize(v, 3)) for name, v in constants(a, less - added * a).items()})
    found = load(proto).expected_range
    assert found is not None
    assert found.words == start
    np.testing.assert_allclose(seen(proto, found), seen(graph("z = Identity (x)"), NAMED[end]), rtol=1e-3, atol=1e-3)


def test_random_arithmetic_seldom_speaks_and_never_of_what_fits_nothing():
    """Scales and shifts over twelve orders of magnitude: where a range is named, a step leads to plausible values."""
    rng = np.random.default_rng(0)
    spoke = 0
    for _ in range(300):
        a, b = 10 ** rng.uniform(-6, 6), rng.normal() * 10 ** rng.uniform(-6, 6)
        found = load(graph("t = Mul (x, a) z = Add (t, b)", a=a, b=b)).expected_range
        if found is not None:
            spoke += 1
            steps = (seen(graph("z = Mul (x, a)", a=a), found), seen(graph("z = Add (x, b)", b=b), found))
            steps += (seen(graph("t = Mul (x, a) z = Add (t, b)", a=a, b=b), found),)
            assert any(-260 < v.min() < v.max() < 260 and np.ptp(v) > 0.4 for v in steps)
    assert 0 < spoke < 15


# ---- several inputs

TWO = """<ir_version: 8, opset_import: ["" : 18]> g (float[n,3,8,6] left, float[n,3,8,6] right) => (float[n,k,h,w] y)
{ %s y = Conv (z, w) }"""


def two(text, **constants):
    proto = onnx.parser.parse_model(TWO % text)
    for name, value in {"w": RNG.normal(size=(2, 3, 3, 3)), **constants}.items():
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
    return load(proto)


def test_two_photos_stacked_along_the_batch_are_told_of_both():
    model = two("s = Concat <axis=0> (left, right) z = Div (s, a)", a=255.0)
    assert {name: found.words for name, found in model.input_ranges.items()} == {"left": "raw", "right": "raw"}
    assert model.expected_range is not None


def test_two_photos_side_by_side_in_a_shared_network():
    model = two("a1 = Div (left, a) b1 = Div (right, a) z = Concat <axis=0> (a1, b1)", a=255.0)
    assert {found.words for found in model.input_ranges.values()} == {"raw"}


def test_inputs_that_differ_are_told_apart():
    model = two("a1 = Div (left, a) b1 = Sub (right, h) z = Concat <axis=0> (a1, b1)", a=255.0, h=0.5)
    assert {name: found.words for name, found in model.input_ranges.items()} == {"left": "raw", "right": "unit"}
    assert model.expected_range is None
    assert model.preprocessing is None


def test_an_input_that_tells_nothing_leaves_the_other_alone():
    model = two("a1 = Div (left, a) z = Concat <axis=0> (a1, right)", a=255.0)
    assert {name: found.words for name, found in model.input_ranges.items()} == {"left": "raw"}
    assert model.expected_range is None


def test_an_input_that_nothing_reads_does_not_count():
    """Exporters leave some behind; with initializers of their name they are not even fed."""
    model = two("z = Div (left, a)", a=255.0)
    assert model.expected_range is not None
    assert [port.name for port in model.picture_inputs] == ["left"]


def test_what_is_made_of_both_is_of_neither():
    assert two("s = Sub (left, right) z = Div (s, a)", a=255.0).input_ranges == {}


# ---- other inputs, and hostile ones


@pytest.mark.parametrize("shape", ["n,7", "n,3,8", "3", "n,12,8,6", "n,3,4,8,6"])
def test_inputs_of_other_shapes_do_no_harm(shape):
    proto = graph("t = Div (x, a) z = Identity (t)", shape=shape, a=255.0)
    found = load(proto).input_ranges
    assert set(found) <= {"x"}
    assert bool(found) == (shape.count(",") >= 3)  # signals and tables are no pictures


def test_a_constant_of_another_size_is_left_alone():
    for value in (np.ones((1, 5, 1, 1)), np.ones((4, 3, 1, 1)), np.ones((1, 1, 1, 6)), np.ones((2, 1, 3, 1, 1))):
        assert load(graph("z = Mul (x, a)", a=value / 255)).input_ranges == {}


def test_huge_declared_sizes_cost_nothing():
    proto = graph("z = Div (x, a)", shape="n,3,1000000,1000000", a=255.0)
    assert load(proto).expected_range is not None
    many = graph("z = Div (x, a)", shape="n,2000000000,8,8", a=255.0)
    assert load(many).input_ranges == {}


def test_channels_that_double_forty_times_cost_nothing():
    doubled = [f"t{i} = Concat <axis=1> ({f't{i - 1}' if i else 'x'}, {f't{i - 1}' if i else 'x'})" for i in range(40)]
    assert load(graph(" ".join([*doubled, "z = Div (t39, a)"]), a=255.0)).input_ranges == {}
    wide = graph("e = Expand (x, s) z = Div (e, a)", shape="n,1,8,6", a=255.0, s=np.array([1, 2**40, 1, 1]))
    assert load(wide).input_ranges == {}


def test_a_chain_of_a_thousand_operators():
    steps = ["t0 = Div (x, a)", *(f"t{i} = Mul (t{i - 1}, b)" for i in range(1, 1000)), "z = Identity (t999)"]
    assert load(graph(" ".join(steps), a=255.0, b=1.0)).expected_range is not None


def test_a_node_without_outputs():
    proto = graph("z = Identity (c)", a=255.0, c=np.ones((1, 3, 8, 6)))
    proto.graph.node.insert(0, helper.make_node("Div", ["x", "a"], []))
    assert load(proto).input_ranges == {}


def test_an_operator_of_a_strangers_is_not_onnx_own():
    proto = graph("z = Div (x, a)", a=255.0)
    proto.graph.node[0].domain = "com.example"
    proto.opset_import.append(helper.make_opsetid("com.example", 1))
    assert load(proto).input_ranges == {}


def test_an_initializer_that_is_an_input_too_counts_as_what_it_holds():
    proto = graph("z = Div (x, a)", a=255.0)
    proto.graph.input.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, []))
    found = load(proto).expected_range
    assert found is not None
    assert found.words == "raw"


def test_words_of_notes():
    assert range_words({"name": "torch"}) == "torch"
    assert range_words({"name": "custom", "scale": 0.5, "mean": [1, 2, 3], "std": [1.0], "order": "BGR"}) == (
        "scale=0.5,mean=1:2:3,order=BGR"
    )
    assert range_words({}) == "not stated in the model"
    assert range_words({"name": "custom", "scale": "wide", "mean": "m"}) == "scale=wide,mean=m"
