"""JUnit XML: well-formed whatever names hold, its counts its elements, no name twice in a class."""

from xml.etree import ElementTree as Xml

import pytest
from audits import NASTY, audit_of, finding, sample_audits

from onnxviz.auditing.finding import Severity
from onnxviz.auditing.formats.junit import junit

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
