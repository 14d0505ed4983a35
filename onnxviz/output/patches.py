"""Top patches on disk: a picture for each layer, and a manifest of the regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.files import check_folder, make_folder, safe_name, save_arrays, write_manifest
from onnxviz.maps.top_patches import Search, TopPatches
from onnxviz.maximization.synthetic import SyntheticInputs
from onnxviz.output.picture_options import PictureOptions
from onnxviz.plots import plot_patches


def write_patches(
    search: Search,
    by_layer: Mapping[str, TopPatches],
    folder: Path | None,
    save: Path | None,
    pictures: PictureOptions,
    filters: Sequence[int] | None,
    first: int,
) -> tuple[dict[str, Any], list[Path]]:
    """Draws a sheet for each layer and writes the manifest and the crops; (what `--json` prints, files).

    Args:
        search: what searched.
        by_layer: what it found.
        folder: for sheets and manifest; None to draw nothing.
        save: an `.npz` for crops and activations of the filters that are shown; None not to keep them.
        pictures: how they are written.
        filters: which filters; None for the first `first`.
        first: how many.

    Raises:
        SelectionError: there is no such filter.
        InputError: a name does not fit, or an image is gone.
    """
    check_folder(folder, "patches are drawn into a folder, one picture a layer")
    written: list[Path] = []
    sheets: list[dict[str, Any]] = []
    arrays: dict[str, NDArray[Any]] = {}
    for layer in search.layers:
        patches = by_layer[layer.name]
        chosen = list(range(min(first, len(patches.values)))) if filters is None else list(filters)
        path = None
        if folder is not None:
            path = draw_patches(search, patches, chosen, folder, pictures)
            written.append(path)
        if save is not None:
            arrays[f"{layer.name}/crops"] = patches.crops(chosen)
            arrays[f"{layer.name}/activations"] = patches.values[chosen]
        sheets.append({**patches.as_dict(chosen), "file": path})
    failed = [{"input": label, "error": error} for label, error in search.failed]
    labels = [sample.label for sample in search.given]
    images = search.provenance.images
    not_finite = [one.as_dict() for one in search.not_finite]
    document = {
        "model": search.model.label,
        "inputs": labels,
        "preprocessing": images.as_dict() if images is not None else None,
        **search.provenance.placement,
        "patches": sheets,
        "not_finite": not_finite,
        "failed": failed,
    }
    head = {**search.provenance.as_dict(), "at": search.at, "samples": labels, "not_finite": not_finite}
    manifest = {**head, "patches": sheets, "failed": failed}
    if folder is not None:
        written.append(write_manifest(folder, "patches", written, manifest))
    if save is not None:
        written.extend(save_arrays(arrays, save, manifest))
    return document, written


def draw_patches(
    search: Search,
    patches: TopPatches,
    filters: Sequence[int],
    folder: Path,
    pictures: PictureOptions,
    synthetic: SyntheticInputs | None = None,
) -> Path:
    """Draws the patches of one layer, with the synthetic inputs of its filters where there are some; gives the path.

    Args:
        search: what found them.
        patches: of the layer.
        filters: which are drawn.
        folder: for `NNN-layer-patches.png`, made if need be.
        pictures: how it is written.
        synthetic: pictures that were made for these filters.

    Raises:
        SelectionError: there is no such filter.
        InputError: an image is gone.
    """
    images = search.provenance.images
    mark = images.expected.mark if images is not None else ""
    figure = plot_patches(patches, filters=filters, synthetic=synthetic, subtitle=mark or None)
    index = search.model.layer(patches.layer).index
    path = make_folder(folder) / f"{safe_name(index, patches.layer)}-patches.{pictures.format}"
    photos = [search.given[number].photo for number in np.unique(patches.samples[[*filters]]) if number >= 0]
    return pictures.save(figure, path, search.provenance.picture_record(photos))
