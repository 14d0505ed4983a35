"""Receptive fields against what a unit really sees: rows and columns of pixels are lit, and the unit moves or not."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper
from oracles import untouched

from onnxviz import load
from onnxviz.errors import InputError, SelectionError
from onnxviz.receptive import ReceptiveField

pytestmark = pytest.mark.usefixtures("shapes_in_process")

H, W = 23, 20


def net(body, **weights):
    """Nodes from `x`, (n, 2, 23, 20), to `y`."""
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> g (float[n,2,23,20] x) => (float[a] y) {' + body + "}"
    )
    for name, array in weights.items():
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return proto


def positive(*shape):
    """Weights that cannot cancel."""
    return np.random.default_rng(0).uniform(0.5, 1, shape).astype(np.float32)


def lit(proto, axis):
    """(lines along the axis, C, spatial…) of y: how much each unit moves when one line of pixels is lit."""
    count = (H, W)[axis]
    x = np.zeros((count + 1, 2, H, W), np.float32)
    for line in range(count):
        x[line, :, line if axis == 0 else slice(None), line if axis == 1 else slice(None)] = 1
    y = untouched(proto, ["y"], {"x": x})["y"]
    return np.abs(y[:-1] - y[-1:])


K = positive(2, 2, 3, 3)
BODIES = {
    "conv": ("y = Conv <pads=[1,1,1,1]> (x, w)", {"w": K}),
    "stride": ("y = Conv <pads=[1,0,1,2], strides=[2,3]> (x, w)", {"w": K}),
    "dilation": ("y = Conv <pads=[2,2,2,2], dilations=[2,3], strides=[1,2]> (x, w)", {"w": K}),
    "even kernel": ("y = Conv <pads=[0,1,1,2]> (x, w)", {"w": positive(2, 2, 2, 4)}),
    "same upper": ('y = Conv <auto_pad="SAME_UPPER", strides=[2,2]> (x, w)', {"w": positive(2, 2, 4, 3)}),
    "same lower": ('y = Conv <auto_pad="SAME_LOWER", strides=[2,2]> (x, w)', {"w": positive(2, 2, 4, 3)}),
    "valid": ('y = Conv <auto_pad="VALID"> (x, w)', {"w": K}),
    "depthwise": ("y = Conv <group=2, pads=[1,1,1,1]> (x, w)", {"w": positive(2, 1, 3, 3)}),
    "max pool": ("y = MaxPool <kernel_shape=[3,2], strides=[2,2], pads=[1,0,1,0]> (x)", {}),
    "ceil": ("y = MaxPool <kernel_shape=[3,3], strides=[2,3], ceil_mode=1> (x)", {}),
    "dilated pool": ("y = MaxPool <kernel_shape=[2,2], dilations=[3,2]> (x)", {}),
    "average pool": ("y = AveragePool <kernel_shape=[2,3], strides=[2,2], pads=[0,1,1,1]> (x)", {}),
    "chain": (
        "a = Conv <pads=[1,1,1,1], strides=[2,2]> (x, w) b = Relu (a) c = MaxPool <kernel_shape=[2,2], strides=[2,2]>"
        " (b) d = BatchNormalization (c, o, o, o, o) y = Conv <pads=[1,1,1,1]> (d, w)",
        {"w": K, "o": np.ones(2, np.float32)},
    ),
    "residual": (
        "a = Conv <pads=[2,2,2,2], dilations=[2,2]> (x, w) b = Conv <pads=[1,1,1,1]> (a, w) y = Add (x, b)",
        {"w": K},
    ),
    "two ways": (
        "a = Conv <pads=[3,0,3,0]> (x, u) b = Conv <pads=[0,2,0,2]> (x, v) y = Concat <axis=1> (a, b)",
        {"u": positive(2, 2, 7, 1), "v": positive(2, 2, 1, 5)},
    ),
    "transposed": ("y = ConvTranspose <strides=[2,3], pads=[1,0,0,1]> (x, w)", {"w": K}),
    "transposed, padded output": (
        "y = ConvTranspose <strides=[3,2], pads=[1,1,1,1], output_padding=[2,1], dilations=[1,2]> (x, w)",
        {"w": K},
    ),
    "transposed, same": (
        'y = ConvTranspose <strides=[2,2], auto_pad="SAME_UPPER"> (x, w)',
        {"w": positive(2, 2, 3, 4)},
    ),
    "transposed, shape given": ("y = ConvTranspose <strides=[2,2], output_shape=[46,41]> (x, w)", {"w": K}),
    "down and up": (
        "a = Conv <strides=[2,2], pads=[1,1,1,1]> (x, w) b = Relu (a)"
        " y = ConvTranspose <strides=[2,2], pads=[1,1,1,1], output_padding=[0,1]> (b, w)",
        {"w": K},
    ),
    "nearest": (
        'y = Resize <coordinate_transformation_mode="asymmetric", nearest_mode="floor"> (x, , s)',
        {"s": np.float32([1, 1, 2, 2])},
    ),
    "nearest, odd": ("y = Resize (x, , s)", {"s": np.float32([1, 1, 1.7, 0.6])}),
    "linear": ('y = Resize <mode="linear"> (x, , s)', {"s": np.float32([1, 1, 2, 3])}),
    "linear, corners": (
        'y = Resize <mode="linear", coordinate_transformation_mode="align_corners", axes=[2,3]> (x, , , z)',
        {"z": np.int64([31, 44])},
    ),
    "pad": ("y = Pad (x, p)", {"p": np.int64([0, 0, 2, 1, 0, 0, 3, 4])}),
    "reflect": ('a = Pad <mode="reflect"> (x, p) y = Conv (a, w)', {"p": np.int64([0, 0, 3, 2, 0, 0, 3, 4]), "w": K}),
    "edge": ('a = Pad <mode="edge"> (x, p) y = Conv (a, w)', {"p": np.int64([0, 0, 3, 2, 0, 0, 1, 4]), "w": K}),
    "slice": (
        "y = Slice (x, s, e, a, t)",
        {"s": np.int64([3, -2]), "e": np.int64([20, 1]), "a": np.int64([2, 3]), "t": np.int64([2, -3])},
    ),
    "crops joined": (
        "a = Slice (x, s, e, d) b = Conv <pads=[1,1,1,1]> (x, w) y = Concat <axis=2> (a, b)",
        {"s": np.int64([5]), "e": np.int64([9]), "d": np.int64([2]), "w": K},
    ),
    "split": ("a, b = Split <axis=3, num_outputs=2> (x) y = Conv <pads=[1,1,1,1]> (b, w)", {"w": K}),
    "turned": ("a = Transpose <perm=[0,1,3,2]> (x) y = Conv <pads=[0,1,0,1]> (a, w)", {"w": positive(2, 2, 1, 3)}),
    "last and back": (
        "a = Transpose <perm=[0,2,3,1]> (x) b = MatMul (a, m) c = Transpose <perm=[0,3,1,2]> (b)"
        " y = MaxPool <kernel_shape=[3,1]> (c)",
        {"m": positive(2, 3)},
    ),
    "blocks": (
        "a = Pad (x, p) b = SpaceToDepth <blocksize=2> (a) y = Conv <pads=[1,1,1,1]> (b, w)",
        {"p": np.int64([0, 0, 0, 0, 0, 0, 1, 0]), "w": positive(2, 8, 3, 3)},
    ),
    "blocks and back": (
        "a = Conv <pads=[1,1,1,1]> (x, w) y = DepthToSpace <blocksize=3> (a)",
        {"w": positive(9, 2, 3, 3)},
    ),
    "mean": ("a = ReduceMean (x, d) y = Conv <pads=[1,0,1,0]> (a, w)", {"d": np.int64([3]), "w": positive(2, 2, 3, 1)}),
    "gather": ("y = Gather <axis=2> (x, i)", {"i": np.int64([4, -1, 7])}),
}


# An interval holds the gaps between the taps of a dilated filter at a border, and axes do not know of each other.
WIDER = {"dilation", "crops joined"}


@pytest.mark.parametrize("name", BODIES)
def test_what_a_unit_sees(name):
    body, weights = BODIES[name]
    proto = net(body, **weights)
    field = ReceptiveField(load(proto), "y", {"x": (1, 2, H, W)})
    moved = [lit(proto, axis) for axis in (0, 1)]
    rows, columns = moved[0].shape[2:]
    assert field.shape == (rows, columns)
    for position in {(r, c) for r in (0, 1, rows // 2, rows - 1) for c in (0, columns // 2, columns - 2, columns - 1)}:
        if min(position) < 0:
            continue
        found = field.at(position)
        for axis in (0, 1):
            lines = np.flatnonzero(moved[axis][:, :, position[0], position[1]].any(axis=1))
            if len(lines):
                seen = int(lines[0]), int(lines[-1])
                if name in WIDER:
                    assert found[axis][0] <= seen[0] <= seen[1] <= found[axis][1], (position, axis)
                else:
                    assert found[axis] == seen, (position, axis)


def test_size_is_that_in_the_middle_of_a_large_picture():
    proto = net("a = Conv <pads=[3,3,3,3], strides=[2,2]> (x, w) b = MaxPool <kernel_shape=[3,3], strides=[2,2]> (a)"
                " y = Conv <pads=[1,1,1,1]> (b, v)", w=positive(2, 2, 7, 7), v=K)  # fmt: skip
    field = ReceptiveField(load(proto), "y", {"x": (1, 2, H, W)})
    # 7 + 2·2 + 2·4
    assert field.size == (19, 19)
    assert field.at((0, 0), beyond=True) == ((-7, 11), (-7, 11))
    assert field.at((0, 0)) == ((0, 11), (0, 11))
    assert repr(field) == "ReceptiveField('y', 19x19 pixels)"


def test_gates_count_only_if_asked():
    proto = net("a = Conv <pads=[1,1,1,1]> (x, w) g = GlobalAveragePool (a) s = Sigmoid (g) y = Mul (a, s)", w=K)
    sizes = {"x": (1, 2, H, W)}
    assert ReceptiveField(load(proto), "y", sizes).at((5, 5)) == ((4, 6), (4, 6))
    assert ReceptiveField(load(proto), "y", sizes, gates=True).at((5, 5)) == ((0, H - 1), (0, W - 1))


def test_what_nothing_is_known_of_sees_everything():
    proto = net('a = Conv (x, w) y = Einsum <equation="nchw,nchw->nchw"> (a, a)', w=K)
    assert ReceptiveField(load(proto), "y", {"x": (1, 2, H, W)}).at((5, 5)) == ((0, H - 1), (0, W - 1))


def test_pictures_with_channels_last():
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> g (float[n,23,20,2] x) => (float[a] y)'
        "{ t = Transpose <perm=[0,3,1,2]> (x) y = Conv <pads=[1,2,1,2]> (t, w) }"
    )
    proto.graph.initializer.append(numpy_helper.from_array(positive(2, 2, 3, 5), "w"))
    field = ReceptiveField(load(proto), "y", {"x": (1, H, W, 2)})
    assert field.picture == (H, W)
    assert field.at((5, 5)) == ((4, 6), (3, 7))


def test_what_is_not_there():
    proto = net("y = Conv (x, w)", w=K)
    with pytest.raises(SelectionError, match="no tensor 'z'"):
        ReceptiveField(load(proto), "z", {"x": (1, 2, H, W)})
    with pytest.raises(InputError, match="'y' has 21x18 positions, none at"):
        ReceptiveField(load(proto), "y", {"x": (1, 2, H, W)}).at((21, 0))
