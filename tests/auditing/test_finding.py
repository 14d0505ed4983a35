"""Findings: severities in order, words for a place, JSON there and back."""

import json
import math

import pytest
from audits import finding

from onnxviz.auditing.finding import Finding, Severity, sorted_findings


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
