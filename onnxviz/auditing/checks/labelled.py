"""Checks on labelled data: accuracy with its interval, confusions, the order of classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from onnxviz.auditing.check import UnmeasuredError
from onnxviz.auditing.finding import Finding, Severity
from onnxviz.auditing.registry import check
from onnxviz.auditing.sample_classes import class_of
from onnxviz.auditing.scorer import wilson_bounds
from onnxviz.auditing.subject import Subject
from onnxviz.errors import SelectionError
from onnxviz.messages import printable
from onnxviz.model.scores import class_names, find_scores
from onnxviz.predictions.prediction import ClassShare

_MOST = 3


@check("I04", Severity.ERROR, needs=("data", "labels"))
def accuracy(subject: Subject) -> Iterator[Finding]:
    """How often the right class is first, or among five; and whether the order of classes fits.

    Why it matters: it is what the model is for. A list of classes that is sorted otherwise than in training makes every
    answer wrong, with scores that look sound.

    How it is measured: the share of samples whose class is the first, and among the first five, each with the interval
    of Wilson (1927) at 95 %. The most frequent confusions and the wrong answers with the largest share are named. For
    the order, each class is given the answer that is most frequent for it in one half of the samples, one answer to one
    class; where the other half fits that better than the labels, and the intervals are apart, it is an error. An
    accuracy no better than chance is a warning, any other a note.

    What to do: hold the order in which training numbered the classes against the names in the model (`onnxviz annotate
    --labels`) and the labels given here; look at the images named.
    """
    answers = _answers(subject)
    names = class_names(subject.model)
    first, five = _share(answers, 1), _share(answers, 5)
    wrong = sorted((one for one in answers if one.rank), key=lambda one: -one.certainty)
    confused = Counter((one.label, one.top[0].number) for one in wrong).most_common(_MOST)
    said = [f"top-1 {first}, top-5 {five}, of {len(answers):,} labelled samples"]
    if confused:
        listed = ", ".join(f"{_name(a, names)} as {_name(b, names)} ({count})" for (a, b), count in confused)
        said.append(f"most often confused: {listed}")
        said.append("most certain and wrong: " + ", ".join(printable(one.sample, 80) for one in wrong[:_MOST]))
    scored = _class_count(subject)
    chance = 1 / scored if scored else 0.0
    mapped, moved = _fitted(answers)
    misordered = bool(moved) and mapped.low > first.high
    lost = first.value <= chance and not misordered
    yield subject.finding(
        "; ".join(said) + (f"; by chance it would be {chance:.1%}" if lost else ""),
        "look at the images named, and at the preprocessing (I01)" if wrong else "nothing",
        severity=Severity.WARNING if lost else Severity.NOTE,
        value=first.value,
        threshold=chance if lost else None,
    )
    if misordered:
        listed = ", ".join(f"{_name(a, names)} is answered as {_name(b, names)}" for a, b in moved[:_MOST])
        steps = {b - a for a, b in moved}
        shift = f", all by {next(iter(steps)):+d}" if len(steps) == 1 and len(moved) > 1 else ""
        yield subject.finding(
            f"in another order of classes top-1 is {mapped} instead of {first}: {len(moved)} classes are moved{shift}: "
            f"{listed}",
            "hold the order in which training numbered the classes against the model's names and the labels given",
            value=mapped.value,
            threshold=first.high,
        )


@check("I08", Severity.ERROR, needs=("data", "labels"), asked=True, budgets=("top-1", "top-5"))
def below_the_floor(subject: Subject) -> Iterator[Finding]:
    """An accuracy below the floor that the configuration sets.

    Why it matters: a release that answers worse than agreed does not ship.

    How it is measured: the share of samples whose class is the first (`top-1`) or among the first five (`top-5`), held
    against the floors of these names among the budgets, 0 to 1. Runs only where there is one.

    What to do: see I04 for the confusions and the worst images.
    """
    floors = [(name, count) for name, count in (("top-1", 1), ("top-5", 5)) if name in subject.settings.budgets]
    if not floors:
        raise UnmeasuredError("no floor is set: top-1 or top-5 in [audit.budgets]")
    answers = _answers(subject)
    for name, count in floors:
        share, floor = _share(answers, count), subject.settings.budgets[name]
        if share.value < floor:
            yield subject.finding(
                f"{name} is {share} of {len(answers):,} labelled samples; the floor is {floor:.1%}",
                "see I04 for the confusions and the worst images",
                where=name,
                value=share.value,
                threshold=floor,
            )


@dataclass(frozen=True)
class LabelledAnswer:
    """What the model says of a labelled sample.

    Attributes:
        sample: its label in messages.
        label: its class.
        top: the classes that the model puts first, at most five.
    """

    sample: str
    label: int
    top: tuple[ClassShare, ...]

    @property
    def rank(self) -> int:
        """At which place its class is, from 0; as many as there are where it is not among them."""
        return next((place for place, one in enumerate(self.top) if one.number == self.label), len(self.top))

    @property
    def certainty(self) -> float:
        """The share of the first class, or what it is ahead by where there are no shares."""
        first = self.top[0]
        ahead = first.score - self.top[1].score if len(self.top) > 1 else first.score
        return first.share if first.share is not None else ahead


@dataclass(frozen=True)
class Proportion:
    """A share of samples, with its interval, that of Wilson.

    Attributes:
        hits: of how many samples something holds.
        total: of how many.
    """

    hits: int
    total: int

    @property
    def value(self) -> float:
        """0…1."""
        return self.hits / self.total

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return wilson_bounds(self.value, self.total)[0]

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return wilson_bounds(self.value, self.total)[1]

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%})"


def _answers(subject: Subject) -> list[LabelledAnswer]:
    """What the model says of each labelled sample."""
    labels = subject.extras.labels or {}
    classes = {one.label: class_of(one, labels) for one in subject.samples}
    found = []
    for one in subject.predictions:
        label = classes.get(one.input)
        if label is None:
            label = labels.get(one.input)
        if label is None:
            continue
        if not one.answer.top and one.answer.kind == "classes":
            raise UnmeasuredError(f"{one.input} has {one.answer.remark}")
        if not one.answer.top or one.answer.kind not in ("classes", "probability"):
            raise UnmeasuredError(f"the model gives {one.answer.kind} of a sample, not one class")
        found.append(LabelledAnswer(one.input, label, one.answer.top))
    if not found:
        raise UnmeasuredError("no sample has a class: their paths are not those that the classes are given for")
    scored = _class_count(subject)
    beyond = max(one.label for one in found)
    if scored is not None and beyond >= scored:
        raise UnmeasuredError(f"the labels go up to {beyond}, but the model scores {scored} classes, from 0")
    return found


def _class_count(subject: Subject) -> int | None:
    """How many classes the model scores; None where that is open."""
    try:
        scores = find_scores(subject.model)
    except SelectionError:
        return None
    return scores.classes(subject.model.shapes.of(scores.tensor))


def _share(answers: Sequence[LabelledAnswer], first: int) -> Proportion:
    return Proportion(sum(one.rank < min(first, len(one.top)) for one in answers), len(answers))


def _fitted(answers: Sequence[LabelledAnswer]) -> tuple[Proportion, list[tuple[int, int]]]:
    """How often the answer is the one that the other half of the samples gives a class, and the classes that move."""
    seen: Counter[int] = Counter()
    halves: tuple[list[LabelledAnswer], list[LabelledAnswer]] = ([], [])
    for one in answers:
        halves[seen[one.label] % 2].append(one)
        seen[one.label] += 1
    hits = 0
    for mine, other in (halves, halves[::-1]):
        order = _order(other)
        hits += sum(order.get(one.label) == one.top[0].number for one in mine)
    moved = sorted((a, b) for a, b in _order(answers).items() if a != b)
    return Proportion(hits, len(answers)), moved


def _order(answers: Sequence[LabelledAnswer]) -> Mapping[int, int]:
    """To each class the answer that is most frequent for it, one answer to one class, the most frequent pairs first."""
    pairs = Counter((one.label, one.top[0].number) for one in answers)
    found: dict[int, int] = {}
    for (label, answer), _ in sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0][0] != pair[0][1], pair[0])):
        if label not in found and answer not in found.values():
            found[label] = answer
    return found


def _name(number: int, names: Sequence[str]) -> str:
    return f"'{printable(names[number], 40)}'" if number < len(names) and names[number] else str(number)
