"""A prediction: what a model says of one input, output by output; and those of several inputs."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from onnxviz.inputs.given import Given
from onnxviz.inputs.provenance import Provenance
from onnxviz.messages import percent, printable
from onnxviz.model.detection.boxes import Detection

FORMAT_VERSION = 1
_FEW = 3
# As data sets for segmentation call what is none of their classes.
_BACKGROUND = ("background", "_background_", "__background__", "unlabeled", "unlabelled", "void")
NO_CLASS = -1
"""Of a mask, what stands where a score is NaN, so that no class wins."""

Kind = Literal["classes", "probability", "mask", "boxes", "numbers"]


def _number(value: float) -> str:
    """In four digits, with a true minus."""
    return f"{value:.4g}".replace("-", "−")


@dataclass(frozen=True)
class ClassShare:
    """A class that a model speaks for.

    Attributes:
        number: the class, from 0.
        name: what it is called, "" where nothing tells.
        score: before softmax or sigmoid; of a mask, its mean over the positions where the class wins.
        share: 0…1, which part of the answer is this class's: a probability of classes that exclude one another, or of a
            mask the part of its positions; None where there is no such thing.
    """

    number: int
    name: str
    score: float
    share: float | None

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"class": self.number, "name": self.name, "score": self.score, "share": self.share}

    @property
    def called(self) -> str:
        """Its name, or `class 235`."""
        return printable(self.name, 60) if self.name else f"class {self.number}"

    @property
    def value(self) -> str:
        """`87.9 %`, or `score 3.21` where there is no share."""
        return percent(self.share) if self.share is not None else f"score {_number(self.score)}"

    @property
    def sentence(self) -> str:
        """`German shepherd 87.9 %`; `class 235, 87.9 %` without a name, `dog, score 3.21` without a share."""
        return f"{self.called}{' ' if self.name and self.share is not None else ', '}{self.value}"


@dataclass(frozen=True)
class OutputPrediction:
    """What one output says.

    Attributes:
        name: the output; of a detector, all that hold its boxes.
        shape: of one sample, without the batch axis.
        kind: "classes" that are scored, the "probability" of a yes or no, a "mask" of classes, "boxes", or "numbers".
        remark: how shares were made, or why there are none.
        top: the classes, the largest first; none where scores are NaN, which the remark says.
        boxes: what a detector finds, the best first; corners in pixels of the model's input.
        found: how many boxes it finds in all.
        numbers: of an output that is only numbers: its smallest, largest and mean, and the first few.
        class_axis: of a mask, which axis of `shape` counts the classes.
        packed: of a mask of two axes, which class wins at each position, packed; `mask` gives it.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind
    remark: str = ""
    top: tuple[ClassShare, ...] = ()
    boxes: tuple[tuple[Detection, str], ...] = ()
    found: int = 0
    numbers: dict[str, Any] = field(default_factory=dict)
    class_axis: int = 0
    packed: bytes = field(default=b"", repr=False)

    @property
    def ground(self) -> tuple[int, ...]:
        """Of a mask, the classes that lie behind everything else: the 0 of one channel, and those called so."""
        if self.kind != "mask":
            return ()
        single = self.shape[self.class_axis : self.class_axis + 1] in ((), (1,))
        return tuple(
            one.number for one in self.top if (single and one.number == 0) or one.name.casefold() in _BACKGROUND
        )

    @property
    def mask(self) -> NDArray[np.int32] | None:
        """Which class wins at each position, (H, W) int32; None where the output is no mask of two axes.

        The classes of a mask with one channel are 1 where its score is above zero, and 0; it is `NO_CLASS` where a
        score is NaN.
        """
        if not self.packed:
            return None
        size = [self.shape[axis] for axis in range(len(self.shape)) if axis != self.class_axis]
        return np.frombuffer(zlib.decompress(self.packed), np.int32).reshape(size)

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "name": self.name, "shape": list(self.shape), "kind": self.kind, "remark": self.remark or None,
            "top": [one.as_dict() for one in self.top],
            "boxes": [{**one.as_dict(), "name": name} for one, name in self.boxes],
            **({"numbers": self.numbers} if self.kind == "numbers" else {}),
        }  # fmt: skip

    @property
    def sentence(self) -> str:
        """What it says in a few words, for titles: `German shepherd 87.9 %`.

        Of a mask the largest classes, without its background, and the part of the positions that each has; of a
        detector the best boxes; of a single number that number; of several numbers "".
        """
        if self.kind == "numbers":
            first = self.numbers.get("first", ())
            return _number(first[0]) if len(first) == 1 else ""
        if self.kind == "boxes":
            few = self.boxes[:_FEW]
            said = ", ".join(f"{printable(name, 60) or f'class {box.class_}'} {box.score:.2f}" for box, name in few)
            more = self.found - len(few)
            return (f"{said} and {more} more" if more > 0 else said) or "no box"
        if not self.top:
            return self.remark
        if self.kind == "mask":
            told = [one for one in self.top if one.number not in self.ground] or self.top
            return ", ".join(one.sentence for one in told[:_FEW]) + " of the positions"
        return self.top[0].sentence


@dataclass(frozen=True)
class Prediction:
    """What a model says of one input.

    Attributes:
        input: its label.
        outputs: what each output says.
        file: the path of its image, with the page where it has several; "" for an array.
        given: the input itself.
    """

    input: str
    outputs: tuple[OutputPrediction, ...]
    file: str = ""
    given: Given | None = field(default=None, compare=False, repr=False)

    def photo(self) -> NDArray[Any] | None:
        """What the model was given, (H, W, 3) uint8, after it was fitted and cropped; None where it is no picture."""
        return None if self.given is None else self.given.picture()

    @property
    def answer(self) -> OutputPrediction:
        """The output that answers: the first with classes, a probability, a mask or boxes; else the first."""
        return next((one for one in self.outputs if one.kind != "numbers"), self.outputs[0])

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"file": self.file or self.input, "outputs": [one.as_dict() for one in self.outputs]}


@dataclass(frozen=True)
class Predictions(Sequence[Prediction]):
    """What a model says of several inputs, in their order.

    Attributes:
        provenance: the model, software and image options behind it.
        names: where the names of classes come from: "metadata", "labels", or "" where there are none.
        failed: (label, error) of what could not be used.
        notes: what a user should know.
    """

    inputs: tuple[Prediction, ...]
    provenance: Provenance
    names: str
    failed: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @overload
    def __getitem__(self, place: int) -> Prediction: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Prediction, ...]: ...
    def __getitem__(self, place: int | slice) -> Prediction | tuple[Prediction, ...]:
        """The prediction, or several, at that place."""
        return self.inputs[place]

    def __len__(self) -> int:
        return len(self.inputs)

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.inputs)

    def __repr__(self) -> str:
        return f"Predictions({len(self)} inputs, {self.provenance.model.label!r})"

    def as_dict(self) -> dict[str, Any]:
        """As JSON types; reads the whole model file once for its hash."""
        head = self.provenance.as_dict()
        return {
            "version": FORMAT_VERSION,
            "model": self.provenance.model.label,
            "sha256": head["model"]["sha256"],
            "preprocessing": head["preprocessing"],
            **{key: head[key] for key in ("provider", "node_assignment") if key in head},
            "names": self.names or None,
            "inputs": [one.as_dict() for one in self],
            "failed": [{"input": label, "error": error} for label, error in self.failed],
        }
