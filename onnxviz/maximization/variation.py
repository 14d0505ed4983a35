"""Variation: the parametrisation, the movements, the rate and the contrast that options ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.inputs.samples import ImageOptions, InputLike, samples
from onnxviz.maximization.half_spectrum import COVARIANCE_ROOT
from onnxviz.maximization.image_input import ImageInput
from onnxviz.maximization.parametrisation import DECAY, Fourier, Parametrisation, Pixels, logit
from onnxviz.maximization.phase import FALL, Phase, PhotoSpectrum
from onnxviz.maximization.transforms import (
    Crop,
    Jitter,
    Transform,
    margin,
    standard,
    standard_for_classes,
    usual_jitter,
)
from onnxviz.messages import dims, one_of, refuse_unheeded, unheeded
from onnxviz.model.model import Model

Param = Literal["fourier", "pixel", "maco"]
Transforms = Literal["standard", "jitter", "none"] | Sequence[Transform]

# Adam's step sizes at the start; of classes that are seen in crops, a smaller one: half of it gives paler pictures.
# And the most that a photo may be changed, as a share of the contrast of photos.
RATES: dict[str, float] = {"fourier": 0.03, "pixel": 0.05, "maco": 0.1}
CLASS_RATE = 0.02
CHANGE = 0.35


@dataclass(frozen=True, eq=False)
class Variation:
    """What is varied, and how.

    Attributes:
        param: the parametrisation's name.
        way: the parametrisation.
        moves: random movements.
        rate: Adam's step size at the start.
        contrast: the root mean square that the plane before the sigmoid has at most, about its start.
        decay: the power of the frequency, None where there is none.
        source: what the photo or the magnitude is from, "" for neither.
    """

    param: Param
    way: Parametrisation
    moves: tuple[Transform, ...]
    rate: float
    contrast: float
    decay: float | None
    source: str


@dataclass(frozen=True, eq=False)
class VariationOptions:
    """What is asked for; options as for `onnxviz.maximize`.

    Attributes:
        classes: whether all that is climbed are classes.
    """

    param: Param
    transforms: Transforms
    jitter: int | None
    rate: float | None
    decay: float | None
    from_: InputLike
    magnitude_from: InputLike
    classes: bool = False


def variation(model: Model, frame: ImageInput, asked: VariationOptions) -> Variation:
    """What is varied, for pictures of the model's input.

    Raises:
        InputError: a photo cannot be read, an option does nothing beside the others, or makes no sense.
    """
    param, rate, decay = asked.param, asked.rate, asked.decay
    one_of("parametrisation", param, ("fourier", "pixel", "maco"))
    if param != "maco":
        refuse_unheeded({"magnitude_from": asked.magnitude_from}, "only {param} 'maco' takes the magnitude of photos")
    if param != "fourier":
        refuse_unheeded({"from_": asked.from_}, f"{{param}} '{param}' does not start from a photo, 'fourier' does")
    parts = asked.classes and param == "fourier" and asked.from_ is None
    moves = _moves(asked, frame.size, standard_for_classes if parts else standard)
    edge = margin(moves)
    shape = (frame.channels, *(side + 2 * edge for side in frame.size))
    usual = CLASS_RATE if parts else RATES[param]
    step, most, source = usual if rate is None else rate, photo_contrast(frame.channels), ""
    if param == "pixel":
        if decay is not None:
            raise unheeded(f"a decay of {decay:g} is one of frequencies, pixels have none: leave out {{decay}}")
        return Variation(param, Pixels(shape), moves, step, most, None, source)
    if param == "maco":
        if asked.magnitude_from is not None:
            refuse_unheeded({"decay": decay}, "the magnitude is that of the photos")
            photos, source = _photos(model, frame, asked.magnitude_from)
            spectrum = PhotoSpectrum.of_photos([_framed(photo, edge) for photo in photos])
        else:
            decay = FALL if decay is None else decay
            spectrum = PhotoSpectrum.power_law(shape, decay)
        return Variation(param, Phase(spectrum, shape), moves, step, most, decay, source)
    decay = DECAY if decay is None else decay
    if asked.from_ is None:
        return Variation(param, Fourier(shape, decay), moves, step, most, decay, source)
    photos, source = _photos(model, frame, asked.from_)
    if len(photos) != 1:
        raise InputError(f"pictures start from one photo, and {len(photos)} are given")
    way = Fourier(shape, decay, deviation=0.0, about=logit(_framed(photos[0], edge)))
    return Variation(param, way, moves, step, CHANGE * most, decay, source)


def photo_contrast(channels: int) -> float:
    """The root mean square of photos about grey before the sigmoid, whose slope there is ¼: 4 √(tr Σ / 3).

    Σ is the covariance of the colours in ImageNet's photos; of other than three channels, that of their mean.
    """
    if channels == 3:
        return 4 * float(np.sqrt((COVARIANCE_ROOT**2).sum() / 3))
    return 4 * float(np.linalg.norm(COVARIANCE_ROOT.mean(axis=0)))


def _photos(model: Model, frame: ImageInput, given: InputLike) -> tuple[list[NDArray[Any]], str]:
    """Photos (C, spatial…) in 0…1 as the model is fed them, and what they are called.

    Raises:
        InputError: they cannot be read, or do not fit the model.
    """
    size = (frame.size[0], frame.size[1]) if len(frame.size) == 2 else None
    images, name = ImageOptions(frame.expected, size), frame.port.name
    if len(model.inputs) > 1:  # all but this one are fixed, so a photo need not say whose it is
        each = given if isinstance(given, list | tuple) else [given]
        found = [one for item in each for one in samples(model, item if _named(item) else {name: item}, images)]
    else:
        found = samples(model, given, images)
    pictures = [row for sample in found for row in frame.seen(sample.read()[name])]
    for picture in pictures:
        if picture.shape != frame.shape:
            raise InputError(f"{found[0].label} is {dims(picture.shape)}, but {dims(frame.shape)} is made")
    first, last = found[0].label, found[-1].label
    return pictures, first if len(found) == 1 else f"{len(pictures)} photos, {first} to {last}"


def _named(item: InputLike) -> bool:
    """Whether an input is said to be one of the model's by name: a mapping, or NAME=PATH."""
    return isinstance(item, Mapping) or (isinstance(item, str) and "=" in item and not Path(item).exists())


