"""Many models: each audited in a process of its own, with limits of time and memory."""

from __future__ import annotations

import base64
import io
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from onnxviz.auditing import confined_work
from onnxviz.auditing.audit import Audit, audit, wanted_checks
from onnxviz.auditing.baseline import Baseline
from onnxviz.auditing.check import Check
from onnxviz.auditing.confined_work import Limits, Outcome, Tell
from onnxviz.auditing.finding import Finding
from onnxviz.auditing.golden import HEAD, Golden
from onnxviz.auditing.registry import load_checks
from onnxviz.auditing.settings import Settings
from onnxviz.errors import InputError, OnnxvizError
from onnxviz.files import folder_destination
from onnxviz.messages import option, printable, spelt
from onnxviz.model.model import Model, load
from onnxviz.runtime.batching import DEFAULT_MEMORY
from onnxviz.runtime.providers import CPU, Provider
from onnxviz.runtime.session import provider_name

_OUT_OF_TIME = "took more than"
_GOLDEN = "golden vectors"
_MORE = {
    "needed more memory": "give it more ({memory_limit}), or do not ship it",
    "met a bug": "report it with the model, and leave the check out meanwhile ({ignore})",
}


@dataclass(frozen=True)
class Confinement:
    """What each model's process may take.

    Attributes:
        seconds: of real time.
        memory: bytes beyond those of onnxviz itself; None for three times the weights, the budget of batches and 1 GiB.
        jobs: how many models are audited side by side.
    """

    seconds: float = 300.0
    memory: int | None = None
    jobs: int = 1


def audit_each(
    models: Sequence[str],
    confinement: Confinement,
    options: Mapping[str, Any],
    *,
    write_golden: Path | None = None,
    progress: Callable[[int, str], None] | None = None,
) -> list[Audit]:
    """An audit of each model, in their order. One that cannot be audited has one finding, G00; others do not notice.

    Args:
        models: paths.
        confinement: what each may take.
        options: of `audit`, the same for all.
        write_golden: a folder for the golden vectors of the one model that there is then.
        progress: called with how many models are done, and what is at work.

    Raises:
        OnnxvizError: none of them could be opened, or the settings, codes, options, provider, baseline or golden
            vectors cannot be used.
    """
    if write_golden is not None and len(models) != 1:
        raise InputError(f"golden vectors ({write_golden}) are of one model, and {len(models)} are audited: name one")
    wanted, settings = wanted_checks({**options, "keep": options.get("keep") or write_golden is not None})
    if write_golden is None:
        return _audit_each(models, confinement, _read_once(options), wanted, settings, None, progress)
    folder_destination(write_golden, HEAD)
    with tempfile.TemporaryDirectory(prefix="onnxviz-") as made:  # a child that is killed leaves nothing elsewhere
        folder = Path(made) / "golden"
        kept = {**_read_once(options), "keep": True}
        found = _audit_each(models, confinement, kept, wanted, settings, folder, progress)
        if folder.exists():
            Golden.load(folder).save(write_golden)
    return found


def _audit_each(
    models: Sequence[str],
    confinement: Confinement,
    options: Mapping[str, Any],
    wanted: Sequence[Check],
    settings: Settings,
    write_golden: Path | None,
    progress: Callable[[int, str], None] | None,
) -> list[Audit]:
    provider_name(Provider.parse(options.get("provider", CPU)))
    memory = options.get("memory", DEFAULT_MEMORY)
    works = [partial(_work, path, memory if confinement.memory is None else None, options, write_golden)
             for path in models]  # fmt: skip
    found: dict[int, Audit] = {}
    refused: dict[int, str] = {}

    def told(number: int, stage: str) -> None:
        if progress is not None:
            progress(len(found), f"{models[number]}: {stage}")

    limits = Limits(confinement.seconds, confinement.memory)
    for number, outcome in confined_work.confined(works, limits, confinement.jobs, told):
        answer = json.loads(outcome.result) if outcome.result is not None else {}
        if "audit" in answer:
            found[number] = Audit.of(answer["audit"])
            if "record" in answer:
                file = io.BytesIO(base64.b64decode(answer["record"]))
                (record,) = Baseline.read(file, models[number]).models
                found[number] = replace(found[number], record=record)
        else:
            if "refused" in answer:
                refused[number] = answer["refused"]
                what, do = answer["refused"], "mend the file, or leave it out"
            else:
                what, do = _ended_early(outcome, wanted, options.get("data") is not None)
            found[number] = _not_audited(models[number], printable(what, 500), do, settings)
        if progress is not None:
            progress(len(found), models[number])
    if len(refused) == len(models):
        head = "" if len(models) == 1 else f"none of {len(models)} models could be audited; the first: "
        raise InputError(head + refused[0])
    return [found[number] for number in range(len(models))]


