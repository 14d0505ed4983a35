"""Settings: thresholds, severities, accepted findings and budgets from a file; what it cannot mean is refused."""

import re
from dataclasses import replace

import pytest
from audits import finding

from onnxviz.auditing.finding import Severity
from onnxviz.auditing.registry import load_checks
from onnxviz.auditing.settings import Settings
from onnxviz.errors import InputError


def made(code, **thresholds):
    (one,) = (one for one in load_checks() if one.code == "W01")
    return replace(one, code=code, thresholds=thresholds)


CHECKS = [made("W01"), made("W02", share=0.5, most=3), replace(made("G08"), budgets=("parameters", "latency-ms"))]
FULL = """
[audit]
version = 1
select = ["W"]
ignore = ["W01"]
fail-on = "warning"
thresholds.W02 = {share = 0.25, most = 7}
severities = {W01 = "note"}
budgets = {parameters = 1000000, latency-ms = 2.5}

[[audit.accept]]
code = "W02"
layers = "block*"
reason = "pruned on purpose"

[[audit.accept]]
code = "G"
reason = "an old exporter"
"""


def read(tmp_path, text, name="onnxviz.toml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return Settings.read(path, CHECKS)


def test_all_that_a_file_may_say(tmp_path):
    found = read(tmp_path, FULL)
    assert found.threshold(CHECKS[1], "share") == 0.25
    assert found.threshold(CHECKS[1], "most") == 7.0
    assert found.severity(CHECKS[0]) is Severity.NOTE
    assert found.severity(CHECKS[1]) is None
    assert found.budgets == {"parameters": 1_000_000.0, "latency-ms": 2.5}
    assert (found.select, found.ignore, found.fail_on) == (("W",), ("W01",), "warning")
    assert found.path == str(tmp_path / "onnxviz.toml")


def test_what_is_accepted_keeps_its_reason(tmp_path):
    found = read(tmp_path, FULL)
    reasons = {
        (one.code, one.layer): found.judged(one).reason
        for one in (
            finding("W02", layer="block1_conv1"), finding("W02", layer="head"), finding("W02"),
            finding("W01", layer="block1_conv1"), finding("G08", layer="any"), finding("G08"),
        )
    }  # fmt: skip
    assert reasons == {
        ("W02", "block1_conv1"): "pruned on purpose", ("W02", "head"): "", ("W02", ""): "",
        ("W01", "block1_conv1"): "", ("G08", "any"): "an old exporter", ("G08", ""): "an old exporter",
    }  # fmt: skip


def test_without_a_file_everything_is_as_usual(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = Settings.read(None, CHECKS)
    assert found == Settings()
    assert found.threshold(CHECKS[1], "share") == 0.5
    one = finding()
    assert found.judged(one) is one


def test_onnxviz_toml_comes_before_pyproject(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.onnxviz.audit]\nfail-on = 'note'\n[tool.other]\nx = 1\n")
    assert Settings.read(None, CHECKS).fail_on == "note"
    (tmp_path / "onnxviz.toml").write_text("[audit]\nfail-on = 'warning'\n")
    assert Settings.read(None, CHECKS).fail_on == "warning"
    (tmp_path / "onnxviz.toml").write_text("[other]\nx = 1\n")
    assert Settings.read(None, CHECKS).fail_on == "note"


BROKEN = {
    "no TOML": ("[audit", "cannot be read as settings"),
    "not text": (b"\xff\xfe", "cannot be read as settings"),
    "a later version": ("[audit]\nversion = 2", "holds settings of version 2; this onnxviz reads 1"),
    "no table": ("audit = 3", "'audit' is no table"),
    "a setting that is none": (
        "[audit]\nfail_on = 'note'", "setting 'fail_on' does not exist; the nearest is 'fail-on'",
    ),
    "a threshold of no check": ("[audit.thresholds.W03]\nx = 1", "check 'W03' does not exist; the nearest is 'W0[12]'"),
    "no threshold of its check": (
        "[audit.thresholds.W02]\nshares = 1", "threshold of W02 'shares' does not exist; the nearest is 'share'",
    ),
    "a threshold of a check that has none": (
        "[audit.thresholds.W01]\nshare = 1", "threshold of W01 'share' does not exist",
    ),
    "a threshold that is text": ("[audit.thresholds.W02]\nshare = '1'", "W02.share is a number, not '1'"),
    "a threshold that no number is above": ("[audit.thresholds.W02]\nshare = nan", "W02.share is a number, not nan"),
    "a threshold that is a truth": ("[audit.thresholds.W02]\nshare = true", "W02.share is a number, not True"),
    "thresholds that are no tables": ("[audit]\nthresholds.W02 = 3", "thresholds are tables by code"),
    "thresholds that are a number": ("[audit]\nthresholds = 3", "thresholds is a table, not 3"),
    "a severity of no check": ("[audit.severities]\nW9 = 'note'", "check 'W9' does not exist"),
    "no severity": (
        "[audit.severities]\nW01 = 'fatal'", "there is no severity .* 'fatal'; there are error, warning, note",
    ),
    "severities that are no table": ("[audit]\nseverities = ['note']", "severities is a table"),
    "budgets that are no table": ("[audit]\nbudgets = 3", "budgets is a table"),
    "a budget that is text": ("[audit.budgets]\nparameters = 'few'", "budget parameters is a number"),
    "a budget of no check": (
        "[audit.budgets]\nlatency_ms = 3", "budget 'latency_ms' does not exist; the nearest is 'latency-ms'",
    ),
    "accepted at what is none": (
        "[[audit.accept]]\ncode = 'W01'\nreason = 'so'\nlayer = 'conv1'", "'layer' does not exist; .* is 'layers'",
    ),
    "accepted at a list of layers": (
        "[[audit.accept]]\ncode = 'W01'\nreason = 'so'\nlayers = ['a', 'b']", "layers of what is accepted is text",
    ),
    "accepted without a reason": ("[[audit.accept]]\ncode = 'W01'", "has a code and a reason"),
    "accepted for an empty reason": ("[[audit.accept]]\ncode = 'W01'\nreason = ' '", "has a code and a reason"),
    "accepted of no check": ("[[audit.accept]]\ncode = 'X'\nreason = 'so'", "check 'X' does not exist"),
    "accepted of every check": ("[[audit.accept]]\ncode = ''\nreason = 'so'", "check '' does not exist"),
    "accepted that is no list": ("[audit]\naccept = 3", "accept is a list"),
    "no severity to fail on": ("[audit]\nfail-on = 'never'", "there is no severity to fail on .* 'never'"),
    "select that is text": ("[audit]\nselect = 'W'", "select is a list"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_meant_is_refused_in_one_line(tmp_path, case):
    text, match = BROKEN[case]
    path = tmp_path / "onnxviz.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=match) as error:
        Settings.read(path, CHECKS)
    said = str(error.value)
    assert re.match(re.escape(str(path)), said) or "(in " in said
    assert "\n" not in said


def test_a_file_that_is_named_must_be_there(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml cannot be read as settings"):
        Settings.read(tmp_path / "none.toml", CHECKS)
