"""`compare`: two models side by side, layer by layer, on the same data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from onnxviz.arguments import typed
from onnxviz.comparison.compare_run import CompareRun
from onnxviz.comparison.comparison import Alone, Comparison, Difference, WorstMaps, difference_of, worst_of
from onnxviz.comparison.exclusion import exclusion
from onnxviz.comparison.fed_alike import NOISE, paired_samples, settle_preprocessing
from onnxviz.comparison.pairing import LayerPair, Pairing, ReadPair
from onnxviz.comparison.reading import Precision
from onnxviz.comparison.side import Side
from onnxviz.inputs.failures import Progress
from onnxviz.inputs.image_bands import Fit
from onnxviz.inputs.preprocessing import Preprocessing
from onnxviz.inputs.samples import InputLike, Size
from onnxviz.messages import one_of, refuse_unheeded
from onnxviz.model.layer import TapKind
from onnxviz.model.model import Source
from onnxviz.runtime.batching import DEFAULT_MEMORY
from onnxviz.runtime.providers import CPU
from onnxviz.runtime.session import RunOptions

SAMPLES_ALONE = 8
"""On how many samples layers are exchanged one by one."""
FULL_DECIBELS, HALF_DECIBELS, QUANTISED_DECIBELS = 60.0, 40.0, 20.0
"""Below which SQNR a layer counts as divergent: of two float32 models; where one computes in half precision or both are
quantised; where one alone is quantised."""


@typed
def compare(
    a: Source,
    b: Source,
    data: InputLike = None,
    *,
    layers: str | int | Sequence[str | int] = "all",
    ops: Sequence[str] | None = None,
    at: TapKind = "activation",
    below: float | None = None,
    preprocess: str | Preprocessing = "auto",
    size: Size | None = None,
    fit: Fit | None = None,
    background: str | None = None,
    provider: str = "cpu",
    threads: int = 0,
    memory: int = DEFAULT_MEMORY,
    errors: Literal["raise", "skip"] = "raise",
    progress: Progress | None = None,
) -> Comparison:
    """How far model B is from model A: their layers, outputs and answers on the same data.

    Layers are matched by weights, position and names (`onnxviz.comparison.matching`), and their outputs compared as
    real numbers, quantised ones dequantised. Where B is of lower precision, each of its layers is also put into A alone
    (`onnxviz.comparison.layer_alone`), on at most `SAMPLES_ALONE` samples.

    Args:
        a: the model that is taken as right: an opened model, or what `load` opens; a path may end in `@…`, see
            `onnxviz.runtime.session.split_place`.
        b: the other one, likewise.
        data: as for `capture`, for A's inputs; None for noise.
        layers: a selection of A's layers; see `onnxviz.model.selection.select`.
        ops: operators to choose among; None for the convolutions and dense layers.
        at: "activation" for a layer's output as its source framework has it, "conv" for the operator's own.
        below: the SQNR in dB below which a layer counts as divergent; None for 60 of two float32 models, 20 where one
            alone is quantised, 40 where one computes in half precision or both are quantised.
        preprocess: what is done to images; `auto` asks each model's metadata, then its graph.
        size: (height, width) of images where the models leave it open.
        fit: "stretch" images to the size (None), or "crop" them.
        background: colour behind transparent pixels; None for white.
        provider: where a model runs that does not say it by `@…`.
        threads: of one operator; 0 for onnxruntime's choice.
        memory: bytes of maps that are held at once, about; layers that do not fit are run apart.
        errors: "raise" at the first input that fails, or "skip" it and list it in `failed`.
        progress: called with (steps done, steps in all).

    Raises:
        OnnxvizError: a model, the selection or the data cannot be used, or the two cannot be fed the same.
    """
    one_of("way to treat errors", errors, ("raise", "skip"))
    one_of("tap", at, ("activation", "conv"))
    images = {"preprocess": preprocess, "size": size, "fit": fit, "background": background}
    first, second = (Side.of(source, RunOptions(provider, memory, threads), images) for source in (a, b))
    if all(side.model.label != side.label for side in (first, second)):
        refuse_unheeded({"provider": provider if provider != CPU else None}, "both models say where they run, by @")
    first, second, settled = settle_preprocessing(first, second)
    samples = paired_samples(first, second, data)
    pairing = Pairing.of(first.model, second.model, layers, ops, at)
    run = CompareRun(first, second, pairing, samples, skip=errors == "skip", progress=progress)
    run.run()
    precisions = {(Precision.of(one.layer_a, one.a), Precision.of(one.layer_b, one.b)) for one in pairing.layers}
    option = _lower_precision(precisions)
    alone = run.alone(pairing.layers, SAMPLES_ALONE) if option else {}
    used = len(samples) - len(run.failed)
    reads_images = any(sample.a.photo for sample in samples)
    said = [one.images.expected.words(one.label) for one in (first, second)] if reads_images and not settled else []
    noise = (
        f"no data were given: {NOISE} samples of noise were fed; give photos for figures that hold for them"
        if data is None
        else ""
    )
    notes = [
        settled if data is None or reads_images else "",
        *dict.fromkeys(said),
        noise,
        run.unanswered,
        run.top.unequal if run.top is not None else "",
    ]
    differences = {pair: _difference(pair, run, alone) for pair in run.sums}
    compared = {pair: differences[pair] for pair in pairing.layers if pair in differences}
    return Comparison(
        a=first.provenance(reads_images=reads_images),
        b=second.provenance(reads_images=reads_images),
        labels=(first.label, second.label),
        data="noise" if data is None else "images" if reads_images else "arrays",
        samples=used,
        layers=tuple(compared.values()),
        outputs=tuple(differences[pair] for pair in pairing.outputs if pair in differences),
        only_a=pairing.only_a,
        only_b=pairing.only_b,
        not_compared=(*pairing.not_compared, *run.not_compared),
        below=below if below is not None else _usual_threshold(precisions),
        agreement=run.top.agreement() if run.top is not None else None,
        exclusion=exclusion([(pair, alone[pair]) for pair in pairing.layers if pair in alone], option),
        worst_maps=_worst_maps(run, compared),
        failed=tuple(run.failed),
        notes=tuple(filter(None, notes)),
    )


def _difference(pair: ReadPair, run: CompareRun, alone: Mapping[ReadPair, Alone]) -> Difference:
    sums = run.sums[pair]
    label = run.samples[sums.sample].label if sums.sample >= 0 else ""
    tensors = pair.a.tap.tensor, pair.b.tap.tensor
    found = difference_of(sums, pair.names, tensors, label, pair.b.in_steps(sums))
    ops = (pair.layer_a.op, pair.layer_b.op) if isinstance(pair, LayerPair) else ("", "")
    return replace(found, ops=ops, by=pair.by, alone=alone.get(pair))


def _worst_maps(run: CompareRun, compared: Mapping[LayerPair, Difference]) -> WorstMaps | None:
    """The maps of the worst layer on the sample that shows it most."""
    worst = worst_of(compared.values())
    if worst is None:
        return None
    place, pair = next((place, pair) for place, pair in enumerate(compared) if compared[pair] is worst)
    return WorstMaps(worst, place, *run.maps(pair))


_Precisions = set[tuple[Precision, Precision]]
"""What A's layers compute in, and B's."""


def _lower_precision(found: _Precisions) -> str:
    """What the list of nodes to leave out is called by the tool that made B of A; "" where B is of no lower precision.

    B is, where a layer is quantised, or computes in half precision, whose counterpart does not.
    """
    if any(a is not Precision.QUANTISED and b is Precision.QUANTISED for a, b in found):
        return "nodes_to_exclude"
    return "node_block_list" if (Precision.FULL, Precision.HALF) in found else ""


def _usual_threshold(found: _Precisions) -> float:
    if any(a is not b and Precision.QUANTISED in (a, b) for a, b in found):
        return QUANTISED_DECIBELS
    return FULL_DECIBELS if found <= {(Precision.FULL, Precision.FULL)} else HALF_DECIBELS
