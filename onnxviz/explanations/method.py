"""The interface of an explanation method: its options, what it needs, the map it gives."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar, Literal

from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.explanations.case import Case
from onnxviz.explanations.map_axes import MapAxes

# What a method looks at: the gradient of the input, that of an inner layer, a layer's values, or the scores alone.
Needs = Literal["gradient", "layer-gradient", "layer", "nothing"]


@dataclass(frozen=True, kw_only=True)
class MethodResult:
    """What a method gives.

    Attributes:
        map: over the input's or the layer's positions, in the method's own unit.
        attribution: what the map was reduced from, (C, spatial…), signed; None where there is no more than the map.
        gap: by how much the attribution fails to add up to what it should; None where it need not.
        warnings: what the user should hear.
        approximations: where a gradient is not that of what the model computes.
        layer: the layer that the map is of, "" for maps of the input.
        tensor: its tensor; several, with commas between, where it stands in the graph once for each frame.
        axes: what the axes of the map count; None for those of the input.
    """

    map: NDArray[Any]
    attribution: NDArray[Any] | None = None
    gap: float | None = None
    warnings: tuple[str, ...] = ()
    approximations: tuple[str, ...] = ()
    layer: str = ""
    tensor: str = ""
    axes: MapAxes | None = None


class Method:
    """One way to explain, with its options: a frozen dataclass whose fields are the options.

    A method of your own is a subclass; `explain(model, x, method=Brightness())` takes it like those of the table, and
    so do `explain_sanity` and `explain_faithfulness`:

        @dataclass(frozen=True)
        class Brightness(Method):
            name = "brightness"
            source = "nobody"
            power: float = 1.0

            def __call__(self, case):
                return MethodResult(map=case.channels_first(case.x).mean(axis=0) ** self.power * case.score)

    Attributes:
        name: as on the command line and in results.
        source: the paper.
        needs: what it looks at.
        signed: whether negative values of its map mean that the score falls.
        warning: what everyone who uses it should know; `{sanity}` in it is how it is checked.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    needs: ClassVar[Needs] = "nothing"
    signed: ClassVar[bool] = False
    warning: ClassVar[str] = ""

    def __call__(self, case: Case) -> MethodResult:
        """The map of one sample.

        Args:
            case: the sample and what is scored: its array, scores and gradients of variants of it, values of tensors.
        """
        raise NotImplementedError

    def check(self, case: Case) -> None:
        """Refuses a sample that the method has nothing to show of, gradients aside.

        Raises:
            OnnxvizError: it has no positions, or none that the method can use.
        """

    @property
    def gradient_free(self) -> bool:
        """Whether it needs no gradient of the model."""
        return self.needs in ("layer", "nothing")

    @property
    def of_layer(self) -> bool:
        """Whether its map is one over a layer's positions."""
        return self.needs in ("layer", "layer-gradient")

    @property
    def options(self) -> dict[str, Any]:
        """Its options by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)} if is_dataclass(self) else {}


def check_least(name: str, value: int | None, least: int = 1) -> None:
    """Refuses a count that is too small; None, for the method's own choice, passes.

    Raises:
        InputError: it is.
    """
    if value is not None and value < least:
        raise InputError(f"{name} is {value}; it must be {least} or more")


def check_finite(name: str, value: float) -> None:
    """Refuses what is not a finite number.

    Raises:
        InputError: it is none.
    """
    if not math.isfinite(value):
        raise InputError(f"{name} is {value}; it must be a finite number")
