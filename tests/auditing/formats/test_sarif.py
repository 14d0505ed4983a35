"""SARIF: what the standard asks, what code scanning asks beyond it, and nothing of a stranger that is not text."""

import json
import re
from urllib.parse import unquote

import pytest
from audits import NASTY, audit_of, finding, sample_audits
from hypothesis import HealthCheck, given, settings
from stranger_texts import texts

from onnxviz.auditing.finding import Severity
from onnxviz.auditing.formats.sarif import MOST, sarif, uri
from onnxviz.auditing.registry import load_checks

ON = Severity.ERROR


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run_of(audits):
    log = json.loads(sarif(audits, ON), parse_constant=pytest.fail)
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-2.1.0.json")
    (run,) = log["runs"]  # GitHub takes twenty, however many models there are
    return run


# Of the schema (OASIS, sarif-schema-2.1.0.json): the properties that objects may have, and those that they must.
OBJECTS = {
    "run": ({"tool"}, {"automationDetails", "invocations", "artifacts", "results"}),
    "driver": ({"name"}, {"version", "semanticVersion", "rules"}),
    "rule": ({"id"}, {"name", "shortDescription", "fullDescription", "help", "defaultConfiguration", "properties"}),
    "result": (
        {"message"},
        {"ruleId", "ruleIndex", "level", "locations", "partialFingerprints", "properties", "suppressions"},
    ),
    "notification": ({"message"}, {"associatedRule", "level", "locations"}),
    "suppression": ({"kind"}, {"status", "justification"}),
    "artifact": (set(), {"location", "hashes"}),
}


def holds(kind, entry):
    must, may = OBJECTS[kind]
    assert must <= entry.keys() <= must | may, (kind, entry)


def test_objects_have_what_the_schema_lets_them_have():
    run = run_of(sample_audits())
    holds("run", run)
    holds("driver", run["tool"]["driver"])
    for name, entries in (
        ("rule", run["tool"]["driver"]["rules"]), ("result", run["results"]), ("artifact", run["artifacts"]),
        ("notification", run["invocations"][0]["toolExecutionNotifications"]),
    ):  # fmt: skip
        assert entries
        for entry in entries:
            holds(name, entry)
    assert run["invocations"][0].keys() == {"executionSuccessful", "toolExecutionNotifications"}
    for entry in (*run["results"], *run["invocations"][0]["toolExecutionNotifications"]):
        assert entry["level"] in ("error", "warning", "note")
    ids = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(ids) == len({*ids})
    for result in run["results"]:
        assert ids[result["ruleIndex"]] == result["ruleId"]


def test_no_text_is_empty_or_anything_but_text():
    def texts(entry):
        if isinstance(entry, dict):
            for key, value in entry.items():
                yield from [value] if isinstance(value, str) else texts(value)
                assert key
        elif isinstance(entry, list):
            for value in entry:
                yield from [value] if isinstance(value, str) else texts(value)

    found = list(texts(run_of(sample_audits())))
    assert all(text.strip() for text in found)
    assert all(text.replace("\n", "").isprintable() for text in found)


def test_every_result_lies_in_its_file_at_line_1_column_1():
    for result in run_of(sample_audits())["results"]:
        (location,) = result["locations"]
        assert location["physicalLocation"]["region"] == {
            "startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 1,
        }  # fmt: skip
        assert re.fullmatch(r"[A-Za-z0-9._~%/-]+", location["physicalLocation"]["artifactLocation"]["uri"])


def texts_of(run):
    """The messages of results and notifications."""
    return [one["message"]["text"] for one in (*run["results"], *run["invocations"][0]["toolExecutionNotifications"])]


