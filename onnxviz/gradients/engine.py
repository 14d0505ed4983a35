"""Reverse-mode accumulation over a graph; knows no operator.

From the target back to the tensors that are asked for, each node on a path between them is handed, with the gradient
with respect to its outputs, to its rule; what the rules give for one tensor is added up (Griewank & Walther 2008,
"Evaluating Derivatives", chapter 3). Everything is built before anything is refused, so that a refusal lists every
node that stands in the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import NodeProto, TensorProto

from onnxviz.gradients.builder import Builder, Value
from onnxviz.gradients.refusal import Refusal
from onnxviz.gradients.step import Mode, Step
from onnxviz.gradients.table import NON_DIFFERENTIABLE, RULES, why_no_rule
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import plain_domain, reads
from onnxviz.passes.prepare import FLOATS, Prepared


@dataclass(frozen=True)
class Refused:
    """A node that has no gradient, and why."""

    node: NodeProto
    refusal: Refusal


@dataclass
class Path:
    """What lies between tensors and the target that depends on them.

    Attributes:
        nodes: every node that the target needs, in graph order.
        active: tensors that depend on `wrt` in a differentiable way.
        stopped: nodes that depend on `wrt` and pass no gradient on, with the reason.
    """

    nodes: list[NodeProto]
    active: set[str]
    stopped: list[tuple[NodeProto, str]]


@dataclass
class Accumulated:
    """What came of one walk.

    Attributes:
        builder: holds the new nodes.
        gradients: the gradient with respect to each tensor that was asked for, None where nothing reaches it.
        refused: the nodes without a gradient, in graph order; the gradients are worthless if there are any.
        approximations: (node, how it is not exact).
        trail: the nodes passed, from the target on, with the gradients with respect to their outputs and inputs.
        path: what was walked.
        seed: the name of the seed.
        steered: whether any rule heeded a mode other than plain.
    """

    builder: Builder
    gradients: dict[str, Value | None]
    refused: list[Refused]
    approximations: list[tuple[NodeProto, str]]
    trail: list[tuple[NodeProto, tuple[str, ...], tuple[str, ...]]]
    path: Path
    seed: str
    steered: bool = False


def trace(prepared: Prepared, of: str, wrt: Sequence[str]) -> Path:
    """What `of` needs, and which of it depends on `wrt`."""
    nodes = list(prepared.scope.ancestors([of]).nodes)
    active = set(wrt)
    stopped: list[tuple[NodeProto, str]] = []
    for node in nodes:
        if not active.intersection(reads(node)):
            continue
        reason = "" if plain_domain(node.domain) else NON_DIFFERENTIABLE.get(node.op_type, "")
        carrying = [] if reason else [name for name in node.output if name and _carries(prepared, node, name, active)]
        active.update(carrying)
        if not carrying:
            stopped.append((node, reason or "gives numbers that are not floating point"))
    return Path(nodes, active, stopped)


def _carries(prepared: Prepared, node: NodeProto, output: str, active: set[str]) -> bool:
    """Whether a gradient can come back through that output: a float, or a quantised tensor that stands for one."""
    kind = prepared.element_type(output)
    if kind in FLOATS or kind == TensorProto.UNDEFINED:
        return True
    key = (plain_domain(node.domain), node.op_type)
    if node.op_type == "QuantizeLinear" or (key not in RULES and why_no_rule(*key).kind == "quantised"):
        return True  # the latter so that it is found to be in the way
    data = node.input[:1] if node.op_type != "Concat" else node.input
    # What is differentiable before elements are moved is so behind, quantised or not.
    return belongs(node, Family.MOVING) and output == node.output[0] and any(name in active for name in data)


def accumulate(prepared: Prepared, of: str, wrt: Sequence[str], seed: str, mode: Mode) -> Accumulated:
    """Builds the gradient of ⟨seed, `of`⟩ with respect to each of `wrt`.

    Args:
        prepared: the graph.
        of: the target.
        wrt: tensors of the main graph.
        seed: name of a new graph input in the shape of `of`.
        mode: how the rule of Relu treats gradients.
    """
    path = trace(prepared, of, wrt)
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in path.nodes]
    builder = Builder(prepared, nodes)
    seed = builder.name(seed)
    found: dict[str, list[Value]] = {of: [Value(builder, seed, prepared.element_type(of) or TensorProto.FLOAT)]}
    result = Accumulated(builder, {}, [], [], [], path, seed)
    for node in reversed(nodes):
        builder.label = node.name or node.output[0]
        cotangents = [_total(builder, found, name) if name in path.active else None for name in node.output]
        wanted = [index for index, name in enumerate(node.input) if name in path.active]
        if not any(cotangents) or not (wanted or path.active.intersection(reads(node))):
            continue
        step = Step(builder, node, cotangents, mode)
        try:
            gradients = _apply(prepared, step, wanted)
        except Refusal as refusal:
            result.refused.insert(0, Refused(node, refusal))
            # Any value will do to go on and find what else there is: the graph is not used.
            gradients = dict.fromkeys(wanted, next(value for value in cotangents if value is not None))
        result.approximations.extend((node, text) for text in step.approximations)
        result.steered |= step.steered
        passed = tuple(value.name for value in gradients.values())
        result.trail.append((node, tuple(value.name for value in cotangents if value is not None), passed))
        for index, value in gradients.items():
            found.setdefault(node.input[index], []).append(value)
    result.gradients = {name: _total(builder, found, name) for name in wrt}
    return result


def _total(builder: Builder, found: dict[str, list[Value]], tensor: str) -> Value | None:
    """The sum of what reached a tensor; kept, so that it is added up once."""
    parts = found.get(tensor)
    if not parts:
        return None
    if len(parts) > 1:
        total = parts[0] + parts[1] if len(parts) == 2 else builder.op("Sum", *parts)
        found[tensor] = [total]
    return found[tensor][0]


def _apply(prepared: Prepared, step: Step, wanted: Sequence[int]) -> dict[int, Value]:
    """The gradient with respect to each wanted input of the step's node."""
    node = step.node
    domain = plain_domain(node.domain)
    rule = RULES.get((domain, node.op_type))
    old = prepared.outdated(node)
    if rule is None:
        raise why_no_rule(domain, node.op_type)
    if old:
        raise Refusal("attribute-unsupported", old, "convert the model to opset 18 with onnx.version_converter")
    for index, value in enumerate(step.cotangents[1:], 1):
        if value is not None and not rule.all_outputs:
            raise Refusal("no-rule", f"its output {index} ('{node.output[index]}') is used and has no gradient here")
    given = rule.apply(step)
    gradients: Sequence[Value | None] = [given] if isinstance(given, Value) else given
    result = {}
    for index in wanted:
        value = gradients[index] if index < len(gradients) else None
        if value is None:
            what = f"its input {index} ('{node.input[index]}'), which depends on the model's input"
            raise Refusal("no-rule", f"it has no gradient here with respect to {what}")
        result[index] = step.unrepeated(value, index, step.dims(step.y)) if rule.broadcasts else value
    return result
