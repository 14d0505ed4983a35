"""One network's gradient held against its own framework's."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from oracles import angle, relative

import onnxviz
from onnxviz.gradients.add_gradient import add_gradient, grad_support
from onnxviz.gradients.gradient import Gradient

# What 1 − cosine must stay below (issue: at least 20 exports of both frameworks).
ANGLE = 1e-4


@dataclass(frozen=True)
class Truth:
    """What the framework itself computes at one point.

    Attributes:
        feeds: the point, in the order of the model's inputs.
        seed: what weighs the elements of the output.
        value: of the first output.
        gradients: in the order of `feeds`; None for an input that the output does not depend on.
        own: the gradients in the framework's float32, where the ones above are float64: how far rounding alone goes.
        held: gives the gradients with Relu and MaxPool on the sides of their kinks that the run took.
    """

    feeds: list[np.ndarray]
    seed: np.ndarray
    value: np.ndarray
    gradients: list[np.ndarray | None]
    own: list[np.ndarray | None] = field(default_factory=list)
    held: Callable[[], list[np.ndarray | None]] | None = None


@dataclass(frozen=True)
class Case:
    """A network and a way to make it an `.onnx` file.

    Attributes:
        name: of the network.
        exporter: what writes the file, with its options.
        export: writes it into a folder and opens it.
        truth: what is expected, given that folder and the gradient; None where there is nothing to compare with.
        of: the tensor to differentiate; the first output if "".
        needs: packages that it comes from, beside its framework.
    """

    name: str
    exporter: str
    export: Callable[[Path], onnxviz.Model]
    truth: Callable[[Path, Gradient], Truth] | None
    of: str = ""
    needs: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """For tests and the command line."""
        return f"{self.name}-{self.exporter}".replace(" ", "-")


@dataclass(frozen=True)
class Measured:
    """What came of a case; see the columns of `python tests/accuracy`.

    Attributes:
        refused: why there is no gradient, "" where there is one.
        approximations: where it is not exact by intent.
        nodes: of the model.
        seconds: to prepare the model and build its gradient.
        angle: 1 − cosine.
        norm: ratio of the lengths, less 1.
        value: largest difference of the target over its largest magnitude.
        own: 1 − cosine of the framework's float32 gradient; 0 where that is what is compared with.
        held: 1 − cosine where no number is on the other side of a kink; measured only where `angle` is too large.
        warnings: what the run said.
    """

    refused: str
    approximations: tuple[str, ...]
    nodes: int
    seconds: float
    angle: float = float("nan")
    norm: float = float("nan")
    value: float = float("nan")
    own: float = 0.0
    held: float | None = None
    warnings: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return not self.refused and (self.angle if self.held is None else self.held) < ANGLE and self.norm < 1e-2


def measure(case: Case, folder: Path) -> Measured:
    """Exports, differentiates, runs and compares."""
    model = case.export(folder)
    of = case.of or None
    started = time.perf_counter()
    support = grad_support(model, of)
    gradient = add_gradient(model, of) if support else None
    seconds = time.perf_counter() - started
    nodes = len(model.proto.graph.node)
    reasons = dict.fromkeys(f"{one.op}: {one.reason}" for one in support.blocking)
    if gradient is None or case.truth is None:
        return Measured("; ".join(reasons), support.approximations, nodes, seconds)
    truth = case.truth(folder, gradient)
    names = [port.name for port in model.inputs]
    if len(names) > len(truth.feeds):
        reason = f"the export asks for inputs that the network has not: {', '.join(names[len(truth.feeds) :])}"
        return Measured(reason, support.approximations, nodes, seconds)
    result = gradient.session(threads=1).run(dict(zip(names, truth.feeds, strict=True)), truth.seed)
    wanted = {name: index for index, name in enumerate(names) if name in result.gradients}
    assert sorted(wanted.values()) == [i for i, expected in enumerate(truth.gradients) if expected is not None]

    def joined(arrays: list[np.ndarray | None]) -> np.ndarray:
        return np.concatenate([arrays[index].astype(np.float64).ravel() for index in wanted.values()])

    found = np.concatenate([result.gradients[name].astype(np.float64).ravel() for name in wanted])
    expected = joined(truth.gradients)
    apart = angle(found, expected)
    return Measured(
        "",
        support.approximations,
        nodes,
        seconds,
        apart,
        abs(float(np.linalg.norm(found) / np.linalg.norm(expected)) - 1),
        relative(result.value, truth.value),
        angle(joined(truth.own), expected) if truth.own else 0.0,
        angle(found, joined(truth.held())) if apart >= ANGLE and truth.held is not None else None,
        result.warnings,
    )
