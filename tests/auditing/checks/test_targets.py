"""Versions beside those that a runtime knows, and operators that no kernel computes."""

from __future__ import annotations

import itertools
import re

import onnxruntime
import pytest
import zoo
from onnx import helper
from planted import MODELS, audited, found, node, sample
from protos import parsed

from onnxviz.auditing.checks.targets import RELEASES

OWN = "G01,G02"
INSTALLED = tuple(map(int, onnxruntime.__version__.split(".")[:2]))
known = pytest.mark.skipif(INSTALLED not in RELEASES, reason="add a row for this onnxruntime to RELEASES")


def versions(opset=18, ir=8, ml=None):
    model = sample()
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", opset))
    if ml:
        model.opset_import.append(helper.make_opsetid("ai.onnx.ml", ml))
    model.ir_version = ir
    return model


@pytest.mark.parametrize("name", ["classifier", "unet"])
def test_the_sample_models_open(name):
    assert audited(MODELS / f"{name}.onnx", OWN).passed == ("G01", "G02")


@pytest.mark.parametrize("name", zoo.NAMES)
def test_the_zoo_opens(name):
    audit = audited(zoo.model(name), OWN)
    assert not audit.findings
    assert not audit.not_run


# ---------------------------------------------------------------- G01


@pytest.mark.parametrize("opset", [21, 22, 28])
def test_an_opset_that_the_target_does_not_know(opset):
    (one,) = audited(versions(opset), "G01", target="onnxruntime==1.17").findings
    assert (one.code, one.severity.value, one.where) == ("G01", "error", "ai.onnx")
    assert (one.value, one.threshold) == (opset, 20)


@pytest.mark.parametrize("ir", [10, 11, 13])
def test_an_ir_version_that_the_target_does_not_know(ir):
    (one,) = audited(versions(18, ir), "G01", target="onnxruntime==1.17.3").findings
    assert (one.where, one.value, one.threshold) == ("ir_version", ir, 9)


def test_versions_that_the_target_just_knows():
    assert audited(versions(20, 9, 4), "G01", target="onnxruntime==1.17").passed == ("G01",)


def test_each_version_is_a_finding_of_its_own():
    findings = audited(versions(21, 10, 5), "G01", target="onnxruntime == 1.17").findings
    assert [one.where for one in findings] == ["ai.onnx", "ai.onnx.ml", "ir_version"]


@pytest.mark.parametrize(
    ("target", "said"),
    [("tensorrt==8", "write onnxruntime==1.17"), ("onnxruntime==9.9", "is not known"), ("web", "write")],
)
def test_a_target_that_is_not_known_is_no_pass(target, said):
    audit = audited(sample(), "G01", target=target)
    assert not audit.passed
    assert said in audit.not_run[0].why


def said_by(opset, ml, ir):
    """The newest version that the installed onnxruntime says it knows, when it refuses this one."""
    values = [helper.make_tensor_value_info(name, 1, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", values[:1], values[1:])
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", ml)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=ir)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    with pytest.raises(Exception, match=r"till opset|max supported") as refused:
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return int(re.search(r"(?:till opset|supported IR version:) (\d+)", str(refused.value))[1])


@known
def test_the_table_has_what_the_installed_release_says():
    assert RELEASES[INSTALLED] == (said_by(999, 1, 7), said_by(11, 99, 7), said_by(11, 1, 99))


def test_newer_releases_know_no_less():
    rows = [RELEASES[key] for key in sorted(RELEASES)]
    assert all(later[place] >= row[place] for row, later in itertools.pairwise(rows) for place in range(3))
    assert sorted(RELEASES) == [(1, minor) for minor in range(len(RELEASES))]


@known
def test_what_this_onnxruntime_does_not_load():
    opset, _, ir = RELEASES[INSTALLED]
    assert audited(versions(opset, ir), "G01").passed == ("G01",)
    (one,) = audited(versions(opset + 1), "G01").findings
    assert (one.where, one.value, one.threshold) == ("ai.onnx", opset + 1, opset)
    findings = audited(versions(opset + 1, ir + 1), "G01").findings
    assert [one.where for one in findings] == ["ai.onnx", "ir_version"]


@known
def test_g02_leaves_a_version_to_g01():
    audit = audited(versions(RELEASES[INSTALLED][0] + 1), OWN)
    assert [one.code for one in audit.findings] == ["G01"]
    assert [(one.code, "see G01" in one.why) for one in audit.not_run] == [("G02", True)]


# ---------------------------------------------------------------- G02


@pytest.mark.parametrize(("kind", "op"), [("bfloat16", "Neg"), ("double", "GlobalAveragePool"), ("int16", "Relu")])
def test_a_type_without_a_kernel(kind, op):
    model = parsed(f"g ({kind}[n,2,4,4] x) => ({kind}[n,2,h,w] y) {{ y = {op} (x) }}")
    (one,) = audited(model, "G01,G02,G03").findings
    assert (one.code, one.severity.value, one.where) == ("G02", "error", "cpu")


def test_a_type_that_the_specification_forbids_is_left_to_g03():
    model = parsed("g (uint32[n,2,4,4] x) => (uint32[n,2,4,4] y) { y = Relu (x) }")
    assert found(model, "G01,G02,G03") == [("G03", "error")]


def test_a_type_with_one():
    assert found(parsed("g (int8[n,2,4,4] x) => (int8[n,2,4,4] y) { y = Neg (x) }"), OWN) == []


def test_operators_of_others_and_of_nobody_are_left_to_other_checks():
    model = sample()
    node(model, "Relu").domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    audit = audited(model, OWN)
    assert not audit.findings
    assert "G04" in audit.not_run[0].why
    model = sample()
    node(model, "Relu").op_type = "Rule"
    audit = audited(model, OWN)
    assert not audit.findings
    assert "G03" in audit.not_run[0].why


def test_a_provider_that_is_not_here_is_no_finding():
    audit = audited(sample(), "G02", provider="rocm")
    assert not audit.findings
    assert audit.not_run
