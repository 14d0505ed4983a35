"""Statistics on disk: a picture of all layers, a manifest, and the arrays."""

from __future__ import annotations

from pathlib import Path

from onnxviz.files import check_archive, check_folder, make_folder, write_manifest
from onnxviz.maps.channel_statistics import Statistics
from onnxviz.output.picture_options import PictureOptions
from onnxviz.plots import plot_statistics


def check_targets(folder: Path | None, save: Path | None) -> None:
    """Refuses names that do not fit, before hours are spent.

    Raises:
        InputError: `folder` is called like a picture, or `save` not like an archive.
    """
    check_folder(folder, "statistics are drawn into a folder")
    check_archive(save, "statistics")


def write_statistics(
    statistics: Statistics, folder: Path | None, save: Path | None, pictures: PictureOptions | None = None
) -> list[Path]:
    """Writes what is asked for, which `check_targets` has let pass; gives the paths of all files.

    Args:
        statistics: what was gathered.
        folder: for `statistics.png` and `manifest.json`, made if need be; None to draw nothing.
        save: an `.npz` that `Statistics.load` reads; None for none.
        pictures: how the picture is written; None for the usual way.

    Raises:
        OnnxvizError: a file cannot be written.
    """
    written: list[Path] = []
    if folder is not None:
        images = "1 image" if statistics.images == 1 else f"{statistics.images:,} images"
        subtitle = f"{Path(statistics.head['model']['path']).name}, {images}"
        figure = plot_statistics(statistics, subtitle=subtitle)
        options = pictures or PictureOptions()
        path = make_folder(folder) / f"statistics.{options.format}"
        written.append(options.save(figure, path, {"model": statistics.head["model"]["sha256"]}))
        written.append(write_manifest(folder, "stats", written, statistics.as_dict() | statistics.head))
    if save is not None:
        written.extend(statistics.write(save))
    return written
