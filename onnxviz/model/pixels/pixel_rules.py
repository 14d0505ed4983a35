"""Rules of what an operator does to a pixel: it scales and shifts it, or moves its channels, by constants.

A rule gives the pixel of each output, None or nothing where more than that is done. Exceptions say that the node
contradicts itself; it tells nothing then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from onnxviz.model.graph.evaluation import REARRANGING
from onnxviz.model.graph.operators import Family, belongs, convolution_form
from onnxviz.model.pixels.pixel import MOST_VALUES, Pixel, PixelStep, ReadingKind, aligned

Pixels = Sequence[Pixel | None]


def rule_of(node: NodeProto) -> Callable[[PixelStep], Pixels] | None:
    """What the node's operator does to a pixel; None where nothing is known of it."""
    if node.domain not in ("", "ai.onnx", "com.microsoft"):
        return None
    passing = belongs(node, Family.IDENTITY | Family.DROPOUT | Family.RESIZING)
    return RULES.get(node.op_type, _passed if passing else None)


def _passed(step: PixelStep) -> Pixels:
    to = step.attribute("to")
    return [] if to == TensorProto.BOOL else [step.pixel]


def _arithmetic(step: PixelStep) -> Pixels:
    """Add, Sub, Mul and Div of a picture and a constant."""
    places = [place for place, name in enumerate(step.node.input) if name in step.pixels]
    if len(places) != 1 or len(step.node.input) != 2:
        return []
    pixel = step.pixels[step.node.input[places[0]]]
    other = step.constant(step.node.input[1 - places[0]])
    if other is None or other.dtype.kind not in "fiu":
        return []
    scaling = belongs(step.node, Family.SCALING)
    values = aligned(other.astype(np.float64), pixel, step.attribute("axis"), varying=not scaling)
    if values is None:
        return []
    behind = places[0] == 0
    return [_FORMULAS[step.node.op_type](pixel, values, behind)]


def _negated(step: PixelStep) -> Pixels:
    return [step.pixel.affine(-1.0, 0.0)]


def _clipped(step: PixelStep) -> Pixels:
    low, high = (_bound(step.operand(place, name)) for place, name in ((1, "min"), (2, "max")))
    return [_cut(step, step.pixel, low, high)]


def _floored(step: PixelStep) -> Pixels:
    pixel, bound = _and_bound(step)
    return [_cut(step, pixel, bound, None)]


def _capped(step: PixelStep) -> Pixels:
    pixel, bound = _and_bound(step)
    return [_cut(step, pixel, None, bound)]


def _and_bound(step: PixelStep) -> tuple[Pixel, float | None]:
    """What Max or Min compares: a picture and a constant; ValueError where it compares something else."""
    inside = [name for name in step.node.input if name in step.pixels]
    others = [step.constant(name) for name in step.node.input if name not in inside]
    if len(inside) != 1 or len(others) != 1 or others[0] is None:
        raise ValueError("not a picture and a constant")
    return step.pixels[inside[0]], _bound(others[0])


def _bound(values: NDArray[Any] | None) -> float | None:
    return None if values is None or values.size != 1 else float(values.reshape(()))


def _cut(step: PixelStep, pixel: Pixel, low: float | None, high: float | None) -> Pixel:
    """The picture with its values cut. That an input is cut to 0…1 or 0…255 tells its range."""
    if not pixel.is_untouched:
        return pixel
    bounds = (pixel.bounds[0] if low is None else low, pixel.bounds[1] if high is None else high)
    if bounds in ((0.0, 1.0), (0.0, 255.0)) and bounds != pixel.bounds:
        step.note(pixel.affine(255.0 / (bounds[1] or 1.0), 0.0), ReadingKind.BOUNDS)
    return replace(pixel, bounds=bounds)


def _batch_norm(step: PixelStep) -> Pixels:
    """A normalisation by fixed numbers, where it has not learnt to scale and shift."""
    pixel = step.pixel
    numbers = [step.operand(place) for place in range(1, 5)]
    if pixel.axis != 1 or step.attribute("training_mode") or any(one is None for one in numbers):
        return []
    scale, bias, mean, variance = (
        np.asarray(one, np.float64).reshape([-1 if a == 1 else 1 for a in range(pixel.rank)]) for one in numbers
    )
    given = step.attribute("epsilon")
    epsilon = 1e-5 if given is None else float(given)
    factor = 1 / np.sqrt(variance + epsilon)
    normed = pixel.affine(factor, -mean * factor)
    if np.allclose(scale, 1) and np.allclose(bias, 0):
        return [normed]
    step.note(normed, ReadingKind.BATCH_NORM)
    return []


