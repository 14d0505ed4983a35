"""Checks of parity: with the source, with another model, provider or optimisation level."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from onnxviz import forks
from onnxviz.auditing.check import UnmeasuredError
from onnxviz.auditing.drift import Answers, Drift, drift, drifts, precision
from onnxviz.auditing.drift_verdict import FULL, HALF, QUANTISED, judged, limit_of
from onnxviz.auditing.finding import Finding, Severity
from onnxviz.auditing.registry import check
from onnxviz.auditing.sides import fed_alike, side_of, sides
from onnxviz.auditing.subject import Subject
from onnxviz.comparison.comparison import ratio_words
from onnxviz.comparison.fed_alike import paired_samples
from onnxviz.comparison.reading import Precision
from onnxviz.conversion.convert import verified_again
from onnxviz.conversion.verification_record import VerificationRecord, weights_hash
from onnxviz.conversion.verify import DeviationError
from onnxviz.errors import CodeExecution, ProviderError
from onnxviz.messages import option, option_of, printable
from onnxviz.model.graph.operators import Family, names_anywhere
from onnxviz.runtime.providers import CPU, Provider

_MOST_NAMES = 12
_HEAVY = Family.CONVOLUTION | Family.MATRIX | Family.RECURRENT


@check("P01", Severity.ERROR, takes=("source",))
def unlike_the_source(subject: Subject) -> Iterator[Finding]:
    """A model that is not what it was converted from, or was changed after it was compared with that.

    Why it matters: the source was trained and tested; the converted model is what ships.

    How it is measured: where a source is given (`--source`), by the rules of `onnxviz convert`: filters bit for bit,
    feature maps and outputs on seeded noise to 1e-4 of their largest value, more in float16; a difference is an error.
    Else by the record that `convert` keeps in the model (`onnxviz.verification`): weights whose hash is no longer the
    one there are a warning. A quantised model is held against its float model instead, see P02 and P04.

    What to do: convert it again; hold a model that was changed on purpose against the converted one (`--against`).
    """
    model, source = subject.model, subject.extras.source
    if source is None:
        record = VerificationRecord.of(model)
        if record is None:
            raise UnmeasuredError(
                "the model has no record of a verification (`onnxviz convert` keeps one), and no source was given "
                f"({option_of('audit', 'source')})"
            )
        if weights_hash(model) != record.weights:
            by = record.versions.get("onnxviz", "?")
            yield subject.finding(
                f"the weights were changed after the model was compared with its {printable(record.framework)} source "
                f"(by onnxviz {printable(by, 20)}): that comparison says nothing of them",
                f"convert it again, or hold it against the converted model ({option('against')})",
                severity=Severity.WARNING,
            )
        for what in ("max_rel_diff", "maps_max_rel_diff"):
            value, limit = record.verification[what], record.verification["tolerance"]
            if not value <= limit:
                yield subject.finding(
                    f"by its record it differs from its {printable(record.framework)} source by {value:.3g} of the "
                    f"largest value ({what}; {limit:g} is allowed)",
                    "convert it again",
                    value=value,
                    threshold=limit,
                )
        return
    if precision(model) is Precision.QUANTISED:
        raise UnmeasuredError(
            f"the model is quantised: hold it against its float model ({option('against')}, P02 and P04)"
        )
    if forks.stranded:
        raise UnmeasuredError(
            f"{forks.stranded} has run in the process that asks, and cannot run in one forked from it: use `onnxviz "
            "audit` on the command line, or `audit` in place of `audit_each`"
        )
    told = None if subject.images.assumed else subject.images.preprocessing
    try:
        verified_again(model, source, subject.extras.weights, told)
    except CodeExecution as error:
        raise UnmeasuredError(
            f"an audit runs no code that a file brings along ({error}): compare the two by `onnxviz convert`, which "
            "takes that option and keeps a record in the model"
        ) from None
    except DeviationError as error:
        yield subject.finding(str(error), "convert it again")


@check("P02", Severity.ERROR, needs=("data",), takes=("against",), full=FULL, half=HALF, quantised=QUANTISED)
def other_answers(subject: Subject) -> Iterator[Finding]:
    """Answers that differ from those of the model, or the provider, that it is held against.

    Why it matters: a quantised or converted model, or the same one on another execution provider, is trusted because
    the first was tested. Where it answers otherwise, the tests were of another model.

    How it is measured: both run on the data as they are, no inner tensor given out. The model is held against
    `--against`; without that, where it runs on a provider other than the CPU, against itself on the CPU. The largest
    difference counts as a share of the range of the answers over all samples; a class that flips by how far it was
    ahead, as the same share. What rounding explains is no error: `full` of float32, `half` of float16, `quantised`
    where one of the two computes with integers.

    What to do: `onnxviz compare` names the first layer that differs; where it is quantisation, P04 names the nodes to
    leave out; where it is a provider, another precision or version of it.
    """
    first, second = sides(subject)
    found = drift(Answers(first), subject.answers, paired_samples(first, second, subject.extras.data))
    yield from judged(
        subject, found, f"held against {printable(first.label)}", precision(first.model, second.model),
        _advice(subject, "`onnxviz compare` names the first layer that differs"),
    )  # fmt: skip


def _advice(subject: Subject, otherwise: str) -> str:
    """What to do; of a model whose integers a processor may cut off, this first."""
    if not subject.may_saturate:
        return otherwise
    return f"where the processor has no VNNI, quantise with reduce_range=True or uint8 weights (W06); else {otherwise}"


@check("P03", Severity.ERROR, needs=("data",), full=FULL, half=HALF, quantised=QUANTISED)
def optimisation_changes_answers(subject: Subject) -> Iterator[Finding]:
    """Answers that differ between all graph optimisations of onnxruntime and none.

    Why it matters: a fusion that computes something else is a fault of the runtime or of the graph (onnxruntime#24711,
    #25259, #18959), and shows on no test of the source.

    How it is measured: the model runs on the CPU on the data, once with all optimisations and once with none; judged as
    in P02. Optimisations move float32 results by 1e-7 to 1e-4 (onnxruntime#9704).

    What to do: find the layer with `onnxviz compare MODEL@noopt MODEL`, ship with a lower optimisation level, and
    report it to onnxruntime.
    """
    on_cpu = replace(subject, options=replace(subject.options, provider=CPU))
    runs_there = Provider.parse(subject.options.provider).name == CPU
    optimised = subject.answers if runs_there else Answers(side_of(on_cpu))
    found = drift(Answers(side_of(on_cpu, optimize=False)), optimised, fed_alike(subject))
    yield from judged(
        subject, found, "with all graph optimisations, held against none", precision(subject.model),
        _advice(subject, "find the layer with `onnxviz compare MODEL@noopt MODEL`, and ship with a lower optimisation "
                "level"),
    )  # fmt: skip


@check("P04", Severity.WARNING, needs=("data", "against"), sqnr=20.0, steps=0.7)
def layers_lost_to_precision(subject: Subject) -> Iterator[Finding]:
    """Layers that lose much of their signal in lower precision, and the nodes to leave out.

    Why it matters: a quantised model that answers worse does so because of a few layers; the others can stay as they
    are.

    How it is measured: every layer is put into the model that it is held against, alone, fed with what that feeds its
    own, on the data. Its signal-to-quantisation-noise ratio is 10·log₁₀(Σ a² / Σ (a − b)²) in dB; below `sqnr` it is a
    warning. Its root mean square error is also counted in quantisation steps, of which ideal rounding costs 1/√12 =
    0.289 (Bennett, 1948); more than `steps` of them are a note, since models that answer well have such layers.

    What to do: give the nodes to the tool that converts it (`nodes_to_exclude`, `node_block_list`), or calibrate with
    more data.
    """
    comparison = subject.comparison
    if not any(one.alone is not None for one in comparison.layers):
        raise UnmeasuredError(f"no layer is of lower precision than its counterpart in {comparison.labels[0]}")
    ratio, most = subject.threshold("sqnr"), subject.threshold("steps")
    nodes = comparison.exclusion
    named = () if nodes is None else nodes.nodes
    listed = ", ".join(printable(name, 60) for name in named[:_MOST_NAMES])
    more = f" and {len(named) - _MOST_NAMES} more" if len(named) > _MOST_NAMES else ""
    option = "" if nodes is None else f", with {nodes.option} = {listed}{more} ({nodes.share:.0%} of the noise)"
    alone = [(one.b, one.alone) for one in comparison.layers if one.alone is not None]
    do = _advice(subject, f"keep it in full precision{option}, or calibrate with more data")
    coarse = []
    for layer, loss in alone:
        steps = loss.rmse_over_scale or 0.0
        if not loss.sqnr >= ratio:
            in_steps = f", {steps:.2f} quantisation steps of error" if steps else ""
            yield subject.finding(
                f"in lower precision this layer alone has {ratio_words(loss.sqnr)} of signal to noise{in_steps} (the "
                f"threshold is {ratio:g} dB)",
                do, layer=layer, value=loss.sqnr, threshold=ratio,
            )  # fmt: skip
        elif steps > most:
            coarse.append((steps, layer))
    if coarse:
        steps, layer = max(coarse)
        yield subject.finding(
            f"{len(coarse)} of {len(alone)} layers have an error of more than {most:g} quantisation steps, where ideal "
            f"rounding has 0.29; this one {steps:.2f}",
            do, severity=Severity.NOTE, layer=layer, value=steps, threshold=most,
        )  # fmt: skip


@check("P05", Severity.ERROR, takes=("session",), off=0.1)
def off_the_provider(subject: Subject) -> Iterator[Finding]:
    """Nodes that do not run on the execution provider that was asked for.

    Why it matters: onnxruntime hands what a provider does not take to the CPU, and says so in its log alone; each such
    node costs two copies, and a model that is fast on paper is not (onnxruntime#23372, #26932).

    How it is measured: onnxruntime's own assignment of nodes, after constants are folded. An error where the provider
    does not start or takes none; a warning where more than `off` of the nodes, or any convolution or dense layer, is
    elsewhere; else a note.

    What to do: look up which operators and types the provider has; export at a newer opset or in another precision.
    """
    asked = Provider.parse(subject.options.provider)
    if asked.name == CPU:
        raise UnmeasuredError(f"no provider other than the CPU was asked for ({option('provider')})")
    try:
        assignment = subject.session.assignment
    except ProviderError as error:
        yield subject.finding(
            str(error), "install what it needs, or ask for another provider", value=1.0, threshold=0.0
        )
        return
    if assignment is None or assignment.nodes is None:
        raise UnmeasuredError("" if assignment is None else assignment.words())
    limit = subject.threshold("off")
    share = 1 - assignment.own / assignment.total if assignment.total else 0.0
    if not share:
        return
    elsewhere = {op for name, counts in assignment.nodes.items() if name != asked.name for op in counts}
    heavy = sorted(op for op in elsewhere if op.rpartition("::")[2] in names_anywhere(_HEAVY))
    grave = share > limit or bool(heavy)
    what = f", {' and '.join(heavy)} among them" if heavy else ""
    yield subject.finding(
        f"{share:.1%} of the nodes are not on {asked.name}{what} (the threshold is {limit:.0%}): {assignment.words()}",
        "look up which operators and types the provider has; export at another opset or precision",
        severity=Severity.WARNING if grave else Severity.NOTE,
        value=share,
        threshold=limit,
    )


@check("P06", Severity.NOTE, needs=("data",), full=FULL, half=HALF, quantised=QUANTISED)
def looking_changes_answers(subject: Subject) -> Iterator[Finding]:
    """Answers that change when inner tensors are given out.

    Why it matters: onnxruntime cannot fuse across a tensor that is an output. Where that changes the answers, feature
    maps are those of a graph that does not ship.

    How it is measured: the model runs on the data as it is, and with the output of every convolution of its main graph
    given out besides; the difference is a share of the range of the answers, and rounding is allowed for as in P02.

    What to do: look at fewer layers at a time, and trust the answers of the model as it is.
    """
    taps = [tensor for one in subject.model.layers if not one.scope for tensor in dict.fromkeys(one.taps.values())]
    if not taps:
        raise UnmeasuredError("the model has no convolution whose output could be given out")
    found = drift(subject.answers, Answers(side_of(subject), taps), fed_alike(subject))
    limit = limit_of(subject, precision(subject.model))
    if found.error > limit or found.margin > limit:
        yield subject.finding(
            f"with {len(taps)} inner tensors given out, {found.words()} (rounding explains {limit:g})",
            "look at fewer layers at a time; the answers of the model as it is are those that ship",
            value=max(found.error, found.margin),
            threshold=limit,
        )


@check("P10", Severity.WARNING, needs=("data",), repeats=3, full=FULL, half=HALF, quantised=QUANTISED)
def unsteady_answers(subject: Subject) -> Iterator[Finding]:
    """Answers that change from run to run, or with the number of threads.

    Why it matters: what flips by itself cannot be tested, and a difference to another model means nothing.

    How it is measured: each sample runs `repeats` times, and once with one thread; all are held against the first run.
    Sums of floating-point numbers depend on their order, so equal bits are never asked for (onnxruntime#9704, #13061):
    a difference that rounding does not explain is a note, a class that flips beyond it a warning.

    What to do: look for Dropout, Random and Bernoulli nodes left over from training (G10).
    """
    limit = limit_of(subject, precision(subject.model))
    repeats = int(subject.threshold("repeats"))
    others = [subject.answers] * (repeats - 1)
    *again, alone = drifts(subject.answers, [*others, Answers(side_of(subject, threads=1))], fed_alike(subject))
    found, what = max(again, key=lambda one: (one.margin, one.error), default=Drift()), f"over {repeats} runs"
    if found.error <= limit:
        found, what = alone, "with one thread"
    flips = found.margin > limit
    if flips or found.error > limit:
        yield subject.finding(
            f"{what}, {found.words()} (rounding explains {limit:g})",
            "look for Dropout, Random and Bernoulli nodes left over from training",
            severity=Severity.WARNING if flips else Severity.NOTE,
            where=found.flipped or found.worst,
            value=found.margin if flips else found.error,
            threshold=limit,
        )
