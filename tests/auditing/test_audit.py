"""`audit`: which checks run, what becomes of what they give, and the document."""

import json
import math

import numpy as np
import onnx
import pytest
from audits import audit_of, finding, registered
from onnx import numpy_helper
from protos import classifier_proto

import onnxviz
from onnxviz.auditing import subject
from onnxviz.auditing.audit import Audit, document
from onnxviz.auditing.check import UnmeasuredError
from onnxviz.auditing.finding import NotRun, Severity
from onnxviz.comparison.compare import compare
from onnxviz.errors import InputError, ModelError, SelectionError, UnheededOptionError
from onnxviz.maps.statistics import statistics


def says(*messages, channel=None, **options):
    """A check that gives a finding for each message."""

    def run(subject):
        for message in messages:
            yield subject.finding(message, "do", **options).of_channel(channel)

    return run


def raises(error):
    def run(subject):
        raise error
        yield

    return run


def codes(found):
    return [one.code for one in found.findings]


def test_a_sound_model_passes(classifier):
    found = onnxviz.audit(classifier, select=["G00", "W01"])
    assert found.findings == found.not_run == ()
    assert found.passed == ("G00", "W01")
    assert not found.fails("note")
    assert repr(found) == f"Audit({str(classifier)!r}, 0 findings, 0 not run)"


def test_an_opened_model_bytes_and_protos_are_audited_alike(classifier):
    for source in (classifier, classifier.read_bytes(), classifier_proto(), onnxviz.load(classifier)):
        assert onnxviz.audit(source, select=["W01"]).passed == ("W01",)


def test_the_head_is_that_of_every_manifest(classifier):
    head = onnxviz.audit(classifier, select=["W01"]).head
    assert head["model"]["sha256"] == onnxviz.load(classifier).sha256
    assert head["versions"]["onnxruntime"]
    assert head["provider"] == "cpu"


@pytest.mark.parametrize(
    ("need", "given", "why"),
    [
        ("data", {"data": np.zeros((1, 3, 16, 12), np.float32)}, "no data were given"),
        ("labels", {"data": np.zeros((1, 3, 16, 12), np.float32), "classes": {"a": 1}}, "have no classes"),
        ("against", {"data": np.zeros((1, 3, 16, 12), np.float32), "against": "m.onnx"}, "no model was given"),
        ("source", {"source": "a:b"}, "no source"),
        ("target", {"target": "onnxruntime==1.17"}, "no target"),
    ],
)
def test_a_check_whose_need_is_not_given_is_not_run(classifier, need, given, why):
    with registered("Z01", says("found"), needs=(need,)):
        without = onnxviz.audit(classifier, select=["Z"])
        assert (without.findings, without.passed) == ((), ())
        ((code, reason),) = [(one.code, one.why) for one in without.not_run]
        assert code == "Z01"
        assert why in reason
        assert codes(onnxviz.audit(classifier, select=["Z"], **given)) == ["Z01"]


@pytest.mark.parametrize(
    ("error", "why"),
    [(UnmeasuredError("no CUDA here"), "no CUDA here"), (InputError("a bad photo"), "it failed: a bad photo")],
)
def test_what_a_check_cannot_do_is_never_a_pass(classifier, error, why):
    with registered("Z01", raises(error)), registered("Z02", says("found")):
        found = onnxviz.audit(classifier, select=["Z"])
    assert found.not_run == (NotRun("Z01", why),)
    assert codes(found) == ["Z02"]
    assert "Z01" not in found.passed


def test_what_a_check_measured_before_it_failed_is_kept_and_it_is_no_pass(classifier):
    def run(subject):
        yield subject.finding("first", "do")
        raise UnmeasuredError("then this")

    with registered("Z01", run):
        found = onnxviz.audit(classifier, select=["Z"])
    assert [one.message for one in found.findings] == ["first"]
    assert (found.passed, found.not_run) == ((), (NotRun("Z01", "then this"),))


def test_a_bug_in_a_check_keeps_its_traceback(classifier):
    with registered("Z01", raises(KeyError("a bug"))), pytest.raises(KeyError, match="a bug"):
        onnxviz.audit(classifier, select=["Z"])


def test_checks_that_are_asked_for_run_when_they_are_selected_by_their_whole_code_only(classifier):
    with registered("Z01", says("found"), asked=True):
        assert "Z01" not in codes(onnxviz.audit(classifier, ignore=["G", "W"]))
        with pytest.raises(SelectionError, match="no check is left to run: those chosen are to be asked for by code"):
            onnxviz.audit(classifier, select=["Z"])
        assert codes(onnxviz.audit(classifier, select=["Z01"])) == ["Z01"]


def test_settings_move_thresholds_and_severities_and_accept(classifier, tmp_path):
    def run(subject):
        limit = subject.threshold("limit")
        for layer, value in (("conv1", 2.0), ("conv2", 6.0)):
            if value > limit:
                yield subject.finding(f"{value} of {limit}", "do", layer=layer, value=value, threshold=limit)

    config = tmp_path / "settings.toml"
    with registered("Z01", run, limit=1.0):
        assert [one.threshold for one in onnxviz.audit(classifier, select=["Z"]).findings] == [1.0, 1.0]
        config.write_text("[audit]\nthresholds.Z01 = {limit = 5}\nseverities = {Z01 = 'note'}\n")
        (one,) = onnxviz.audit(classifier, select=["Z"], config=config).findings
        assert (one.layer, one.threshold, one.severity) == ("conv2", 5.0, Severity.NOTE)
        config.write_text("[[audit.accept]]\ncode = 'Z01'\nlayers = '*2'\nreason = 'known'\n")
        found = onnxviz.audit(classifier, select=["Z"], config=config)
        assert [(one.layer, one.reason) for one in found.findings] == [("conv1", ""), ("conv2", "known")]
        assert found.count(Severity.ERROR) == 1


