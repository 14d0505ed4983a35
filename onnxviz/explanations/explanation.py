"""An explanation: the raw map with its provenance, and how it is saved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.explanations.case import Case
from onnxviz.explanations.map_axes import MapAxes
from onnxviz.explanations.method import Method
from onnxviz.files import save_arrays
from onnxviz.inputs.image_files import Picture
from onnxviz.inputs.interpolate import resized
from onnxviz.inputs.provenance import Provenance
from onnxviz.inputs.sample_picture import Bands, sample_picture, shown_bands, words_of_bands
from onnxviz.messages import percent, printable
from onnxviz.model.detection.boxes import Detection

# Pixels along the longer side of a photo that is drawn.
_LONGEST = 448


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Explanation:
    """Where a model looks on one sample.

    Attributes:
        map: the raw map, before any display scaling, (H, W) of the input or of the layer; (V, H, W) or (T, H, W) of
            several views or frames, each with a map of its own: `axes` says what its axes count; float32, read-only.
        attribution: what the map was reduced from, (C, H, W) or (C, V, H, W), signed; None where there is no more.
        method: its name.
        signed: whether negative values of the map count against the class.
        class_: the class or channel, None where the target has none.
        class_name: its name, "" if nothing gives one.
        classes: how many classes there are.
        score: what was explained, at the sample: before the softmax where there is one.
        probability: what the model makes of it, 0…1; None where the target is no classifier's.
        target: the tensor that gives the score.
        output: the model's output that is explained, or the tensor that was asked for.
        what: what the score is, in words.
        layer: the layer that the map is of, "" for maps of the input.
        tensor: its tensor; several, with commas between, where it stands in the graph once for each frame.
        axes: what the axes of the map count.
        size: (H, W) of the input; (V, H, W) or (T, H, W) of several views or frames.
        gap: for integrated gradients, Σ attribution − (S(x) − S(x₀)); None for the others.
        warnings: what to keep in mind.
        approximations: where the gradient is not that of what the model computes.
        settings: the method as a value, with its options.
        sample: the input's label.
        path: of the image file, "" for arrays and for images that were given in memory.
        image: the path, or the image in memory; "" for arrays.
        input: the array that was fed, one sample without batch axis.
        channel_axis: which of its axes counts channels, None if there is none.
        provenance: the model, software and image options.
        case: the sample and what is scored, for `explain_sanity` and `explain_faithfulness`.
        region: (rows, columns) of the picture, booleans: what part of it the score is of; None where that is all of it.
        box: of a detector, the box that is explained; None for the sum over all.
        boxes: of a detector, what it finds on the sample, the best first.
        names: of all classes, () if nothing gives them.
    """

    map: NDArray[Any]
    attribution: NDArray[Any] | None
    method: str
    signed: bool
    class_: int | None
    class_name: str
    classes: int
    score: float
    probability: float | None
    target: str
    output: str
    what: str
    layer: str
    tensor: str
    axes: MapAxes
    size: tuple[int, ...]
    gap: float | None
    warnings: tuple[str, ...]
    approximations: tuple[str, ...]
    settings: Method
    sample: str
    path: str
    image: str | Picture
    input: NDArray[Any]
    channel_axis: int | None
    provenance: Provenance
    case: Case
    region: NDArray[Any] | None = None
    box: Detection | None = None
    boxes: tuple[Detection, ...] = ()
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for array in (self.map, self.attribution, self.input):
            if array is not None:
                array.flags.writeable = False

    def __repr__(self) -> str:
        where = f" at {self.layer!r}" if self.layer else ""
        return f"Explanation({self.sample!r}, {self.title}, score {self.score:.4g}, {self.method}{where})"

    @property
    def title(self) -> str:
        """`dog`, or `class 4`."""
        return self.class_name or ("the output" if self.class_ is None else f"class {self.class_}")

    @property
    def facts(self) -> list[str]:
        """What a figure says of it: sample, class, score, method, layer, and what was assumed of the image."""
        return [self.sample, *self.answer, *self.common, self.way]

    @property
    def answer(self) -> list[str]:
        """What a figure says of the class, besides its name: its number, box, probability or place, and score."""
        facts = []
        if self.class_ is not None and self.class_name:
            facts.append(f"class {self.class_} of {self.classes}")
        if self.box is not None and self.box.number is not None:
            facts.append(f"box {self.box.number}")
        if self.probability is not None:
            facts.append(f"probability {percent(self.probability)}")
        elif self.box is None:
            facts.append(self.what)
        return [*facts, f"score {self.score:.4g}".replace("-", "−")]

    @property
    def way(self) -> str:
        """The method, its layer, and those of its options that are not the usual ones: `occlusion, window 32`."""
        usual: dict[str, Any] = {}
        if is_dataclass(self.settings):
            usual = {field.name: field.default for field in fields(self.settings)}
        others = (
            f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in self.options.items()
            if name != "layer" and value is not None and value != usual.get(name)
        )
        return ", ".join([self.method + (f" at {self.layer}" if self.layer else ""), *others])

    @property
    def common(self) -> list[str]:
        """What a figure says of any class and method: the output, of several; what the image was taken for."""
        facts = [f"of {printable(self.output, 40)}"] if len(self.provenance.model.outputs) > 1 else []
        facts += self.axes.picked_labels
        images = self.provenance.images
        return [*facts, images.expected.mark] if images is not None and images.expected.mark else facts

    @property
    def labels(self) -> tuple[str, ...]:
        """What each map along the axes of views, frames or branches is of: `frame 0`, …; none for a single map."""
        return self.axes.labels

    @property
    def outlines(self) -> list[tuple[tuple[float, float, float, float], str]]:
        """The boxes to draw: (left, top, right, bottom) as shares of the picture, and a label.

        The box that is explained; of a sum over all, those that the detector finds.
        """
        shown = [self.box] if self.box is not None else [one for one in self.boxes if one.class_ == self.class_]
        height, width = self.size[-2:] if len(self.size) > 1 else (1, 1)
        found = []
        for one in shown:
            if one.corners is not None:
                left, top, right, bottom = one.corners
                name = self.names[one.class_] if one.class_ < len(self.names) else f"class {one.class_}"
                corners = (left / width, top / height, right / width, bottom / height)
                found.append((corners, f"{printable(name, 40)} {one.score:.2f}"))
        return found

    @property
    def of_pixels(self) -> bool:
        """Whether the map is one of single pixels, as gradients of the input are: spiky, so drawn to a percentile."""
        return self.attribution is not None

    @property
    def given(self) -> NDArray[Any]:
        """What was fed, (C, parts…, spatial…); C is 1 where no axis counts channels."""
        return self.input[None] if self.channel_axis is None else self.case.channels_first(self.input)

    @property
    def source(self) -> str:
        """What its pictures are: `photo`, or `input` of an array, whose values nobody knows to be colours."""
        return "photo" if self.image else "input"

    def behind(self, bands: Bands | None = None) -> str:
        """Which channels of the input a picture shows, "" where that goes without saying.

        Args:
            bands: as for `plot_explanation`.

        Raises:
            SelectionError: there is no such band.
        """
        return words_of_bands(len(self.given), bands)

    def photos(
        self, longest: int = _LONGEST, bands: Bands | None = None, slices: Sequence[int] | None = None
    ) -> list[NDArray[Any]]:
        """The picture behind each map as it is drawn, (H, W, 3) uint8; one, where all maps are of one picture.

        An image file that was stretched to the model's size has its own proportions again; an array is stretched to
        0…255, all of its views or frames alike, since nobody knows what its values were.

        Args:
            longest: pixels along the longer side.
            bands: which channels, as for `plot_explanation`.
            slices: of a volume, (C, D, H, W), the places along its first axis.

        Raises:
            SelectionError: there is no such band.
        """
        if slices is not None:
            volume = self.given[shown_bands(len(self.given), bands)]
            bounds = _range(volume)
            axis = 0 if len(volume) == 3 else None
            planes = (volume[:, place] if axis == 0 else volume[0, place] for place in slices)
            return [sample_picture(plane, axis, longest=longest, bounds=bounds) for plane in planes]
        parts = len(self.case.axes.parts)
        if not parts or self.channel_axis is None:
            images = self.provenance.images
            return [sample_picture(self.input, self.channel_axis, self.image, images, longest, bands=bands)]
        given = self.given
        pictures = given.reshape(given.shape[0], -1, *given.shape[1 + parts :])
        bounds = _range(pictures)
        return [
            sample_picture(pictures[:, place], 0, longest=longest, bounds=bounds, bands=bands)
            for place in self._pictures
        ]

    @property
    def one_photo(self) -> bool:
        """Whether all maps are of one picture."""
        return len(self._pictures) == 1

    @property
    def _pictures(self) -> list[int]:
        """Which of the input's views or frames, counted in order, stand behind maps; one where there are none."""
        parts = self.case.axes.parts
        if not parts or self.channel_axis is None:
            return [0]
        own = [part.kind for part in self.axes.parts]
        counts = self.case.spatial[: len(parts)]
        shown = np.arange(math.prod(counts)).reshape(counts)
        for axis in reversed(range(len(parts))):
            if parts[axis].kind not in own:
                index = next((index for letter, index in self.axes.picked if letter == parts[axis].kind), 0)
                shown = shown.take([index], axis)
        places: list[int] = shown.reshape(-1).tolist()
        return places

    def photo(self) -> NDArray[Any]:
        """The picture behind the map, (H, W, 3) uint8; that of the first of several; see `photos`."""
        return self.photos()[0]

    def upsampled(self, size: tuple[int, ...] | None = None) -> NDArray[Any]:
        """The map at the input's size, (H, W) or (V, H, W), interpolated linearly between the centres of its cells.

        Args:
            size: of the positions, in place of the input's; views, frames and branches are then as in `map`.
        """
        return self.axes.over(self.map, self.size, self.case.axes) if size is None else resized(self.map, size)

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes `map`, and `attribution` if there is one, to `path` (`.npz`), and `NAME.manifest.json` beside it.

        Raises:
            OnnxvizError: it cannot be written; nothing is left half-written.
        """
        return self.write(Path(path))[0]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What `save` writes, by name."""
        return {"map": self.map} if self.attribution is None else {"map": self.map, "attribution": self.attribution}

    def write(self, path: Path) -> list[Path]:
        """As `save`; gives the paths of both files."""
        return save_arrays(self.arrays(), path, self.manifest())

    def as_dict(self) -> dict[str, Any]:
        """What was explained, as JSON types, without the arrays."""
        return {
            "input": self.sample,
            "wrt": self.case.probe.port.name,
            "method": self.method,
            "class": self.class_,
            "class_name": self.class_name or None,
            "classes": self.classes,
            "score": self.score,
            "probability": self.probability,
            "target": self.target,
            "output": self.output,
            "what": self.what,
            "layer": self.layer or None,
            "tensor": self.tensor or None,
            "map_shape": list(self.map.shape),
            "map_axes": list(self.axes.letters),
            "maps": list(self.labels) or None,
            "input_size": list(self.size),
            "completeness_gap": self.gap,
            "warnings": list(self.warnings),
            "approximations": list(self.approximations),
            "box": None if self.box is None else self.box.as_dict(),
            "boxes": [box.as_dict() for box in self.boxes],
        }

    @property
    def options(self) -> dict[str, Any]:
        """The method's options as JSON types."""
        options = self.settings.options
        return {n: v if v is None or isinstance(v, str | int | float) else str(v) for n, v in options.items()}

    def manifest(self) -> dict[str, Any]:
        """All of it as JSON types; reads the whole model file once for its hash."""
        return {**self.provenance.as_dict(), **self.as_dict(), "settings": self.options}


def _range(values: NDArray[Any]) -> tuple[float, float]:
    """The least and the greatest finite value; 0 where there is none."""
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