def _convolved(step: PixelStep) -> Pixels:
    """A convolution of one pixel that scales or exchanges three channels, as a mean shift is written."""
    pixel, form = step.pixel, convolution_form(step.node)
    if form is None or form.transposed or pixel.axis != 1 or pixel.source.shape[1] != 3:
        return []
    weight = step.operand(form.weight)
    bias = step.operand(form.bias) if form.bias is not None else None
    biased = form.bias is not None and form.bias < len(step.node.input) and bool(step.node.input[form.bias])
    plain = not any(step.attribute("pads") or ()) and all(s == 1 for s in step.attribute("strides") or ())
    if weight is None or (biased and bias is None) or not plain or weight.size not in (3, 9):
        return []
    matrix = weight.reshape(3, -1).astype(np.float64)
    matrix = np.diag(matrix[:, 0]) if matrix.shape[1] == 1 else matrix
    if (step.attribute("group") or 1) not in (1, 3) or np.any(np.count_nonzero(matrix, axis=1) != 1):
        return []
    places = np.argmax(matrix != 0, axis=1)
    shape = [3 if a == 1 else 1 for a in range(pixel.rank)]
    summand = np.zeros(3) if bias is None else bias.astype(np.float64)
    moved = pixel.each(lambda values: values.take(places, axis=1), 1)
    return [moved.affine(matrix[range(3), places].reshape(shape), summand.reshape(shape))]


def _quantized(step: PixelStep) -> Pixels:
    """The integers on the scale. Where they begin at the input's 0, their range is that of its calibration."""
    scale, zero = _scale(step)
    made = step.pixel.affine(1 / scale, zero.astype(np.float64))
    if zero.dtype.kind in "iu" and zero.dtype.itemsize == 1 and zero.size == scale.size == 1:
        least = np.iinfo(zero.dtype).min
        one_sided = int(zero.reshape(-1)[0]) == least
        if made is not None and one_sided and step.pixel.is_untouched:
            step.note(made.affine(1.0, -float(least)), ReadingKind.BOUNDS)
    return [made]


def _dequantized(step: PixelStep) -> Pixels:
    scale, zero = _scale(step)
    return [step.pixel.affine(scale, -zero.astype(np.float64) * scale)]


def _scale(step: PixelStep) -> tuple[NDArray[Any], NDArray[Any]]:
    pixel = step.pixel
    scale, zero = step.operand(1), step.operand(2)
    if scale is None or (zero is None and len(step.node.input) > 2 and step.node.input[2]):
        raise ValueError("not constant")
    zero = np.zeros((), np.uint8) if zero is None else zero
    axis = step.attribute("axis")
    if scale.size > 1 and (1 if axis is None else axis) % pixel.rank != pixel.axis:
        raise ValueError("along another axis")
    shape = [-1 if a == pixel.axis else 1 for a in range(pixel.rank)]
    return scale.astype(np.float64).reshape(shape), zero.reshape(shape)


# ---- operators that move channels


def _rearranged(step: PixelStep) -> Pixels:
    """Transpose, Squeeze and Unsqueeze."""
    pixel = step.pixel
    axes = step.operand(1, "axes")
    if axes is None and belongs(step.node, Family.UNIT_AXES):
        return []  # which axes are squeezed depends on sizes
    marker = np.zeros([2 if a == pixel.axis else 1 for a in range(pixel.rank)])

    def change(values: NDArray[Any]) -> NDArray[Any]:
        return REARRANGING[step.node.op_type](step.node, [values, axes])

    try:
        axis = change(marker).shape.index(2) if pixel.axis is not None else None
    except ValueError:
        axis = None  # that of a single channel is squeezed; whether it is single, the next line tells
    return [pixel.each(change, axis)]