def test_settings_select_where_nothing_else_does(classifier, tmp_path):
    config = tmp_path / "settings.toml"
    config.write_text("[audit]\nselect = ['Z01']\nignore = ['W']\n")
    with registered("Z01", says("found")), registered("Z02", says("found")):
        assert codes(onnxviz.audit(classifier, config=config)) == ["Z01"]
        assert codes(onnxviz.audit(classifier, config=config, select=["Z02"])) == ["Z02"]
        with pytest.raises(SelectionError, match=r"all that are chosen are ignored \(W, by .*\.toml too\)"):
            onnxviz.audit(classifier, config=config, select=["W"])


@pytest.mark.parametrize(
    ("severity", "failing"), [("error", "error warning note"), ("warning", "warning note"), ("note", "note"), ("", "")]
)
def test_an_audit_fails_on_what_is_as_severe_and_not_accepted(severity, failing):
    found = audit_of(finding(reason="known"), *([finding(severity=severity)] if severity else []))
    assert [on for on in ("error", "warning", "note") if found.fails(on)] == failing.split()
    assert found.fails(Severity.ERROR) == ("error" in failing)


def test_progress_names_each_check(classifier):
    told = []
    onnxviz.audit(classifier, select=["G00", "W01"], progress=told.append)
    assert told == ["G00", "W01"]


def test_the_document_there_and_back(classifier, tmp_path):
    says_nan, fails = says("a", layer="c", value=math.nan, channel=1), raises(UnmeasuredError("x"))
    with registered("Z01", says_nan), registered("Z02", fails):
        found = onnxviz.audit(classifier, select=["Z", "W01"])
    path = found.save(tmp_path / "audit.json")
    read = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert read == document([found])
    assert (read["version"], len(read["models"])) == (1, 1)
    (entry,) = read["models"]
    assert {"path", "sha256", "findings", "not_run"} <= entry.keys()
    assert entry["findings"] == [
        {"code": "Z01", "severity": "error", "layer": "c", "channel": 1, "where": None, "message": "a", "value": None,
         "threshold": None, "do": "do"}
    ]  # fmt: skip
    assert entry["not_run"] == [{"code": "Z02", "why": "x"}]
    assert Audit.of(entry).as_dict() == entry


def test_refusals(classifier, tmp_path):
    with pytest.raises(ModelError, match="there is no file"):
        onnxviz.audit(tmp_path / "none.onnx")
    with pytest.raises(SelectionError, match="no check is called 'W77'"):
        onnxviz.audit(classifier, select=["W77"])
    with pytest.raises(InputError, match="cannot be read as settings"):
        onnxviz.audit(classifier, config=tmp_path / "none.toml")
    with pytest.raises(InputError, match="there is no file"):
        onnxviz.audit(classifier, tmp_path / "none.png")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"size": (9, 9)}, "takes images of 16x12, not of 9x9: leave out size"),
        ({"against": "m.onnx"}, "two models are compared on data, .* without data=: leave out against"),
        ({"fit": "crop"}, "no image is read without data=: leave out fit"),
        ({"preprocess": "torch"}, "no image is read without data=: leave out preprocess"),
        ({"data": np.zeros((1, 3, 16, 12), np.float32), "background": "black"}, "arrays are fed as they are"),
    ],
)
def test_options_of_images_that_nothing_heeds_are_refused(classifier, options, match):
    with pytest.raises(UnheededOptionError, match=match):
        onnxviz.audit(classifier, **options)


def test_the_memory_that_a_batch_may_take_holds_for_statistics_and_comparisons(classifier, monkeypatch):
    told = {}
    for verb in (statistics, compare):

        def spied(*given, verb=verb, **options):
            told[verb.__name__] = options["memory"]
            return verb(*given, **options)

        monkeypatch.setattr(subject, verb.__name__, spied)

    def run(looked_at):
        yield looked_at.finding(f"{len(looked_at.statistics)} and {len(looked_at.comparison.layers)} layers", "do")

    data = np.zeros((1, 3, 16, 12), np.float32)
    with registered("Z01", run, needs=("data", "against")):
        found = onnxviz.audit(classifier, data, against=str(classifier), select=["Z"], memory=1 << 20)
    assert codes(found) == ["Z01"]
    assert told == {"statistics": 1 << 20, "compare": 1 << 20}


def test_a_planted_nan_is_found_and_nothing_else(classifier):
    proto = onnx.load(classifier)
    values = numpy_helper.to_array(proto.graph.initializer[2]).copy()
    values[5, 1, 2, 2] = np.nan
    proto.graph.initializer[2].CopyFrom(numpy_helper.from_array(values, proto.graph.initializer[2].name))
    (one,) = onnxviz.audit(proto, select=["W01"]).findings
    assert (one.code, one.layer, one.channel, one.value) == ("W01", "block1_conv2", 5, 1.0)
