"""A node on the way back: what a gradient rule sees of it, and the values it may use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from onnxviz.gradients.builder import Builder, Value, known_product
from onnxviz.gradients.refusal import Kind, Refusal
from onnxviz.model.graph.constants import Constant
from onnxviz.model.graph.scopes import node_attributes
from onnxviz.model.graph.symbolic_sizes import Dim

Mode = Literal["plain", "guided", "deconv"]
T = TypeVar("T")
# Stands for advice on how sizes are given, which depends on the inputs.
PIN = "give the sizes of the inputs"


class Step:
    """A node that a gradient passes through.

    Attributes:
        node: the forward node, a copy that may get more outputs.
        builder: appends nodes and constants.
        mode: how the rule of Relu treats gradients.
        cotangents: the gradient with respect to each output, None where there is none.
        approximations: what the rule said about where it is not exact.
        steered: whether the rule heeded a mode other than plain.
    """

    def __init__(self, builder: Builder, node: NodeProto, cotangents: Sequence[Value | None], mode: Mode) -> None:
        self.builder = builder
        self.node = node
        self.cotangents = list(cotangents)
        self.mode = mode
        self.approximations: list[str] = []
        self.steered = False
        self._attributes = node_attributes(node)

    @property
    def g(self) -> Value:
        """The gradient with respect to the first output."""
        value = self.cotangents[0]
        if value is None:
            self.refuse("no-rule", "only the gradient of its first output is known")
        return value

    @property
    def x(self) -> Value:
        """The first input."""
        return self.input(0)

    @property
    def y(self) -> Value:
        """The first output."""
        return self.builder.tensor(self.node.output[0])

    def input(self, index: int) -> Value:
        """The input at `index`, which must be there."""
        return self.builder.tensor(self.node.input[index])

    def has(self, index: int) -> bool:
        """Whether the optional input at `index` is given."""
        return index < len(self.node.input) and bool(self.node.input[index])

    def output(self, index: int, element_type: int) -> Value:
        """The output at `index`; the forward node is made to give it where it does not."""
        while len(self.node.output) <= index:
            self.node.output.append("")
        if not self.node.output[index]:
            self.node.output[index] = self.builder.name(f"{self.node.output[0]}/output{index}")
        return self.builder.tensor(self.node.output[index], element_type)

    def attribute(self, name: str, default: T) -> T:
        """The attribute called `name` in the type of `default`, which is given where it is absent."""
        if name not in self._attributes:
            return default
        value = helper.get_attribute_value(self._attributes[name])
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        return list(value) if isinstance(default, list) else value  # type: ignore[return-value]

    def __contains__(self, attribute: str) -> bool:
        return attribute in self._attributes

    def dims(self, tensor: Value) -> tuple[Dim, ...]:
        """The shape of a forward tensor; open sizes are names or None.

        Raises:
            Refusal: not even the rank is known.
        """
        dims = self.builder.prepared.shape(tensor.name)
        if dims is None:
            self.refuse("unknown-static-shape", f"the shape of '{tensor.name}' is not known", PIN)
        return dims

    def rank(self, tensor: Value) -> int:
        """The number of axes of a forward tensor."""
        return len(self.dims(tensor))

    def sizes(self, tensor: Value, axes: Sequence[int]) -> list[int]:
        """The sizes of a forward tensor along `axes`.

        Raises:
            Refusal: one is open.
        """
        dims = self.dims(tensor)
        found = [dim for dim in (dims[axis] for axis in axes) if isinstance(dim, int)]
        if len(found) < len(axes):
            shown = "x".join("?" if dim is None else str(dim) for dim in dims)
            self.refuse("unknown-static-shape", f"it needs sizes that '{tensor.name}' ({shown}) leaves open", PIN)
        return found

    def spatial(self, tensor: Value) -> list[int]:
        """The axes of a forward tensor behind batch and channels."""
        return list(range(2, self.rank(tensor)))

    def count(self, tensor: Value, axes: Sequence[int]) -> int:
        """The number of elements of a forward tensor along `axes`."""
        return known_product(self.sizes(tensor, axes)) or 1

    def constant(self, index: int, what: str) -> NDArray[Any]:
        """The values of the input at `index`, which messages call `what`.

        Raises:
            Refusal: it depends on the model's input.
        """
        found = self.stored(index)
        if found is None:
            self.refuse("attribute-unsupported", f"its {what} are not constant", PIN)
        return found.array

    def stored(self, index: int) -> Constant | None:
        """The constant at input `index`, unread; None if it depends on the model's input."""
        return self.builder.prepared.constant(self.node.input[index]) if self.has(index) else None

    def integers(self, index: int, what: str) -> list[int]:
        """The values of the integer input at `index`, which messages call `what`."""
        return [int(value) for value in np.asarray(self.constant(index, what)).reshape(-1)]

    def shape_of(self, tensor: Value) -> Value:
        """The shape of a forward tensor, as an integer tensor."""
        return self.builder.shape_of(tensor.name)

    def refuse(self, kind: Kind, reason: str, remedy: str = "") -> NoReturn:
        """Says why the node cannot be differentiated.

        Raises:
            Refusal: always.
        """
        raise Refusal(kind, reason, remedy)

    def approximate(self, description: str) -> None:
        """Notes for the result that the gradient is not the exact one here, and how it was made."""
        self.approximations.append(description)

    def attributes(self) -> dict[str, Any]:
        """All attributes, as `helper.make_node` takes them."""
        return {name: helper.get_attribute_value(value) for name, value in self._attributes.items()}

    def along(self, value: Value, axis: int, rank: int, matrix: Callable[[], NDArray[Any]]) -> Value:
        """`value` contracted along one axis: Σᵢ value[…, i, …] · matrix[i, j] at j.

        Args:
            value: the tensor.
            axis: its axis, counted from the front.
            rank: its number of axes.
            matrix: gives the matrix, (size of `axis`, new size), when the graph is finished.
        """
        if axis == rank - 2:
            left = self.builder.later(value.dtype, lambda: matrix().T.astype(value.dtype), "matrix")
            return left.op("MatMul", value)
        right = self.builder.later(value.dtype, lambda: matrix().astype(value.dtype), "matrix")
        if axis == rank - 1:
            return value.op("MatMul", right)
        last = [*range(axis), *range(axis + 1, rank), axis]
        back = [*range(axis), rank - 1, *range(axis, rank - 1)]
        return value.transpose(last).op("MatMul", right).transpose(back)

    def unrepeated(self, value: Value, index: int, wide: Sequence[Dim]) -> Value:
        """`value`, of shape `wide`, summed over the axes along which the input at `index` was broadcast to it."""
        mine = self.input(index)
        narrow = self.dims(mine)
        new = len(wide) - len(narrow)
        repeated = [new + axis for axis, size in enumerate(narrow) if size == 1 and wide[new + axis] != 1]
        value = value.sum([*range(new), *repeated], keep=True)
        unsure = [axis for axis in range(len(narrow)) if self._may_repeat(index, axis, wide)]
        if unsure:
            # Summing along an axis of size 1 does nothing, so it need not be known whether the output is larger.
            sizes = self.shape_of(mine).op("Gather", self.builder.integers(unsure))
            places = sizes.op("Equal", 1).op("NonZero").reshape([-1])
            axes = self.builder.integers([new + axis for axis in unsure]).op("Gather", places)
            value = value.op("ReduceSum", axes, keepdims=1, noop_with_empty_axes=1)
        return value.reshape(self.shape_of(mine)) if new else value

    def _may_repeat(self, index: int, axis: int, wide: Sequence[Dim]) -> bool:
        """Whether the input at `index` has an open size along its `axis` that could be 1 where the output's is not."""
        dims = self.dims(self.input(index))
        size, behind = dims[axis], len(dims) - axis
        if isinstance(size, int) or (size is not None and size == wide[-behind]):
            return False
        # It is the output's own size if no other input can have made the output larger.
        others = [self.dims(self.input(i)) for i, name in enumerate(self.node.input) if name and i != index]
        return not all(len(other) < behind or other[-behind] == 1 for other in others)
