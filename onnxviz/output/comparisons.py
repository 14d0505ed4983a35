"""A comparison on disk: a picture of all layers, one of the worst layer's maps, and a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnxviz.comparison.comparison import Comparison
from onnxviz.files import make_folder, safe_name, write_manifest
from onnxviz.messages import printable
from onnxviz.plots import plot_comparison, plot_difference, save_figure


def write_comparison(comparison: Comparison, folder: Path, suffix: str = "png") -> list[Path]:
    """Writes `layers.png`, the worst layer's maps beside each other, and `manifest.json`; gives their paths.

    Args:
        comparison: what was found.
        folder: made if need be.
        suffix: of pictures: "png", "svg" or "pdf".

    Raises:
        OnnxvizError: a file cannot be written.
    """
    make_folder(folder)
    written: list[Path] = []
    pictures: dict[str, Any] = {}
    names = " and ".join(Path(label).name for label in comparison.labels)
    if comparison.layers:
        figure = plot_comparison(comparison, subtitle=f"{names} · {comparison.fed}")
        written.append(save_figure(figure, folder / f"layers.{suffix}"))
        pictures["layers"] = written[-1]
    maps = comparison.worst_maps
    if maps is not None:
        worst = maps.layer
        figure = plot_difference(
            maps.a,
            maps.b,
            title=printable(worst.a),
            subtitle=f"{names} · {worst.worst_sample} · {worst.ratio} over all samples",
        )
        written.append(save_figure(figure, folder / f"{safe_name(maps.place, worst.a)}.{suffix}"))
        pictures["worst"] = {"layer": worst.a, "input": worst.worst_sample, "file": written[-1]}
    document = {**comparison.as_dict(), "pictures": pictures}
    return [*written, write_manifest(folder, "compare", written, document)]
