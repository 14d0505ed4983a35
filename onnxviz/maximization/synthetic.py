"""Synthetic inputs with their activations and provenance; saved as `.npz` with a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.files import save_arrays
from onnxviz.inputs.provenance import Provenance
from onnxviz.maximization.ascent import AscentResult, AscentSettings
from onnxviz.maximization.image_input import ImageInput
from onnxviz.maximization.objectives import TINY, Objective
from onnxviz.maximization.variation import Variation

# From this quantile of its weights on, a pixel is opaque.
_OPAQUE = 0.9


@dataclass(frozen=True)
class PictureTarget:
    """What one picture is for.

    Attributes:
        objective: what it excites, penalties left out.
        layer: the layer's name; "" for classes and what is not one filter.
        filter: number of the filter, None for what is not one.
        class_: number of the class, None for what is not one.
        name: the class's name, where the model tells.
        variant: which of several pictures of this objective; None if there is one.
    """

    objective: Objective
    layer: str = ""
    filter: int | None = None
    class_: int | None = None
    name: str = ""
    variant: int | None = None

    def __str__(self) -> str:
        words = [self.row, self.label]
        return " ".join(word for word in words if word)

    @property
    def row(self) -> str:
        """What it stands with in a sheet."""
        return self.layer or ("class" if self.class_ is not None else "")

    @property
    def label(self) -> str:
        """What tells it from others in its row."""
        number = self.filter if self.filter is not None else self.class_
        words = [str(number) if number is not None else str(self.objective), self.name]
        if self.variant is not None:
            words.append(f"({self.variant + 1})")
        return " ".join(word for word in words if word)

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "layer": self.layer or None,
            "filter": self.filter,
            "class": self.class_,
            "name": self.name or None,
            "objective": str(self.objective),
            "variant": self.variant,
        }


@dataclass(frozen=True)
class SyntheticSettings:
    """How the pictures were made; options as for `onnxviz.maximize`."""

    canvas: ImageInput
    varied: Variation
    climb: AscentSettings
    plus: str
    alpha: bool = False

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        climb = self.climb
        return {
            "input": {"name": self.canvas.port.name, "size": list(self.canvas.size), "channels": self.canvas.channels},
            "param": self.varied.param,
            "decay": self.varied.decay,
            "photos": self.varied.source or None,
            "alpha": self.alpha,
            "steps": climb.steps,
            "rate": climb.rate,
            "leak": climb.leak,
            "seed": climb.seed,
            "transforms": [{"kind": type(move).__name__.lower(), **_fields(move)} for move in climb.transforms],
            "plus": self.plus or None,
        }


def _fields(value: Any) -> dict[str, Any]:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else {}


@dataclass(frozen=True, eq=False, repr=False)
class SyntheticInputs:
    """Pictures that excite what they are for; arrays are read-only, N pictures in the order of `targets`.

    Attributes:
        images: (N, spatial…, C) float32, 0…1, before preprocessing; three channels are RGB.
        targets: what each is for.
        before: (N,) activation of the near-grey start, not moved about.
        after: (N,) activation of the picture, not moved about.
        trace: (N, steps) activation before each step, moved about as it was climbed.
        best_step: (N,) after how many steps the picture was the best, and kept.
        dead: (N,) whether nothing excited the target, from first to last: the picture means nothing.
        alpha: (N, spatial…) float32 0…1, how much each pixel has meant for the climb: the sum over its steps of the
            gradient's magnitude, 1 from the 90th percentile on; None where it was not asked for. (Fel et al. 2023)
        interrupted: whether the climb was ended before all steps of all pictures were made.
        warnings: what the user should hear.
        made: how they were made.
        provenance: the model, software and preprocessing.
    """

    images: NDArray[Any]
    targets: tuple[PictureTarget, ...]
    before: NDArray[Any]
    after: NDArray[Any]
    trace: NDArray[Any]
    best_step: NDArray[Any]
    dead: NDArray[Any]
    alpha: NDArray[Any] | None
    interrupted: bool
    warnings: tuple[str, ...]
    made: SyntheticSettings
    provenance: Provenance

    @property
    def labels(self) -> tuple[str, ...]:
        """What a figure calls each: its number, and its activation or that it is dead."""
        each = zip(self.targets, self.after, self.dead, strict=True)
        return tuple(f"{target.label}  {'dead' if dead else f'{after:.3g}'}" for target, after, dead in each)

    @property
    def rows(self) -> tuple[str, ...]:
        """For each the row that a figure puts it in: its layer."""
        return tuple(target.row for target in self.targets)

    @property
    def facts(self) -> str:
        """What a figure says of them: model, steps, and what was assumed of the input."""
        model, mark = Path(self.provenance.model.label).name, self.made.canvas.expected.mark
        said = f"{model}, {self.made.climb.steps} steps; with each its number and activation"
        return " · ".join(filter(None, (said, mark)))

    @classmethod
    def of(
        cls,
        climbed: AscentResult,
        targets: Sequence[PictureTarget],
        made: SyntheticSettings,
        provenance: Provenance,
        warnings: Sequence[str],
    ) -> SyntheticInputs:
        """The result of a climb."""
        arrays = {
            "images": np.ascontiguousarray(np.moveaxis(climbed.images, 1, -1)),
            "before": climbed.before,
            "after": climbed.after,
            "trace": climbed.trace,
            "best_step": climbed.best,
            "dead": climbed.dead,
        }
        alpha = _opacity(climbed.weights) if made.alpha else None
        for array in (*arrays.values(), *([] if alpha is None else [alpha])):
            array.flags.writeable = False
        dead = [str(target) for target, flag in zip(targets, climbed.dead, strict=True) if flag]
        heard = [f"{one} is dead, or nearly: nothing excited it in {made.climb.steps} steps" for one in dead]
        told = (*warnings, *heard)
        return cls(
            targets=tuple(targets), alpha=alpha, interrupted=climbed.interrupted, warnings=told, made=made,
            provenance=provenance, **arrays,
        )  # fmt: skip

    def by_filter(self, layer: str) -> dict[int, tuple[NDArray[Any], float]]:
        """Of a layer's filters, by number: (picture, activation), the first of several variants."""
        found: dict[int, tuple[NDArray[Any], float]] = {}
        for target, image, after in zip(self.targets, self.images, self.after, strict=True):
            if target.layer == layer and target.filter is not None:
                found.setdefault(target.filter, (image, float(after)))
        return found

    def __len__(self) -> int:
        return len(self.targets)

    def __repr__(self) -> str:
        size = "x".join(map(str, self.images.shape[1:]))
        return f"SyntheticInputs({len(self)} of {size}, {self.provenance.model.label!r})"

    def entries(self) -> list[dict[str, Any]]:
        """For each picture, what it is for and how far it got, as JSON types."""
        return [
            {
                **target.as_dict(),
                "before": float(self.before[i]),
                "after": float(self.after[i]),
                "best_step": int(self.best_step[i]),
                "dead": bool(self.dead[i]),
            }
            for i, target in enumerate(self.targets)
        ]

    def manifest(self) -> dict[str, Any]:
        """What made the pictures, and each of them, as JSON types; reads the whole model file once for its hash."""
        made = {**self.provenance.as_dict(), **self.made.as_dict()}
        heard = {"interrupted": self.interrupted, "warnings": list(self.warnings)}
        return {**made, **heard, "pictures": self.entries()}

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes the arrays to `path` (`.npz`), and `NAME.manifest.json` beside it.

        Raises:
            OnnxvizError: it cannot be written; nothing is left half-written.
        """
        return self.write(Path(path))[0]

    def write(self, path: Path) -> list[Path]:
        """As `save`; gives the paths of both files."""
        names = ("images", "before", "after", "trace", "best_step", "dead")
        arrays = {name: getattr(self, name) for name in names}
        return save_arrays(arrays if self.alpha is None else {**arrays, "alpha": self.alpha}, path, self.manifest())


def _opacity(weights: NDArray[Any]) -> NDArray[Any]:
    """Weights (N, spatial…) as 0…1: 1 from each picture's 90th percentile on, and all 1 where nothing has weight."""
    flat = weights.reshape(len(weights), -1)
    most = np.quantile(flat, _OPAQUE, axis=1).reshape(-1, *[1] * (weights.ndim - 1))
    found: NDArray[Any] = np.where(most > 0, np.minimum(weights / np.maximum(most, TINY), 1), 1).astype(np.float32)
    return found
