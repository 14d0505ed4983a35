"""The range of an input: which pixels a model expects, derived from the arithmetic that its graph begins with.

A network is trained on pixels in one of a few ranges: 0…255, 0…1, −1…1, or with a data set's mean and deviation taken
out. Where the graph's own arithmetic leads from exactly one kind of input to such a range, that kind is what it
expects: 0…255 if it divides by 255, 0…1 if it subtracts 0.485. Where several would do, or none, nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.model.graph.constants import Constants
from onnxviz.model.graph.scopes import Scope
from onnxviz.model.graph.shapes import Shapes
from onnxviz.model.pixels.input_arithmetic import InputArithmetic
from onnxviz.model.pixels.pixel import PixelReading, ReadingKind
from onnxviz.model.ports import Port

Numbers = tuple[float, ...]

# What is done to pixels of 0…255 under each name: scale, mean, std, order; see `onnxviz.inputs.preprocessing`.
NAMED_RANGES: Mapping[str, tuple[float, Numbers, Numbers, str]] = {
    "raw": (1.0, (0.0,), (1.0,), "RGB"),
    "unit": (1 / 255, (0.0,), (1.0,), "RGB"),
    "signed": (1 / 127.5, (1.0,), (1.0,), "RGB"),
    # torchvision's ImageNet constants, and those of the original Caffe VGG (in BGR).
    "torch": (1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "RGB"),
    "caffe": (1.0, (103.939, 116.779, 123.68), (1.0,), "BGR"),
}
_CENTRED = (1.0, (128.0,), (1.0,), "RGB")

# Means of red, green and blue of data sets, 0…255, and how far those that are in use are from them.
_MEANS: tuple[tuple[Numbers, float], ...] = (
    ((123.68, 116.5, 103.8), 4.0),  # ImageNet in its many roundings, CLIP's, COCO
    ((114.4, 111.5, 103.0), 1.5),  # DIV2K
    ((125.3, 123.0, 113.9), 1.5),  # CIFAR-10
    ((129.3, 124.1, 112.4), 1.5),  # CIFAR-100
    ((129.19, 104.76, 93.59), 1.5),  # VGGFace
    ((131.09, 103.88, 91.5), 1.5),  # VGGFace2
)
# Their deviations where they are divided by: ImageNet's, CLIP's.
_DEVIATIONS: tuple[Numbers, ...] = ((58.4, 57.1, 57.4), (68.5, 66.6, 70.3))
# (mean, deviation) of grey data sets: MNIST, Fashion-MNIST, KMNIST.
_GREY = ((33.3, 78.6), (72.9, 90.0), (48.9, 88.8))


@dataclass(frozen=True)
class InputRange:
    """What a graph's first operators say of the pixels it expects: input = (pixel · scale − mean) / std.

    Attributes:
        name: "raw", "unit", "signed", "torch", "caffe" or "custom".
        scale: factor on pixels, which are 0…255.
        mean: subtracted after scaling, one value or one for each channel in the order `order`.
        std: divided by; as `mean`.
        order: "RGB" or "BGR".
        why: what the model does, in words: "the model divides by 255 itself".
        order_is_told: whether the channels' means tell the order.
        reverses: whether its first layer sees the channels in the other order.
        order_is_open: whether it reverses them and nothing tells whether it wants RGB or BGR.
    """

    name: str
    scale: float
    mean: Numbers
    std: Numbers
    order: str
    why: str
    order_is_told: bool = False
    reverses: bool = False
    order_is_open: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The range as JSON types, in the keys of a model's note on preprocessing."""
        numbers = {"scale": self.scale, "mean": list(self.mean), "std": list(self.std), "order": self.order}
        return {"name": self.name, **numbers}

    def reasons(self) -> dict[str, Any]:
        """Why, and what stays open, as JSON types."""
        return {"why": self.why, "order_is_open": self.order_is_open}

    @property
    def words(self) -> str:
        """Its name, or its numbers; what `--preprocess` takes."""
        return range_words(self.as_dict())

    def agrees(self, note: Mapping[str, Any]) -> bool:
        """Whether a note on preprocessing, in the keys of `as_dict`, gives about the same numbers.

        Raises:
            ValueError, TypeError, KeyError: the note lacks numbers.
        """
        if self.order_is_told and self.order != note.get("order", "RGB"):
            return False
        ours, theirs = _ends(self.as_dict()), _ends(note)
        if self.order_is_open:
            theirs = theirs if self.order == note.get("order", "RGB") else theirs[:, ::-1]
        return bool(np.allclose(ours, theirs, rtol=0, atol=0.02 * float(np.ptp(ours))))


