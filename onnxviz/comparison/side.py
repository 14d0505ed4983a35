"""A side of a comparison: a model, where it runs, how its images are prepared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import Any

from numpy.typing import NDArray

from onnxviz.comparison.reading import Reading
from onnxviz.inputs.provenance import Provenance
from onnxviz.inputs.samples import Feeds, ImageOptions
from onnxviz.model.model import Model, Source, load
from onnxviz.passes.expose import expose
from onnxviz.runtime.batching import Batching
from onnxviz.runtime.place import split_place
from onnxviz.runtime.session import RunOptions, Session


@dataclass(frozen=True)
class Side:
    """One of the two models.

    Attributes:
        model: the model.
        images: how image files are prepared for it.
        options: where it runs.
        label: what tables call it: its path, with `@…` where that was given.
    """

    model: Model
    images: ImageOptions
    options: RunOptions
    label: str

    @classmethod
    def of(cls, source: Source, options: RunOptions, images: Mapping[str, Any]) -> Side:
        """A model, opened.

        Args:
            source: as for `load`; a path may end in `@…`.
            options: where it runs that does not say it by `@…`.
            images: as for `ImageOptions.of`.

        Raises:
            OnnxvizError: it cannot be opened, or there is no such place.
        """
        label = ""
        if isinstance(source, str | PathLike):
            label = str(source)
            path, place = split_place(label)
            if path != label:
                options = place.options(options.memory, options.threads)
            source = path
        model = load(source)
        return cls(model, ImageOptions.of(model, **images), options, label or model.label)

    @cached_property
    def batching(self) -> Batching:
        """The batches that it takes."""
        return Batching.of(self.model, self.options.memory)

    def runner(self, readings: Sequence[Reading]) -> Callable[[Feeds], list[NDArray[Any]]]:
        """What reads some tensors on a sample, as real numbers; without those of copies that fill a fixed batch."""
        exposed = expose(self.model, [one.tap for one in readings])
        session = Session.of(self.model, exposed.proto, self.options)
        names = list(dict.fromkeys(exposed.outputs))

        def run(feeds: Feeds) -> list[NDArray[Any]]:
            there = dict(zip(names, session.run(names, self.fed(session, feeds)), strict=True))
            rows = self.batching.count(feeds)
            return [
                self.batching.unpadded(one.real(there[name]), rows, one.axis)
                for one, name in zip(readings, exposed.outputs, strict=True)
            ]

        return run

    def fed(self, session: Session, feeds: Feeds) -> Feeds:
        """Of a sample what a session reads, with copies that fill a fixed batch.

        Raises:
            InputError: something is missing.
        """
        return self.batching.padded(session.own(feeds))

    def provenance(self, *, reads_images: bool) -> Provenance:
        """What made its maps."""
        return Provenance(self.model, self.options, self.images if reads_images else None)
