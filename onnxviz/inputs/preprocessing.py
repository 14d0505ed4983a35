"""Preprocessing: from pixels to a model's input, as scale, mean, std and channel order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.messages import option, printable
from onnxviz.model.pixels.input_range import NAMED_RANGES, InputRange, range_name, range_words

# Beyond these a model's arithmetic has no room left in float32.
_LARGEST, _SMALLEST = 1e12, 1e-12


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become a model's input: input = (pixel · scale − mean) / std, per channel.

    Attributes:
        name: "raw", "unit", "signed", "torch", "caffe" or "custom".
        scale: factor on pixels, which are 0…255.
        mean: subtracted after scaling; one value, or one per channel in the order `order`.
        std: divided by; one value, or one per channel in the order `order`.
        order: "RGB" or "BGR".

    Raises:
        InputError: the numbers are none that a picture survives in float32, or there is no such order.
    """

    name: str = "unit"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    order: str = "RGB"

    def __post_init__(self) -> None:
        numbers = f"scale {self.scale}, mean {_listed(self.mean)}, std {_listed(self.std)}"
        if not np.all(np.isfinite([self.scale, *self.mean, *self.std])) or not self.mean or not self.std:
            raise InputError(f"a preprocessing needs finite numbers: got {numbers}")
        if self.scale == 0 or 0 in self.std:
            raise InputError(f"a preprocessing needs a scale and a std that are not 0: got {numbers}")
        if self.order not in ("RGB", "BGR"):
            raise InputError(f"the channel order is RGB or BGR, not '{printable(self.order)}'")
        if len({len(self.mean), len(self.std), 1}) < 3 and not self._keeps_levels():
            raise InputError(f"a preprocessing must keep the 256 levels of a pixel apart in float32: got {numbers}")

    def _keeps_levels(self) -> bool:
        """Whether a picture is still one behind it: no two levels fall together, and none is beyond all measure."""
        channels = max(len(self.mean), len(self.std))
        with np.errstate(all="ignore"):
            levels = self._values(np.arange(256, dtype=np.float32)[:, None].repeat(channels, axis=1))
            steps = np.abs(np.diff(levels, axis=0))
            return bool(np.all(np.abs(levels) <= _LARGEST) and steps.all() and steps.sum(axis=0).min() >= _SMALLEST)

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
        return cls("custom", scale, tuple(mean), tuple(std), fields.get("order", "RGB").upper())

    @classmethod
    def expected(cls, found: InputRange) -> Preprocessing:
        """The preprocessing that gives an input the range its graph expects."""
        return cls(found.name, found.scale, found.mean, found.std, found.order)

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """The preprocessing kept in a model's metadata; "custom" where its name stands for other numbers.

        Raises:
            InputError: the text is not what `to_json` writes.
        """
        try:
            data = json.loads(text)
            mean, std = (tuple(float(v) for v in data[key]) for key in ("mean", "std"))
            made = cls(str(data["name"]), float(data["scale"]), mean, std, str(data.get("order", "RGB")).upper())
            return replace(made, name=range_name(made.as_dict()))
        except InputError as error:
            raise InputError(
                f"the model's note on preprocessing cannot be used, give {option('preprocess')}: {error}"
            ) from None
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise InputError(
                f"the model's note on preprocessing cannot be read: {printable(text, 80)}; give {option('preprocess')}"
            ) from None

    def to_json(self) -> str:
        """The preprocessing as it is kept in a model's metadata."""
        return json.dumps(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """The preprocessing as JSON types."""
        data = asdict(self)
        return {**data, "mean": list(self.mean), "std": list(self.std)}

    @property
    def words(self) -> str:
        """Its name, or, where it is "custom", its numbers as `parse` reads them."""
        return range_words(self.as_dict())

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
        return np.ascontiguousarray(self._values(pixels.astype(np.float32)), np.float32)

    def _values(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """(pixels · scale − mean) / std, (…, C) float32."""
        values = pixels * np.float32(self.scale)
        made = (values - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return made.astype(np.float32, copy=False)


def _listed(numbers: Sequence[float]) -> str:
    return ":".join(map(str, numbers)) or "none"


NAMED: dict[str, Preprocessing] = {name: Preprocessing(name, *numbers) for name, numbers in NAMED_RANGES.items()}
