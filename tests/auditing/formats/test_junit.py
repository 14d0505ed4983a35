"""JUnit XML: well-formed whatever names hold, its counts its elements, no name twice in a class."""

from xml.etree import ElementTree as Xml

import pytest
from audits import NASTY, audit_of, finding, sample_audits
from hypothesis import given, settings
from stranger_texts import texts

from onnxviz.auditing.finding import Severity
from onnxviz.auditing.formats.junit import LONGEST, junit
from onnxviz.messages import printable

# Of the schema of Jenkins' xUnit plugin, junit-10.xsd: what each element may have. (It says `errors` for `error`, which
# is what pytest writes and what its readers take.)
ATTRIBUTES = {
    "testsuites": {"name", "tests", "failures", "errors"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped"},
    "testcase": {"name", "classname"},
    "failure": {"message", "type"}, "error": {"message", "type"}, "skipped": {"message"}, "system-out": set(),
}  # fmt: skip
CHILDREN = {
    "testsuites": {"testsuite"}, "testsuite": {"testcase"}, "testcase": {"failure", "error", "skipped", "system-out"},
}  # fmt: skip


ON = Severity.ERROR


def read(audits, on="error"):
    text = junit(audits, Severity(on))
    assert text.startswith("<?xml version='1.0'")
    return Xml.fromstring(text)


@pytest.mark.parametrize("on", ["error", "warning", "note"])
def test_elements_are_those_of_the_dialect_and_counts_are_right(on):
    root = read(sample_audits(), on)
    for element in root.iter():
        assert element.attrib.keys() == ATTRIBUTES[element.tag]
        assert {child.tag for child in element} <= CHILDREN.get(element.tag, set())
        assert element.tag != "testcase" or len(element) <= 1
    for element in (root, *root.iter("testsuite")):
        counted = {
            "tests": len(list(element.iter("testcase"))), "failures": len(list(element.iter("failure"))),
            "errors": len(list(element.iter("error"))), "skipped": len(list(element.iter("skipped"))),
        }  # fmt: skip
        assert {name: int(element.get(name)) for name in counted if name in element.attrib} == {
            name: count for name, count in counted.items() if name in ATTRIBUTES[element.tag]
        }


def test_a_suite_a_model_and_a_class_a_group():
    root = read(sample_audits())
    assert [suite.get("name") for suite in root] == ["models/m.onnx", "models/a b#é.onnx", "models/good.onnx"]
    classes = {case.get("classname") for case in root[0]}
    assert classes == {"models/m.onnx.weights", "models/m.onnx.graph"}


def test_no_name_occurs_twice_in_a_class():
    root = read(sample_audits())
    names = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert len(names) == len({*names})
    assert ("models/m.onnx.weights", "W01 conv1, channel 4 (2)") in names


@pytest.mark.parametrize(("on", "failures"), [("error", 3), ("warning", 4), ("note", 5)])
def test_what_fails_the_audit_fails_a_test(on, failures):
    suite = read(sample_audits(), on)[0]
    assert int(suite.get("failures")) == failures
    outputs = [case.find("system-out").text for case in suite if case.find("system-out") is not None]
    assert len(outputs) == 6 - failures
    assert any("accepted: known since 2024" in text for text in outputs)


def test_a_failure_says_what_was_found_and_what_to_do():
    (case,) = read([audit_of(finding(layer="conv1", channel=3))]).iter("testcase")
    assert case.get("name") == "W01 conv1, channel 3"
    (failure,) = case
    assert (failure.tag, failure.get("message"), failure.get("type")) == ("failure", "3 of 9 weights are NaN", "W01")
    assert failure.text == "error: 3 of 9 weights are NaN\nwhat to do: export it again"


def test_a_model_that_could_not_be_audited_is_an_error():
    (case,) = read(sample_audits())[1]
    assert [child.tag for child in case] == ["error"]


def test_a_check_that_passed_is_one_test_and_one_not_run_is_skipped():
    root = read(sample_audits())
    assert [(case.get("name"), len(case)) for case in root[2]] == [
        ("G00 A model that cannot be audited.", 0), ("W01 NaN or infinity in the weights of a layer.", 0),
    ]  # fmt: skip
    (skipped,) = root.iter("skipped")
    assert skipped.get("message") == "no data were given (--data)"


def test_characters_that_xml_does_not_have_are_replaced():
    nasty = NASTY + "\x00\ud800\ufffe"
    root = read([audit_of(finding(layer=nasty, message=nasty, do=nasty), label=nasty, not_run=[("W01", nasty)])])
    texts = [text for element in root.iter() for text in (*element.attrib.values(), element.text or "")]
    assert all(text.replace("\n", "").isprintable() for text in texts)
    assert any("`<b>&" in text for text in texts)


@given(texts, texts, texts)
@settings(max_examples=50)
def test_what_is_read_back_is_what_was_said(name, message, do):
    root = read([audit_of(finding(layer=name, message=message, do=do), label=name, not_run=[("W02", message)])])
    failing, skipped = root.iter("testcase")
    assert {element.tag for element in root.iter()} == {"testsuites", "testsuite", "testcase", "failure", "skipped"}
    assert failing.get("classname") == f"{printable(name, 1000)}.weights"
    assert failing.get("name") == printable(f"W01 {name}".rstrip(), 300)
    assert failing[0].get("message") == skipped[0].get("message") == printable(message, 1000)
    assert failing[0].text == f"error: {printable(message, 1000)}\nwhat to do: {printable(do, 1000)}"


def test_a_name_that_looks_like_a_second_one_is_no_second_one():
    names = ["a", "a (2)", "a", "a", "a (2)"]
    root = read([audit_of(*(finding(layer=name) for name in names))])
    found = [case.get("name") for case in root.iter("testcase")]
    assert len(set(found)) == len(names)
    assert found[:3] == ["W01 a", "W01 a (2)", "W01 a (3)"]


@pytest.mark.parametrize(("severity", "tag"), [("error", "failure"), ("note", "skipped")])
def test_a_file_is_no_longer_than_gitlab_takes(severity, tag):
    """30 MB, here 100 kB. What is left out fails where it would have failed."""
    findings = [finding(layer=f"l{n}", message='"é' * 250, severity=severity) for n in range(300)]
    audits = [audit_of(*findings), audit_of(label="n.onnx", passed=["W01"])]
    text = junit(audits, ON, 100_000)
    assert LONGEST == 30_000_000
    assert 80_000 < len(text.encode()) <= 100_000
    cases = list(Xml.fromstring(text).iter("testcase"))
    last = cases[-1]
    assert (last.get("classname"), last.get("name"), last[0].tag) == ("n.onnx.audit", "left out", tag)
    assert last[0].get("message") == f"{301 - (len(cases) - 1):,} more tests: onnxviz audit -o audit.json has all"
