"""Picture options: the format, density and words of the pictures that a command writes, and what is noted in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from onnxviz.files import check_dpi, is_picture

PictureFormat = Literal["png", "jpg", "webp", "svg", "pdf"]


@dataclass(frozen=True, kw_only=True)
class PictureOptions:
    """How pictures are written.

    Attributes:
        format: of pictures in a folder.
        dpi, title, captions: as for `onnxviz.save_figure`.
        record: what the metadata of each say, as JSON types: the verb, and the options that were given, without paths.
    """

    format: PictureFormat = "png"
    dpi: float | None = None
    title: str | None = None
    captions: bool = True
    record: Mapping[str, Any] = field(default_factory=dict)

    def check(self, output: Path | None) -> None:
        """Refuses `dpi` where there are no pixels, before anything is drawn.

        Args:
            output: a picture, or a folder for pictures of the format; None for a folder.

        Raises:
            InputError: the name looks like neither, or there are no such dots per inch.
            UnheededOptionError: the pictures are SVG or PDF.
        """
        check_dpi(output.suffix if output is not None and is_picture(output) else f".{self.format}", self.dpi)

    def save(self, figure: Any, path: Path, origin: Mapping[str, Any]) -> Path:
        """Writes a figure; gives its path.

        Args:
            figure: what is drawn, matplotlib's.
            path: where to.
            origin: what its metadata say besides: `Provenance.picture_record`.
        """
        from onnxviz.plots import save_figure  # late: a command that only saves arrays draws nothing

        record = {**self.record, **origin}
        return save_figure(figure, path, self.dpi, title=self.title, captions=self.captions, record=record)

    @contextmanager
    def pages(self, path: Path, origin: Mapping[str, Any]) -> Iterator[Callable[[Any], None]]:
        """Gives a function that adds a page to a PDF, which appears when the block ends well; see `save`."""
        from onnxviz.plots import pdf_pages

        record = {**self.record, **origin}
        with pdf_pages(path, title=self.title, captions=self.captions, record=record) as add:
            yield add


def recorded(verb: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What the metadata of a verb's pictures say of how it was called, as JSON types.

    Args:
        verb: its name.
        options: without paths, by name; those that are None were not given.
    """
    from importlib.metadata import version  # late: every command has these options, and few draw

    return {
        "onnxviz": version("onnxviz"),
        "verb": verb,
        "options": {name: _plain(value) for name, value in options.items() if value is not None},
    }


def _plain(value: Any) -> Any:
    """A value as it is noted: the same whether it was typed in a shell or in Python, alone or as a list of one."""
    if isinstance(value, list | tuple):
        return _plain(value[0]) if len(value) == 1 else [_plain(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