def _reshaped(step: PixelStep) -> Pixels:
    """Reshape and Flatten: as it was where no axis changes, else known where all channels are treated alike."""
    pixel = step.pixel
    before, after = (step.shape(name) for name in (step.node.input[0], step.node.output[0]))
    if after is None:
        return []
    if before == after and before is not None and before.count(None) < 2:
        return [pixel]
    owners = {step.owner(int(one)) for one in pixel.source.reshape(-1)}
    covered = {int(one) for one in pixel.source.reshape(-1)}
    alike = np.ptp(pixel.slope) == 0 and np.ptp(pixel.offset) == 0 and len(owners) == 1
    owner = next(iter(owners))
    if not alike or not (-1 - owner in covered or covered >= set(step.channels[owner])):
        return []
    shape = (1,) * len(after)
    slope, offset = (np.full(shape, values.reshape(-1)[0]) for values in (pixel.slope, pixel.offset))
    return [Pixel(np.full(shape, -1 - owner), slope, offset, None)]


def _padded(step: PixelStep) -> Pixels:
    pixel, pads = step.pixel, step.operand(1, "pads")
    axes = step.operand(3)
    if pixel.axis is None or pads is None:
        return []
    padded = range(pixel.rank) if axes is None else [int(a) % pixel.rank for a in axes]
    ends = pads.reshape(2, -1)
    return [] if any(ends[:, i].any() for i, a in enumerate(padded) if a == pixel.axis) else [pixel]


def _sliced(step: PixelStep) -> Pixels:
    pixel = step.pixel
    starts, ends = step.operand(1, "starts"), step.operand(2, "ends")
    axes, steps = step.operand(3, "axes"), step.operand(4, "steps")
    if starts is None or ends is None:
        return [pixel] if axes is not None and pixel.axis not in axes % pixel.rank else []
    chosen = range(starts.size) if axes is None else [int(a) % pixel.rank for a in axes.reshape(-1)]
    for place, axis in enumerate(chosen):
        size = pixel.source.shape[axis]
        if axis != pixel.axis:
            if size > 1:
                return []
            continue
        stride = 1 if steps is None else int(steps.reshape(-1)[place])
        taken = slice(int(starts.reshape(-1)[place]), int(ends.reshape(-1)[place]), stride)
        indices = [*range(*taken.indices(size))]
        pixel = pixel.each(lambda v, a=axis, i=indices: v.take(i, axis=a), axis)  # type: ignore[misc]
    return [pixel] if pixel.source.size else []


def _gathered(step: PixelStep) -> Pixels:
    pixel = step.pixel
    axis = (step.attribute("axis") or 0) % pixel.rank
    indices = step.operand(1)
    if axis != pixel.axis:
        if pixel.source.shape[axis] > 1 or (indices is None or indices.ndim > 1):
            return []
        kept = pixel.axis if pixel.axis is None or indices.ndim or pixel.axis < axis else pixel.axis - 1
        return [pixel if indices.ndim else pixel.each(lambda values: values.take(0, axis=axis), kept)]
    if indices is None or indices.ndim > 1:
        return []
    return [pixel.each(lambda values: values.take(indices, axis=axis), axis if indices.ndim else None)]


def _gathered_by_tuples(step: PixelStep) -> Pixels:
    """GatherND along the first axis, as torch.export writes `x[:, [2, 1, 0]]` between two transposes."""
    pixel, indices = step.pixel, step.operand(1)
    plain = indices is not None and indices.ndim == 2 and indices.shape[1] == 1 and not step.attribute("batch_dims")
    if indices is None or not plain or pixel.axis != 0:
        return []
    return [pixel.each(lambda values: values.take(indices[:, 0], axis=0), 0)]


def _scattered(step: PixelStep) -> Pixels:
    """ScatterElements that replaces one whole channel, as torch.export writes `x[:, 0] = …`."""
    pixel, update, indices = step.pixel, step.pixels[step.node.input[2]], step.operand(1)
    axis = (step.attribute("axis") or 0) % pixel.rank
    shape = step.shape(step.node.input[0])
    if indices is None or shape is None or axis != pixel.axis or update.rank != pixel.rank or not indices.size:
        return []
    whole = all(a == axis or size == indices.shape[a] for a, size in enumerate(shape)) and indices.shape[axis] == 1
    if not whole or np.ptp(indices) or (step.attribute("reduction") or b"none") != b"none":
        return []
    place = [slice(None)] * pixel.rank
    place[axis] = slice(int(indices.flat[0]), int(indices.flat[0]) + 1 or None)
    made = pixel.each(np.copy, axis)
    for name in ("source", "slope", "offset"):
        getattr(made, name)[tuple(place)] = getattr(update, name)
    return [made]


