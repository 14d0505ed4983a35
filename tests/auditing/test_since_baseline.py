"""Findings since a baseline: what is new and gone as multisets have it, whatever was measured."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from audits import finding
from hypothesis import given
from hypothesis import strategies as st

from onnxviz.auditing.since_baseline import KeptFindings, SinceBaseline

FINDINGS = st.lists(
    st.builds(
        finding, st.sampled_from(["W01", "W02", "R01"]), layer=st.sampled_from(["", "a", "b"]),
        channel=st.sampled_from([None, 1]), where=st.sampled_from(["", "x"]), value=st.floats(0, 1),
    ),
    max_size=8,
)  # fmt: skip
RAN = st.frozensets(st.sampled_from(["W01", "W02", "R01"]))


def keys(findings):
    return Counter((one.code, one.layer, one.channel, one.where) for one in findings)


@given(FINDINGS, FINDINGS, RAN, RAN)
def test_new_and_gone_are_differences_of_multisets(before, after, ran, runs):
    new, gone = KeptFindings(tuple(before), ran).changes(after, runs, frozenset({"R01"}))
    only_new, only_gone = keys(after) - keys(before), keys(before) - keys(after)
    assert keys(new) == Counter({key: n for key, n in only_new.items() if key[0] in ran - {"R01"}})
    assert keys(gone) == Counter({key: n for key, n in only_gone.items() if key[0] in runs - {"R01"}})


@given(FINDINGS)
def test_read_again(findings):
    kept = KeptFindings.read([one.as_dict() for one in findings], ["W01"])
    assert kept.findings == tuple(findings)
    since = SinceBaseline("m.onnx", "ab", tuple(findings), ())
    assert SinceBaseline.of(since.as_dict()) == since


def test_accepted_by_what_it_is_about():
    one = finding("W02", layer="a", channel=3, value=0.5)
    kept = KeptFindings((replace(one, reason="known"),), frozenset({"W02"}))
    found = kept.accepted([replace(one, value=0.7), replace(one, channel=4), replace(one, reason="mine")])
    assert [one.reason for one in found] == ["known", "", "mine"]


def test_names_and_numbers_of_now():
    kept = KeptFindings((finding(layer="a", channel=3), finding(where="a"), finding(layer="z", channel=3)), frozenset())
    found = kept.renamed({"a": "b"}, lambda layer, number: {("b", 3): 7}[layer, number]).findings
    assert [(one.layer, one.channel, one.where) for one in found] == [("b", 7, ""), ("", None, "b"), ("z", 3, "")]
