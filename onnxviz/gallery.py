"""Explanations as files: an overlay for each input, the raw maps, a manifest that says what made them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onnxviz.errors import InputError
from onnxviz.explain import Explanation
from onnxviz.featuremaps import save_arrays
from onnxviz.files import make_folder, replacing, safe_name
from onnxviz.plots import plot_explanation, plot_maps, save_figure
from onnxviz.run import nothing_usable
from onnxviz.weights import Array

PICTURES = (".png", ".svg", ".pdf")


class Gallery:
    """Draws explanations one after the other, and keeps only the raw maps that are to be saved.

    Args:
        output: a picture for a single input, or a folder; None to draw nothing.
        save: an `.npz` for the raw maps; None not to keep them.
        several: whether there is more than one input.
        suffix: "png", "svg" or "pdf", for pictures in a folder.
        cmap: matplotlib colour map; None for the plot's own.

    Raises:
        InputError: the names do not fit what they are for.
    """

    def __init__(
        self, output: Path | None, save: Path | None, *, several: bool, suffix: str = "png", cmap: str | None = None
    ) -> None:
        if save is not None and save.suffix.lower() != ".npz":
            raise InputError(f"maps are saved as .npz, not as {save.name}")
        single = output is not None and output.suffix.lower() in PICTURES and not output.is_dir()
        if several and single:
            raise InputError(f"several inputs were given for the one file {output}; give a folder")
        if output is not None and output.suffix and not single and not output.is_dir():
            raise InputError(f"{output} is no folder, and pictures are {', '.join(PICTURES)}")
        self.file = output if single else None
        self.folder = None if single else output
        self.several = several
        self.save = save
        self.suffix = suffix
        self.cmap = cmap
        self.written: list[Path] = []
        self.entries: list[dict[str, Any]] = []
        self._arrays: dict[str, Array] = {}
        self._manifest: dict[str, Any] = {}

    def add(self, explanation: Explanation, more: dict[str, Any] | None = None) -> Path | None:
        """Draws one explanation; the picture's path, None if nothing is drawn.

        Args:
            explanation: what is drawn.
            more: what else its entry in the manifest says.
        """
        number = len(self.entries)
        path = self.file
        if self.folder is not None:
            stem = Path(explanation.sample).stem
            name = safe_name(number, stem) if self.several else safe_name(0, stem).partition("-")[2] or "input"
            path = self.folder / f"{name}-{explanation.method.replace('+', 'p')}.{self.suffix}"
        if path is not None:
            figure = figure_of(explanation, self.cmap)
            if self.folder is not None:
                make_folder(self.folder)  # not before something can be drawn
            self.written.append(save_figure(figure, path))
        entry = {**explanation.as_dict(), **(more or {}), "file": None if path is None else str(path)}
        self.entries.append(entry)
        if not self._manifest:
            made = explanation.manifest()
            kept = ("version", "model", "versions", "preprocessing", "provider")
            self._manifest = {**{key: made[key] for key in kept}, "settings": asdict(explanation.settings)}
        if self.save is not None:
            prefix = f"{safe_name(number, explanation.sample)}/" if self.several else ""
            self._arrays.update({f"{prefix}{name}": array for name, array in explanation.arrays().items()})
        return path

    def close(self, failed: Sequence[tuple[str, str]] = ()) -> list[Path]:
        """Writes the archive and, into a folder, the manifest; the files that were written."""
        if not self.entries:
            raise nothing_usable(failed)
        lost = [{"input": label, "error": error} for label, error in failed]
        manifest = {**self._manifest, "explanations": self.entries, "failed": lost}
        if self.folder is not None:
            path = self.folder / "manifest.json"
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
            self.written.append(path)
        if self.save is not None:
            self.written.extend(save_arrays(self._arrays, self.save, manifest))
        return self.written


def figure_of(explanation: Explanation, cmap: str | None = None) -> Any:
    """The overlay, or, where the input is no picture, the map alone."""
    channels = explanation.input.shape[explanation.channel_axis] if explanation.channel_axis is not None else 1
    if explanation.map.ndim == 2 and len(explanation.size) == 2 and channels >= 1:
        return plot_explanation(explanation, cmap=cmap)
    return plot_maps(
        explanation.map[None],
        spatial=explanation.map.ndim,
        scale="symmetric" if explanation.signed else "layer",
        cmap=cmap,
        title=explanation.title,
        subtitle=", ".join(explanation.facts),
    )
