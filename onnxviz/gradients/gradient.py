"""A differentiated model: its extra outputs are gradients; and the session that runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from onnxviz.errors import InputError
from onnxviz.gradients.step import Mode
from onnxviz.messages import dims as shown
from onnxviz.messages import printable
from onnxviz.model.graph.symbolic_sizes import Dim
from onnxviz.model.graph.tensors import TensorFile
from onnxviz.model.writing import write_model
from onnxviz.passes.expose import pruned
from onnxviz.runtime.session import RunOptions, Session


@dataclass(frozen=True)
class Passed:
    """A node that the gradient passes.

    Attributes:
        node: its name, or its first output's where it has none.
        op: its operator.
        behind: tensors that hold the gradient with respect to its outputs.
        before: tensors that hold what its rule makes of them for its inputs.
    """

    node: str
    op: str
    behind: tuple[str, ...]
    before: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class Gradient:
    """A model with an extra input, the seed, that gives ∂⟨seed, of⟩/∂wrt beside the value of `of`.

    Attributes:
        proto: the model; weights that are not rearranged are references into `folder`. Not to be changed.
        folder: the source model's folder.
        label: how messages call the source model.
        of: the tensor that is differentiated; an output of `proto`.
        wrt: the tensors that it is differentiated with respect to.
        seed: the name of the extra input, of the shape of `of`: the weight of each of its elements.
        outputs: by tensor of `wrt`, the name of the output that holds the gradient.
        shapes: of `of` and each of `wrt`: a size, a name or None per axis; None where the rank is not known.
        mode: "plain", "guided" or "deconv": how gradients pass Relu.
        approximations: where the gradient is not that of what the model computes, and how it is made.
        warnings: what the user should hear.
        trail: the nodes that the gradient passes, from the target on.
    """

    proto: onnx.ModelProto
    folder: Path
    label: str
    of: str
    wrt: tuple[str, ...]
    seed: str
    outputs: dict[str, str]
    shapes: dict[str, tuple[Dim, ...] | None]
    mode: Mode
    approximations: tuple[str, ...]
    warnings: tuple[str, ...]
    trail: tuple[Passed, ...]
    _file: TensorFile = field(compare=False)

    def __repr__(self) -> str:
        return f"Gradient(of {self.of!r} wrt {', '.join(map(repr, self.wrt))}, {len(self.proto.graph.node)} nodes)"

    def session(self, *, provider: str = "cpu", threads: int = 0) -> GradientSession:
        """The model ready to run; arguments as for `onnxviz.runtime.session.RunOptions`."""
        return GradientSession(self, RunOptions(provider, threads=threads))

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes the model, weights included, to one `.onnx` file that any runtime can run.

        Raises:
            ModelError: the file cannot be written, or would exceed 2 GiB.
        """
        path = Path(path)
        write_model(self.proto, self._file.bytes_of, path, one_file=True)
        return path


@dataclass(frozen=True, eq=False)
class Differentiated:
    """What one run gave.

    Attributes:
        value: of the target.
        gradients: by tensor of `wrt`, in its shape and type.
        warnings: a gradient that is zero everywhere or not finite, with the node where that begins.
    """

    value: NDArray[Any]
    gradients: dict[str, NDArray[Any]]
    warnings: tuple[str, ...]


class GradientSession:
    """A gradient ready to run.

    Args:
        gradient: what to run.
        options: where, and with how many threads.
    """

    def __init__(self, gradient: Gradient, options: RunOptions) -> None:
        self.gradient = gradient
        self._options = options
        self._session = self._open(gradient.proto)
        inputs = gradient.proto.graph.input
        self._dtypes = {value.name: _dtype(value) for value in inputs}

    def _open(self, proto: onnx.ModelProto) -> Session:
        return Session(proto, self.gradient.folder, self.gradient.label, self._options)

    @cached_property
    def _forward(self) -> Session:
        graph = self.gradient.proto.graph
        return self._open(pruned(self.gradient.proto, graph, [self.gradient.of]))

    def value(self, feeds: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """The target's value alone, without the way back."""
        (value,) = self._forward.run([self.gradient.of], self._fitting(self._forward, feeds))
        return value

    def run(self, feeds: Mapping[str, NDArray[Any]], seed: NDArray[Any]) -> Differentiated:
        """The target's value and the gradient of ⟨seed, value⟩.

        Args:
            feeds: by input name; cast to the model's types (float16 models compute in float32).
            seed: the weight of each element of the target, in its shape.

        Raises:
            InputError: the model cannot run on these inputs.
        """
        gradient = self.gradient
        names = [gradient.of, *(gradient.outputs[name] for name in gradient.wrt)]
        given = self._fitting(self._session, {**feeds, gradient.seed: np.asarray(seed)})
        value, *found = self._session.run(names, given)
        if value.shape != given[gradient.seed].shape:
            raise InputError(
                f"the seed is {shown(np.shape(seed))}, but '{printable(gradient.of)}' is {shown(value.shape)}"
            )
        gradients = dict(zip(gradient.wrt, found, strict=True))
        warnings = [text for name, array in gradients.items() if (text := self._problem(name, array, given))]
        return Differentiated(value, gradients, tuple(dict.fromkeys(warnings)))

    def _fitting(self, session: Session, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        missing = [name for name in session.inputs if name not in feeds]
        if missing:
            raise InputError(f"{self.gradient.label} also needs {', '.join(map(printable, missing))}")
        return {name: np.asarray(feeds[name], self._dtypes.get(name), order="C") for name in session.inputs}

    def _problem(self, name: str, array: NDArray[Any], feeds: Mapping[str, NDArray[Any]]) -> str:
        """What is wrong with a gradient and where it begins, "" if nothing is."""
        finite = bool(np.isfinite(array).all())
        if finite and (array.any() or not array.size or not feeds[self.gradient.seed].any()):
            return ""
        what = f"the gradient with respect to '{printable(name)}' is " + ("zero everywhere" if finite else "not finite")
        return f"{what}: {self._beginning(feeds, finite)}"

    def _beginning(self, feeds: Mapping[str, NDArray[Any]], zero: bool) -> str:
        """The node behind which the gradient is sound and before which it is zero, or not finite."""
        values = self._trail(feeds)

        def ill(names: Sequence[str]) -> bool:
            arrays = [values[name] for name in names if name in values]
            if zero:
                return bool(arrays) and not any(array.any() for array in arrays)
            return any(not np.isfinite(array).all() for array in arrays)

        for passed in self.gradient.trail:
            if ill(passed.before) and not ill(passed.behind):
                how = "vanishes" if zero else "becomes so"
                return f"it {how} at {printable(passed.op)} '{printable(passed.node)}'"
        return "so is what the seed selects" if zero else "so is the seed, or the model's own values"

    def _trail(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Every gradient on the way back; a second session, made only where something is wrong."""
        graph = self.gradient.proto.graph
        there = {name for node in graph.node for name in node.output} | {self.gradient.seed}
        wanted = [name for passed in self.gradient.trail for name in (*passed.behind, *passed.before)]
        names = [name for name in dict.fromkeys(wanted) if name in there]
        made = [name for name in names if name != self.gradient.seed]
        session = self._open(pruned(self.gradient.proto, graph, made))
        found = session.run(made, {name: feeds[name] for name in session.inputs})
        return {**dict(zip(made, found, strict=True)), self.gradient.seed: feeds[self.gradient.seed]}


def _dtype(value: onnx.ValueInfoProto) -> np.dtype[Any] | None:
    kind = value.type.tensor_type.elem_type
    return np.dtype(helper.tensor_dtype_to_np_dtype(kind)) if kind else None
