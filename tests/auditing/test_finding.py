"""Findings: severities in order, words for a place, JSON there and back."""

import json
import math

import pytest
from audits import finding

from onnxviz.auditing.finding import Finding, Severity, alike, sorted_findings


def test_severities_reach_those_below():
    order = [Severity.ERROR, Severity.WARNING, Severity.NOTE]
    table = [[one.reaches(other) for other in order] for one in order]
    assert table == [[True, True, True], [False, True, True], [False, False, True]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ""),
        ({"layer": "conv1"}, "conv1"),
        ({"layer": "conv1", "channel": 0}, "conv1, channel 0"),
        ({"where": "output 'y'"}, "output 'y'"),
        ({"layer": "conv1", "channel": 7, "where": "bias"}, "conv1, channel 7, bias"),
    ],
)
def test_the_place_is_said_from_large_to_small(options, words):
    assert finding(**options).place == words


@pytest.mark.parametrize(
    "one",
    [
        finding(),
        finding(layer="c", channel=0, where="w", value=1.5, threshold=0.0),
        finding(severity="note", reason="known"),
    ],
)
def test_json_there_and_back(one):
    assert Finding.of(json.loads(json.dumps(one.as_dict(), allow_nan=False))) == one


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_does_not_have_are_none(number):
    entry = finding(value=number, threshold=number).as_dict()
    assert entry["value"] is entry["threshold"] is None


def test_the_most_severe_come_first_and_of_one_check_in_its_order():
    given = [
        finding("W02", "note"), finding("W03", "error", layer="b"), finding("A01", "warning"),
        finding("W03", "error", layer="a"), finding("G00", "error"),
    ]  # fmt: skip
    assert [(one.code, one.layer) for one in sorted_findings(given)] == [
        ("G00", ""), ("W03", "b"), ("W03", "a"), ("A01", ""), ("W02", ""),
    ]  # fmt: skip


# ---------------------------------------------------------------- what is alike


def layers(count, **options):
    return [finding(layer=f"l{n}", **options) for n in range(count)]


def test_what_one_advice_answers_is_a_group_of_its_own():
    given = [*layers(2), *layers(1, severity="note"), *layers(1, reason="known"), *layers(3, do="prune"), *layers(2)]
    groups = alike(given)
    assert [len(group.findings) for group in groups] == [4, 1, 1, 3]
    assert sorted(map(id, given)) == sorted(id(one) for group in groups for one in group.findings)


@pytest.mark.parametrize(("count", "shown"), [(1, 1), (3, 3), (4, 0), (500, 0)])
def test_few_are_shown_each_by_itself(count, shown):
    (group,) = alike(layers(count))
    assert len(group.parts) == shown


@pytest.mark.parametrize(
    ("values", "threshold", "worst"),
    [
        ([2.0, 9.0, 3.0, 4.0], 1.0, 1),
        ([0.4, 0.3, 0.0, 0.1], 0.5, 2),
        ([2.0, math.inf, 3.0, 4.0], 1.0, 1),
        ([math.nan, 2.0, 3.0, 2.5], 1.0, 2),
        ([None] * 4, None, 0),
        ([1.0] * 4, 1.0, 0),
    ],
)
def test_the_worst_is_farthest_from_its_threshold(values, threshold, worst):
    (group,) = alike(finding(layer=f"l{n}", value=one, threshold=threshold) for n, one in enumerate(values))
    assert group.worst.layer == f"l{worst}"
    assert group.extent == f"in 4 layers, {'worst' if threshold is not None else 'first'} in "


@pytest.mark.parametrize(
    ("findings", "extent"),
    [
        (layers(1234), "in 1,234 layers, first in "),
        ([*layers(3), *layers(3)], "6 times in 3 layers, first in "),
        ([finding(layer="l", channel=n) for n in range(5)], "5 times in 1 layer, first in "),
        ([finding(where=f"tensor {n}") for n in range(5)], "in 5 places, first in "),
        ([finding() for _ in range(5)], "5 times"),
        ([finding(), *layers(4)], "5 times"),
    ],
)
def test_the_extent_counts_layers_or_places(findings, extent):
    (group,) = alike(findings)
    assert group.extent == extent
