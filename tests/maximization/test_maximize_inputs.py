"""Maximal inputs that are no colour photos: grey, many channels, signals, volumes, several inputs."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from matplotlib.figure import Figure
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from protos import normal, parsed, two_inputs_proto

from onnxviz import cli
from onnxviz.errors import InputError
from onnxviz.maximization.maximize import maximize
from onnxviz.plots import plot_synthetic


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
    assert isinstance(plot_synthetic(found), Figure)
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
    with pytest.raises(InputError, match=r"fixed=\{'right': array\}"):
        maximize(proto, class_=[0, 1], steps=1)
    found = maximize(proto, class_=[0, 1], steps=4, fixed={"right": array[0, 0, :1, :2]})
    assert (found.after > found.before).all()
    with pytest.raises(InputError, match=r"'left'.*leave it out of fixed"):
        maximize(proto, class_=0, fixed={"left": array})


@pytest.mark.parametrize("transforms", ["none", "standard"])
def test_an_input_of_whole_numbers_is_climbed_in_real_ones_and_what_is_reached_is_that_of_whole_ones(transforms):
    kernel = normal(4, 3, 3, 3)
    proto = parsed(
        """net (uint8["n", 12, 10, 3] x) => (float["n", 4, 10, 8] y) {
             f = Cast <to = 1> (x)
             t = Transpose <perm = [0, 3, 1, 2]> (f)
             c = Conv (t, w)
             y = Relu (c)
           }""",
        w=kernel - kernel.mean(axis=(1, 2, 3), keepdims=True),
    )
    made = maximize(proto, 0, filters=[0, 2], steps=24, transforms=transforms)
    assert made.images.shape == (2, 12, 10, 3)
    model = ReferenceEvaluator(proto)
    whole = np.rint(made.images * 255).astype(np.uint8)
    reached = [model.run(None, {"x": whole[k : k + 1]})[0][0, f].mean() for k, f in enumerate((0, 2))]
    np.testing.assert_allclose(made.after, reached, rtol=1e-5)
    assert (made.after > made.before + 10).all()
    assert any("takes uint8: pictures are climbed in real numbers" in note for note in made.warnings)
