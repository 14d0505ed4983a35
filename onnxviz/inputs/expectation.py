"""The expectation of a model: how its images are to be prepared, who says so, and what settles it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from onnxviz.inputs.preprocessing import NAMED, Preprocessing
from onnxviz.messages import for_reader, option
from onnxviz.model.model import Model
from onnxviz.model.preprocessing_note import PREPROCESSING_KEY

Teller = Literal["option", "metadata", "graph", "assumption"]


@dataclass(frozen=True)
class Expectation:
    """How a model's images are prepared.

    Attributes:
        preprocessing: what is done to pixels; for the first image input, where there are several.
        source: who says so: the caller ("option"), the model's "metadata", its "graph", or nobody ("assumption").
        remark: why the graph expects it, or how to settle what is assumed; "" if there is nothing to say.
        conflict: that metadata and graph say different things; "" where they do not.
        others: (input name, preprocessing) of the image inputs that expect another one.
    """

    preprocessing: Preprocessing
    source: Teller = "option"
    remark: str = ""
    conflict: str = ""
    others: tuple[tuple[str, Preprocessing], ...] = ()

    @classmethod
    def of(cls, model: Model, preprocess: str | Preprocessing = "auto") -> Expectation:
        """What is done for `model`.

        Args:
            model: `auto` looks up its metadata; where they say nothing, its graph's first operators; where those do
                not tell either, integer inputs get `raw`, others `unit`.
            preprocess: `auto`, a name, a formula (`Preprocessing.parse`) or a `Preprocessing`.

        Raises:
            InputError: `preprocess`, or what the metadata say, is no preprocessing.
        """
        if isinstance(preprocess, Preprocessing):
            return cls(preprocess)
        if preprocess != "auto":
            return cls(Preprocessing.parse(preprocess))
        if PREPROCESSING_KEY in model.metadata:
            stated = Preprocessing.from_json(model.metadata[PREPROCESSING_KEY])
            expected = model.expected_range
            return cls(stated, "metadata", "" if expected is None else expected.why, model.preprocessing_conflict)
        ports = sorted(model.picture_inputs, key=lambda port: len(port.layout))
        found: dict[str, Preprocessing] = {}
        remarks = []
        for port in ports:
            told = model.input_ranges.get(port.name)
            integer = port.dtype.startswith(("uint", "int"))
            found[port.name] = NAMED["raw" if integer else "unit"] if told is None else Preprocessing.expected(told)
            remarks.append("" if told is None or told.order_is_open else told.why)
        first = next(iter(found.values()), NAMED["unit"])
        others = tuple((name, one) for name, one in found.items() if one != first)
        if remarks and all(remarks):
            return cls(first, "graph", remarks[0], others=others)
        open_ones = [one for one in model.input_ranges.values() if one.order_is_open]
        why = f"{open_ones[0].why}, so that RGB may be BGR; " if open_ones else ""
        settled = f"{option('preprocess', 'P')} settles it, and {keeping_preprocessing(model.label)} keeps it"
        return cls(first, "assumption", why + settled, others=others)

    @property
    def assumed(self) -> bool:
        """Whether nobody says so."""
        return self.source == "assumption"

    @property
    def mark(self) -> str:
        """What a figure says where nobody tells how images are prepared, or two do; "" where one does."""
        if self.conflict:
            return f"preprocessing {self.preprocessing.words}, which the graph contradicts"
        return f"preprocessing assumed: {self.preprocessing.words}" if self.assumed else ""

    def of_input(self, name: str) -> Preprocessing:
        """What is done to pixels for the input of that name."""
        return dict(self.others).get(name, self.preprocessing)

    def as_dict(self) -> dict[str, Any]:
        """The preprocessing as JSON types, with who says so and why."""
        others = {"others": {name: one.as_dict() for name, one in self.others}} if self.others else {}
        told = {"assumed": self.assumed, "source": self.source, "remark": self.conflict or self.remark or None}
        return {**self.preprocessing.as_dict(), **told, **others}

    def words(self, label: str, what: str = "images are") -> str:
        """What a user of the model called `label` should know; "" where they said it themselves or all agree."""
        name = self.preprocessing.words
        if self.source == "assumption":
            return f"{label} does not say how {what} prepared; assumed '{name}': {self.remark}"
        if self.source == "graph":
            return f"{label}: {what} prepared as '{name}': {self.remark}"
        return f"{label}: {self.conflict}" if self.conflict else ""


def keeping_preprocessing(label: str) -> str:
    """How the model called `label` is made to say how its images are prepared."""
    return for_reader(f"'onnxviz annotate {label} --preprocess P -o OUT'", "annotate(model, preprocess, output)")
