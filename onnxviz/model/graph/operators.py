"""Operators and their families: the one place that lists names of operators.

A family is what a rewriting, a receptive field or a table needs to know of an operator without knowing the operator.
An operator may be of several. What is not listed is of none, and is then treated as something of which nothing is
known. Operators are known by domain and name, so that a stranger's `Relu` is not taken for ONNX' own.

Sources: the operators' specifications of ONNX (ai.onnx, operator sets 1 to 28) and of onnxruntime (com.microsoft).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Flag, auto
from functools import cache
from types import MappingProxyType

import onnx
from onnx import NodeProto

from onnxviz.model.graph.scopes import plain_domain

Key = tuple[str, str]
"""Domain ("" for ONNX' own) and name."""
_MICROSOFT = "com.microsoft"


class Family(Flag):
    """What is known of an operator; combine with `|`."""

    # ---- where an element of the output comes from
    ELEMENTWISE = auto()
    """Output and first input have one shape; each element depends on the one at its place alone, by one function."""
    PER_AXIS = auto()
    """As ELEMENTWISE, but the function may differ from index to index of one axis, such as from channel to channel."""
    BROADCASTING = auto()
    """As ELEMENTWISE, of several inputs, whose shapes are aligned at their ends and stretched to one (as in NumPy)."""
    SOFTMAX = auto()
    """Keeps the shape; elements are mixed along the axes from, or at, the attribute `axis`."""
    ALONG_AXIS = auto()
    """Keeps the shape; elements are mixed along the one axis that the attribute `axis` names, by default the last."""
    CUMULATIVE = auto()
    """Keeps the shape; an element depends on those before it along the axis that the second input names."""
    REDUCTION = auto()
    """One number for all elements along some axes; the axes are the second input or the attribute `axes`."""
    MOVING = auto()
    """Each element of the first output is an element of a data input."""
    ARRANGING = auto()
    """The output holds the elements of its first input, each once, in another order or shape."""
    RESHAPING = auto()
    """As ARRANGING, and in the same order."""
    PICKING = auto()
    """The first output holds elements of the first input, picked by their values, or where other inputs say."""
    UNIT_AXES = auto()
    """As RESHAPING; adds or takes away axes of size 1."""
    IDENTITY = auto()
    """The output is the first input, of another type at most."""
    CONVOLUTION = auto()
    """A sliding window of weights; `Form` tells which inputs hold what."""
    POOLING = auto()
    """A sliding window without weights."""
    GLOBAL_POOLING = auto()
    """One number for all positions of a channel; the spatial axes stay, with size 1."""

    # ---- what it stands for in a network
    ACTIVATION = auto()
    """What frameworks call an activation."""
    NORMALISATION = auto()
    """Keeps the shape; subtracts a mean or divides by a spread or norm."""
    MATRIX = auto()
    """A matrix product; where an operand is constant, it is learnt."""
    RECURRENT = auto()
    """Runs along a sequence."""
    MERGING = auto()
    """Joins branches of a network."""
    RESIZING = auto()
    """Samples a picture at another resolution."""
    SHUFFLING = auto()
    """Moves blocks of pixels to channels or back."""
    DROPOUT = auto()
    """The identity, but in training."""
    PROBABILITY = auto()
    """Turns scores of classes into probabilities or their logarithms."""
    AFFINE = auto()
    """Scales or shifts, where all inputs but one are constant."""
    SCALING = auto()
    """Product or quotient."""
    ARITHMETIC = auto()
    """What normalisations are made of that are written out in arithmetic, reductions apart."""
    DIVIDING = auto()
    """Gives, or may give, a reciprocal."""
    BOUND = auto()
    """A lower or upper bound, where all inputs but one are constant."""
    RECTIFIER = auto()
    """An activation that is flat beyond a bound and the identity elsewhere."""
    FROM_ZERO_TO_ONE = auto()
    """Gives values of 0…1."""
    FROM_MINUS_ONE_TO_ONE = auto()
    """Gives values of −1…1."""

    # ---- what the values are
    PREDICATE = auto()
    """Gives true or false."""
    STEP_FUNCTION = auto()
    """Gives numbers, and is constant but for jumps."""
    POSITION = auto()
    """Gives positions or counts, or marks them."""
    BITWISE = auto()
    """Works on the bits of integers."""
    SHAPE_ONLY = auto()
    """Depends on sizes, not on the values of what it measures or fills."""
    MEASURING = auto()
    """Gives the sizes of its input."""
    CONSTANT = auto()
    """Holds values, or fills a shape with one."""
    RANDOM = auto()
    """Draws; not a function of its inputs."""
    QUANTISING = auto()
    """Rounds real numbers to integers on a scale."""
    DEQUANTISING = auto()
    """Gives the real numbers that integers on a scale stand for."""
    INTEGER = auto()
    """Computes with quantised integers; carries scales or zero points, or leaves them to later operators."""
    DYNAMIC_RANGE = auto()
    """Takes the scale from the values that it is given, those of all samples of a batch together."""

    # ---- how it is written and run
    CONTROL_FLOW = auto()
    """Carries subgraphs."""
    LOOPING = auto()
    """Runs its subgraph several times."""
    GROWING = auto()
    """The output may be much larger than the inputs: its size is a value of an input, or an attribute."""
    AXIS_BROADCAST = auto()
    """Before operator set 7 the second input is aligned by the attribute `axis`, if `broadcast` is set."""


_F = Family
KEEPS_SHAPE = _F.ELEMENTWISE | _F.PER_AXIS | _F.NORMALISATION | _F.SOFTMAX | _F.ALONG_AXIS | _F.CUMULATIVE
"""The output has the shape of the first input."""
LAYERS = (
    _F.ACTIVATION | _F.NORMALISATION | _F.POOLING | _F.GLOBAL_POOLING | _F.MATRIX | _F.RECURRENT | _F.MERGING
    | _F.RESIZING | _F.SHUFFLING
)  # fmt: skip
"""What a person would call a layer, convolutions apart."""

_ROWS: tuple[tuple[str, Family, str], ...] = (
    # ---- of one input
    (
        "",
        _F.ELEMENTWISE,
        "Abs Acos Acosh Asin Asinh Atan Atanh BitCast BitwiseNot Cast CastLike Ceil Celu Clip Cos Cosh Dropout Elu Erf "
        "Exp Floor Gelu HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu Round "
        "Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu",
    ),
    (_MICROSOFT, _F.ELEMENTWISE, "Gelu QuickGelu QLinearSigmoid QLinearLeakyRelu"),
    ("", _F.PER_AXIS, "BatchNormalization QuantizeLinear DequantizeLinear"),
    (_MICROSOFT, _F.PER_AXIS, "QuantizeLinear DequantizeLinear"),
    ("", _F.IDENTITY, "Identity Cast CastLike"),
    ("", _F.STEP_FUNCTION, "Ceil Floor Round Sign"),
    # ---- of several inputs
    (
        "",
        _F.BROADCASTING,
        "Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean "
        "Min Mod Mul Or PRelu Pow Sub Sum Where Xor",
    ),
    (_MICROSOFT, _F.BROADCASTING, "BiasGelu FastGelu QLinearAdd QLinearMul QLinearWhere"),
    ("", _F.PREDICATE, "And Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Not Or Xor"),
    ("", _F.BITWISE, "BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor"),
    ("", _F.AXIS_BROADCAST, "Add And Div Equal Greater Less Mul Or Pow Sub Xor"),
    ("", _F.AFFINE, "Add BatchNormalization Div Mul Neg Sub Sum"),
    ("", _F.ARITHMETIC, "Abs Add Cast CastLike Div Identity Max Min Mul Neg Pow Reciprocal Sqrt Sub Sum"),
    ("", _F.DIVIDING, "Div Pow Reciprocal"),
    ("", _F.SCALING, "Div Mul"),
    # ---- activations
    (
        "",
        _F.ACTIVATION,
        "Celu Clip Elu Gelu HardSigmoid HardSwish LeakyRelu LogSoftmax Mish PRelu Relu Selu Shrink Sigmoid Softmax "
        "Softplus Softsign Swish Tanh ThresholdedRelu",
    ),
    (
        _MICROSOFT,
        _F.ACTIVATION,
        "BiasGelu FastGelu Gelu QuickGelu QLinearLeakyRelu QLinearSigmoid QLinearSoftmax",
    ),
    ("", _F.BOUND, "Clip Max Min Relu"),
    ("", _F.RECTIFIER, "Clip Relu"),
    ("", _F.FROM_ZERO_TO_ONE, "HardSigmoid Hardmax Sigmoid Softmax"),
    (_MICROSOFT, _F.FROM_ZERO_TO_ONE, "QLinearSigmoid QLinearSoftmax"),
    ("", _F.FROM_MINUS_ONE_TO_ONE, "Cos Erf Sin Softsign Tanh"),
    ("", _F.PROBABILITY, "LogSoftmax Sigmoid Softmax"),
    (_MICROSOFT, _F.PROBABILITY, "QLinearSigmoid QLinearSoftmax"),
    ("", _F.SOFTMAX, "Hardmax LogSoftmax Softmax"),
    (_MICROSOFT, _F.SOFTMAX, "QLinearSoftmax"),
    ("", _F.ALONG_AXIS, "Hardmax LogSoftmax LpNormalization Softmax"),
    ("", _F.DROPOUT, "Dropout"),
    # ---- normalisations
    (
        "",
        _F.NORMALISATION,
        "BatchNormalization GroupNormalization InstanceNormalization LRN LayerNormalization LpNormalization "
        "MeanVarianceNormalization RMSNormalization",
    ),
    # ---- windows, products, sequences
    ("", _F.CONVOLUTION, "Conv ConvInteger ConvTranspose QLinearConv"),
    (_MICROSOFT, _F.CONVOLUTION, "FusedConv QLinearConv"),
    ("", _F.POOLING, "AveragePool LpPool MaxPool"),
    (_MICROSOFT, _F.POOLING, "QLinearAveragePool"),
    ("", _F.GLOBAL_POOLING, "GlobalAveragePool GlobalLpPool GlobalMaxPool"),
    (_MICROSOFT, _F.GLOBAL_POOLING, "QLinearGlobalAveragePool"),
    ("", _F.MATRIX, "Gemm MatMul MatMulInteger QLinearMatMul"),
    (
        _MICROSOFT,
        _F.MATRIX,
        "DynamicQuantizeMatMul FusedGemm FusedMatMul MatMulInteger16 MatMulIntegerToFloat QGemm TransposeMatMul",
    ),
    ("", _F.RECURRENT, "GRU LSTM RNN"),
    (_MICROSOFT, _F.RECURRENT, "DynamicQuantizeLSTM"),
    # ---- along axes
    (
        "",
        _F.REDUCTION,
        "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
        "ReduceSumSquare",
    ),
    ("", _F.CUMULATIVE, "CumProd CumSum"),
    # ---- elements moved
    ("", _F.RESHAPING, "Flatten Reshape Squeeze Unsqueeze"),
    ("", _F.UNIT_AXES, "Squeeze Unsqueeze"),
    ("", _F.ARRANGING, "DepthToSpace Flatten Identity Reshape SpaceToDepth Squeeze Transpose Unsqueeze"),
    (
        "",
        _F.MOVING,
        "Concat DepthToSpace Expand Flatten Gather Identity MaxPool Reshape Slice SpaceToDepth Split Squeeze Tile "
        "Transpose Unsqueeze",
    ),
    ("", _F.PICKING, "Compress Gather GatherElements GatherND TopK"),
    ("", _F.SHUFFLING, "DepthToSpace SpaceToDepth"),
    ("", _F.MERGING, "Add Concat Sum"),
    (_MICROSOFT, _F.MERGING, "QLinearAdd QLinearConcat"),
    ("", _F.RESIZING, "Resize Upsample"),
    # ---- positions, sizes, draws
    ("", _F.POSITION, "ArgMax ArgMin Hardmax NonMaxSuppression NonZero OneHot Unique"),
    ("", _F.SHAPE_ONLY, "ConstantOfShape EyeLike Range Shape Size"),
    ("", _F.MEASURING, "Shape Size"),
    ("", _F.CONSTANT, "Constant ConstantOfShape"),
    ("", _F.RANDOM, "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike"),
    # ---- quantised
    ("", _F.QUANTISING, "DynamicQuantizeLinear QuantizeLinear"),
    (_MICROSOFT, _F.QUANTISING, "QuantizeLinear"),
    ("", _F.DEQUANTISING, "DequantizeLinear"),
    (_MICROSOFT, _F.DEQUANTISING, "DequantizeLinear"),
    ("", _F.INTEGER, "ConvInteger MatMulInteger QLinearConv QLinearMatMul"),
    (
        _MICROSOFT,
        _F.INTEGER,
        "DynamicQuantizeLSTM DynamicQuantizeMatMul MatMulInteger16 MatMulIntegerToFloat QGemm QLinearAdd "
        "QLinearAveragePool QLinearConcat QLinearConv QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul "
        "QLinearSigmoid QLinearSoftmax QLinearWhere",
    ),
    ("", _F.DYNAMIC_RANGE, "DynamicQuantizeLinear"),
    (_MICROSOFT, _F.DYNAMIC_RANGE, "DynamicQuantizeLSTM DynamicQuantizeMatMul"),
    # ---- written and run
    ("", _F.CONTROL_FLOW, "If Loop Scan SequenceMap"),
    ("", _F.LOOPING, "Loop Scan"),
    (
        "",
        _F.GROWING,
        "AffineGrid BlackmanWindow CenterCropPad Col2Im ConstantOfShape DFT Expand GridSample HammingWindow HannWindow "
        "ImageDecoder MaxRoiPool MaxUnpool MelWeightMatrix OneHot Pad Range Resize RoiAlign STFT Tile Upsample",
    ),
    (_MICROSOFT, _F.GROWING, "Range UnfoldTensor"),
)


def _table() -> Mapping[Key, Family]:
    found: dict[Key, int] = {}
    for domain, family, listed in _ROWS:
        bits = family.value  # of flags as numbers: an | of flags takes microseconds, and there are a thousand
        for name in listed.split():
            found[domain, name] = found.get((domain, name), 0) | bits
    return MappingProxyType({key: Family(bits) for key, bits in found.items()})


OPERATORS: Mapping[Key, Family] = _table()
"""The families of each operator that any is known of."""


def key_of(node: NodeProto) -> Key:
    """The node's operator, as tables know it."""
    return plain_domain(node.domain), node.op_type


def belongs(node: NodeProto, families: Family) -> bool:
    """Whether the node's operator is of any of `families`."""
    known = OPERATORS.get(key_of(node))
    return known is not None and bool(known.value & families.value)


@cache
def names(families: Family, domain: str = "") -> frozenset[str]:
    """The operators of a domain that are of any of `families`; ONNX' own by default."""
    return frozenset(name for (own, name), known in OPERATORS.items() if own == domain and known & families)


@cache
def names_anywhere(families: Family) -> frozenset[str]:
    """The operators of any domain that are of any of `families`."""
    return frozenset(name for (_, name), known in OPERATORS.items() if known & families)


@cache
def keeps_type(name: str) -> bool:
    """Whether one of ONNX' own operators gives the element type of its first input, as its specification says."""
    if not onnx.defs.has(name):
        return False
    schema = onnx.defs.get_schema(name)
    return bool(schema.inputs and schema.outputs) and schema.inputs[0].type_str == schema.outputs[0].type_str


# ---- which inputs hold what


@dataclass(frozen=True)
class Form:
    """Which inputs of a convolution operator hold what."""

    weight: int
    bias: int | None
    weight_scale: int | None = None
    weight_zero: int | None = None
    transposed: bool = False

    @property
    def integer(self) -> bool:
        """Whether it gives counts of quantisation steps: quantised filters without a scale."""
        return self.weight_zero is not None and self.weight_scale is None


CONVOLUTIONS: Mapping[Key, Form] = MappingProxyType(
    {
        ("", "Conv"): Form(1, 2),
        ("", "ConvTranspose"): Form(1, 2, transposed=True),
        ("", "QLinearConv"): Form(3, 8, weight_scale=4, weight_zero=5),
        ("", "ConvInteger"): Form(1, None, weight_zero=3),
        (_MICROSOFT, "FusedConv"): Form(1, 2),
        (_MICROSOFT, "QLinearConv"): Form(3, 8, weight_scale=4, weight_zero=5),
    }
)
"""Every operator of the family CONVOLUTION."""


def convolution_form(node: NodeProto) -> Form | None:
    """Which inputs of `node` hold weight and bias; None if it is not a convolution."""
    return CONVOLUTIONS.get(key_of(node))


@dataclass(frozen=True)
class DenseForm:
    """Which inputs of a matrix product hold the weight of a dense layer, and its zero point."""

    weight: int
    weight_zero: int | None = None


DENSE: Mapping[Key, DenseForm] = MappingProxyType(
    {
        ("", "Gemm"): DenseForm(1),
        ("", "MatMul"): DenseForm(1),
        ("", "MatMulInteger"): DenseForm(1, 3),
        ("", "QLinearMatMul"): DenseForm(3, 5),
        (_MICROSOFT, "DynamicQuantizeMatMul"): DenseForm(1, 3),
        (_MICROSOFT, "FusedGemm"): DenseForm(1),
        (_MICROSOFT, "FusedMatMul"): DenseForm(1),
        (_MICROSOFT, "MatMulInteger16"): DenseForm(1),
        (_MICROSOFT, "MatMulIntegerToFloat"): DenseForm(1, 5),
        (_MICROSOFT, "QGemm"): DenseForm(3, 5),
        (_MICROSOFT, "TransposeMatMul"): DenseForm(1),
    }
)
"""Every operator of the family MATRIX."""


# Inputs that are settings, not trained values.
_SETTINGS: tuple[tuple[str, tuple[int, ...], str], ...] = (
    ("", (0, 1, 2), "Range"),
    ("", (1,), "Upsample"),
    ("", (1, 2), "Clip DequantizeLinear Dropout OneHot QuantizeLinear"),
    ("", (1, 2, 3), "Pad Resize"),
    ("", (2, 3), "ConvInteger MatMulInteger"),
    ("", (2, 3, 4), "NonMaxSuppression"),
    ("", (1, 2, 4, 5, 6, 7), "QLinearConv QLinearMatMul"),
    (_MICROSOFT, (1, 2), "DequantizeLinear QuantizeLinear"),
    (_MICROSOFT, (1, 2, 3, 4), "QLinearAveragePool QLinearGlobalAveragePool QLinearLeakyRelu QLinearSigmoid"),
    (_MICROSOFT, (1, 2, 3, 4), "QLinearSoftmax"),
    (_MICROSOFT, (1, 2, 4, 5, 6, 7), "QLinearAdd QLinearConv QLinearMul"),
    (_MICROSOFT, (1, 2, 4, 5, 7, 8), "QGemm"),
    (_MICROSOFT, (2, 3), "DynamicQuantizeMatMul"),
    (_MICROSOFT, (2, 3, 4, 5), "MatMulIntegerToFloat"),
    (_MICROSOFT, (2, 3, 5, 6, 7, 8), "QLinearWhere"),
)
SETTINGS: Mapping[Key, tuple[int, ...]] = MappingProxyType(
    {(domain, name): places for domain, places, listed in _SETTINGS for name in listed.split()}
)
"""Places of inputs that are scales, zero points, bounds, sizes or pads."""


def settings_inputs(node: NodeProto) -> list[str]:
    """The names of the inputs that are settings: scales, zero points, bounds, sizes, pads; "" where one is left out."""
    if key_of(node) == (_MICROSOFT, "QLinearConcat"):  # the output's, then (tensor, scale, zero point) again and again
        return [name for place, name in enumerate(node.input) if place < 2 or place % 3 != 2]
    places = SETTINGS.get(key_of(node), ())
    return [node.input[place] for place in places if place < len(node.input)]


def running_statistics(node: NodeProto) -> list[str]:
    """The names of the inputs that training gathers and does not learn: mean and variance of a batch normalisation."""
    return list(node.input[3:5]) if key_of(node) == ("", "BatchNormalization") else []


_OUTPUT_SCALES: tuple[tuple[str, int, str], ...] = (
    ("", 1, "QuantizeLinear"),
    ("", 6, "QLinearConv QLinearMatMul"),
    (_MICROSOFT, 0, "QLinearConcat"),
    (_MICROSOFT, 1, "QuantizeLinear"),
    (_MICROSOFT, 3, "QLinearAveragePool QLinearGlobalAveragePool QLinearLeakyRelu QLinearSigmoid QLinearSoftmax"),
    (_MICROSOFT, 6, "QLinearAdd QLinearConv QLinearMul"),
    (_MICROSOFT, 7, "QGemm QLinearWhere"),
)
OUTPUT_SCALES: Mapping[Key, int] = MappingProxyType(
    {(domain, name): place for domain, place, listed in _OUTPUT_SCALES for name in listed.split()}
)
"""Place of the input that is the scale of the output; the output's zero point stands behind it."""


def output_scale(node: NodeProto) -> tuple[str, str] | None:
    """The names of the scale and the zero point of what the node makes, "" where one is left out.

    Returns:
        None where the operator states none.
    """
    place = OUTPUT_SCALES.get(key_of(node))
    if place is None:
        return None
    given = [*node.input, *[""] * 9]
    return given[place], given[place + 1]
