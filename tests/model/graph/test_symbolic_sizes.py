"""Names of open sizes, against the sizes of runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import oracles
import pytest
from onnx import numpy_helper

from onnxviz.model.model import load

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[batch,3,height,width] x) => (float[batch,4,a,b] y) <int64[4] twice = {1,1,2,2}>
{
    same = Conv <pads=[1,1,1,1]> (x, w3)
    wide = Conv <pads=[2,1,2,1], dilations=[2,1]> (same, w4)
    auto = Conv <auto_pad="SAME_LOWER"> (wide, w4)
    relu = Relu (auto)
    shifted = Add (relu, offset)
    pooled = MaxPool <kernel_shape=[3,3], pads=[1,1,1,1]> (shifted)
    valid = Conv (pooled, w4)
    half = MaxPool <kernel_shape=[2,2], strides=[2,2]> (pooled)
    back = ConvTranspose <strides=[2,2]> (half, up)
    joined = Concat <axis=1> (back, same)
    y = Conv <pads=[1,1,1,1]> (joined, w8)
}
"""
KEPT = {"same", "wide", "auto", "relu", "shifted", "pooled", "joined", "y"}


def model() -> onnx.ModelProto:
    proto = onnx.parser.parse_model(TEXT)
    rng = np.random.default_rng(0)
    for name, shape in {
        "w3": (4, 3, 3, 3), "w4": (4, 4, 3, 3), "offset": (1, 4, 1, 1), "up": (4, 4, 2, 2), "w8": (4, 8, 3, 3),
    }.items():  # fmt: skip
        proto.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
    for dim in proto.graph.output[0].type.tensor_type.shape.dim:
        dim.ClearField("dim_param")
    return proto


def test_a_name_goes_on_as_far_as_the_size_does() -> None:
    proto = model()
    shapes = load(proto).shapes
    tensors = [node.output[0] for node in proto.graph.node]
    assert {t for t in tensors if shapes.of(t)[2:] == ("height", "width")} == KEPT
    assert all(shapes.of(t)[2:] == (None, None) for t in tensors if t not in KEPT)
    for height, width in ((8, 10), (12, 6)):
        run = oracles.untouched(proto, tensors, {"x": np.zeros((1, 3, height, width), np.float32)})
        for tensor in KEPT:
            assert run[tensor].shape[2:] == (height, width)
        assert run["valid"].shape[2:] != (height, width)


def test_sizes_that_disagree_have_no_name() -> None:
    proto = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[n,3,h,w] x, float[n,3,a,b] z) => (float[n,3,c,d] y) { s = Add (x, z) y = Relu (s) }
    """)
    for dim in proto.graph.output[0].type.tensor_type.shape.dim:
        dim.ClearField("dim_param")
    assert load(proto).shapes.of("s")[2:] == (None, None)


@pytest.mark.parametrize(("layer", "size"), [("down1.conv2", ("height", "width")), ("up1.conv1", ("height", "width"))])
def test_the_sample_unet(layer: str, size: tuple[str, str]) -> None:
    unet = load(Path(__file__).resolve().parents[3] / "models" / "unet.onnx")
    assert unet.layer(layer).output_shape[2:] == size
    assert unet.layer("down2.conv1").output_shape[2:] == (None, None)
