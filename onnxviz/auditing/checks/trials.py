"""Checks by trial: batches, sizes, and what training left behind; the model is run on noise."""

from __future__ import annotations

from collections.abc import Iterator

from onnxviz.auditing.check import UnmeasuredError
from onnxviz.auditing.finding import Finding, Severity
from onnxviz.auditing.leftovers import leftovers
from onnxviz.auditing.registry import check
from onnxviz.auditing.subject import Subject
from onnxviz.auditing.trial import SAMPLES, SIDE, Parting, Trial, batched, first_rows, repeated
from onnxviz.errors import InputError, OnnxvizError
from onnxviz.messages import option, printable
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import walk

_SHOWN = 3
# Sides that are tried where SIDE is refused: usual sizes of classifiers and detectors.
_OTHER_SIDES = (224, 320, 299, 512, 640)


@check("G07", Severity.ERROR, takes=("noise",), difference=0.01)
def batch(subject: Subject) -> Iterator[Finding]:
    """A batch of several samples that fails, or gives something else than each sample alone.

    Why it matters: the input declares that it takes any number of samples, and whoever serves the model will fill
    batches. A Reshape to a fixed batch, or an axis that is merged with the batch, shows only then (onnxruntime issues
    6424, 8194 and 10463).

    How it is measured: three samples of noise alone, then together. The largest difference of an output, over the range
    of its values alone, is an error above `difference`: kernels for several rows add up in another order, which moves
    the last digits (1e-7 to 1e-4) and no more. Where operators take a scale from the whole batch
    (DynamicQuantizeLinear) a difference is a note. Models with a fixed batch have nothing to compare.

    What to do: export with a batch of 2 or more and a dynamic batch axis; in the model's code, reshape to -1 instead of
    the batch that was traced.
    """
    limit = subject.threshold("difference")
    trial = Trial(subject)
    if not trial.batching.inputs or trial.batching.fixed is not None:
        fixed = trial.batching.fixed
        raise UnmeasuredError(f"the batch is fixed at {fixed}" if fixed else "no input has a batch axis")
    if leftovers(subject.model):
        raise UnmeasuredError("the answer changes from run to run, or with the batch, by what training left: see G10")
    trial.open()
    samples = trial.samples(SAMPLES)
    try:
        alone = [trial.run(sample) for sample in samples]
    except InputError as error:
        raise UnmeasuredError(f"a single sample does not run (see G09): {error}") from None
    do = "export with a dynamic batch axis and a batch of 2 or more; reshape to -1 instead of a fixed batch"
    try:
        together = trial.together(samples)
    except InputError as error:
        yield subject.finding(
            f"the batch is declared open, but {SAMPLES} samples at once fail: {error}", do,
            value=float(SAMPLES), threshold=1.0,
        )  # fmt: skip
        return
    found, merged = batched(alone, together)
    if merged:
        yield subject.finding(
            f"the batch is declared open, but output {printable(merged)}: the samples are merged", do,
            value=float(SAMPLES), threshold=1.0,
        )  # fmt: skip
    elif found.difference > limit:
        shared = any(belongs(node, Family.DYNAMIC_RANGE) for _, node in walk(subject.model.scope))
        yield subject.finding(
            f"in a batch of {SAMPLES} a sample gives something else than alone: {_apart(found)}, more than {limit:.2%}"
            f"{'; scales are taken from the whole batch' if shared else ''}",
            "run one sample at a time, or quantise statically" if shared else do,
            severity=Severity.NOTE if shared else None,
            where=printable(found.output), value=found.difference, threshold=limit,
        )  # fmt: skip
    elif not found.compared:
        raise UnmeasuredError("no output has a row for each sample")


def _apart(found: Parting) -> str:
    return f"'{printable(found.output)}' differs by {found.difference:.2%} of its range"


