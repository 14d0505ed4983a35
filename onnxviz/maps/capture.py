"""`capture` and `stream`: feature maps of chosen layers for given inputs.

Samples are read, run and handed on in batches that follow from a byte budget; what does not fit the budget is kept on
disk. Memory therefore does not grow with the number of images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from onnxviz.arguments import typed
from onnxviz.errors import OnnxvizError
from onnxviz.inputs.failures import Progress, nothing_usable
from onnxviz.inputs.given import Given
from onnxviz.inputs.image_bands import Fit
from onnxviz.inputs.preprocessing import Preprocessing
from onnxviz.inputs.samples import ImageOptions, InputLike, Size
from onnxviz.maps.feature_maps import FeatureMaps
from onnxviz.maps.folded import MapsBatch
from onnxviz.maps.map_store import MapStore
from onnxviz.maps.tapped_model import LayerChoice
from onnxviz.maps.tapped_run import TappedRun
from onnxviz.messages import one_of
from onnxviz.model.layer import TapKind
from onnxviz.model.model import Source, load
from onnxviz.runtime.batching import DEFAULT_MEMORY
from onnxviz.runtime.session import RunOptions

Selection = str | int | Sequence[str | int]


@typed
def capture(
    model: Source,
    x: InputLike,
    *,
    layers: Selection = "all",
    ops: Sequence[str] | None = None,
    at: TapKind = "activation",
    axes: Mapping[str, str] | None = None,
    preprocess: str | Preprocessing = "auto",
    size: Size | None = None,
    fit: Fit | None = None,
    background: str | None = None,
    provider: str = "cpu",
    memory: int = DEFAULT_MEMORY,
    verify: bool = False,
    threads: int = 0,
    errors: Literal["raise", "skip"] = "raise",
    progress: Progress | None = None,
) -> FeatureMaps:
    """The feature maps of `x`.

    Args:
        model: an opened model, or what `load` opens.
        x: an image, a folder of images, an array in the model's layout, a mapping by input name, or a sequence of
            those; see `onnxviz.inputs.samples.samples`.
        layers: a selection; see `onnxviz.model.selection.select`.
        ops: operators to choose among, such as `["Conv", "MaxPool"]`; None for the convolutions.
        at: "activation" for the layer's output as its source framework has it, "conv" for the operator's own.
        axes: what the axes of tensors count, where the graph does not tell, by the name of an input, a layer or a
            tensor: `{"views": "N,V,C,H,W"}`; see `onnxviz.model.model.Model.with_axes`.
        preprocess: what is done to images; `auto` asks the model's metadata, then its graph.
        size: (height, width) of images where the model leaves it open.
        fit: "stretch" images to the size (None), or "crop" them.
        background: colour behind transparent pixels; None for white.
        provider: an execution provider of onnxruntime by its short name, as "cpu", "cuda",
            "openvino:device_type=CPU"; there is no fallback from one that cannot start.
        memory: bytes that batches and kept maps may take, about; more is kept on disk.
        verify: whether the model also runs untapped, to say by how much the taps moved its outputs.
        threads: of onnxruntime; 0 for its own choice.
        errors: "raise" at the first input that fails, or "skip" it and list it in `failed`.
        progress: called with (samples done, samples in all).

    Returns:
        A mapping from layer name to an array (N, C, spatial…), in graph order. A layer inside a Loop or Scan has a
        leading axis of turns; one inside an If has entries only for the samples whose branch ran
        (`origin.layers[name].rows` says which). Where a model folds views, frames or several inputs into the batch,
        the first axis counts those of all samples: `rows` says whose each is, and `parts` which of them.

    Raises:
        OnnxvizError: model, selection or input cannot be used, or an option of images was given for arrays.
    """
    opened = load(model).with_axes(axes)
    images = ImageOptions.of(opened, preprocess, size, fit, background)
    options = RunOptions(provider, memory, threads)
    run = TappedRun(opened, x, LayerChoice(layers, ops, at), images, options, verify=verify)
    store = MapStore(memory, run.axes)
    failed = _Failed(errors)
    labels: list[str] = []
    given: list[Given] = []
    for batch in run.batches(on_error=failed.note, progress=progress):
        store.add(batch.maps, len(labels), len(batch.labels), batch.entries)
        labels.extend(batch.labels)
        given.extend(_given(run, batch))
    if not labels:
        raise nothing_usable(failed.list)
    return FeatureMaps(store.arrays(), run.origin(labels, failed.list, store.rows, store.parts), given)


@typed
def stream(
    model: Source,
    x: InputLike,
    *,
    layers: Selection = "all",
    ops: Sequence[str] | None = None,
    at: TapKind = "activation",
    axes: Mapping[str, str] | None = None,
    preprocess: str | Preprocessing = "auto",
    size: Size | None = None,
    fit: Fit | None = None,
    background: str | None = None,
    provider: str = "cpu",
    memory: int = DEFAULT_MEMORY,
    verify: bool = False,
    threads: int = 0,
    errors: Literal["raise", "skip"] = "raise",
    progress: Progress | None = None,
) -> Iterator[FeatureMaps]:
    """Feature maps batch by batch, for more inputs than one would keep; arguments and errors as for `capture`.

    Each batch's `failed` lists all inputs that were skipped so far.
    """
    opened = load(model).with_axes(axes)
    images = ImageOptions.of(opened, preprocess, size, fit, background)
    options = RunOptions(provider, memory, threads)
    run = TappedRun(opened, x, LayerChoice(layers, ops, at), images, options, verify=verify)
    failed = _Failed(errors)
    return (
        FeatureMaps(batch.maps, run.origin(batch.labels, failed.list, *_entries(batch)), _given(run, batch))
        for batch in run.batches(on_error=failed.note, progress=progress)
    )


def _given(run: TappedRun, batch: MapsBatch) -> list[Given]:
    """What each label of a batch is of."""
    found = []
    for position, label in enumerate(batch.labels):
        sample, _, row = batch.source(position)
        found.append(Given.of(run.model, sample, run.images, label, row))
    return found


def _entries(batch: MapsBatch) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[str, ...]]]:
    """Which sample each entry of a layer belongs to, and which view, frame or branch it is, where there are several."""
    rows = {name: one.samples for name, one in batch.entries.items()}
    return rows, {name: one.labels for name, one in batch.entries.items()}


class _Failed:
    """Collects what is skipped; with "raise", `note` is None and nothing is."""

    def __init__(self, errors: str) -> None:
        one_of("way to treat errors", errors, ("raise", "skip"))
        self.list: list[tuple[str, str]] = []
        self.note = self._append if errors == "skip" else None

    def _append(self, label: str, error: OnnxvizError) -> None:
        self.list.append((label, str(error)))
