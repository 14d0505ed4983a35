"""The image input of a model: its size and channels, and the map from display space to it and back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.inputs.arrays import value_range
from onnxviz.inputs.expectation import Expectation
from onnxviz.inputs.image_files import MAX_PIXELS
from onnxviz.inputs.preprocessing import NAMED, Preprocessing
from onnxviz.messages import dims, for_reader, option, printable, unheeded
from onnxviz.model.model import Model
from onnxviz.model.ports import Port
from onnxviz.model.real_input import with_real_input

# Sides of what a model leaves open, by the number of spatial axes; 128 is lucid's.
_USUAL = {1: 256, 2: 128, 3: 32}


@dataclass(frozen=True)
class ImageInput:
    """The model's input, seen as a picture.

    Attributes:
        port: the input.
        channels: number of channels.
        size: (height, width), (length,) or (depth, height, width).
        expected: how display values · 255 become the model's input, and who says so.
    """

    port: Port
    channels: int
    size: tuple[int, ...]
    expected: Expectation

    @property
    def preprocessing(self) -> Preprocessing:
        """How display values · 255 become the model's input."""
        return self.expected.of_input(self.port.name)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, spatial…) of a picture."""
        return self.channels, *self.size

    def model_shape(self, count: int) -> tuple[int, ...]:
        """The model's input for `count` pictures."""
        return (count, *self.size[: self._channels - 1], self.channels, *self.size[self._channels - 1 :])

    @property
    def _channels(self) -> int:
        """Which axis of the model's input counts channels."""
        return self.port.layout.index("C")

    @property
    def is_whole(self) -> bool:
        """Whether the model takes whole numbers; its pictures are climbed in real ones."""
        return not self.port.dtype.startswith("float")

    def feed(self, images: NDArray[Any], *, whole: bool = False) -> NDArray[Any]:
        """The model's input for pictures (N, C, spatial…), 0…1; `whole` where it is rounded as the model takes it."""
        values = self.preprocessing.apply(np.moveaxis(images, 1, -1) * np.float32(255))
        if whole and self.is_whole:
            values = np.clip(np.rint(values), *value_range(np.dtype(self.port.dtype)))
        return np.ascontiguousarray(np.moveaxis(values, -1, self._channels))

    def seen(self, values: NDArray[Any]) -> NDArray[Any]:
        """The inverse of `feed`: the pictures (N, C, spatial…) that were made these values; cut to 0…1."""
        how = self.preprocessing
        last = np.moveaxis(values, self._channels, -1).astype(np.float64)
        last = (last * np.asarray(how.std) + np.asarray(how.mean)) / (255 * how.scale)
        if how.order == "BGR" and self.channels >= 3:
            last = np.concatenate([last[..., 2::-1], last[..., 3:]], axis=-1)
        return np.ascontiguousarray(np.clip(np.moveaxis(last, -1, 1), 0, 1), np.float32)

    def pull(self, gradient: NDArray[Any]) -> NDArray[Any]:
        """The adjoint of `feed`: the gradient with respect to the pictures, from that with respect to the input."""
        preprocessing = self.preprocessing
        last = np.moveaxis(gradient, self._channels, -1)
        last = last * (np.float32(255 * preprocessing.scale) / np.asarray(preprocessing.std, np.float32))
        if preprocessing.order == "BGR" and self.channels >= 3:
            last = np.concatenate([last[..., 2::-1], last[..., 3:]], axis=-1)
        return np.ascontiguousarray(np.moveaxis(last, -1, 1), np.float32)


