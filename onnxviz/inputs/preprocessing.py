"""Preprocessing: from pixels to a model's input, as scale, mean, std and channel order."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.messages import printable


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become a model's input: input = (pixel · scale − mean) / std, per channel.

    Attributes:
        name: "raw", "unit", "signed", "torch", "caffe" or "custom".
        scale: factor on pixels, which are 0…255.
        mean: subtracted after scaling; one value, or one per channel in the order `order`.
        std: divided by; one value, or one per channel in the order `order`.
        order: "RGB" or "BGR".
    """

    name: str = "unit"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    order: str = "RGB"

    @classmethod
    def parse(cls, text: str) -> Preprocessing:
        """The preprocessing that `text` names, or spells out: `scale=0.017,mean=a:b:c,std=a:b:c,order=BGR`.

        Raises:
            InputError: it is neither.
        """
        if text in NAMED:
            return NAMED[text]
        known = f"{', '.join(NAMED)} or scale=…,mean=a:b:c,std=a:b:c,order=BGR"
        fields: dict[str, Any] = {}
        for part in text.split(","):
            key, given, value = part.partition("=")
            if key not in ("scale", "mean", "std", "order") or not given or key in fields:
                raise InputError(f"'{printable(text)}' is not a preprocessing; there are {known}")
            fields[key] = value
        try:
            numbers = {key: [float(v) for v in fields[key].split(":")] for key in ("mean", "std") if key in fields}
            scale = float(fields.get("scale", 1))
        except ValueError:
            raise InputError(f"'{printable(text)}' has a value that is not a number; there are {known}") from None
        mean, std = numbers.get("mean", [0.0]), numbers.get("std", [1.0])
        return cls._checked("custom", scale, mean, std, fields.get("order", "RGB"))

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """The preprocessing kept in a model's metadata.

        Raises:
            InputError: the text is not what `to_json` writes.
        """
        try:
            data = json.loads(text)
            mean, std = ([float(v) for v in data[key]] for key in ("mean", "std"))
            return cls._checked(str(data["name"]), float(data["scale"]), mean, std, str(data.get("order", "RGB")))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise InputError(
                f"the model's note on preprocessing cannot be read: {printable(text, 80)}; give --preprocess"
            ) from None

    @classmethod
    def _checked(
        cls, name: str, scale: float, mean: Sequence[float], std: Sequence[float], order: str
    ) -> Preprocessing:
        values = [scale, *mean, *std]
        if not all(map(math.isfinite, values)) or scale == 0 or 0 in std or not mean or not std:
            raise InputError(f"a preprocessing needs finite numbers, scale and std not 0: got {scale}, {mean}, {std}")
        if order.upper() not in ("RGB", "BGR"):
            raise InputError(f"the channel order is RGB or BGR, not '{printable(order)}'")
        return cls(name, scale, tuple(mean), tuple(std), order.upper())

    def to_json(self) -> str:
        """The preprocessing as it is kept in a model's metadata."""
        return json.dumps(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """The preprocessing as JSON types."""
        data = asdict(self)
        return {**data, "mean": list(self.mean), "std": list(self.std)}

    def apply(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """The model's input for one picture.

        Args:
            pixels: (H, W, C), 0…255; channels in the order RGB.

        Returns:
            (H, W, C) float32, channels in the order `self.order`.

        Raises:
            InputError: mean or std have another number of channels than the picture.
        """
        channels = pixels.shape[-1]
        for key, given in (("mean", self.mean), ("std", self.std)):
            if len(given) not in (1, channels):
                raise InputError(f"preprocessing '{self.name}' has {len(given)} {key} values for {channels} channels")
        if self.order == "BGR" and channels >= 3:  # a fourth channel is alpha, and stays last
            pixels = np.concatenate([pixels[..., 2::-1], pixels[..., 3:]], axis=-1)
        values: NDArray[Any] = pixels.astype(np.float32) * np.float32(self.scale)
        values = (values - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(values, np.float32)


NAMED: dict[str, Preprocessing] = {
    "raw": Preprocessing("raw", 1.0),
    "unit": Preprocessing("unit", 1 / 255),
    "signed": Preprocessing("signed", 1 / 127.5, (1.0,)),
    # torchvision's ImageNet constants, and those of the original Caffe VGG (in BGR).
    "torch": Preprocessing("torch", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "caffe": Preprocessing("caffe", 1.0, (103.939, 116.779, 123.68), (1.0,), "BGR"),
}
