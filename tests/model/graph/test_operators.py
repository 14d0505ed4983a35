"""The table of operators: complete, and true of each operator as ONNX' reference runs it."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi import onnxruntime_pybind11_state as onnxruntime_state

from onnxviz.gradients.table import NON_DIFFERENTIABLE
from onnxviz.gradients.table import RULES as GRADIENTS
from onnxviz.maps.receptive.rules import RULES as FIELDS
from onnxviz.model.graph.operators import (
    CONVOLUTIONS,
    DENSE,
    KEEPS_SHAPE,
    OPERATORS,
    OUTPUT_SCALES,
    SETTINGS,
    Family,
    belongs,
    keeps_type,
    names,
    names_anywhere,
    output_scale,
    settings_inputs,
)

SCHEMAS = [schema for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""]
EVERY = {schema.name for schema in SCHEMAS}
OPSET = 24
# Of the table. An older version of onnx has fewer operators, which it is asked about.
NEWEST_OPSET = 28

# Operators of no family, and why; none of them stands in a set that the package needs.
UNCLAIMED = {
    **dict.fromkeys(
        ["Attention", "LinearAttention", "RotaryEmbedding", "CausalConvWithState", "SwiGLU", "TensorScatter"],
        "parts of transformers: several inputs play parts of their own",
    ),
    **dict.fromkeys(
        ["ReverseSequence", "Scatter", "ScatterElements", "ScatterND", "Trilu"],
        "moves elements by rules of its own, without a rule anywhere that uses it",
    ),
    **dict.fromkeys(["DeformConv", "Det", "Einsum"], "an element depends on elements that only its own rule can tell"),
    **dict.fromkeys(
        ["ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement", "SequenceAt",
         "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength", "SplitToSequence"],
        "holds tensors in sequences and optionals",
    ),
    **dict.fromkeys(
        ["RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"], "works on text"
    ),
    **dict.fromkeys(["NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"], "a loss, of training"),
}  # fmt: skip


def test_every_operator_of_onnx_is_known_or_left_out_for_a_reason() -> None:
    known = {name for domain, name in OPERATORS if domain == ""}
    if onnx.defs.onnx_opset_version() >= NEWEST_OPSET:
        assert known <= EVERY
    assert not known & UNCLAIMED.keys()
    missing = EVERY - known - UNCLAIMED.keys()
    assert not missing, f"new in this version of onnx; put them into operators.py or UNCLAIMED: {sorted(missing)}"


@cache
def microsoft() -> dict[str, list[str]]:
    """The inputs of onnxruntime's own operators, by name."""
    schemas = onnxruntime_state.get_all_operator_schema()
    return {one.name: [i.name for i in one.inputs] for one in schemas if one.domain == "com.microsoft"}


def test_every_operator_of_onnxruntime_in_the_table_exists() -> None:
    known = {name for domain, name in OPERATORS if domain == "com.microsoft"}
    assert known
    assert known <= microsoft().keys()
    assert {domain for domain, _ in OPERATORS} == {"", "com.microsoft"}


def inputs_of(key: tuple[str, str]) -> list[str]:
    domain, name = key
    return microsoft()[name] if domain else [one.name for one in onnx.defs.get_schema(name).inputs]


def parts(name: str) -> list[str]:
    return name.lower().split("_")


@pytest.mark.parametrize("key", sorted(OUTPUT_SCALES))
def test_the_scale_of_an_output_is_where_the_specification_has_it(key: tuple[str, str]) -> None:
    listed = inputs_of(key)
    place = OUTPUT_SCALES[key]
    assert parts(listed[place])[-1] == "scale"
    if key[1] != "QuantizeLinear":
        first = next(one for one in listed if parts(one)[-1] != "scale" and "zero" not in parts(one))
        assert parts(listed[place])[0] != parts(first)[0]
    assert {"zero", "zp"} & {*parts(listed[place + 1])}
    node = helper.make_node(key[1], [f"i{n}" for n in range(9)], ["y"], domain=key[0])
    assert output_scale(node) == (f"i{place}", f"i{place + 1}")