def image_input(
    model: Model,
    size: int | tuple[int, ...] | None = None,
    preprocess: str | Preprocessing = "auto",
    fixed: Collection[str] = (),
) -> ImageInput:
    """The canvas for a model.

    Args:
        model: the model.
        size: sides that the input leaves open, a number for sides that are alike; None: 128 x 128, or 256 for signals,
            32 x 32 x 32 for volumes.
        preprocess: as for `onnxviz.inputs.expectation.Expectation.of`; where nothing is known, signals and what has
            other than 1, 3 or 4 channels get −1…1, since they are seldom brightnesses.

        fixed: names of inputs that are given.

    Raises:
        InputError: the model has no input for pictures or signals, or not of that size.
    """
    port = _input(model, fixed)
    assert port.shape is not None
    axes = dict(zip(port.layout, port.shape, strict=True))
    del axes["N"]
    declared = axes.pop("C")
    channels = declared if isinstance(declared, int) else 3
    sides = _size(model, list(axes.values()), size)
    if channels < 1 or min(sides) < 1:
        raise InputError(f"input '{printable(port.name)}' of {model.label} has no pixels: {dims(port.shape)}")
    if int(np.prod(sides, dtype=np.float64)) > MAX_PIXELS:
        raise InputError(f"pictures of {dims(sides)} are too large; the limit is {MAX_PIXELS:,} pixels")
    expected = Expectation.of(model, preprocess)
    if expected.assumed and (len(sides) != 2 or channels not in (1, 3, 4)):
        expected = replace(expected, preprocessing=NAMED["signed"], others=())
    found = ImageInput(port, channels, sides, expected)
    found.feed(np.zeros((1, *found.shape), np.float32))  # refuses a preprocessing for other channels
    return found


def _input(model: Model, fixed: Collection[str]) -> Port:
    """The one input for pictures or signals that is not given."""
    found = [port for port in model.inputs if port.layout and port.name not in fixed]
    given = [port for port in model.inputs if port.layout and port.name in fixed]
    if given and not found:
        made = printable(given[0].name)
        raise unheeded(f"input '{made}' is the one that is made: leave it out of {{fixed}}")
    pictures = [port for port in found if len(port.layout) == 4]
    if len(found) > 1 and len(pictures) == 1:
        found = pictures
    there = ", ".join(f"{printable(port.name)} ({dims(port.shape)} {port.dtype})" for port in model.inputs) or "none"
    if len(found) != 1:
        many = "several inputs" if found else "no input"
        what = f" (give all but one: {fixing(found[-1].name)})" if found else ""
        raise InputError(f"{model.label} has {many} for pictures or signals, so none can be made: {there}{what}")
    return found[0]


def real_valued(model: Model, port: Port) -> Model:
    """The model whose input of whole numbers takes real ones, as far as gradients need it; see `with_real_input`.

    Raises:
        InputError: it cannot.
    """
    found = with_real_input(model, port.name)
    if found is None:
        first = printable(model.layers[0].name) if model.layers else "LAYER"
        part = for_reader(
            f"onnxviz extract {model.label} LAYER --from {first} -o OUT.onnx", f"extract(model, layer, from_='{first}')"
        )
        raise InputError(
            f"input '{printable(port.name)}' of {model.label} takes {port.dtype}, which no Cast alone makes real, and "
            f"only real numbers can be followed by gradients: take the part that begins behind it, {part}"
        )
    return found


def _size(model: Model, declared: list[int | str | None], given: int | tuple[int, ...] | None) -> tuple[int, ...]:
    if isinstance(given, int):
        given = (given,) * len(declared)
    if given is not None:
        fits = len(given) == len(declared) and all(
            not isinstance(dim, int) or dim == side for dim, side in zip(declared, given, strict=True)
        )
        if not fits:
            raise InputError(f"{model.label} takes inputs of {dims(declared)}, not of {dims(given)}")
        return tuple(given)
    known = [dim for dim in declared if isinstance(dim, int)]
    usual = known[0] if known else _USUAL[len(declared)]
    return tuple(dim if isinstance(dim, int) else usual for dim in declared)


def fixing(name: str) -> str:
    """How the input called `name` is given."""
    return option("fixed", f"{printable(name)}=PATH", f"{{'{printable(name)}': array}}")
