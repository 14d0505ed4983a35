"""Operators that move elements without dropping or repeating any, and those that repeat whole tensors."""

from __future__ import annotations

from collections.abc import Sequence

from onnxviz.gradients.builder import Value
from onnxviz.gradients.step import Step
from onnxviz.gradients.table import rule


@rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(step: Step) -> Value:
    """x̄ = g in the shape of x."""
    return step.g.reshape(step.shape_of(step.x))


@rule("Transpose")
def transpose(step: Step) -> Value:
    """x̄ = g with the axes put back."""
    rank = step.rank(step.x)
    perm = step.attribute("perm", list(range(rank))[::-1])
    return step.g.transpose([perm.index(axis) for axis in range(rank)])


@rule("Concat")
def concat(step: Step) -> Sequence[Value | None]:
    """Each: its part of g."""
    axis = step.attribute("axis", 0) % step.rank(step.y)
    sizes = [step.dims(step.input(index))[axis] for index in range(len(step.node.input))]
    parts: list[Value | None] = []
    start: Value = step.builder.integers([0])
    known = 0
    for index, size in enumerate(sizes):
        if isinstance(size, int) and all(isinstance(before, int) for before in sizes[:index]):
            known += size
            end = step.builder.integers([known])
        else:
            end = start + step.builder.size_of(step.node.input[index], axis)
        parts.append(step.g.slice(start, end, [axis]))
        start = end
    return parts


@rule("Split", all_outputs=True)
def split(step: Step) -> Value:
    """x̄ = the parts' gradients side by side, zeros for parts without."""
    axis = step.attribute("axis", 0)
    there = next(value for value in step.cotangents if value is not None)
    parts = [
        value if value is not None else step.builder.zeros_like(name, there.element_type)
        for value, name in zip(step.cotangents, step.node.output, strict=True)
    ]
    return parts[0].op("Concat", *parts[1:], axis=axis)


@rule("Expand", broadcasts=True)
def expand(step: Step) -> Value:
    """x̄ = g summed over the copies."""
    return step.g


@rule("Tile")
def tile(step: Step) -> Value:
    """x̄ = g summed over the copies."""
    repeats = step.integers(1, "repeats")
    dims = step.dims(step.x)
    copied = [axis for axis, times in enumerate(repeats) if times != 1]
    if not copied:
        return step.g
    sizes = step.sizes(step.x, copied)
    shape: list[int] = []
    sums = []
    for axis, dim in enumerate(dims):
        if axis in copied:
            sums.append(len(shape))
            shape += [repeats[axis], sizes[copied.index(axis)]]
        elif isinstance(dim, int):
            shape.append(dim)
        elif -1 in shape:
            step.sizes(step.x, [axis])
        else:
            shape.append(-1)
    return step.g.reshape(shape).sum(sums, keep=False)


@rule("DepthToSpace")
def depth_to_space(step: Step) -> Value:
    """x̄ = the blocks of g put back into channels."""
    block = step.attribute("blocksize", 1)
    if step.attribute("mode", "DCR") == "DCR":
        return step.g.op("SpaceToDepth", blocksize=block)
    channels, height, width = step.sizes(step.x, [1, 2, 3])
    split = step.g.reshape([-1, channels // block**2, height, block, width, block])
    return split.transpose([0, 1, 3, 5, 2, 4]).reshape(step.shape_of(step.x))


@rule("SpaceToDepth")
def space_to_depth(step: Step) -> Value:
    """x̄ = DepthToSpace(g)."""
    return step.g.op("DepthToSpace", blocksize=step.attribute("blocksize", 1), mode="DCR")
