"""Receptive fields against what a unit really sees: rows and columns of pixels are lit, and the unit moves or not."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest
import zoo
from onnx import numpy_helper
from oracles import untouched

from onnxviz import load
from onnxviz.errors import InputError, SelectionError
from onnxviz.maps.receptive.field import ReceptiveField
from onnxviz.model.graph.operators import Family, names

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


# Operators of one input whose output is of the same type, of which a unit sees the pixels that the convolutions see.
UNARY = sorted(
    name
    for name in names(Family.ELEMENTWISE)
    if not names(Family.PREDICATE | Family.BITWISE) & {name} and name not in ("BitCast", "Cast", "CastLike")
)
ONE = {"k": K, "z": np.float32(0), "i": np.int64(0), "s": np.float32([0.5, 0.25]), "q": np.uint8([1, 0])}
MIDDLES = {
    "chosen by a comparison": "c = Greater (a, z) b = Where (c, a, z)",
    "chosen by the smaller of two": "m = Neg (a) c = LessOrEqual (a, m) b = Where (c, a, m)",
    "compared": "c = GreaterOrEqual (a, z) d = Less (a, a) e = Equal (a, z) f = Or (c, d) g = Xor (f, e) h = And (g, c)"
    " l = Not (h) b = Cast <to=1> (l)",
    "questions": "c = IsNaN (a) d = IsInf (a) f = Or (c, d) g = Cast <to=1> (f) b = Add (a, g)",
    "bits": "c = Cast <to=7> (a) d = BitwiseNot (c) e = BitwiseAnd (d, c) f = BitwiseOr (e, c) g = BitwiseXor (f, c)"
    " h = Cast <to=1> (g) b = Add (h, a)",
    "shifted bits": 'c = Cast <to=13> (a) d = BitShift <direction="LEFT"> (c, c) e = Cast <to=1> (d) b = Add (e, a)',
    "clipped between tensors": "c = Neg (a) d = Min (a, c, z) e = Max (d, a, c) b = Mean (e, a, c)",
    "arithmetic": "c = Sub (a, z) d = Mul (c, a) e = Mod <fmod=1> (d, a) f = Div (e, a) g = Pow (f, a) b = Sum (g, a)",
    "cast like": "b = CastLike (a, z)",
    "quantised": "c = QuantizeLinear <axis=1> (a, s, q) b = DequantizeLinear <axis=1> (c, s, q)",
    "slopes": "n = Neg (a) b = PRelu (a, n)",
    **{name: f"b = {name} (a)" for name in UNARY},
    **{f"{name} along channels": f"b = {name} <axis=1> (a)" for name in sorted(names(Family.SOFTMAX))},
    "LRN": "b = LRN <size=3> (a)",
}


@pytest.mark.parametrize("name", MIDDLES)
def test_what_is_elementwise_widens_no_field(name):
    """Two 3x3 convolutions see 5x5 pixels, whatever stands between them that works place by place."""
    proto = net(f"a = Conv (x, k) {MIDDLES[name]} y = Conv (b, k)", **ONE)
    proto.opset_import[0].version = 24
    field = ReceptiveField(load(proto), "y", {"x": (1, 2, H, W)})
    assert field.size == (5, 5)
    assert field.at((3, 7)) == ((3, 7), (7, 11))


def test_a_choice_between_two_pictures_sees_what_moves_it():
    """Every pixel is perturbed in turn, in both directions: those that change the unit are those of its field."""
    proto = net("a = Conv (x, k) c = Greater (a, z) b = Where (c, a, z) y = Conv (b, k)", k=K, z=np.float32(0))
    x = np.random.default_rng(2).standard_normal((1, 2, H, W)).astype(np.float32)
    changed = np.repeat(x, H * W, axis=0).reshape(H, W, 2, H, W)
    for row, column in np.ndindex(H, W):
        changed[row, column, :, row, column] += np.float32(9)
    units = untouched(proto, ["y"], {"x": np.concatenate([x, changed.reshape(-1, 2, H, W)])})["y"][:, :, 6, 4]
    moved = (units[1:] != units[0]).any(1).reshape(H, W)
    rows, columns = (np.flatnonzero(moved.any(axis)) for axis in (1, 0))
    found = ReceptiveField(load(proto), "y", {"x": (1, 2, H, W)}).at((6, 4))
    assert found == ((rows[0], rows[-1]), (columns[0], columns[-1])) == ((6, 10), (4, 8))


@pytest.mark.parametrize(
    "gate",
    [
        "m = ReduceMean <keepdims=0> (a)",
        "m = ReduceMean <keepdims=1> (a)",
        "g = GlobalAveragePool (a) f = Flatten (g) d = Gemm (f, w) m = Reshape (d, r)",  # squeeze and excite
    ],
)
def test_a_gate_without_axes_is_a_gate(gate):
    more = {"w": positive(2, 2), "r": np.int64([-1, 2, 1, 1])}
    proto = net(f"a = Conv <pads=[1,1,1,1]> (x, k) {gate} y = Add (a, m)", k=K, **more)
    sizes = {"x": (1, 2, H, W)}
    assert ReceptiveField(load(proto), "y", sizes).at((5, 5)) == ((4, 6), (4, 6))
    assert ReceptiveField(load(proto), "y", sizes, gates=True).at((5, 5)) == ((0, H - 1), (0, W - 1))


def test_a_gate_for_each_row_shows_that_row():
    proto = net("a = Conv <pads=[1,1,1,1]> (x, k) m = ReduceMean (a, i) y = Mul (a, m)", k=K, i=np.int64([3]))
    assert ReceptiveField(load(proto), "y", {"x": (1, 2, H, W)}, gates=True).at((5, 5)) == ((4, 6), (0, W - 1))


def test_scales_that_depend_on_the_picture_are_not_taken_for_columns():
    """As many channels as columns: a scale for each channel must not be aligned with the columns."""
    proto = net(
        "a = Conv (x, k) g = GlobalAveragePool (a) f = Flatten <axis=0> (g) v = Reshape (f, r) s = Relu (v)"
        " y = BatchNormalization (a, s, s, o, o)",
        k=positive(W - 2, 2, 3, 3),
        r=np.int64([-1]),
        o=np.ones(W - 2, np.float32),
    )
    sizes = {"x": (1, 2, H, W)}
    assert ReceptiveField(load(proto), "y", sizes).at((5, 5)) == ((5, 7), (5, 7))
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


def test_pictures_with_channels_last_that_are_shifted_first():
    """What tells the axes is the input, not the node that reads it: here pixels are shifted before the Transpose."""
    proto = zoo.model("channels_last")
    field = ReceptiveField(load(proto), load(proto).layers[0].taps["conv"], {"image": (1, 16, 20, 3)})
    assert field.axes == (1, 2)
    assert field.picture == (16, 20)
    assert field.at((0, 3)) == ((0, 1), (2, 4))  # 3x3, SAME


GROUPS = (
    "a = Conv <pads=[1,1,1,1]> (x, w) r = Reshape (a, g) i = InstanceNormalization (r, s, z) {back} m = Mul (b, f) "
    "y = Relu (m)"
)


@pytest.mark.parametrize(
    "back",
    [
        "b = Reshape (i, h)",
        "t = Shape (a) b = Reshape (i, t)",
    ],
)
def test_group_normalisation_sees_no_more_than_its_convolution(back):
    """As batch or instance normalisation: the statistics count only where gates are asked for."""
    weights = {"w": positive(2, 2, 3, 3), "g": np.array([0, 1, -1]), "s": np.ones(1, np.float32)}
    weights |= {"z": np.zeros(1, np.float32), "f": positive(2, 1, 1), "h": np.array([1, 2, H, W])}
    proto = net(GROUPS.format(back=back), **weights)
    sizes = {"x": (1, 2, H, W)}
    assert ReceptiveField(load(proto), "y", sizes).at((5, 7)) == ((4, 6), (6, 8))
    assert ReceptiveField(load(proto), "y", sizes, gates=True).at((5, 7)) == ((0, H - 1), (0, W - 1))
