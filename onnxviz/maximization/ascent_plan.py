"""Batches of gradient ascent: targets grouped by graph, sessions shared, pictures a batch by memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError, SelectionError, UnsupportedGradientError
from onnxviz.gradients.add_gradient import add_gradient
from onnxviz.gradients.gradient import GradientSession
from onnxviz.gradients.leaky_relu import cut_of, leaky
from onnxviz.maps.receptive.field import ReceptiveField
from onnxviz.maximization.ascent import AscentResult, AscentSettings, Batch, ObjectiveGroup, TargetGradient
from onnxviz.maximization.image_input import ImageInput, fixing
from onnxviz.maximization.parametrisation import Parametrisation
from onnxviz.messages import dims, option
from onnxviz.model.graph.shapes import Shapes
from onnxviz.model.model import Model
from onnxviz.runtime.batching import MAX_GRADIENT_BATCH, Batching
from onnxviz.runtime.session import RunOptions, Session

Report = Callable[[int, NDArray[Any]], None]


@dataclass(frozen=True)
class Request:
    """Pictures that share an objective, to be made at once.

    Attributes:
        group: their objective.
        sources: a seed for the start of each.
    """

    group: ObjectiveGroup
    sources: tuple[tuple[int, ...], ...]

    @property
    def tensors(self) -> tuple[str, ...]:
        """What the objective looks at in the model."""
        return tuple(dict.fromkeys(look.tensor for look in self.group.terms if look.tensor is not None))


@dataclass(frozen=True, eq=False)
class AscentPlan:
    """All that does not depend on what is asked for.

    Attributes:
        model: the model.
        canvas: its input.
        parametrisation: what is varied.
        fixed: the model's other inputs.
        options: how the model is run.
    """

    model: Model
    canvas: ImageInput
    parametrisation: Parametrisation
    fixed: Mapping[str, NDArray[Any]]
    options: RunOptions

    def climb(
        self, requests: Sequence[Request], settings: AscentSettings, report: Report
    ) -> tuple[AscentResult, tuple[str, ...]]:
        """Makes pictures for objectives that look at the same tensors, in groups of one size.

        Args:
            requests: the groups.
            settings: how to climb.
            report: called after each step of each batch, with the first group's place in `requests` and the activations
                of the batch.

        Returns:
            The pictures in order, all or, where they were interrupted, the first; and what the user should hear.

        Raises:
            UnsupportedGradientError: a tensor cannot be differentiated.
            InputError: the model cannot run on these inputs, or values are not finite.
        """
        each = requests[0].group.count
        most = self._most(requests)
        # As even as can be, since the sessions are for one size.
        size = most if self.batching.fixed is not None else -(-len(requests) // -(-len(requests) // most))
        try:
            room = self._room([requests[0]] * size)
        except InputError:
            if size == 1 or self.batching.fixed is not None:
                raise
            size = 1  # a model that says it takes any number, and does not
            room = self._room(requests[:1])
        found = []
        for first in range(0, len(requests), size):
            mine = list(requests[first : first + size])
            batch = room.batch(mine + [mine[-1]] * (size - len(mine)))
            count = len(mine) * each

            def progress(activations: NDArray[Any], first: int = first, count: int = count) -> None:
                report(first, activations[:count])

            found.append(batch.climb(settings, progress).first(count))
            if found[-1].interrupted:
                break
        return AscentResult.joined(found), tuple(room.notes)

    def field(self, tensors: Sequence[str]) -> int | None:
        """Pixels that units of the tensors see along the longest axis; None where they have no positions, or see all.

        Where it cannot be worked out, nothing is assumed.
        """
        sizes: dict[str, Sequence[int]] = {name: array.shape for name, array in self.fixed.items()}
        sizes[self.canvas.port.name] = self.canvas.model_shape(1)
        try:
            found = [ReceptiveField(self.model, tensor, sizes).size for tensor in tensors]
        except (InputError, SelectionError):
            return None
        return max(map(max, found)) if found and all(found) else None

    def _room(self, requests: Sequence[Request]) -> _Sessions:
        """A room in which these groups can be made.

        Raises:
            UnsupportedGradientError: what they look at cannot be differentiated.
            InputError: the model cannot run on such pictures.
        """
        room = _Sessions(self, sum(one.group.count for one in requests), requests[0].tensors)
        try:
            for tensor in room.tensors:
                room.target(tensor)  # refuses what cannot be differentiated before anything is made
            room.notes += room.batch(requests).check()
        except InputError as error:
            raise self._explained(error) from None
        except UnsupportedGradientError:
            self._try(requests[0].tensors, room)  # shapes are unknown, too, where the network cannot take the size
            raise
        return room

    def _try(self, tensors: Sequence[str], room: _Sessions) -> None:
        """Runs the model on grey pictures, without any gradient.

        Raises:
            InputError: it cannot.
        """
        grey = np.full((room.count, *self.canvas.shape), 0.5, np.float32)
        session = Session.of(self.model, tensors, self.options)
        feeds = {**room.fixed, self.canvas.port.name: self.canvas.feed(grey)}
        try:
            session.run(tensors, {name: feeds[name] for name in session.inputs if name in feeds})
        except InputError as error:
            raise self._explained(error) from None

    def _most(self, requests: Sequence[Request]) -> int:
        """How many groups are made at once at most: what the model insists on, or what fits the memory."""
        each = requests[0].group.count
        fixed = self.batching.fixed
        if fixed is not None:
            if fixed % each:
                raise InputError(f"{self.model.label} takes {fixed} pictures at a time, but {each} are to differ")
            return fixed // each
        if len(requests) == 1:
            return 1
        return max(1, self.batching.affordable(self._bytes_each(requests[0].tensors)) // each)

    @cached_property
    def batching(self) -> Batching:
        """The batches that the model takes."""
        return Batching.of(self.model, self.options.memory, limit=MAX_GRADIENT_BATCH)

    @cached_property
    def _shapes(self) -> Shapes:
        return self.model.shapes_at({self.canvas.port.name: self.canvas.model_shape(1)})

    def _bytes_each(self, tensors: Sequence[str]) -> int:
        """What one picture takes on the way there: every tensor before the targets. As much again goes back."""
        shapes = self._shapes
        missing, elements = set(tensors), 0.0
        for node in self.model.proto.graph.node:
            for name in node.output:
                sizes = [size for size in shapes.of(name) or () if isinstance(size, int)]
                elements += float(np.prod(sizes, dtype=np.float64)) if sizes else 0
            missing -= set(node.output)
            if not missing:
                break
        return int(4 * elements)

    def _explained(self, error: InputError) -> InputError:
        """An error of a run, with what may help."""
        axes = dict(zip(self.canvas.port.layout, self.canvas.port.shape or (), strict=True))
        others = [p.name for p in self.model.inputs if p.name not in (self.canvas.port.name, *self.fixed)]
        if others:
            return InputError(f"{error}; give the other inputs, {fixing(others[0])}")
        if all(isinstance(size, int) for axis, size in axes.items() if axis not in "NC"):
            return error
        return InputError(f"{error}; the network may not take {dims(self.canvas.size)}: try another {option('size')}")


class _Sessions:
    """The sessions for one number of pictures, whose objectives look at the same tensors."""

    def __init__(self, studio: AscentPlan, count: int, tensors: Sequence[str]) -> None:
        self.studio = studio
        self.count = count
        self.tensors = tensors
        self.notes: list[str] = []
        self._targets: dict[str, TargetGradient] = {}

    @cached_property
    def fixed(self) -> dict[str, NDArray[Any]]:
        """The other inputs, one row for each picture."""
        return self.studio.batching.repeated(self.studio.fixed, self.count)

    @cached_property
    def way(self) -> Parametrisation:
        """What is varied, for what units of these tensors see."""
        usual, field = self.studio.parametrisation, self.studio.field(self.tensors)
        return usual if field is None else usual.seen_by(field)

    def target(self, tensor: str) -> TargetGradient:
        """The gradient of `tensor` with respect to the pictures, ready to run.

        Raises:
            UnsupportedGradientError: it has none.
        """
        if tensor not in self._targets:
            studio = self.studio
            port = studio.canvas.port.name
            shapes = {name: array.shape for name, array in self.fixed.items()}
            shapes[port] = studio.canvas.model_shape(self.count)
            cut = cut_of(studio.model, tensor)
            gradient = add_gradient(studio.model, cut.before if cut else tensor, port, shapes=shapes)
            made = leaky(gradient, cut) if cut else None
            if made is not None:
                gradient = made.gradient
            elif cut is not None:
                gradient = add_gradient(studio.model, tensor, port, shapes=shapes)
            self.notes += [*gradient.approximations, *gradient.warnings]
            session = GradientSession(gradient, studio.options)
            self._targets[tensor] = TargetGradient(session, made)
        return self._targets[tensor]

    def batch(self, requests: Sequence[Request]) -> Batch:
        """A batch of pictures; `count` in all."""
        sources = [np.random.default_rng(source) for one in requests for source in one.sources]
        groups = [one.group for one in requests]
        return Batch(self.studio.canvas, self.way, groups, self.target, self.fixed, sources)