def _split(step: PixelStep) -> Pixels:
    pixel = step.pixel
    axis = (step.attribute("axis") or 0) % pixel.rank
    size = pixel.source.shape[axis]
    if axis != pixel.axis:
        return [pixel] * len(step.node.output) if size == 1 else []
    given = step.operand(1, "split")
    share = -(-size // len(step.node.output))
    sizes = [share] * len(step.node.output) if given is None else [int(one) for one in given]
    ends = [0, *np.minimum(np.cumsum(sizes), size)]
    return [
        pixel.each(lambda v, a=low, b=high: v.take(range(a, b), axis=axis), axis) if low < high else None  # type: ignore[misc]
        for low, high in pairwise(ends)
    ]


def _joined(step: PixelStep) -> Pixels:
    """Concat; a channel that was taken alone has its axis back."""
    parts = [step.pixels[name] for name in step.node.input]
    axis = (step.attribute("axis") or 0) % parts[0].rank
    if sum(part.source.size for part in parts) > MOST_VALUES:
        return []
    if any(part.rank != parts[0].rank or part.axis not in (parts[0].axis, None) for part in parts):
        return []
    known = axis if parts[0].axis is None else parts[0].axis
    source, slope, offset = (
        np.concatenate([getattr(part, name) for part in parts], axis=axis) for name in ("source", "slope", "offset")
    )
    return [Pixel(source, slope, offset, known)]


def _repeated(step: PixelStep) -> Pixels:
    """Expand and Tile, which make three channels of one."""
    pixel, sizes = step.pixel, step.operand(1)
    if sizes is None or pixel.axis is None or sizes.size != pixel.rank:
        return [pixel] if pixel.axis is not None and _keeps(step, pixel) else []
    times = int(sizes.reshape(-1)[pixel.axis])
    count = pixel.source.shape[pixel.axis]
    if times < 2 or (count > 1 and times == count):
        return [pixel]
    if times > MOST_VALUES:
        return []
    return [pixel.each(lambda values: np.repeat(values, times, axis=pixel.axis), pixel.axis)] if count == 1 else []


def _keeps(step: PixelStep, pixel: Pixel) -> bool:
    """Whether the output has the channels that the input has."""
    after = step.shape(step.node.output[0])
    assert pixel.axis is not None
    return after is not None and len(after) == pixel.rank and after[pixel.axis] == pixel.source.shape[pixel.axis]


_FORMULAS: dict[str, Callable[[Pixel, NDArray[Any], bool], Pixel | None]] = {
    "Add": lambda pixel, values, behind: pixel.affine(1.0, values),
    "Sub": lambda pixel, values, behind: pixel.affine(1.0, -values) if behind else pixel.affine(-1.0, values),
    "Mul": lambda pixel, values, behind: pixel.affine(values, 0.0),
    "Div": lambda pixel, values, behind: pixel.affine(1 / values, 0.0) if behind and np.all(values != 0) else None,
}
RULES: dict[str, Callable[[PixelStep], Pixels]] = {
    **dict.fromkeys(_FORMULAS, _arithmetic),
    "Neg": _negated,
    "Clip": _clipped,
    "Max": _floored,
    "Min": _capped,
    "BatchNormalization": _batch_norm,
    "Conv": _convolved,
    "QuantizeLinear": _quantized,
    "DequantizeLinear": _dequantized,
    "Transpose": _rearranged,
    "Squeeze": _rearranged,
    "Unsqueeze": _rearranged,
    "Reshape": _reshaped,
    "Flatten": _reshaped,
    "Pad": _padded,
    "Slice": _sliced,
    "Gather": _gathered,
    "GatherND": _gathered_by_tuples,
    "ScatterElements": _scattered,
    "Split": _split,
    "Concat": _joined,
    "Expand": _repeated,
    "Tile": _repeated,
}