WORDS = {
    "scale", "zero", "point", "zp", "min", "max", "roi", "scales", "sizes", "pads", "constant", "value", "axes",
    "ratio", "training", "mode", "start", "limit", "delta", "depth", "values", "boxes", "threshold", "output", "iou",
    "score", "per", "class",
}  # fmt: skip


@pytest.mark.parametrize("key", sorted(SETTINGS))
def test_settings_are_no_data(key: tuple[str, str]) -> None:
    listed = inputs_of(key)
    settings = {listed[place] for place in SETTINGS[key]}
    assert all({*parts(one)} & WORDS for one in settings)
    # And no scale or zero point is left out.
    left = [one for one in listed if one not in settings]
    assert not [one for one in left if {"scale", "zero", "zp"} & {*parts(one)}]


def test_settings_of_a_node() -> None:
    node = helper.make_node("Clip", ["x", "low"], ["y"])
    assert settings_inputs(node) == ["low"]
    node = helper.make_node("QLinearConcat", [*"szabcdef"], ["y"], domain="com.microsoft")
    assert settings_inputs(node) == [*"szbcef"]
    assert settings_inputs(helper.make_node("Clip", ["x", "low"], ["y"], domain="strange")) == []


def test_every_matrix_product_has_its_form() -> None:
    assert {key for key, known in OPERATORS.items() if known & Family.MATRIX} == set(DENSE)
    for key, form in DENSE.items():
        listed = [one.lower() for one in inputs_of(key)]
        assert listed[form.weight] == "b"
        zero = [place for place, name in enumerate(listed) if name in ("b_zero_point", "b_zp")]
        assert zero == ([] if form.weight_zero is None else [form.weight_zero])


def test_every_convolution_has_its_form() -> None:
    assert {key for key, known in OPERATORS.items() if known & Family.CONVOLUTION} == set(CONVOLUTIONS)
    for key, form in CONVOLUTIONS.items():
        listed = [one.lower() for one in inputs_of(key)]
        assert listed[form.weight] == "w"
        assert form.bias is None or listed[form.bias] == "b"
        assert form.weight_scale is None or listed[form.weight_scale] == "w_scale"
        assert form.weight_zero is None or listed[form.weight_zero] == "w_zero_point"
        assert form.transposed == ("Transpose" in key[1])


def test_families_that_say_the_same_in_two_ways_agree() -> None:
    assert names(Family.RESHAPING) < names(Family.ARRANGING) < names(Family.MOVING)
    assert names(Family.UNIT_AXES) < names(Family.RESHAPING)
    assert names(Family.SOFTMAX) < names(Family.ALONG_AXIS)
    assert names(Family.LOOPING) < names(Family.CONTROL_FLOW)
    assert names(Family.MEASURING) < names(Family.SHAPE_ONLY)
    assert names(Family.RECTIFIER | Family.PROBABILITY) < names(Family.ACTIVATION)
    assert names(Family.IDENTITY | Family.DROPOUT) < names(Family.ELEMENTWISE)
    assert not names(Family.ELEMENTWISE) & names(Family.BROADCASTING | Family.PER_AXIS)
    carries = {schema.name for schema in SCHEMAS for one in schema.attributes.values() if "GRAPH" in one.type.name}
    assert names(Family.CONTROL_FLOW) == carries
    old = {schema.name for schema in SCHEMAS if "broadcast" in schema.attributes}
    assert names(Family.AXIS_BROADCAST) == old - {"Gemm"}
    assert names(Family.REDUCTION) == {schema.name for schema in SCHEMAS if schema.name.startswith("Reduce")}


