"""Given inputs: a row of a sample as a picture, just as the model was given it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from onnxviz.errors import OnnxvizError
from onnxviz.inputs.image_files import Picture
from onnxviz.inputs.picture_ports import is_picture
from onnxviz.inputs.sample_picture import sample_picture
from onnxviz.inputs.samples import Feeds, ImageOptions, Sample
from onnxviz.model.model import Model
from onnxviz.model.ports import Port


@dataclass(frozen=True, eq=False)
class Given:
    """One row of a sample.

    Attributes:
        label: what it is called.
        sample: what it is of; read again when its picture is asked for.
        row: which entry of the batch axis.
        port: the input that takes pictures, the first of several; None where none does.
        images: how image files were read.
        photo: the image file, or the image in memory; "" for arrays, and where there are several inputs.
    """

    label: str
    sample: Sample
    row: int
    port: Port | None
    images: ImageOptions
    photo: str | Picture

    @classmethod
    def of(cls, model: Model, sample: Sample, images: ImageOptions, label: str = "", row: int = 0) -> Given:
        """A row of a sample of `model`; `label` is the sample's own where it is ""."""
        port = next(filter(is_picture, model.inputs), None)
        photo = sample.photo if len(model.inputs) == 1 else ""
        return cls(label or sample.label, sample, row, port, images, photo)

    def picture(self, longest: int = 0, feeds: Feeds | None = None) -> NDArray[Any] | None:
        """(H, W, 3) uint8: what was given, after it was fitted and cropped; None where it is no picture.

        Values of an array, which nobody knows to be colours, are stretched to 0…255; of an input that has neither one
        nor three or four channels it is the first, in grey.

        Args:
            longest: pixels along the longer side, in the proportions of the file; 0 for what was fed, pixel by pixel.
            feeds: the arrays of the sample, where they are at hand.
        """
        if self.port is None:
            return None
        try:
            array = (feeds if feeds is not None else self.sample.read())[self.port.name]
            row = self.row if len(array) > self.row else 0
            return sample_picture(array[row], self.port.channel_axis, self.photo, self.images, longest)
        except (OnnxvizError, KeyError):
            return None

    @property
    def name(self) -> str:
        """What stands below its picture: the label, and which channel is shown where it is one of several."""
        axis = self.port.channel_axis if self.port is not None else None
        shape = self.port.shape if self.port is not None else None
        channels = shape[axis + 1] if shape is not None and axis is not None else None
        many = isinstance(channels, int) and channels not in (1, 3, 4)
        return f"{self.label}, channel 0 of {channels}" if many else self.label
