"""A comparison on disk: a picture of all layers, one of the worst layer's maps, and a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnxviz.comparison.comparison import Comparison
from onnxviz.files import make_folder, safe_name, write_manifest
from onnxviz.messages import printable
from onnxviz.output.picture_options import PictureOptions
from onnxviz.plots import plot_comparison, plot_difference


def write_comparison(comparison: Comparison, folder: Path, pictures: PictureOptions | None = None) -> list[Path]:
    """Writes `layers.png`, the worst layer's maps beside each other, and `manifest.json`; gives their paths.

    Args:
        comparison: what was found.
        folder: made if need be.
        pictures: how they are written; None for the usual way.

    Raises:
        OnnxvizError: a file cannot be written.
    """
    options = pictures or PictureOptions()
    record = {"models": [side.picture_record()["model"] for side in (comparison.a, comparison.b)]}
    make_folder(folder)
    written: list[Path] = []
    drawn: dict[str, Any] = {}
    names = " and ".join(Path(label).name for label in comparison.labels)
    if comparison.layers:
        figure = plot_comparison(comparison, subtitle=f"{names} · {comparison.fed}")
        written.append(options.save(figure, folder / f"layers.{options.format}", record))
        drawn["layers"] = written[-1]
    maps = comparison.worst_maps
    if maps is not None:
        worst = maps.layer
        figure = plot_difference(
            maps.a,
            maps.b,
            title=printable(worst.a),
            subtitle=f"{names} · {worst.worst_sample} · {worst.ratio} over all samples",
        )
        path = folder / f"{safe_name(maps.place, worst.a)}.{options.format}"
        written.append(options.save(figure, path, record))
        drawn["worst"] = {"layer": worst.a, "input": worst.worst_sample, "file": written[-1]}
    document = {**comparison.as_dict(), "pictures": drawn}
    return [*written, write_manifest(folder, "compare", written, document)]