def test_a_stranger_s_operator_is_not_taken_for_onnx_own() -> None:
    assert belongs(helper.make_node("Relu", ["x"], ["y"]), Family.ACTIVATION)
    assert belongs(helper.make_node("Relu", ["x"], ["y"], domain="ai.onnx"), Family.ACTIVATION)
    assert not belongs(helper.make_node("Relu", ["x"], ["y"], domain="strange"), ~Family(0))
    assert "QuickGelu" in names_anywhere(Family.ACTIVATION)
    assert "QuickGelu" not in names(Family.ACTIVATION)
    assert names(Family.ACTIVATION, "com.microsoft") > {"QuickGelu"}


PLACED = (
    Family.ELEMENTWISE | Family.PER_AXIS | Family.BROADCASTING | Family.SOFTMAX | Family.REDUCTION | Family.ARRANGING
    | Family.NORMALISATION | Family.CONVOLUTION | Family.POOLING | Family.GLOBAL_POOLING
)  # fmt: skip


def test_receptive_fields_and_gradients_know_every_operator_of_their_families() -> None:
    """Of an operator that is new in a family, both must be told."""
    assert names(PLACED) <= {name for domain, name in FIELDS if domain == ""}
    differentiable = names(PLACED) - names(Family.INTEGER) - {"BitCast"}
    assert differentiable <= {name for domain, name in GRADIENTS if domain == ""} | NON_DIFFERENTIABLE.keys()
    assert names(Family.PREDICATE | Family.STEP_FUNCTION | Family.BITWISE) <= NON_DIFFERENTIABLE.keys()


# ---- each family as ONNX' reference runs it

RNG = np.random.default_rng(0)
SHAPE = (2, 3, 4, 5)
X = RNG.uniform(0.2, 0.8, SHAPE).astype(np.float32)
WHOLE = {"BitwiseNot", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "DequantizeLinear"}
TRUTH = {"And", "Or", "Xor", "Not"}
ATTRIBUTES: dict[str, dict[str, object]] = {
    "Cast": {"to": TensorProto.DOUBLE},
    "BitCast": {"to": TensorProto.INT32},
    "BitShift": {"direction": "LEFT"},
    "Mod": {"fmod": 1},
    "Gelu": {"approximate": "none"},
    "LRN": {"size": 3},
    "GroupNormalization": {"num_groups": 1},
    "LayerNormalization": {"axis": -1},
    "MeanVarianceNormalization": {"axes": [0, 2, 3]},
    "DepthToSpace": {"blocksize": 2},
    "SpaceToDepth": {"blocksize": 2},
    "MaxPool": {"kernel_shape": [2, 2]},
    "Transpose": {"perm": [0, 2, 3, 1]},
    "Concat": {"axis": 1},
    "Split": {"num_outputs": 3, "axis": 1},
    "Gather": {"axis": 2},
}
CHANNELS = np.float32([0.5, 1, 2])
OTHERS: dict[str, list[np.ndarray]] = {
    "CastLike": [np.float64([0])],
    "Clip": [np.float32(0.3), np.float32(0.7)],
    "BatchNormalization": [CHANNELS, CHANNELS, CHANNELS, CHANNELS],
    "InstanceNormalization": [CHANNELS, CHANNELS],
    "GroupNormalization": [CHANNELS, CHANNELS],
    "LayerNormalization": [np.ones(5, np.float32)],
    "RMSNormalization": [np.ones(5, np.float32)],
    "QuantizeLinear": [CHANNELS / 100, np.uint8([0, 1, 2])],
    "DequantizeLinear": [CHANNELS, np.uint8([0, 1, 2])],
    "CumSum": [np.int64(1)],
    "CumProd": [np.int64(1)],
    "Reshape": [np.int64([6, 20])],
    "Unsqueeze": [np.int64([0])],
    "Expand": [np.int64([2, 3, 4, 5])],
    "Tile": [np.int64([1, 1, 2, 1])],
    "Slice": [np.int64([1]), np.int64([3]), np.int64([2])],
    "Gather": [np.int64([2, 0])],
}


def here(families: Family) -> list[str]:
    """The operators of any of the families that the installed version of onnx has."""
    return sorted(names(families) & EVERY)