def _ended_early(outcome: Outcome, wanted: Sequence[Check], seen: bool) -> tuple[str, str]:
    """What is said of an audit that did not come to its end, and what to do.

    Args:
        outcome: how it ended.
        wanted: the checks, in the order in which they run.
        seen: whether there are data.
    """
    what = f"the audit {outcome.why}"
    place = next((place for place, one in enumerate(wanted) if one.code == outcome.stage), None)
    if outcome.why.startswith(_OUT_OF_TIME) and outcome.stage:
        done = "" if place is None else f", and {place} of {len(wanted)} checks came before it"
        return f"{what}: {outcome.stage} was at work for {outcome.lasted:.0f} s{done}", _more_time(
            outcome.stage, wanted, place, seen
        )
    at_work = f", while {outcome.stage} was at work" if outcome.stage else ""
    return what + at_work, next(
        (spelt(do) for why, do in _MORE.items() if outcome.why.startswith(why)), "do not ship it"
    )


def _more_time(stage: str, wanted: Sequence[Check], place: int | None, seen: bool) -> str:
    """What helps an audit that ran out of time: what came before ends in time again.

    Args:
        stage: what was at work.
        wanted: the checks, in the order in which they run.
        place: of the one at work among them; None where it was none.
        seen: whether there are data.
    """
    longer = f"give it longer ({option('timeout')})"
    if place is None:
        golden = stage == _GOLDEN
        return longer + (
            spelt(", or leave out {write_golden}") if golden else ": no choice of checks makes this shorter"
        )
    here, cheaper = wanted[place], [one for one in wanted[:place] if one.expense < wanted[place].expense]
    if seen and here.takes_data:
        # The first gathers what the others wait for: to leave it out alone makes nothing shorter.
        leave = f", or leave the check out ({_leaving_out(here.code)})" if len(cheaper) < place else ""
        without = f"; without {option('data')}, the {len(cheaper)} checks that need none end in time" if cheaper else ""
        return f"{longer} or fewer images{leave}{without}"
    codes = ",".join(one.code for one in wanted[place:] if one is here or here.shares_work(one))
    without = f" and audit it without {option('data')}" if seen and here.expense else ""
    return f"{longer}, or leave out what may take as long: {_leaving_out(codes)}{without}"


def _leaving_out(codes: str) -> str:
    """The option that leaves out checks, whose codes stand between commas."""
    return option("ignore", codes, repr(codes.split(",")))


def _not_audited(path: str, what: str, do: str, settings: Settings) -> Audit:
    (check,) = (one for one in load_checks() if one.code == "G00")
    finding = settings.judged(Finding(check.code, settings.severity(check) or check.severity, what, do))
    return Audit(path, (finding,), (), (), {})


def _read_once(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with the baseline and the golden vectors that they name: what is wrong with them is so for all."""
    baseline, golden = options.get("baseline"), options.get("golden")
    read: dict[str, Any] = {}
    if baseline is not None and not isinstance(baseline, Baseline):
        read["baseline"] = Baseline.load(baseline)
    if golden is not None and not isinstance(golden, Golden):
        read["golden"] = Golden.load(golden)
    return {**options, **read}


def _work(path: str, batches: int | None, options: Mapping[str, Any], write_golden: Path | None, tell: Tell) -> bytes:
    """Audits one model in this process, a child; gives the audit, or why the model is refused, as JSON.

    Args:
        path: of the model.
        batches: the budget of batches, from which the limit of memory follows; None where there is another.
        options: of `audit`.
        write_golden: a folder for golden vectors; None for none.
        tell: called with what begins.
    """
    try:
        tell("opening")
        _allow(_size(Path(path)), batches)
        model = load(path)
        _allow(_weights(model), batches)
        done = audit(model, **options, progress=lambda code: tell(code))
        if write_golden is not None:
            tell(_GOLDEN)
            _golden(model, options).save(write_golden)
    except OnnxvizError as error:
        return json.dumps({"refused": str(error)}).encode()
    kept = {} if done.record is None else {"record": base64.b64encode(Baseline.of(done.record).to_bytes()).decode()}
    return json.dumps({"audit": done.as_dict(), **kept}).encode()


def _golden(model: Model, options: Mapping[str, Any]) -> Golden:
    """Golden vectors of a model on the data of the audit, prepared and run likewise.

    Raises:
        InputError: it cannot be run on them.
    """
    images = {name: options[name] for name in ("preprocess", "size", "fit", "background") if name in options}
    running = {name: options[name] for name in ("provider", "threads", "memory") if name in options}
    try:
        return Golden.of(model, options.get("data"), images=images, **running)
    except OnnxvizError as error:
        raise InputError(f"no golden vectors can be made for {option('write_golden')}: {error}") from None


def _allow(weights: int, batches: int | None) -> None:
    if batches is not None:
        confined_work.limit_memory(3 * weights + batches + (1 << 30))


def _weights(model: Model) -> int:
    """Bytes of the weights, about: in the file, or elsewhere, or made when it runs."""
    return max(_size(model.file), 4 * model.parameters)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0