@dataclass(frozen=True)
class _Vote:
    """One reading's answer: which range, how sure (2: its numbers are known ones), in which order, from where."""

    name: str
    weight: int
    order: str
    reading: PixelReading
    channels: frozenset[int]


def _ends(note: Mapping[str, Any]) -> NDArray[np.float64]:
    """What red, green and blue of 0 and of 255 become, (2, 3)."""
    mean, std = (np.resize(np.asarray(note[key], np.float64), 3) for key in ("mean", "std"))
    ends = (np.array([[0.0], [255.0]]) * float(note["scale"]) - mean) / std
    return ends[:, ::-1] if note.get("order") == "BGR" else ends


def range_name(note: Mapping[str, Any]) -> str:
    """The name of a note on preprocessing: its own, but "custom" where that stands for other numbers.

    Raises:
        ValueError, TypeError, KeyError: the note lacks numbers.
    """
    name = str(note["name"])
    if name not in NAMED_RANGES:
        return name
    scale, mean, std, order = NAMED_RANGES[name]
    named = {"scale": scale, "mean": mean, "std": std, "order": order}
    with np.errstate(all="ignore"):
        same = np.allclose(_ends(named), _ends(note), rtol=1e-4, atol=1e-4 * float(np.ptp(_ends(named))))
    sizes = all(len(note[key]) in (1, 3) for key in ("mean", "std"))
    return name if same and sizes and order == note.get("order", "RGB") else "custom"


def range_words(note: Mapping[str, Any]) -> str:
    """The name of a note on preprocessing, or, where it has none of its own, its numbers: `scale=1,order=BGR`."""
    name = str(note.get("name", "not stated in the model"))
    if name != "custom":
        return name
    usual: dict[str, Any] = {"scale": 1.0, "mean": [0.0], "std": [1.0], "order": "RGB"}
    parts = []
    for key, value in usual.items():
        given = note.get(key, value)
        if given != value or key == "scale":
            numbers = given if isinstance(given, list) else [given]
            parts.append(f"{key}={':'.join(f'{n:.6g}' if isinstance(n, int | float) else str(n) for n in numbers)}")
    return ",".join(parts)


def input_ranges(
    scope: Scope, constants: Constants, shapes: Callable[[], Shapes], opset: Mapping[str, int], inputs: Sequence[Port]
) -> dict[str, InputRange]:
    """The ranges of those inputs for pictures and volumes whose graph tells, by name.

    Args:
        scope: the main graph, nodes in topological order.
        constants: finds the values behind tensor names.
        shapes: gives inferred shapes; asked only where a Reshape stands in the way.
        opset: versions of the operators, by domain.
        inputs: those for pictures and volumes; see `picture_inputs`.
    """
    ports = [port for port in inputs if port.dtype.startswith(("float", "int", "uint"))]
    found: dict[str, InputRange] = {}
    arithmetic = InputArithmetic(scope, constants, shapes, opset, ports)
    for number, port in enumerate(ports):
        channels = arithmetic.channels[port.name]
        own = [one for one in arithmetic.readings if _is_of(one, channels, number).any()]
        votes = [vote for reading in own for vote in _votes(reading, channels, number, port.dtype)]
        best = max((vote.weight for vote in votes), default=0)
        votes = [vote for vote in votes if vote.weight == best]
        names = {vote.name for vote in votes}
        covered = frozenset[int]().union(*(vote.channels for vote in votes))
        if len(names) == 1 and covered == frozenset(range(len(channels))):
            chosen = _range(votes, own, channels, number)
            if chosen is not None:
                found[port.name] = chosen
    return found


def picture_inputs(scope: Scope, inputs: Iterable[Port]) -> tuple[Port, ...]:
    """The inputs for pictures and volumes that any node reads; exporters leave others behind."""
    return tuple(port for port in inputs if len(port.layout) > 3 and port.name in scope.consumers)


def common_range(found: Mapping[str, InputRange], inputs: Sequence[Port]) -> InputRange | None:
    """The range of these inputs, where the graph tells it of every one, and the same of all."""
    ranges = {found.get(port.name) for port in inputs}
    return ranges.pop() if len(ranges) == 1 else None


