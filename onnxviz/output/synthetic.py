"""Synthetic inputs on disk: a picture for each, a sheet of all, arrays, and a manifest."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from onnxviz.files import PIXEL_PICTURES, bare_name, make_folder, safe_name, write_manifest
from onnxviz.maps.top_patches import Search
from onnxviz.maximization.synthetic import SyntheticInputs
from onnxviz.output.patches import draw_patches
from onnxviz.output.picture_options import PictureOptions
from onnxviz.plots import plot_synthetic, save_picture

SHEET = "sheet"


def write_synthetic(
    synthetic: SyntheticInputs, folder: Path, pictures: PictureOptions | None = None, search: Search | None = None
) -> tuple[list[Path], dict[str, Any]]:
    """Writes the pictures; gives the paths of all files and the manifest.

    Args:
        synthetic: the pictures.
        folder: made if need be. `LAYER_FILTER.png` for each picture, `sheet.png`, `manifest.json`.
        pictures: how they are written; None for the usual way. Where the sheet is SVG or PDF, each picture is PNG.

        search: what found the patches that excite the filters of the pictures most: they are drawn beside them, a file
            a layer; None for none.

    Raises:
        OnnxvizError: a file cannot be written.
    """
    options = pictures or PictureOptions()
    origin = synthetic.provenance.picture_record()
    make_folder(folder)
    names = file_names(synthetic, options.format)
    written = []
    for place, (image, name, target) in enumerate(zip(synthetic.images, names, synthetic.targets, strict=True)):
        path = folder / name
        if image.ndim == 3:
            alpha = None if synthetic.alpha is None else synthetic.alpha[place]
            written.append(save_picture(image, path, {**options.record, **origin}, alpha))
        else:  # signals and volumes have no pixels of their own to show
            figure = plot_synthetic(image[None], labels=[target.label], rows=[target.row], title=str(target))
            written.append(options.save(figure, path, origin))
    sheet = folder / f"{SHEET}.{options.format}"
    written.append(options.save(plot_synthetic(synthetic), sheet, origin))
    beside: list[dict[str, Any]] = []
    for layer, patches in search.found.items() if search is not None else ():
        assert search is not None
        made = [*synthetic.by_filter(layer)]
        written.append(draw_patches(search, patches, made, folder, options, synthetic))
        beside.append({**patches.as_dict(made), "file": written[-1]})
    files = [{**entry, "file": folder / name} for entry, name in zip(synthetic.entries(), names, strict=True)]
    manifest = {**synthetic.manifest(), "sheet": sheet, "pictures": files}
    if search is not None:
        failed = [{"input": label, "error": error} for label, error in search.failed]
        manifest |= {"patches": beside, "failed": failed}
    return [*written, write_manifest(folder, "maximize", written, manifest)], manifest


def file_names(synthetic: SyntheticInputs, format: str = "png") -> list[str]:
    """`LAYER_FILTER.png` for each picture, distinct on every file system.

    Args:
        synthetic: the pictures.
        format: of figures; a single picture is PNG where that is SVG or PDF.
    """
    flat = synthetic.images.ndim == 4
    suffix = f".{format}" if not flat or f".{format}" in PIXEL_PICTURES else ".png"
    plain = []
    for target in synthetic.targets:
        number = target.filter if target.filter is not None else target.class_
        words = [target.row or str(target.objective), number, None if target.variant is None else target.variant + 1]
        name = "_".join(str(word) for word in words if word is not None)
        plain.append(bare_name(name))
    taken = Counter(name.casefold() for name in [*plain, SHEET])
    return [
        f"{name if taken[name.casefold()] == 1 else safe_name(place, name)}{suffix}" for place, name in enumerate(plain)
    ]