@check("G09", Severity.NOTE, takes=("noise",))
def sizes(subject: Subject) -> Iterator[Finding]:
    """Sizes of pictures that the model refuses although it declares them; and whether it runs at all.

    Why it matters: a network that halves and doubles its maps takes multiples of some number only, and says nothing of
    it: 320 works, 333 fails in the middle of the graph.

    How it is measured: the model is run once on noise, at the size that it declares (256 where that is open, or the
    size that was given); if that fails it is an error. Where height and width are open, sizes next to it are tried: 1
    more, then 2, 4, 8, 16, 32; the first that runs is the number of which sizes have to be a multiple. Where 256 is
    refused, other usual sizes are.

    What to do: pad pictures to a multiple of that number, and write it where the model is described.
    """
    trial = Trial(subject)
    trial.open()
    given = subject.images.size is not None
    side, refused = SIDE, ""
    try:
        trial.run(trial.samples(1)[0])
    except InputError as error:
        refused = str(error)
    if refused and trial.has_open_sides and not given:
        side = next((other for other in _OTHER_SIDES if _runs(trial, other)), 0)
        if not side:
            tried = ", ".join(map(str, (SIDE, *_OTHER_SIDES)))
            raise UnmeasuredError(f"none of the sizes {tried} runs: give {option('size', 'HxW')}; {refused}")
    elif refused:
        yield subject.finding(
            f"the model does not run on the size that it declares: {refused}",
            "export it again, and run what was exported",
            severity=Severity.ERROR,
        )
        return
    if not trial.has_open_sides or given:
        return
    if side != SIDE:
        yield subject.finding(
            f"height and width are declared open, but {SIDE}x{SIDE} is refused; {side}x{side} runs",
            f"feed {side}x{side}, or export it so that other sizes run",
            value=float(side), threshold=float(SIDE),
        )  # fmt: skip
        return
    if _runs(trial, side + 1):
        return
    step = next((2**power for power in range(1, 6) if _runs(trial, side + 2**power)), 0)
    what = f"it takes multiples of {step}" if step else f"of those tried it takes {side} alone"
    yield subject.finding(
        f"height and width are declared open, but {side + 1}x{side + 1} is refused: {what}",
        f"pad pictures to a multiple of {step}" if step else "feed the size that it was exported for",
        value=float(step), threshold=1.0,
    )  # fmt: skip


def _runs(trial: Trial, side: int) -> bool:
    try:
        trial.run(trial.samples(1, side)[0])
    except InputError:
        return False
    return True


@check("G10", Severity.ERROR, takes=("noise",), difference=1e-3)
def training_leftovers(subject: Subject) -> Iterator[Finding]:
    """Batch normalisations and dropouts in training mode, and operators that draw random numbers.

    Why it matters: a batch normalisation in training mode divides by the statistics of the batch that it is given, so
    that an answer depends on what else is in the batch; a live dropout sets other values to 0 in each run (PyTorch
    issue 75252, onnxruntime issue 26584). Both come of `torch.onnx.export(training=TrainingMode.TRAINING)`.

    How it is measured: BatchNormalization with `training_mode=1` (before opset 14: with further outputs), Dropout whose
    `training_mode` may be true, and operators that draw, as far as an output depends on them. Then the model is run: it
    is an error if a repetition or a batch moves the answer by more than `difference` of its range, or if onnxruntime
    does not run it, else a warning. What draws by itself may be meant, as in a generator: it is a warning.

    What to do: `model.eval()` before the export, and `training=TrainingMode.EVAL`.
    """
    limit = subject.threshold("difference")
    found = leftovers(subject.model)
    if not found:
        return
    kinds = sorted({one.kind for one in found})
    listed = ", ".join(f"{sum(one.kind == kind for one in found):,} x {kind}" for kind in kinds)
    named = ", ".join(f"'{printable(one.node)}'" for one in found[:_SHOWN])
    moved, value = _moved(subject, limit)
    is_training = kinds != ["random"]
    what = "as in training" if is_training else "random numbers are drawn"
    yield subject.finding(
        f"{what}: {listed} ({named}{', …' if len(found) > _SHOWN else ''}); {moved}",
        "call model.eval() before the export" if is_training else "nothing, if the model is meant to draw",
        severity=Severity.ERROR if is_training and value > limit else Severity.WARNING,
        where=printable(found[0].node), value=value, threshold=limit,
    )  # fmt: skip


def _moved(subject: Subject, limit: float) -> tuple[str, float]:
    """What a repetition or a batch does to the answer, in words, and as a share of its range."""
    trial = Trial(subject)
    try:
        _ = subject.session
        samples = trial.samples(SAMPLES)
        first = trial.run(samples[0])
        again = repeated(first, trial.run(samples[0]))
    except UnmeasuredError as error:
        return f"not run: {error}", 0.0
    except OnnxvizError as error:
        return f"onnxruntime does not run it: {error}", float("inf")
    if again.difference > limit:
        return f"a repetition moves it: {_apart(again)}, more than {limit:.2%}", again.difference
    if not trial.batching.inputs or trial.batching.fixed == 1:
        return f"a repetition does not move the answer by {limit:.2%}", again.difference
    count = trial.batching.fixed or SAMPLES
    try:
        others = trial.samples(count)
        beside = trial.together(others)
        same = trial.together([others[0]] * count)
    except InputError as error:
        return f"a batch of {count} fails: {error}", float("inf")
    parted = first_rows(same, beside, count)
    if parted.difference > limit:
        return f"what else is in the batch moves it: {_apart(parted)}, more than {limit:.2%}", parted.difference
    return f"neither a repetition nor a batch moves the answer by {limit:.2%}", parted.difference