def _range(votes: Sequence[_Vote], own: Sequence[PixelReading], channels: range, number: int) -> InputRange | None:
    orders = {vote.order for vote in votes if vote.order}
    if len(orders) > 1:
        return None
    whole = [vote for vote in votes if len(vote.channels) == len(channels)]
    told = (whole or votes)[-1]
    reversed_ = any(reading.pixel.is_reversed for reading in own)
    order = next(iter(orders), "RGB")
    scale, mean, std, usual = _CENTRED if told.name == "centred" else NAMED_RANGES[told.name]
    named = told.name != "centred" and order in (usual, "RGB")
    return InputRange(
        told.name if named else "custom",
        scale, mean, std,
        usual if named else order,
        _in_words(told.reading, channels, number, reversed_=reversed_),
        order_is_told=bool(orders),
        reverses=reversed_,
        order_is_open=reversed_ and not orders and usual == "RGB",
    )  # fmt: skip


def _is_of(reading: PixelReading, channels: range, number: int) -> NDArray[np.bool_]:
    """Which values of a reading are one input's."""
    source = reading.pixel.source
    mask: NDArray[np.bool_] = ((source >= channels.start) & (source < channels.stop)) | (source == -1 - number)
    return mask


def _votes(reading: PixelReading, channels: range, number: int, dtype: str) -> Iterable[_Vote]:
    """For which ranges a reading speaks; the surest only."""
    pixel, mask = reading.pixel, _is_of(reading, channels, number)
    slope, offset = pixel.slope[mask], pixel.offset[mask]
    source = pixel.source[mask] - channels.start
    if reading.kind is ReadingKind.ARITHMETIC and np.all(np.abs(slope) == 1) and not offset.any():
        return  # the input as it came
    everyone = bool(np.any(pixel.source[mask] < 0))
    covered = frozenset(range(len(channels))) if everyone else frozenset(int(one) for one in source)
    place = np.zeros(source.shape, np.int64) if everyone else source
    found = []
    for name, (scale, mean, std, _) in _candidates(dtype, 1 if everyone else len(channels)).items():
        mean_of, std_of = (np.resize(np.asarray(one), len(channels)) for one in (mean, std))
        first, last = -mean_of / std_of, (255 * scale - mean_of) / std_of
        low, high = slope * first[place] + offset, slope * last[place] + offset
        weight, wanted = _fit(name, low, high, place if not everyone and len(channels) >= 3 else None, reading.kind)
        if weight:
            found.append(_Vote(name, weight, wanted, reading, covered))
    best = max((vote.weight for vote in found), default=0)
    yield from (vote for vote in found if vote.weight == best)


def _candidates(dtype: str, channels: int) -> Mapping[str, tuple[float, Numbers, Numbers, str]]:
    """The ranges that an input of this type may have."""
    if dtype == "int8":
        return {"centred": _CENTRED}
    if dtype.startswith(("int", "uint")):
        return {"raw": NAMED_RANGES["raw"]}
    return {n: r for n, r in NAMED_RANGES.items() if channels == 3 or len(r[1]) == 1}


def _fit(
    name: str, low: NDArray[Any], high: NDArray[Any], channel: NDArray[Any] | None, kind: ReadingKind
) -> tuple[int, str]:
    """How well values fit a range that networks are trained on, if the input has range `name`: (0…2, channel order).

    Args:
        name: of the input's range.
        low: the values that a pixel of 0 leads to.
        high: those that one of 255 leads to.
        channel: which channel each is of, None where that does not matter.
        kind: what the values are.
    """

    def spans(start: float, end: float) -> bool:
        near = 0.01 * abs(end - start)
        return bool(np.all(np.abs(low - start) <= near) and np.all(np.abs(high - end) <= near))

    if kind is ReadingKind.BOUNDS:  # what is cut off lies just outside
        return (2, "") if spans(0, 255) else (0, "")
    of_pixels = name in ("raw", "unit", "centred")
    if kind is ReadingKind.ARITHMETIC:
        # Its own range is no news, and a small shift is near it.
        known: list[tuple[float, float]] = [
            ends for own, ends in (("unit", (0, 1)), ("signed", (-1, 1)), ("raw", (0, 255))) if own != name
        ]
        known += [(1, 0), (1, -1), (255, 0)]
        known += [(-0.5, 0.5)] if of_pixels else []
        known += [(0, 2)] if name == "raw" else []
        if any(spans(*ends) for ends in known):
            return 2, ""
    if name in ("torch", "caffe") or not np.all(high > low):
        return 0, ""
    mean, deviation = -low * 255 / (high - low), 255 / (high - low)
    if channel is not None and (order := _order(mean, deviation, channel, strict=not of_pixels)):
        return 2, order
    if not of_pixels:
        return 0, ""
    if kind is ReadingKind.ARITHMETIC:
        if any(np.all(abs(mean / m - 1) < 0.02) and np.all(abs(deviation / d - 1) < 0.02) for m, d in _GREY):
            return 2, ""
        whole = 1.0 if name != "unit" else 255.0  # a mean is taken out, and nothing more
        if np.all(np.abs(deviation / whole - 1) < 0.01) and _within(mean, 60, 180):
            return 1, ""
    if name == "unit":  # not far off, lest it be −1…1 or 0…1 of something else
        strict = kind is ReadingKind.BATCH_NORM
        plausible = _within(mean, *((90, 150) if strict else (64, 192)))
        return int(plausible and _within(deviation, *((45, 90) if strict else (40, 95)))), ""
    return int(_within(mean, 15, 240) and _within(deviation, 15, 140)), ""


