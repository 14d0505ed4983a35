"""The pairing of two models: layers and outputs that are compared, how each is read, and what has no counterpart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from onnxviz.comparison.matching import Pair, match_layers
from onnxviz.comparison.reading import Reading
from onnxviz.errors import SelectionError
from onnxviz.messages import printable
from onnxviz.model.graph.operators import Family, names_anywhere
from onnxviz.model.layer import Layer, TapKind
from onnxviz.model.model import Model
from onnxviz.model.ports import Port
from onnxviz.model.selection import select


@dataclass(frozen=True, eq=False)
class ReadPair:
    """A tensor of each model, and how they are read.

    Attributes:
        a, b: how they are read.
        names: what the layers or outputs are called, A's and B's.
        by: the evidence that they are one another's.
    """

    a: Reading
    b: Reading
    names: tuple[str, str]
    by: str


@dataclass(frozen=True, eq=False)
class LayerPair(ReadPair):
    """A layer of each model; the outputs are read.

    Attributes:
        layer_a, layer_b: the layers.
    """

    layer_a: Layer
    layer_b: Layer


class NotCompared(NamedTuple):
    """Two counterparts that have no tensor in common, and why."""

    a: str
    b: str
    why: str


@dataclass(frozen=True)
class Pairing:
    """What is compared with what.

    Attributes:
        layers: in A's order.
        outputs: in A's order.
        only_a, only_b: names of layers and outputs without a counterpart.
        not_compared: counterparts that are not compared.
    """

    layers: tuple[LayerPair, ...]
    outputs: tuple[ReadPair, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    not_compared: tuple[NotCompared, ...]

    @classmethod
    def of(
        cls, a: Model, b: Model, layers: str | int | Sequence[str | int], ops: Sequence[str] | None, at: TapKind
    ) -> Pairing:
        """The pairing of two models.

        Args:
            a: a model.
            b: the other.
            layers: a selection of A's layers.
            ops: operators to choose among; None for the convolutions and dense layers.
            at: as for `compare`.

        Raises:
            SelectionError: the selection means no layer of A, or an operator is in neither model.
        """
        matched = match_layers(a, b, ops if ops is not None else _with_weights(a, b) or None)
        chosen = {layer.name for layer in _chosen(a, layers, ops)}
        found: list[LayerPair] = []
        apart: list[NotCompared] = []
        for pair in matched.pairs:
            if pair.a.name in chosen:
                read = _read(pair, at)
                if isinstance(read, LayerPair):
                    found.append(read)
                else:
                    apart.append(read)
        outputs, rest_a, rest_b = _outputs(a, b)
        whole = layers == "all"
        return cls(
            tuple(found),
            outputs,
            (*(layer.name for layer in matched.only_a if layer.name in chosen), *rest_a),
            (*(layer.name for layer in matched.only_b if whole), *rest_b),
            tuple(apart),
        )


def _with_weights(a: Model, b: Model) -> list[str]:
    """The operators of convolutions and dense layers that either model uses."""
    used = {*a.operators, *b.operators}
    convolutions = {layer.op.rpartition(":")[2] for model in (a, b) for layer in model.layers}
    return sorted(used & (convolutions | names_anywhere(Family.MATRIX)))


def _chosen(model: Model, selection: str | int | Sequence[str | int], ops: Sequence[str] | None) -> tuple[Layer, ...]:
    """The layers that a selection means: convolutions, else dense layers, else those of the operators."""
    if ops is not None:
        used = [op for op in ops if op in model.operators]
        return select(selection, model.layers_of(used) if used else (), model.label)
    dense = [op for op in model.operators if op in names_anywhere(Family.MATRIX)]
    others = model.layers_of(dense) if dense else ()
    if selection == "all":
        return (*model.layers, *others)
    try:
        return select(selection, model.layers, model.label)
    except SelectionError:
        if not others:
            raise
        return select(selection, (*model.layers, *others), model.label)


def _read(pair: Pair, at: TapKind) -> LayerPair | NotCompared:
    """How the outputs of two layers are read so that they mean the same."""
    a, b = Reading.of(pair.a, at), Reading.of(pair.b, at)
    names = pair.a.name, pair.b.name
    if at == "activation" and not _mean_the_same(pair, a, b):
        active, silent = (pair.a, pair.b) if a.activated else (pair.b, pair.a)
        if len(active.activation.through) != 1 or silent.activation.scaled not in ("", silent.taps["conv"]):
            said = f"'{printable(active.name)}' is read {active.activation}"
            return NotCompared(*names, f"{said}, and '{printable(silent.name)}' ends before its activation")
        at = "conv"
        a, b = Reading.of(pair.a, at), Reading.of(pair.b, at)
    if at == "conv" and a.saturates != b.saturates and any(one.activation.activated for one in (pair.a, pair.b)):
        cut, whole = names if a.saturates else names[::-1]
        said = f"rounding cuts '{printable(cut)}' at zero, as its activation does"
        return NotCompared(*names, f"{said}; '{printable(whole)}' has values below")
    return LayerPair(a, b, names, pair.by, pair.a, pair.b)


def _mean_the_same(pair: Pair, a: Reading, b: Reading) -> bool:
    """Whether an activation is applied in both, in none, or as a ReLU in one and by saturation in the other."""
    if None not in (a.activated, b.activated):
        return a.activated == b.activated
    taps = [layer.activation for layer in (pair.a, pair.b)]
    last = [tap.through[-1] for tap in taps if tap.activated]
    return {word for label in last for word in label.split("·")} <= names_anywhere(
        Family.RECTIFIER | Family.BOUND | Family.QUANTISING
    )


def _outputs(a: Model, b: Model) -> tuple[tuple[ReadPair, ...], list[str], list[str]]:
    """The outputs that are compared, by name, or by position where no name is shared; and the others' names."""
    mine, theirs = _readable(a), _readable(b)
    shared = [name for name in mine if name in theirs]
    both = [(name, name) for name in shared]
    by = "name"
    if not shared and len(mine) == len(theirs):
        both, by = list(zip(mine, theirs, strict=True)), "position"
    pairs = tuple(
        ReadPair(Reading.of_tensor(a, one), Reading.of_tensor(b, other), (one, other), by) for one, other in both
    )
    left = [name for name in mine if name not in {one for one, _ in both}]
    return pairs, left, [name for name in theirs if name not in {other for _, other in both}]


def _readable(model: Model) -> list[str]:
    """Names of the outputs that hold numbers and that a node makes."""
    return [port.name for port in model.outputs if _is_number(port) and port.name in model.scope.producers]


def _is_number(port: Port) -> bool:
    return port.dtype not in ("", "string")