@given(texts, texts)
@settings(
    max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # the current folder is the same throughout
def test_a_message_holds_no_link(name, message):
    """`[text](target)` is a link in a plain text message (SARIF 2.1.0, section 3.11.6)."""
    run = run_of([audit_of(finding(layer=name, message=message, do=name), not_run=[("W02", message)])])
    for text in texts_of(run):
        assert not re.search(r"\]\(", text)
        assert text.replace("] (", "](").isprintable()


def test_of_more_results_than_are_kept_the_most_severe_are_there():
    """GitHub keeps 5,000 of a run and refuses 25,001."""
    notes = [finding(severity="note", layer=f"l{n}") for n in range(4999)]
    accepted = [finding(layer="accepted", reason="known")] * 2
    run = run_of([audit_of(*accepted, *notes, label="a.onnx"), audit_of(finding("G00"), finding(severity="warning"))])
    assert len(run["results"]) == MOST == 5000
    assert [one["level"] for one in run["results"][:3]] == ["error", "warning", "note"]
    assert not any("suppressions" in one for one in run["results"])
    (said,) = run["invocations"][0]["toolExecutionNotifications"]
    assert (said["level"], said["message"]["text"][:54]) == (
        "warning", "3 more findings, the least severe, are left out: onnxv",
    )  # fmt: skip


@pytest.mark.parametrize("label", ["m.onnx", "./a/../a/m.onnx", "a b#é%.onnx", "deep/er/m.onnx"])
def test_paths_are_relative_to_the_current_folder(label, tmp_path):
    found = uri(label)
    assert not found.startswith(("/", "."))
    assert (tmp_path / unquote(found)) == (tmp_path / label).resolve()
    assert uri(str(tmp_path / label)) == found


def test_a_path_outside_the_current_folder_is_a_file_uri():
    assert uri("../elsewhere/m.onnx").startswith("file:///")
    assert uri("/models/m é.onnx") == "file:///models/m%20%C3%A9.onnx"


def fingerprints(*findings, **options):
    results = run_of([audit_of(*findings, **options)])["results"]
    return [result["partialFingerprints"]["primaryLocationLineHash"] for result in results]


def test_a_fingerprint_is_of_code_layer_channel_and_place_alone():
    (first,) = fingerprints(finding(layer="a", channel=1, value=1.0))
    assert re.fullmatch(r"[0-9a-f]{16}:1", first)
    same = finding(layer="a", channel=1, value=2.0, message="other words", severity="note", do="x", threshold=9.0)
    assert fingerprints(same, label="other.onnx") == [first]
    others = [
        finding("G00", layer="a", channel=1), finding(layer="b", channel=1), finding(layer="a", channel=2),
        finding(layer="a"), finding(layer="a", channel=1, where="bias"), finding(layer="a, channel 1"),
    ]  # fmt: skip
    assert len({first, *fingerprints(*others)}) == 7


def test_two_findings_of_one_place_have_two_fingerprints():
    first, second = fingerprints(finding(layer="a"), finding(layer="a"))
    assert (first[:-1], first[-1], second[-1]) == (second[:-1], "1", "2")


def test_rules_are_the_manuals_and_say_how_sure_they_are():
    checks = {check.code: check for check in load_checks()}
    rules = {rule["id"]: rule for rule in run_of(sample_audits())["tool"]["driver"]["rules"]}
    assert {*rules} == {"G00", "W01"}
    for code, rule in rules.items():
        assert rule["shortDescription"]["text"] == checks[code].title
        assert len(rule["fullDescription"]["text"]) <= 1024
        assert rule["help"]["text"] == checks[code].manual
        assert rule["properties"]["precision"] in ("very-high", "high", "medium", "low")
        assert rule["properties"]["problem.severity"] in ("error", "warning", "recommendation")
        assert "security-severity" not in rule["properties"]


@pytest.mark.parametrize("check", load_checks(), ids=lambda check: check.code)
def test_the_manual_of_every_check_fits(check):
    (rule,) = run_of([audit_of(passed=[check.code])])["tool"]["driver"]["rules"]
    assert len(rule["fullDescription"]["text"]) <= 1024


def test_a_result_says_place_finding_and_what_to_do():
    (result,) = run_of([audit_of(finding(layer="conv1", channel=3, value=3.0, threshold=0.0))])["results"]
    assert result["message"]["text"] == "conv1, channel 3: 3 of 9 weights are NaN. What to do: export it again."
    assert result["properties"] == {"value": 3.0, "threshold": 0.0}
    assert result["locations"][0]["logicalLocations"] == [{"fullyQualifiedName": "conv1, channel 3"}]


def test_accepted_findings_are_suppressed_with_their_reason():
    results = run_of(sample_audits())["results"]
    suppressed = [result["suppressions"] for result in results if "suppressions" in result]
    assert suppressed == [
        [{"kind": "external", "status": "accepted", "justification": "known since 2024, model card"}]
    ]  # fmt: skip


def test_what_was_not_run_is_a_notification():
    ((one,)) = run_of(sample_audits())["invocations"][0]["toolExecutionNotifications"]
    assert one["associatedRule"] == {"id": "W01"}
    assert one["message"]["text"] == "W01 was not run: no data were given (--data)"


@pytest.mark.parametrize(
    ("labels", "identity"),
    [
        (["models/m.onnx"], "onnxviz/models/m.onnx/"),
        (["models/a.onnx", "models/b.onnx"], "onnxviz/models/"),
        (["models/a/m.onnx", "models/ab/m.onnx"], "onnxviz/models/"),
        (["a.onnx", "b.onnx"], "onnxviz/"),
    ],
)
def test_two_uploads_of_one_commit_have_identities_of_their_own(labels, identity):
    assert run_of([audit_of(label=label) for label in labels])["automationDetails"]["id"] == identity


def test_the_hash_of_a_model_that_was_read_goes_along():
    artifacts = run_of(sample_audits())["artifacts"]
    assert [entry.get("hashes") for entry in artifacts] == [{"sha-256": "ab" * 32}, None, {"sha-256": "ab" * 32}]


def test_strangers_names_stay_within_their_field():
    text = sarif([audit_of(finding(layer=NASTY, message=NASTY, do=NASTY))], ON)
    assert "\x1b" not in text
    assert "\u202e" not in text
    json.loads(text)
