"""Synthetic inputs on disk: a picture for each, a sheet of all, arrays, and a manifest."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from onnxviz.files import make_folder, safe_name, write_manifest
from onnxviz.maximization.synthetic import SyntheticInputs
from onnxviz.plots import plot_synthetic, save_figure, save_picture

SHEET = "sheet"


def write_synthetic(synthetic: SyntheticInputs, folder: Path, suffix: str = "png") -> tuple[list[Path], dict[str, Any]]:
    """Writes the pictures; gives the paths of all files and the manifest.

    Args:
        synthetic: the pictures.
        folder: made if need be. `LAYER_FILTER.png` for each picture, `sheet.png`, `manifest.json`.
        suffix: of the sheet: "png", "svg" or "pdf".

    Raises:
        OnnxvizError: a file cannot be written.
    """
    make_folder(folder)
    names = file_names(synthetic)
    written = []
    for place, (image, name, target) in enumerate(zip(synthetic.images, names, synthetic.targets, strict=True)):
        path = folder / name
        if image.ndim == 3:
            written.append(save_picture(image, path, None if synthetic.alpha is None else synthetic.alpha[place]))
        else:  # signals and volumes have no pixels of their own to show
            figure = plot_synthetic(image[None], labels=[target.label], rows=[target.row], title=str(target))
            written.append(save_figure(figure, path))
    sheet = folder / f"{SHEET}.{suffix}"
    written.append(save_figure(plot_synthetic(synthetic), sheet))
    pictures = [{**entry, "file": name} for entry, name in zip(synthetic.entries(), names, strict=True)]
    manifest = {**synthetic.manifest(), "sheet": sheet.name, "pictures": pictures}
    return [*written, write_manifest(folder, "maximize", written, manifest)], manifest


def file_names(synthetic: SyntheticInputs) -> list[str]:
    """`LAYER_FILTER.png` for each picture, distinct on every file system."""
    plain = []
    for target in synthetic.targets:
        number = target.filter if target.filter is not None else target.class_
        words = [target.row or str(target.objective), number, None if target.variant is None else target.variant + 1]
        name = "_".join(str(word) for word in words if word is not None)
        plain.append(safe_name(0, name).partition("-")[2])
    taken = Counter(name.casefold() for name in [*plain, SHEET])
    return [
        f"{name if taken[name.casefold()] == 1 else safe_name(place, name)}.png" for place, name in enumerate(plain)
    ]
