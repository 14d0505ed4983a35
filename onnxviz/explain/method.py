"""What a method is asked and what it gives; the table of all of them is filled by the rooms that know them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from onnxviz.errors import InputError
from onnxviz.explain.probe import Case
from onnxviz.weights import Array

# What a method looks at: the input, an inner layer, or the model from outside.
Needs = Literal["gradient", "layer-gradient", "layer", "nothing"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Numbers that methods heed; None for each method's own.

    Attributes:
        samples: integrated gradients: points on the path (50); smooth-grad: noisy copies (50); rise: masks (1000).
        noise: smooth-grad: standard deviation of the noise, as a share of the input's range.
        baseline: integrated gradients and occlusion: the value that stands for "nothing", in the model's input.
        window, stride: occlusion: side of the square and its step, in pixels; an eighth of the shorter side and half
            a window.
        cells: rise: cells along each side of a mask before it is enlarged.
        keep: rise: the share of cells that stay.
        seed: of everything random.
    """

    samples: int | None = None
    noise: float = 0.15
    baseline: float = 0.0
    window: int | None = None
    stride: int | None = None
    cells: int = 7
    keep: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("samples", 1), ("window", 1), ("stride", 1), ("cells", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} is {value}; it must be {least} or more")
        for name in ("noise", "baseline"):
            if not math.isfinite(getattr(self, name)):
                raise InputError(f"{name} is {getattr(self, name)}; it must be a finite number")
        if not 0 < self.keep <= 1:
            raise InputError(f"keep is {self.keep:g}; it is a share, above 0 and up to 1")
        if not self.noise >= 0:
            raise InputError(f"noise is {self.noise:g}; it must be 0 or more")


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a method gives.

    Attributes:
        map: over the input's or the layer's positions, in the method's own unit.
        attribution: what the map was reduced from, (C, spatial…), signed; None where there is no more than the map.
        gap: by how much the attribution fails to add up to what it should; None where it need not.
        warnings: what the user should hear.
    """

    map: Array
    attribution: Array | None = None
    gap: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to explain.

    Attributes:
        name: as on the command line.
        needs: what it looks at.
        signed: whether negative values mean that the score falls.
        run: computes it; the layer's tensor is given to those that need one.
        source: paper.
        warning: what everyone who uses it should know.
    """

    name: str
    needs: Needs
    run: Callable[[Case, Settings, str], Found]
    source: str
    signed: bool = False
    warning: str = ""

    @property
    def gradient_free(self) -> bool:
        """Whether it works on every model."""
        return self.needs in ("layer", "nothing")

    @property
    def of_layer(self) -> bool:
        """Whether its map is one over a layer's positions."""
        return self.needs in ("layer", "layer-gradient")
