"""Checks of performance: what the model costs, per layer and as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.auditing.check import UnmeasuredError
from onnxviz.auditing.drift import precision
from onnxviz.auditing.finding import Finding, Severity
from onnxviz.auditing.registry import check
from onnxviz.auditing.sides import side_of, sides
from onnxviz.auditing.subject import Subject
from onnxviz.comparison.fed_alike import paired_samples
from onnxviz.comparison.reading import Precision
from onnxviz.comparison.side import Side
from onnxviz.errors import OnnxvizError
from onnxviz.inputs.failures import nothing_usable
from onnxviz.inputs.samples import Feeds
from onnxviz.messages import printable
from onnxviz.model.graph.operators import Family, names_anywhere
from onnxviz.model.model import Model
from onnxviz.model.ports import Port
from onnxviz.runtime.memory import measure_memory
from onnxviz.runtime.profile import NodeRun, Profile, profile
from onnxviz.runtime.providers import CPU, Provider

_MOST_LAYERS = 5
_MEGA = 10**6
_CASTS = names_anywhere(Family.IDENTITY) - {"Identity"}


@check("P07", Severity.NOTE, needs=("data",), asked=True, budgets=("latency-ms",), repeats=10)
def latency(subject: Subject) -> Iterator[Finding]:
    """How long a run takes, and which layers take most of it.

    Why it matters: a model that misses its deadline does not ship, and of the layers a few take most of the time.

    How it is measured: the first sample runs `repeats` times on this machine after two runs that are not counted;
    medians of onnxruntime's own profile, whose clock costs a few per cent. Nodes that onnxruntime fused count as the
    layer that they stand for. An error where the budget `latency-ms` is exceeded, else a note; runs only where it is
    selected or has a budget.

    What to do: look at the layers named first: fewer channels, a coarser grid, lower precision.
    """
    label, feeds = _first(subject)
    measured = _profiled(side_of(subject), feeds, int(subject.threshold("repeats")))
    by_layer = measured.medians(_layer_of(subject.model))
    budget = subject.settings.budgets.get("latency-ms")
    whole = sum(by_layer.values()) or 1.0
    listed = ", ".join(
        f"{printable(name) or 'between layers'} {time:.3g} ms ({time / whole:.0%})"
        for name, time in list(by_layer.items())[:_MOST_LAYERS]
    )
    late = budget is not None and measured.latency > budget
    held = "" if budget is None else f", the budget is {budget:g} ms"
    yield subject.finding(
        f"a run of '{printable(label)}' takes {measured.latency:.3g} ms{held}; most: {listed}",
        "look at the layers named first",
        severity=Severity.ERROR if late else Severity.NOTE,
        value=measured.latency,
        threshold=budget,
    )


# Of fifteen networks that onnxruntime quantised (QDQ; EfficientNet-Lite0 to 2, HED, the sample models, nine of
# keras.applications and torchvision) fourteen compute nothing in float, one 3.4 %; two convolutions left out are 30 %.
@check("P08", Severity.WARNING, needs=("data",), takes=("against",), share=0.1, repeats=10)
def quantised_yet_float(subject: Subject) -> Iterator[Finding]:
    """A quantised model that computes in float all the same, or is no faster than the float one.

    Why it matters: a runtime computes with integers only where it finds the patterns that it knows; the rest is
    dequantised first, costs accuracy and gains nothing (onnxruntime#17389, #20052).

    How it is measured: the multiply-accumulates of all convolutions and matrix products of the graph as onnxruntime
    optimised it, in one run of the first sample, and the share of those that are no integer operators; it may be up to
    `share`. Where a float model is given (`--against`), medians of `repeats` runs of both.

    What to do: quantise in the form that the provider knows (QDQ, uint8 activations), and give those layers that stay
    in float both inputs quantised.
    """
    if precision(subject.model) is not Precision.QUANTISED:
        return
    label, feeds = _first(subject)
    (run,) = _profiled(side_of(subject), feeds, 1, prepack=False).runs
    total = sum(one.multiplications for one in run)
    if not total:
        raise UnmeasuredError("the optimised graph has no convolution or matrix product whose size is told")
    in_float = [one for one in run if not one.integer and one.multiplications]
    share, limit = sum(one.multiplications for one in in_float) / total, subject.threshold("share")
    if in_float and share > limit:
        worst = max(in_float, key=lambda one: one.multiplications)
        yield subject.finding(
            f"{share:.1%} of the multiply-accumulates run in float, in {len(in_float)} nodes, although the model is "
            f"quantised (the threshold is {limit:.0%})",
            "quantise in the form that the provider knows; give the layers that stay in float both inputs quantised",
            layer=_layer_of(subject.model)(worst),
            value=share,
            threshold=limit,
        )
    if subject.extras.against is None:
        return
    first, second = sides(subject)
    if precision(first.model) is Precision.QUANTISED:
        return
    pairs = paired_samples(first, second, subject.extras.data)
    pair = next(one for one in pairs if one.label == label).read()
    repeats = int(subject.threshold("repeats"))
    before, now = (_profiled(side, fed, repeats).latency for side, fed in zip((first, second), pair, strict=True))
    if now >= before:
        yield subject.finding(
            f"quantised, a run takes {now:.3g} ms; {printable(first.label)} takes {before:.3g} ms",
            "quantise in the form that the provider knows; on a CPU without VNNI integers may be no faster",
            value=now,
            threshold=before,
        )


# Of eighteen networks in float16 fifteen spend 0 % to 5 % with casts and two of PyTorch's newer exporter 7 % and 9 %; a
# DenseNet121, whose concatenations are many and small, 33 %: it is what the check is for.
@check("P09", Severity.WARNING, needs=("data",), share=0.1, repeats=10)
def half_on_a_cpu(subject: Subject) -> Iterator[Finding]:
    """A float16 model on a CPU that spends its time with casts.

    Why it matters: onnxruntime's CPU provider computes most operators in float32 and casts before and behind them; a
    report has 54 % of the time in casts (onnxruntime#25824, #16778).

    How it is measured: the casts in the graph as onnxruntime optimised it, and their share of the time of all nodes in
    its profile, medians of `repeats` runs of the first sample; it may be up to `share`.

    What to do: ship the float32 model for CPUs; float16 is for GPUs.
    """
    if Provider.parse(subject.options.provider).name != CPU or precision(subject.model) is not Precision.HALF:
        return
    measured = _profiled(side_of(subject), _first(subject)[1], int(subject.threshold("repeats")))
    times = measured.medians(lambda one: one.op in _CASTS)
    share, limit = times.get(True, 0.0) / (sum(times.values()) or 1.0), subject.threshold("share")
    if share > limit:
        casts = sum(one.op in _CASTS for one in measured.runs[-1])
        yield subject.finding(
            f"{casts} casts between float16 and float32 take {share:.0%} of the time on this CPU (the threshold is "
            f"{limit:.0%})",
            "ship the float32 model for CPUs; float16 is for GPUs",
            value=share,
            threshold=limit,
        )


# Of 50 models (float32, int8 and float16 of the networks of P08) memory grows by 0.9 % at most. A model that takes one
# block of 16 MB, and a quarter to nine tenths less at smaller sizes, makes the arena grow by 33 % to 52 %, once.
@check("P11", Severity.NOTE, needs=("data",), budgets=("memory-mb",), growth=0.5, runs=8)
def memory(subject: Subject) -> Iterator[Finding]:
    """Memory that goes on growing, or is more than the budget.

    Why it matters: onnxruntime keeps what it once allocated; a service that sees images of many sizes grows until it is
    killed (onnxruntime#11118, #29538).

    How it is measured: a process of its own opens the model and runs the first sample twice (only then onnxruntime has
    planned its memory), then, where the sides of the input are open, smaller ones, else the same again, `runs` in all.
    What is added after the second may be up to `growth` of what the process took until then. An error where the budget
    `memory-mb` (10⁶ bytes, weights included) is exceeded. Linux alone tells.

    What to do: fix the sizes, or turn the arena off (`enable_cpu_mem_arena = False`) and measure what that costs.
    """
    side, (label, feeds) = side_of(subject), _first(subject)
    try:
        used = measure_memory(
            subject.model, [side.batching.padded(one) for one in _sizes(subject, feeds)], side.options
        )
    except OnnxvizError as error:
        raise UnmeasuredError(str(error)) from None
    ran = [one for one in used.runs if one is not None]
    if used.runs[1] is None:
        raise UnmeasuredError(f"the model cannot be run on {label} in a process of its own")
    first, most = used.runs[1], max(ran)
    budget = subject.settings.budgets.get("memory-mb")
    if budget is not None and most > budget * _MEGA:
        yield subject.finding(
            f"it takes {most / _MEGA:,.0f} MB to open and run, {used.opened / _MEGA:,.0f} MB of them to open "
            f"(the budget is {budget:,.0f} MB)",
            "fewer channels in the layers with the largest maps, smaller images, or smaller batches",
            severity=Severity.ERROR,
            value=most / _MEGA,
            threshold=budget,
        )
    share, limit = (most - first) / max(first, 1), subject.threshold("growth")
    if share > limit:
        yield subject.finding(
            f"memory grows by {share:.0%} over {len(ran)} runs of no larger images, from {first / _MEGA:,.1f} to "
            f"{most / _MEGA:,.1f} MB (the threshold is {limit:.0%})",
            "fix the sizes, or turn the arena off (enable_cpu_mem_arena = False) and measure what that costs",
            value=share,
            threshold=limit,
        )


def _sizes(subject: Subject, feeds: Feeds) -> list[Feeds]:
    """The sample twice, then others whose sides are shorter where the model leaves them open, else the same."""
    runs, count = [feeds, feeds], int(subject.threshold("runs"))
    open_ports = {port.name: port for port in subject.model.inputs}
    for step in range(2, count):
        share = 1 - step / (2 * count)
        runs.append({name: _cut(open_ports[name], array, share) for name, array in feeds.items()})
    return runs


def _cut(port: Port, array: NDArray[Any], share: float) -> NDArray[Any]:
    """A corner of a picture: a share of its sides, of those that are open; multiples of 32 where they are that."""
    if port.shape is None or not port.layout:
        return array
    kept = [slice(None)] * array.ndim
    for axis, (letter, size) in enumerate(zip(port.layout, port.shape, strict=True)):
        side = array.shape[axis]
        step = 32 if side % 32 == 0 else 1
        if letter in "HW" and not isinstance(size, int):
            kept[axis] = slice(max(step, round(side * share / step) * step))
    return np.ascontiguousarray(array[tuple(kept)])


def _profiled(side: Side, feeds: Feeds, repeats: int, *, prepack: bool = True) -> Profile:
    return profile(side.model, side.batching.padded(feeds), replace(side.options, prepack=prepack), repeats)


def _first(subject: Subject) -> tuple[str, Feeds]:
    """The label and the arrays of the first sample that can be read.

    Raises:
        OnnxvizError: none can.
    """
    failed = []
    for sample in subject.samples:
        try:
            return sample.label, sample.read()
        except OnnxvizError as error:
            failed.append((sample.label, str(error)))
    raise nothing_usable(failed)


def _layer_of(model: Model) -> Callable[[NodeRun], str]:
    """Gives the layer that a node of the optimised graph stands for; "" where it is none."""
    owner: dict[str, str] = {}
    for layer in model.all_layers:
        if layer.source is None:
            continue
        scope, start, end = layer.graph_scope, layer.taps["conv"], layer.taps["activation"]
        after = {start, *scope.descendants([start])}
        for node in scope.ancestors([end]).nodes:
            for name in after.intersection(node.output):
                owner.setdefault(name, layer.name)
    return lambda one: owner.get(one.tensor, "")