def _within(values: NDArray[Any], low: float, high: float) -> bool:
    return bool(np.all((values >= low) & (values <= high)))


def _order(mean: NDArray[Any], deviation: NDArray[Any], channel: NDArray[Any], *, strict: bool) -> str:
    """The order of channels that have a data set's means, "RGB" or "BGR"; "" where the means are none's.

    Args:
        mean: of pixels of 0…255.
        deviation: as `mean`.
        channel: which channel of the input each is of.
        strict: whether the deviations must be a data set's too.
    """
    if {0, 1, 2} != {int(one) for one in channel}:
        return ""
    for order, place in (("RGB", channel), ("BGR", 2 - channel)):
        for means, off in _MEANS:
            if np.all(np.abs(mean - np.asarray(means)[place]) <= off) and (
                not strict or any(np.all(np.abs(deviation / np.asarray(d)[place] - 1) < 0.05) for d in _DEVIATIONS)
            ):
                return order
    return ""


def _in_words(reading: PixelReading, channels: range, number: int, *, reversed_: bool) -> str:
    """What the model does to its input, as a clause."""
    if reading.kind is ReadingKind.BOUNDS:
        return "the model cuts off what lies outside it"
    pixel, mask = reading.pixel, _is_of(reading, channels, number)
    place = np.unique(pixel.source[mask], return_index=True)[1]  # each channel once, in the input's order
    slope, offset = pixel.slope[mask][place], pixel.offset[mask][place]
    if reading.kind is ReadingKind.BATCH_NORM:
        return f"its first batch normalisation has the mean {_listed(-offset / slope)}"
    one = np.ptp(slope) < 1e-6 and np.ptp(offset) < 1e-6
    mean = -offset / slope
    if one and abs(slope[0] + 1) < 1e-6:
        steps = [f"subtracts it from {_listed(offset)}"]
    elif not offset.any():
        steps = [_scaled(slope)]
    elif one and abs(round(2 * offset[0]) - 2 * offset[0]) < 1e-3 and abs(slope[0] - 1) > 1e-6:
        steps = [_scaled(slope), f"{'adds' if offset[0] > 0 else 'subtracts'} {_listed(abs(offset))}"]
    else:
        steps = [f"subtracts {_listed(mean)}" if np.any(mean > 0) else f"adds {_listed(-mean)}", _scaled(slope)]
    steps = [step for step in steps if step] + ["reverses the channels"] * reversed_
    return f"the model {', '.join(steps[:-1])}{' and ' if steps[1:] else ''}{steps[-1]} itself"


def _scaled(slope: NDArray[Any]) -> str:
    """`divides by 255` or `multiplies by 2`; "" where neither is done."""
    if np.all(np.abs(slope - 1) < 1e-6):
        return ""
    whole = np.all(np.abs(slope) >= 1) and np.all(np.abs(slope - np.rint(slope)) < 1e-6)
    return f"multiplies by {_listed(slope)}" if whole else f"divides by {_listed(1 / slope)}"


def _listed(values: NDArray[Any]) -> str:
    """`0.485, 0.456, 0.406`, or one number for all."""
    words = [f"{float(one):.4g}".replace("-", "−") for one in values.reshape(-1)[:4]]
    return words[0] if len(set(words)) == 1 else ", ".join(words) + (" …" if values.size > 4 else "")
