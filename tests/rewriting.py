"""Graphs for the tests of rewriting: built from short pieces, run as they were written and as they were rewritten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import oracles
from old_versions import misread_by_reference
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnxviz.model.skeleton import embed_weights
from onnxviz.passes.fold_weights import Folded, fold

# The earliest form of the file that each operator set may be in.
IR_VERSIONS = {13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11}


def node(op: str, inputs: str, outputs: str, **attributes: object) -> NodeProto:
    """`node("Add", "a b", "c")`; a `-` is an operand that is left out; the node is named as its first output."""
    given = ["" if name == "-" else name for name in inputs.split()]
    made = ["" if name == "-" else name for name in outputs.split()]
    name = str(attributes.pop("name", made[0]))
    return helper.make_node(op, given, made, name=name, **attributes)


def value(name: str, shape: Sequence[int | str | None] | None, dtype: object = np.float32) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


def array(*shape: int, seed: int = 0, dtype: object = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.5, shape).astype(dtype)


def graph_of(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Sequence[int | str | None] | None] | Sequence[onnx.ValueInfoProto],
    outputs: str | Sequence[onnx.ValueInfoProto],
    *,
    opset: int = 18,
    stored: Mapping[str, object] | None = None,
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    """A model of these nodes.

    Args:
        inputs: shapes of float inputs by name, or the inputs.
        outputs: names of float outputs, or the outputs.
        stored: initializers by name.
    """
    if isinstance(inputs, Mapping):
        inputs = [value(name, shape) for name, shape in inputs.items()]
    if isinstance(outputs, str):
        outputs = [value(name, None) for name in outputs.split()]
    initializers = [numpy_helper.from_array(np.asarray(array), name) for name, array in (stored or {}).items()]
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), initializers)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSIONS[opset])


def attached(proto: onnx.ModelProto, weights: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """The model as it was written, holding its weights."""
    whole = onnx.ModelProto()
    whole.CopyFrom(proto)
    inputs = [one for one in whole.graph.input if one.name not in weights]
    del whole.graph.input[:]
    whole.graph.input.extend(inputs)
    there = {tensor.name for tensor in whole.graph.initializer}
    for name, array in weights.items():
        if name not in there:
            native = array.astype(array.dtype.newbyteorder("=")) if array.dtype.byteorder == ">" else array
            whole.graph.initializer.append(numpy_helper.from_array(native, name))
    return whole


def written(folded: Folded) -> onnx.ModelProto:
    """The rewritten model as it is written to a file, read back."""
    chunks, moved = embed_weights(folded.proto, folded.bytes_of, "weights.data")
    assert not moved
    return onnx.load_from_string(b"".join(bytes(chunk) for chunk in chunks))


def rewritten(
    proto: onnx.ModelProto,
    weights: Mapping[str, np.ndarray] | None = None,
    feeds: Mapping[str, np.ndarray] | None = None,
    *,
    asked: Sequence[str] = ("onnxruntime", "onnx.reference"),
    tolerance: float = 1e-6,
) -> onnx.ModelProto:
    """The rewritten model, after it was found to give what the model gave as it was written.

    Args:
        proto: the model, which reads `weights` without holding them.
        weights: their values.
        feeds: what the model is fed; without it, the model is only checked.
        asked: whose answers for the model as it was written count.
        tolerance: largest difference over the largest expected magnitude.
    """
    weights = dict(weights or {})
    before = proto.SerializeToString(deterministic=True)
    result = written(fold(proto, weights))
    assert proto.SerializeToString(deterministic=True) == before
    invariants(proto, weights, result)
    if feeds is not None:
        names = [one.name for one in proto.graph.output]
        original = attached(proto, weights)
        answers = []
        if "onnxruntime" in asked:
            answers.append(oracles.untouched(original, names, dict(feeds)))
        if "onnx.reference" in asked and not any(misread_by_reference(one) for one in original.graph.node):
            with np.errstate(all="ignore"):
                answers.append(oracles.referenced(original, names, dict(feeds)))
        same(oracles.untouched(result, names, dict(feeds)), answers, tolerance)
    return result


def invariants(proto: onnx.ModelProto, weights: Mapping[str, np.ndarray], result: onnx.ModelProto) -> None:
    """What holds for every rewritten model."""
    if all(one.type.tensor_type.HasField("shape") for one in (*proto.graph.input, *proto.graph.output)):
        onnx.checker.check_model(result)
    assert [one.name for one in result.graph.output] == [one.name for one in proto.graph.output]
    assert list(result.graph.input) == [one for one in proto.graph.input if one.name not in weights]
    assert result.opset_import == proto.opset_import
    made = [name for one in result.graph.node for name in one.output if name]
    stored = [tensor.name for tensor in result.graph.initializer]
    given = [one.name for one in result.graph.input]
    assert len(set(made + stored)) == len(made + stored)
    assert not set(given) & set(made)
    read = {name for one in result.graph.node for name in _reads(one)} | {one.name for one in result.graph.output}
    assert set(stored) <= read, "a constant that nothing reads"


def _reads(one: NodeProto) -> list[str]:
    names = [*one.input]
    for attribute in one.attribute:
        if attribute.HasField("g"):
            names += [name for inner in attribute.g.node for name in _reads(inner)]
            names += [output.name for output in attribute.g.output]
    return names


def same(
    actual: Mapping[str, np.ndarray],
    answers: Sequence[Mapping[str, np.ndarray]],
    tolerance: float = 1e-6,
    *,
    least: float = 0.0,
) -> None:
    """Every tensor equals that of each answer: its type, its shape, its values; NaN and infinity where they were.

    Args:
        actual: tensors by name.
        answers: what they should be.
        tolerance: largest difference over the largest magnitude expected, or over `least` where that is more.
        least: see there.
    """
    for expected in answers:
        for name, wanted in expected.items():
            got, wanted = np.asarray(actual[name]), np.asarray(wanted)
            assert got.dtype == wanted.dtype, name
            assert got.shape == wanted.shape, name
            if wanted.dtype.kind not in "fV":
                np.testing.assert_array_equal(got, wanted, err_msg=name)
                continue
            got, wanted = got.astype(np.float64), wanted.astype(np.float64)
            finite = np.isfinite(wanted)
            np.testing.assert_array_equal(got[~finite], wanted[~finite], err_msg=name)
            gap = np.abs(got[finite] - wanted[finite]).max(initial=0)
            assert gap <= tolerance * np.abs(wanted[finite]).max(initial=least), name


def operators(proto: onnx.ModelProto) -> Counter[str]:
    """How many nodes of each operator the graph has."""
    return Counter(one.op_type for one in proto.graph.node)


def stored(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The initializers by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def the(proto: onnx.ModelProto, op: str) -> NodeProto:
    """The only node of this operator."""
    (found,) = (one for one in proto.graph.node if one.op_type == op)
    return found


def bits(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()


__all__ = [
    "TensorProto",
    "attached",
    "bits",
    "fold",
    "graph_of",
    "invariants",
    "node",
    "operators",
    "rewritten",
    "same",
    "stored",
    "the",
    "value",
    "written",
]