def _framed(photo: NDArray[Any], edge: int) -> NDArray[Any]:
    """The photo with what movements show beyond its edges: its mirror image."""
    return np.pad(photo, [(0, 0), *[(edge, edge)] * (photo.ndim - 1)], mode="symmetric")


def _moves(
    asked: VariationOptions, size: tuple[int, ...], usual: Callable[[int], tuple[Transform, ...]]
) -> tuple[Transform, ...]:
    param, transforms, jitter = asked.param, asked.transforms, asked.jitter
    if jitter is not None and (transforms == "none" or not isinstance(transforms, str)):
        raise unheeded(
            f"a jitter of {jitter} pixels is one of {{transforms}} 'standard' and 'jitter' only: leave out {{jitter}}"
        )
    if param == "maco" and transforms == "standard":
        refuse_unheeded({"jitter": jitter}, "what moves {param} 'maco' are crops")
        return (Crop(),)
    pixels = usual_jitter(size) if jitter is None else jitter
    if pixels > max(size):
        raise InputError(f"a jitter of {pixels} pixels moves pictures of {dims(size)} out of sight; give less")
    if not isinstance(transforms, str):
        return tuple(transforms)
    known: dict[str, tuple[Transform, ...]] = {
        "standard": usual(pixels),
        "jitter": (Jitter(pixels),),
        "none": (),
    }
    one_of("set of transforms", transforms, known)
    return known[transforms]
