"""Noise: seeded samples in the range that a model's inputs expect."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.inputs.picture_ports import is_picture
from onnxviz.inputs.samples import Feeds, ImageOptions, Sample, as_input
from onnxviz.messages import dims, option, printable, refuse_unheeded
from onnxviz.model.batch_axis import batch_inputs
from onnxviz.model.model import Model
from onnxviz.model.ports import Port


def noise_samples(
    model: Model, images: ImageOptions, count: int, order: Sequence[str] | None = None, seed: int = 0
) -> list[Sample]:
    """Samples of noise, the same for two models whose inputs mean the same in the same order.

    Inputs for pictures get pixels drawn evenly from 0…255, prepared as a photo is, in the input's layout; other inputs
    of real numbers draw from the normal distribution. A batch axis gets one entry.

    Args:
        model: the model that they are for.
        images: how pictures are prepared, and their size where the model leaves it open.
        count: how many.
        order: names of all inputs, in the order in which they are drawn; None for the model's.
        seed: of the drawing.

    Raises:
        InputError: an input leaves a size open, or its values cannot be drawn.
    """
    batched = batch_inputs(model.inputs)
    by_name = {port.name: port for port in model.inputs}
    ports = [by_name[name] for name in order or by_name]
    for port in ports:
        if not is_picture(port) and not port.dtype.startswith(("float", "bfloat")):
            what = f"input '{printable(port.name)}' of {model.label} takes {port.dtype or 'no known type'}"
            raise InputError(f"{what}, for which no noise is drawn: give data")
    shapes = {port.name: _shape(model, port, images, batched=port.name in batched) for port in ports}

    def read(number: int) -> Feeds:
        rng = np.random.default_rng([seed, number])
        return {port.name: _drawn(port, shapes[port.name], images, rng) for port in ports}

    return [Sample(f"noise {number}", partial(read, number), False) for number in range(count)]


def check_noise_heeded(model: Model, images: ImageOptions) -> None:
    """Refuses options that noise for `model` does not heed.

    Raises:
        UnheededOptionError: one that is about the picture in a file, one about images where no input takes any, or a
            size that the model does not take.
    """
    given = dict.fromkeys(images.given, True)
    if not any(map(is_picture, model.inputs)):
        refuse_unheeded(given, f"no input of {model.label} takes images")
    about_files = {name: given.get(name) for name in ("fit", "background")}
    refuse_unheeded(about_files, "noise is drawn at the size that it is fed, and opaque")
    images.check_size(model)


def _shape(model: Model, port: Port, images: ImageOptions, *, batched: bool) -> tuple[int, ...]:
    """The shape of one sample."""
    if port.shape is None:
        raise InputError(f"input '{printable(port.name)}' of {model.label} does not say its shape: give data")
    sizes: list[int | str | None] = list(port.shape)
    if batched:
        sizes[0] = 1  # a fixed batch is filled with copies when it is run
    if is_picture(port) and images.size is not None:
        for axis, size in zip("HW", images.size, strict=True):
            place = port.layout.index(axis)
            sizes[place] = sizes[place] if isinstance(sizes[place], int) else size
    whole = [size for size in sizes if isinstance(size, int)]
    if len(whole) < len(sizes):
        open_side = is_picture(port) and any(not isinstance(sizes[port.layout.index(axis)], int) for axis in "HW")
        remedy = f"give data, or {option('size', 'HxW')}" if open_side else "give data"
        raise InputError(f"input '{printable(port.name)}' of {model.label} is {dims(port.shape)}: {remedy}")
    return tuple(whole)


def _drawn(port: Port, shape: Sequence[int], images: ImageOptions, rng: np.random.Generator) -> NDArray[Any]:
    if is_picture(port):
        size = dict(zip(port.layout, shape, strict=True))
        pixels = rng.integers(0, 256, (size["N"], size["H"], size["W"], size["C"]), np.uint8)
        return np.concatenate([as_input(port, one, images, Path("noise")) for one in pixels])
    return rng.normal(size=tuple(shape)).astype(port.dtype)
