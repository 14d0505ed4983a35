"""A layer alone: the error of one layer of B, fed with what A feeds its own, and what that error costs A's answer.

Errors add up along a network, so the layer with the largest one need not be the layer that makes it. Here a single
layer is exchanged at a time: its output from A's input (the layer's own error), and A's answer from that output (what
the error costs). Tools call it the sensitivity of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import onnx
from numpy.typing import NDArray

from onnxviz.comparison.comparison import Alone
from onnxviz.comparison.error_sums import ErrorSums
from onnxviz.comparison.pairing import LayerPair
from onnxviz.comparison.reading import Reading
from onnxviz.comparison.side import Side
from onnxviz.errors import OnnxvizError
from onnxviz.inputs.samples import Feeds
from onnxviz.passes.excerpt import excerpt
from onnxviz.runtime.session import Session


@dataclass(frozen=True)
class LayersAlone:
    """Exchanges one layer at a time.

    Attributes:
        a, b: the models.
        answers: what A answers with, its scores before its outputs: what a layer costs is seen in the first that
            depends on it, since a layer's output may lie behind the scores.
        samples: what A is fed.
    """

    a: Side
    b: Side
    answers: Sequence[Reading]
    samples: Sequence[Feeds]

    def of(self, pairs: Sequence[LayerPair]) -> Iterator[Alone | None]:
        """What each pair's layer of B does alone; None where it cannot be cut out of its graph.

        What A's layers read and make on all samples is held for these pairs together.
        """
        inputs = [Reading.entering(one.layer_a) for one in pairs]
        made = self.a.model.scope.producers
        run = self.a.runner([*(one.a for one in pairs), *(into for into in inputs if into.tap.tensor in made)])
        seen: list[list[tuple[NDArray[Any], NDArray[Any]]]] = [[] for _ in pairs]
        for feeds in self.samples:
            values = run(feeds)
            rest = iter(values[len(pairs) :])
            for place, into in enumerate(inputs):
                name = into.tap.tensor
                seen[place].append((next(rest) if name in made else feeds[name], values[place]))
        for one, own in zip(pairs, seen, strict=True):
            try:
                yield self._of(one, own)
            except OnnxvizError:  # a part of a graph that does not run by itself
                yield None

    @cached_property
    def _truths(self) -> list[list[NDArray[Any]]]:
        """A's answers."""
        run = self.a.runner(self.answers)
        return [run(feeds) for feeds in self.samples]

    def _of(self, one: LayerPair, seen: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> Alone | None:
        """What one layer does, from what its counterpart reads and makes."""
        batches = {self.a.batching.fixed, self.b.batching.fixed}
        if one.a.tap.scope or one.b.tap.scope or batches - {None, 1}:
            return None
        into, put = Reading.entering(one.layer_b), one.a
        entered = excerpt(self.b.model, into.tap.tensor, [one.b.tap.tensor], into.stored_type)
        layer = Session.of(self.b.model, entered, self.b.options)
        led_to = self.a.model.scope.descendants([put.tap.tensor])
        place = next((place for place, end in enumerate(self.answers) if end.tap.tensor in led_to), None)
        if place is None:
            return None
        end = self.answers[place]
        rest: Session | None = None
        if end.tap.tensor != put.tap.tensor:
            behind = excerpt(self.a.model, put.tap.tensor, [end.tap.tensor], put.stored_type)
            rest = Session.of(self.a.model, behind, self.a.options)
        entering = _type_of(layer, into.tap.tensor)
        own: list[ErrorSums] = []
        answer: list[ErrorSums] = []
        for feeds, truth, (x, y) in zip(self.samples, self._truths, seen, strict=True):
            fed = {into.tap.tensor: into.stored_from(x, entering)}
            z = one.b.real(layer.run([one.b.tap.tensor], layer.own(fed))[0])
            if z.shape != y.shape:
                return None
            own.append(ErrorSums.of(y, z, put.axis + 1, 0))
            given = put.stored_from(z, y.dtype)
            if rest is not None:
                (given,) = rest.run([end.tap.tensor], rest.own({**feeds, put.tap.tensor: given}))
            answer.append(ErrorSums.of(truth[place].reshape(1, -1), end.real(given).reshape(1, -1), 0, 0))
        total = ErrorSums.total(own)
        return Alone(total.sqnr, one.b.in_steps(total), ErrorSums.total(answer).sqnr)


def _type_of(session: Session, tensor: str) -> Any:
    """The numpy type of an input of an excerpt; None where the excerpt does not read it."""
    for value in session.proto.graph.input:
        if value.name == tensor:
            return onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    return None