def data_for(op: str, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    if op in TRUTH:
        return RNG.uniform(size=shape) < 0.5
    if op in WHOLE:
        return RNG.integers(1, 7, shape).astype(np.uint8)
    value = RNG.uniform(0.2, 0.8, shape).astype(np.float32)
    return value + np.float32(1) if op == "Acosh" else value


def version_of(op: str) -> int:
    """Operator set 24, or the one that first has the operator."""
    first = min(schema.since_version for schema in SCHEMAS if schema.name == op)
    return max(OPSET, first)


def run(op: str, inputs: list[np.ndarray]) -> np.ndarray:
    """The first output of an operator, by ONNX' reference."""
    fed = {f"i{place}": np.asarray(value) for place, value in enumerate(inputs)}
    outputs = ["y", "y1", "y2"] if op == "Split" else ["y"]
    node = helper.make_node(op, list(fed), outputs, **ATTRIBUTES.get(op, {}))
    ports = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in fed.items()
    ]
    kind = {"Cast": TensorProto.DOUBLE, "BitCast": TensorProto.INT32}.get(op, TensorProto.FLOAT)
    graph = helper.make_graph([node], "g", ports, [helper.make_tensor_value_info("y", kind, None)])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version_of(op))])
    return np.asarray(ReferenceEvaluator(proto).run(["y"], fed)[0])


def changed_at(value: np.ndarray, place: tuple[int, ...]) -> np.ndarray:
    """The tensor with one element changed."""
    other = value.copy()
    step = 0.125 if other.dtype.kind == "f" else 1
    other[place] = ~other[place] if other.dtype == bool else other[place] + other.dtype.type(step)
    return other


def differs(a: np.ndarray, b: np.ndarray) -> set[tuple[int, ...]]:
    same = (a == b) | ((a != a) & (b != b))
    return {tuple(int(i) for i in place) for place in np.argwhere(~same)}


PLACE = (1, 2, 1, 3)


@pytest.mark.parametrize("op", here(Family.ELEMENTWISE | Family.PER_AXIS))
def test_an_elementwise_operator_keeps_shape_and_place(op: str) -> None:
    inputs = [data_for(op), *OTHERS.get(op, [])]
    before = run(op, inputs)
    assert before.shape == SHAPE
    after = run(op, [changed_at(inputs[0], PLACE), *inputs[1:]])
    assert differs(before, after) <= {PLACE}


@pytest.mark.parametrize("op", here(Family.ELEMENTWISE))
def test_an_elementwise_operator_is_one_function_for_all_elements(op: str) -> None:
    inputs = [data_for(op), *OTHERS.get(op, [])]
    turned = run(op, [inputs[0].transpose(0, 2, 3, 1), *inputs[1:]])
    np.testing.assert_array_equal(turned, run(op, inputs).transpose(0, 2, 3, 1))


@pytest.mark.parametrize("op", here(Family.PER_AXIS))
def test_an_operator_by_channels_is_not_one_function_for_all_elements(op: str) -> None:
    same = np.full_like(data_for(op), 1)
    assert len(np.unique(run(op, [same, *OTHERS[op]]))) > 1


def operands(op: str) -> list[np.ndarray]:
    if op == "Where":
        return [RNG.uniform(size=SHAPE) < 0.5, data_for(op, (3, 1, 5)), data_for(op, (2, 1, 4, 1))]
    return [data_for(op), data_for(op, (3, 1, 5))]


@pytest.mark.parametrize("op", here(Family.BROADCASTING))
def test_a_broadcasting_operator_aligns_its_inputs_at_their_ends(op: str) -> None:
    inputs = operands(op)
    before = run(op, inputs)
    assert before.shape == np.broadcast_shapes(*(value.shape for value in inputs))
    for which, value in enumerate(inputs):
        own = tuple(index if size > 1 else 0 for index, size in zip(PLACE[-value.ndim :], value.shape, strict=True))
        after = run(op, [changed_at(v, own) if n == which else v for n, v in enumerate(inputs)])
        wide = np.zeros(value.shape, bool)
        wide[own] = True
        assert differs(before, after) <= {tuple(map(int, p)) for p in np.argwhere(np.broadcast_to(wide, SHAPE))}


