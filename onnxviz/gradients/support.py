"""Support for gradients: the tensors that can be differentiated, and the nodes that block the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import NodeProto, TensorProto

from onnxviz.errors import SelectionError, UnsupportedGradientError
from onnxviz.gradients.engine import Accumulated, Path, Refused
from onnxviz.gradients.refusal import Kind
from onnxviz.gradients.step import PIN
from onnxviz.messages import for_reader, printable
from onnxviz.model.graph.scopes import plain_domain, reads, walk
from onnxviz.passes.prepare import FLOATS, Prepared

# They look at the model from outside, so they work whatever it is made of, where there are positions to look at.
GRADIENT_FREE = ("occlusion", "rise", "score-cam", "eigen-cam")

# Blocking nodes that a message lists.
LISTED = 10


@dataclass(frozen=True)
class Blocking:
    """A node that no gradient passes.

    Attributes:
        node: its name, "" if it has none.
        op: its operator, `domain::operator` outside ONNX's own domain.
        output: its first output.
        opset: of the model.
        position: its 1-based place among the nodes that the target needs, 0 for an input.
        kind: what sort of reason: "no-rule", "attribute-unsupported", "unknown-static-shape", "non-float",
            "custom-domain", "training-mode", "quantised" or "no-path".
        reason: in words.
        remedy: what to do, "" where nothing helps.
    """

    node: str
    op: str
    output: str
    opset: int
    position: int
    kind: Kind
    reason: str
    remedy: str

    def __str__(self) -> str:
        name = f"node '{printable(self.node)}' (output '{printable(self.output)}', opset {self.opset})"
        where = name if self.position else f"'{printable(self.output)}'"
        return f"{printable(self.op)}  {where}: {self.reason}." + (f"\n     -> {self.remedy}" if self.remedy else "")


@dataclass(frozen=True)
class Support:
    """Whether a tensor can be differentiated; true if so.

    Attributes:
        of: the target.
        wrt: what it is differentiated with respect to.
        blocking: the nodes that stand in the way, in graph order; empty if there are none.
        nodes: how many nodes the target needs.
        reaches: the last tensor in graph order that can be differentiated, "" if none.
        reached: how many of the nodes lie before it.
        approximations: where the gradient is not exact, and how it is made.
        gradient_free: methods that explain the target without gradients.
    """

    of: str
    wrt: tuple[str, ...]
    blocking: tuple[Blocking, ...]
    nodes: int
    reaches: str
    reached: int
    approximations: tuple[str, ...] = ()
    gradient_free: tuple[str, ...] = GRADIENT_FREE

    def __bool__(self) -> bool:
        return not self.blocking

    def __str__(self) -> str:
        what = f"'{printable(self.of)}' with respect to " + ", ".join(f"'{printable(name)}'" for name in self.wrt)
        if self:
            return f"{what} is differentiable ({self.nodes} nodes)"
        count = len(self.blocking)
        lines = [
            f"cannot differentiate {what}: {count} of {self.nodes} nodes on the path "
            f"{'has' if count == 1 else 'have'} no gradient."
        ]
        causes = self._causes()
        lines += [f"  {number}. {cause}" for number, cause in enumerate(causes[:LISTED], 1)]
        if len(causes) > LISTED:
            lines.append(f"  … and {len(causes) - LISTED} more{for_reader('', ' (grad_support lists them all)')}")
        if self.reaches:
            lines.append(
                f"  Differentiable up to: '{printable(self.reaches)}' (node {self.reached} of {self.nodes}) - "
                "every target at or before it works."
            )
        return "\n".join(lines)

    def _causes(self) -> list[str]:
        """What stands in the way, a cause each: sizes that are left open are one, however many nodes need them."""
        sizes = [one for one in self.blocking if one.kind == "unknown-static-shape"]
        if len(sizes) < 2:
            return [str(one) for one in self.blocking]
        others = {one.op for one in sizes[1:]} - {sizes[0].op}
        also = f", then {', '.join(map(printable, sorted(others)))}" if others else ""
        said = f"{len(sizes)} nodes need sizes that are left open, first {sizes[0]}".replace("\n", f"{also}\n", 1)
        return [said if one is sizes[0] else str(one) for one in self.blocking if one not in sizes[1:]]

    def check(self) -> None:
        """Goes on only if the target is differentiable.

        Raises:
            UnsupportedGradientError: it is not.
        """
        if not self:
            raise UnsupportedGradientError(str(self), self.gradient_free)


def check_tensors(prepared: Prepared, of: str, wrt: Sequence[str]) -> None:
    """Refuses tensors that are not there.

    Raises:
        SelectionError: the main graph has no such tensor, or it is a constant.
    """
    inputs = {value.name for value in prepared.graph.input}
    made = {name for node in prepared.graph.node for name in node.output if name}
    for name in (of, *wrt):
        inside = next((scope for scope, node in walk(prepared.scope) if scope.parent and name in node.output), None)
        if inside is not None:
            raise SelectionError(
                f"'{printable(name)}' lies inside control flow ({printable(inside.name)}), which no gradient passes; "
                f"its feature maps need none ({for_reader('onnxviz maps', 'capture')})"
            )
        if name not in made and not (name in inputs and name != of):
            what = "is a constant" if prepared.constant(name) is not None else "is not a tensor of its main graph"
            ports = ", ".join(printable(known) for known in sorted(inputs))
            ends = ", ".join(printable(value.name) for value in prepared.graph.output)
            raise SelectionError(
                f"'{printable(name)}' {what}: {prepared.label} has inputs {ports} and outputs {ends}, "
                "and what its nodes make"
            )


def judge(prepared: Prepared, of: str, wrt: Sequence[str], found: Accumulated) -> Support:
    """What came of a walk, as data."""
    path = found.path
    positions = {id_of(node): place for place, node in enumerate(path.nodes, 1)}

    def blocking(node: NodeProto, kind: Kind, reason: str, remedy: str) -> Blocking:
        domain = plain_domain(node.domain)
        op = f"{domain}::{node.op_type}" if domain else node.op_type
        if remedy == PIN:  # where all inputs have their sizes, no size that is given helps
            remedy = f"pass {prepared.pin_hint}" if prepared.pin_hint else ""
        return Blocking(node.name, op, id_of(node), prepared.opset, positions.get(id_of(node), 0), kind, reason, remedy)

    refused = _causes(path, found.refused)
    listed = [blocking(one.node, one.refusal.kind, one.refusal.reason, one.refusal.remedy) for one in refused]
    listed = [*_not_floats(prepared, of, wrt), *listed]
    if not listed and any(value is None for value in found.gradients.values()):
        listed = [
            blocking(node, "no-path", reason, "choose a target before it, or a tensor behind it")
            for node, reason in path.stopped
        ]
        if not listed:
            lost = next(name for name, value in found.gradients.items() if value is None)
            reason = f"'{of}' does not depend on it"
            listed = [Blocking("", "input", lost, prepared.opset, 0, "no-path", reason, "choose another tensor")]
    blocked = {blocking.output for blocking in listed}
    reaches, reached = _reach(path, wrt, blocked) if listed else (of, len(path.nodes))
    approximations = tuple(dict.fromkeys(f"{node.op_type}: {text}" for node, text in found.approximations))
    return Support(of, tuple(wrt), tuple(listed), len(path.nodes), reaches, reached, approximations)


def _causes(path: Path, refused: Sequence[Refused]) -> list[Refused]:
    """Those of the refusals that are not mere consequences: behind a foreign operator no shape is known."""
    blocked = {id_of(one.node) for one in refused if one.refusal.kind != "unknown-static-shape"}
    behind: set[str] = set()
    for node in path.nodes:
        if id_of(node) in blocked or behind.intersection(node.input):
            behind.update(node.output)
    return [one for one in refused if id_of(one.node) in blocked or not behind.intersection(one.node.input)]


def id_of(node: NodeProto) -> str:
    """The first output of a node, which no other node has."""
    return next((name for name in node.output if name), "")


def _not_floats(prepared: Prepared, of: str, wrt: Sequence[str]) -> list[Blocking]:
    """Tensors at either end that are not floats."""
    found = []
    for name in dict.fromkeys((of, *wrt)):
        kind = prepared.element_type(name)
        if kind in FLOATS or kind == TensorProto.UNDEFINED:
            continue
        what = TensorProto.DataType.Name(kind).lower()
        behind = _float_behind(prepared, name)
        remedy = f"'{behind}', which is made of it, holds floats" if behind else "choose a tensor of floats"
        reason = f"it holds {what}, and only floating point numbers have a gradient"
        found.append(Blocking("", "tensor", name, prepared.opset, 0, "non-float", reason, remedy))
    return found


def _float_behind(prepared: Prepared, tensor: str) -> str:
    """The first float tensor that a node makes of `tensor`, "" if none does."""
    for node in prepared.scope.consumers.get(tensor, []):
        if node.output and prepared.element_type(node.output[0]) in FLOATS:
            return str(node.output[0])
    return ""


def _reach(path: Path, wrt: Sequence[str], blocked: set[str]) -> tuple[str, int]:
    """The last tensor that no blocked node stands before, and the number of nodes up to it."""
    clean = {name for name in wrt if name not in blocked}
    reaches, reached = "", 0
    for place, node in enumerate(path.nodes, 1):
        inputs = path.active.intersection(reads(node))
        if inputs and inputs <= clean and id_of(node) not in blocked:
            clean.update(name for name in node.output if name in path.active)
            if id_of(node) in clean:
                reaches, reached = id_of(node), place
    return reaches, reached
