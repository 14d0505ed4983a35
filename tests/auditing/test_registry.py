"""The registry: every check has a manual and a code of its own; prefixes choose; third parties join."""

import re
from dataclasses import replace

import pytest
from audits import registered

from onnxviz.auditing import registry
from onnxviz.auditing.finding import Severity
from onnxviz.auditing.registry import CHECKS, check, chosen, load_checks
from onnxviz.errors import OnnxvizError, SelectionError


@pytest.mark.parametrize("one", load_checks(), ids=lambda one: one.code)
def test_a_manual_says_what_why_how_and_what_to_do(one):
    assert re.fullmatch(r"[GWAPIR]\d\d", one.code)
    assert one.title
    assert len(one.title) <= 120
    paragraphs = one.manual.split("\n\n")
    begins = [paragraph.partition(":")[0] for paragraph in paragraphs[1:]]
    assert begins == ["Why it matters", "How it is measured", "What to do"]
    assert all(paragraph.partition(":")[2].strip() for paragraph in paragraphs[1:])


def test_checks_come_by_code():
    codes = [one.code for one in load_checks()]
    assert codes == sorted({*codes})
    assert {"G00", "W01"} <= {*codes}


def nothing(subject):
    yield from ()


@pytest.mark.parametrize("code", ["W01", "w99", "W9", "W999", "", "W01 "])
def test_a_code_is_a_letter_and_two_digits_and_taken_once(code):
    load_checks()
    nothing.__doc__ = "A manual."
    before = dict(CHECKS)
    with pytest.raises(ValueError, match=re.escape(repr(code))):
        check(code, Severity.NOTE)(nothing)
    assert before == CHECKS


def test_a_check_without_a_manual_is_none():
    def silent(subject):
        yield from ()

    with pytest.raises(ValueError, match="Z98"):
        check("Z98", Severity.NOTE)(silent)
    assert "Z98" not in CHECKS


def made(code, *, asked=False):
    (one,) = (one for one in load_checks() if one.code == "W01")
    return replace(one, code=code, asked=asked)


ALL = [made("G01"), made("G02"), made("P07", asked=True), made("W01"), made("W12")]


@pytest.mark.parametrize(
    ("select", "ignore", "codes"),
    [
        ((), (), "G01 G02 W01 W12"),
        (("W",), (), "W01 W12"),
        (("W1", "G02"), (), "G02 W12"),
        (("P07",), (), "P07"),
        ((), ("G", "W01"), "W12"),
        (("W",), ("W12",), "W01"),
        (("W01",), ("W",), ""),
    ],
)
def test_prefixes_choose(select, ignore, codes):
    assert [one.code for one in chosen(ALL, select, ignore)] == codes.split()


@pytest.mark.parametrize(
    ("prefix", "nearest"), [("W02", "W01|W12"), ("G3", "G01|G02"), ("w01", "W01"), ("", "[GPW]\\d\\d"), ("W011", "W01")]
)
@pytest.mark.parametrize("option", ["select", "ignore"])
def test_a_code_that_does_not_exist_is_refused_with_the_nearest(prefix, nearest, option):
    with pytest.raises(SelectionError, match=rf"no check is called '{prefix}'; the nearest is ({nearest})"):
        chosen(ALL, *((("W",), (prefix,)) if option == "ignore" else ((prefix,), ())))


class Entry:
    name = "theirs"

    def __init__(self, load):
        self.load = load


def test_third_parties_join(monkeypatch):
    asked = []

    def load():
        nothing.__doc__ = "Theirs."
        check("X01", Severity.WARNING, limit=2.0)(nothing)

    monkeypatch.setattr(registry, "entry_points", lambda group: asked.append(group) or [Entry(load)])
    try:
        (theirs,) = (one for one in load_checks() if one.code == "X01")
        assert (theirs.title, theirs.severity, theirs.thresholds) == ("Theirs.", Severity.WARNING, {"limit": 2.0})
    finally:
        CHECKS.pop("X01", None)
    assert asked == ["onnxviz.checks"]


def test_third_parties_that_cannot_be_loaded_are_one_line(monkeypatch):
    def load():
        raise ImportError("no module\x1b[31m of ours\nline two")

    monkeypatch.setattr(registry, "entry_points", lambda group: [Entry(load)])
    with pytest.raises(OnnxvizError, match="the checks 'theirs' cannot be loaded: no module") as error:
        load_checks()
    assert str(error.value).isprintable()


def test_a_registered_check_is_found_while_it_is_there():
    with registered("Z01", nothing, limit=1.0) as one:
        assert one in load_checks()
    assert "Z01" not in CHECKS
