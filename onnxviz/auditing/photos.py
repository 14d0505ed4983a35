"""Photos of an audit: image files whose pixels a check changes before the model sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxviz.auditing.check import UnmeasuredError
from onnxviz.auditing.subject import Subject
from onnxviz.inputs.image_files import read_image
from onnxviz.inputs.perturbed_image import Pixels
from onnxviz.inputs.picture_ports import image_size, is_picture
from onnxviz.inputs.samples import Feeds, ImageOptions, Sample, as_input
from onnxviz.model.model import Model
from onnxviz.model.ports import Port


@dataclass(frozen=True)
class Photos:
    """Image files among the data.

    Attributes:
        model: what they are for.
        port: its input for pictures.
        images: how they are prepared.
        chosen: those that are looked at.
    """

    model: Model
    port: Port
    images: ImageOptions
    chosen: tuple[Sample, ...]

    @classmethod
    def of(cls, subject: Subject, least: float, most: float) -> Photos:
        """Of an audit's data: `most` of them at most, spread evenly.

        Raises:
            UnmeasuredError: there are fewer than `least`, or the model has not one input for pictures.
        """
        port = picture_input(subject.model)
        files = [sample for sample in subject.samples if sample.path]
        if len(files) < least:
            arrays = len(subject.samples) - len(files)
            beside = f", and {arrays:,} arrays, which are fed as they are" if arrays else ""
            raise UnmeasuredError(f"it needs {least:g} image files or more; there are {len(files):,}{beside}")
        return cls(subject.model, port, subject.images, tuple(evenly(files, int(most))))

    @property
    def channels(self) -> int | None:
        """How many the input takes; None where the model leaves it open."""
        size = None if self.port.shape is None else self.port.shape[self.port.layout.index("C")]
        return size if isinstance(size, int) else None

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) to which they are resized; None where each keeps its own."""
        return image_size(self.port) or self.images.size

    def pixels(self, sample: Sample, size: tuple[int, int] | None) -> Pixels:
        """What is in the file, (H, W, C); at its own size where `size` is None.

        Raises:
            InputError: it cannot be read.
        """
        fit, background = self.images.fit, self.images.background
        return read_image(sample.path, channels=self.channels, size=size, fit=fit, background=background)

    def feeds(self, sample: Sample, pixels: Pixels, images: ImageOptions | None = None) -> Feeds:
        """The model's inputs with these pixels, prepared as they are to be, or as `images` has it.

        Raises:
            InputError: they give values that the input cannot hold.
        """
        array = as_input(self.port, np.ascontiguousarray(pixels), images or self.images, Path(sample.path))
        others = sample.read() if len(self.model.inputs) > 1 else {}
        return {**others, self.port.name: array}


def picture_input(model: Model) -> Port:
    """The input for pictures.

    Raises:
        UnmeasuredError: the model has not one.
    """
    ports = [port for port in model.inputs if is_picture(port)]
    if len(ports) != 1:
        raise UnmeasuredError(f"the model has {len(ports)} inputs for pictures, not one")
    return ports[0]


def evenly(found: Sequence[Sample], most: int) -> list[Sample]:
    """At most so many of them, spread evenly from the first to the last."""
    if len(found) <= most:
        return list(found)
    return [found[place * len(found) // most] for place in range(most)]