@pytest.mark.parametrize("op", here(KEEPS_SHAPE))
def test_an_operator_that_keeps_the_shape_keeps_it(op: str) -> None:
    assert run(op, [data_for(op), *OTHERS.get(op, [])]).shape == SHAPE


@pytest.mark.parametrize("op", here(Family.ALONG_AXIS))
def test_along_one_axis_the_last_by_default(op: str) -> None:
    value = data_for(op)
    changed = differs(run(op, [value]), run(op, [changed_at(value, PLACE)]))
    assert changed <= {(*PLACE[:3], index) for index in range(SHAPE[3])}


@pytest.mark.parametrize("op", here(Family.CUMULATIVE))
def test_a_cumulative_operator_goes_along_its_axis(op: str) -> None:
    value = data_for(op)
    place = (1, 1, 2, 3)
    changed = differs(run(op, [value, np.int64(1)]), run(op, [changed_at(value, place), np.int64(1)]))
    assert changed == {(1, channel, 2, 3) for channel in (1, 2)}


@pytest.mark.parametrize("op", here(Family.REDUCTION))
def test_a_reduction_leaves_one_number_along_its_axes(op: str) -> None:
    value = data_for(op)
    before, after = (run(op, [v, np.int64([1, 3])]) for v in (value, changed_at(value, PLACE)))
    assert before.shape == (2, 1, 4, 1)
    assert differs(before, after) <= {(PLACE[0], 0, PLACE[2], 0)}


@pytest.mark.parametrize("op", here(Family.MOVING))
def test_what_moves_elements_makes_none(op: str) -> None:
    value = np.arange(2 * 4 * 4 * 6, dtype=np.float32).reshape(2, 4, 4, 6)
    if op == "Expand":
        value = value[:, :1]
    if op == "Squeeze":
        value = value[:, :1]
    others = {"Expand": [np.int64([2, 3, 4, 6])], "Reshape": [np.int64([8, 24])], "Concat": [value + 1000]}
    made = run(op, [value, *others.get(op, OTHERS.get(op, []))])
    pool = np.concatenate([value.ravel(), (value + 1000).ravel()]) if op == "Concat" else value.ravel()
    assert np.isin(made, pool).all()
    if op in names(Family.ARRANGING):
        assert sorted(made.ravel()) == sorted(value.ravel())
    if op in names(Family.RESHAPING):
        np.testing.assert_array_equal(made.ravel(), value.ravel())


@pytest.mark.parametrize("op", here(Family.PREDICATE))
def test_a_predicate_gives_true_or_false(op: str) -> None:
    inputs = [data_for(op)] if len(onnx.defs.get_schema(op).inputs) == 1 else [data_for(op), data_for(op)]
    assert run(op, inputs).dtype == bool


@pytest.mark.parametrize("op", here(Family.STEP_FUNCTION))
def test_a_step_function_is_flat_but_for_jumps(op: str) -> None:
    line = np.linspace(-3, 3, 10001, dtype=np.float32)
    steps = np.diff(run(op, [line]))
    assert 0 < np.count_nonzero(steps) < 16


@pytest.mark.parametrize("op", here(Family.RECTIFIER))
def test_a_rectifier_is_flat_or_the_identity(op: str) -> None:
    line = np.linspace(-1, 1, 101, dtype=np.float32)
    made = run(op, [line, *OTHERS.get(op, [])])
    flat = np.unique(made[made != line])
    assert 1 <= len(flat) <= 2


def test_which_operators_keep_the_type() -> None:
    assert all(keeps_type(op) for op in ("Conv", "Relu", "Concat", "Reshape", "ReduceMean", "Gemm", "Clip"))
    assert not any(keeps_type(op) for op in ("Cast", "Shape", "Equal", "ArgMax", "QuantizeLinear", "Nowhere"))
