"""Exclusion: the nodes that are to stay in full precision when a model is converted to a lower one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from onnxviz.comparison.comparison import Alone, Exclusion
from onnxviz.comparison.pairing import LayerPair
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import Scope

MOST_OF_IT = 0.9
"""Which part of the noise the listed nodes cause."""
# What gives values on as it gets them, rounded or not.
_PASSING = Family.MOVING | Family.IDENTITY | Family.RESHAPING | Family.POOLING | Family.DROPOUT


def exclusion(pairs: Sequence[tuple[LayerPair, Alone]], option: str) -> Exclusion | None:
    """The nodes of A to exclude, those first that cost its answer most.

    The noise that each layer alone causes in the answer is taken as its part, as if they were independent; layers are
    listed until they have `MOST_OF_IT` of the sum; where some make the answer NaN or infinite, those alone. Behind each
    operator stand its normalisation and activation, and the nodes that read its output: while one of them is converted,
    the tensor stays rounded.

    Args:
        pairs: layers, and what B's alone costs.
        option: as in `Exclusion`.

    Returns:
        The list; None where nothing costs anything, or the nodes have no names to list.
    """
    costs = {one: 10 ** (-alone.output_sqnr / 10) for one, alone in pairs}
    broken = [one for one, cost in costs.items() if not math.isfinite(cost)]
    listed = list(broken)
    total, covered = math.fsum(costs.values()), 0.0
    for one in [] if broken else sorted(costs, key=lambda one: -costs[one]):
        if not costs[one] or covered >= MOST_OF_IT * total:
            break
        covered += costs[one]
        listed.append(one)
    names = list(dict.fromkeys(name for one in listed for name in _around(one) if name))
    if not names:
        return None
    return Exclusion(option, tuple(names), 1.0 if broken else covered / total)


def _around(one: LayerPair) -> list[str]:
    """Names of a layer's operator, of its normalisation and activation, and of what reads its output."""
    layer, end = one.layer_a, one.a.tap.tensor
    scope = layer.graph_scope
    after = scope.descendants([layer.taps["conv"]]) - {layer.taps["conv"]}
    between = [node.name for node in scope.ancestors([end]).nodes if after.intersection(node.output)]
    return [layer.node, *between, *_readers(scope, end)]


def _readers(scope: Scope, tensor: str) -> list[str]:
    """Names of the nodes that read a tensor; behind what only moves its values, of those that read these."""
    found, waiting, seen = [], [tensor], {tensor}
    while waiting:
        for node in scope.consumers.get(waiting.pop(0), []):
            if belongs(node, Family.MEASURING):
                continue
            found.append(node.name)
            if node.op_type == "Pad" or (belongs(node, _PASSING) and not belongs(node, Family.MERGING)):
                waiting += [name for name in node.output if name not in seen]
                seen.update(node.output)
    return found
