"""`onnxviz compare`: the table, the JSON document, files, notes, exit codes."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import onnx
import pytest
from command_line import Ran, error_of, files_in
from onnx import numpy_helper
from onnxruntime.quantization import quantize_dynamic
from oracles import untouched
from protos import classifier_proto, normal, one_conv_proto, two_inputs_proto
from rich.console import Console

import onnxviz
from onnxviz.cli.comparison_table import comparison_table


def changed(layer: str, by: float, names: tuple[str, ...] = ()) -> onnx.ModelProto:
    """The classifier with noise in the weight of one layer."""
    proto = classifier_proto()
    weight = next(one for one in proto.graph.initializer if one.name == f"{layer}/kernel")
    array = numpy_helper.to_array(weight)
    weight.CopyFrom(numpy_helper.from_array(array + np.float32(by) * normal(*array.shape, seed=8), weight.name))
    if names:
        proto.metadata_props.add(key="classes", value=json.dumps(names))
    return proto


@pytest.fixture
def other(classifier, tmp_path) -> str:
    """`other.onnx`, which differs from the second convolution on."""
    onnx.save(changed("block1_conv2", 0.05), tmp_path / "other.onnx")
    return "other.onnx"


def rows(ran) -> dict[str, list[str]]:
    """The cells of the table by the first, empty ones left out."""
    heading = next(number for number, line in enumerate(ran.lines) if line.startswith("layer "))
    table = ran.lines[heading + 2 :]
    return {line.split()[0]: line.split() for line in table[: table.index("")] if not line.startswith("not shown")}


def test_the_table(run_command, classifier, other, photo, tmp_path) -> None:
    before = files_in(tmp_path)
    ran = run_command("compare", classifier, other, "--data", photo)
    assert ran.code == 0
    assert ran.lines[:3] == [f"A {classifier}", "B other.onnx", "1 image"]
    found = rows(ran)
    assert list(found) == ["block1_conv1", "block1_conv2", "block2_conv1", "dense", "logits"]
    assert found["block1_conv1"][:3] == ["block1_conv1", "Conv", "equal"]
    assert found["block1_conv2"][3:5] == ["◂", "first"]
    assert found["logits"][1] == "output"
    assert "in B" not in ran.out  # the names are the same
    first = onnxviz.compare(classifier, tmp_path / other, tmp_path / photo).first_divergent
    assert f"first below   60 dB: block1_conv2 ({first.ratio})" in ran.out
    assert files_in(tmp_path) == before


def test_where_nothing_differs(run_command, classifier, photo) -> None:
    ran = run_command("compare", classifier, classifier, "--data", photo)
    assert "layers        no layer differs" in ran.out
    assert "top class     the same for 1 of 1 inputs" in ran.out
    assert "first" not in ran.out


def test_the_document(run_command, classifier, other, tmp_path) -> None:
    array = normal(4, 3, 16, 12)
    np.save(tmp_path / "x.npy", array)
    document = run_command("compare", classifier, other, "--data", "x.npy", "--json").document
    assert document.pop("files") == []
    assert document.keys() == onnxviz.compare(classifier, tmp_path / other, array).as_dict().keys()
    assert (document["version"], document["data"], document["images"], document["below"]) == (1, "arrays", 4, 60)
    assert document["a"]["label"] == str(classifier)
    second = next(one for one in document["layers"] if one["a"] == "block1_conv2")
    a, b = (
        untouched(onnx.load(path), [second["tensors"][0]], {"image": array})[second["tensors"][0]].astype(np.float64)
        for path in (classifier, tmp_path / other)
    )
    assert second["sqnr"] == pytest.approx(10 * np.log10((a**2).sum() / ((a - b) ** 2).sum()), rel=1e-5)
    assert second["max_abs_diff"] == pytest.approx(np.abs(a - b).max(), rel=1e-5)
    assert second["worst_channel"]["channel"] == ((a - b) ** 2).sum((0, 2, 3)).argmax()
    assert document["first_divergent"] == "block1_conv2"


def test_nan_is_no_json(run_command, classifier, tmp_path) -> None:
    proto = changed("block2_conv1", 0.0)
    weight = next(one for one in proto.graph.initializer if one.name == "block2_conv1/kernel")
    array = numpy_helper.to_array(weight).copy()
    array[1] = np.nan
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    onnx.save(proto, tmp_path / "nan.onnx")
    ran = run_command("compare", classifier, "nan.onnx", "--json")
    third = next(one for one in ran.document["layers"] if one["a"] == "block2_conv1")  # `document` refuses NaN
    assert third["sqnr"] is None
    assert not third["identical"]
    assert third["nonfinite"] > 0
    assert third["worst_channel"]["channel"] == 1
    table = run_command("compare", classifier, "nan.onnx").out
    assert "block2_conv1 (not finite in one)" in table


def test_classes_that_are_answered_otherwise_are_named(run_command, classifier, tmp_path) -> None:
    names = ("ant", "bee", "cat", "dog", "elk")
    onnx.save(changed("dense", 3.0, names), tmp_path / "b.onnx")
    array = normal(6, 3, 16, 12)
    np.save(tmp_path / "x.npy", array)
    a, b = (
        untouched(onnx.load(path), ["logits"], {"image": array})["logits"].argmax(1)
        for path in (classifier, tmp_path / "b.onnx")
    )
    flips = [number for number in range(6) if a[number] != b[number]]
    assert flips
    ran = run_command("compare", classifier, "b.onnx", "--data", "x.npy")
    assert f"top class     the same for {6 - len(flips)} of 6 inputs" in ran.out
    for number in flips:
        one, other = int(a[number]), int(b[number])
        assert f"x.npy[{number}]: {names[one]} ({one}) became {names[other]} ({other})" in ran.out


def test_a_quantised_model_is_told_which_nodes_to_leave_out(run_command, classifier, tmp_path) -> None:
    """The nodes are A's: the quantiser takes the list as it is."""
    quantize_dynamic(classifier, tmp_path / "q.onnx")
    ran = run_command("compare", classifier, "q.onnx", "--below", "99", "--json")
    listed = ran.document["exclude"]
    assert listed["option"] == "nodes_to_exclude"
    assert {*listed["nodes"]} <= {node.name for node in classifier_proto().graph.node}
    assert all(one["alone"] is not None for one in ran.document["layers"])
    table = run_command("compare", classifier, "q.onnx", "--below", "99").out
    assert f'nodes_to_exclude=["{listed["nodes"][0]}"' in table
    assert "nodes_to_exclude" not in run_command("compare", classifier, "q.onnx", "--below", "-99").out


def test_noise_is_noted(run_command, classifier, other) -> None:
    ran = run_command("compare", classifier, other)
    assert "no data were given: 8 samples of noise were fed; give photos for figures that hold for them" in ran.err
    assert ran.lines[2] == "8 samples of noise"
    assert run_command("compare", classifier, other, "-q").err == ""


def test_files(run_command, classifier, other, photo, tmp_path) -> None:
    ran = run_command("compare", classifier, other, "--data", photo, "-o", "c", "-q")
    assert ran.code == 0
    assert ran.lines[-3:] == ["c/layers.png", "c/001-block1_conv2.png", "c/manifest.json"]
    assert files_in(tmp_path / "c") == ["001-block1_conv2.png", "layers.png", "manifest.json"]
    document = run_command("compare", classifier, other, "--data", photo, "-o", "c", "--json").document
    assert document.pop("files") == ran.lines[-3:]
    manifest = json.loads((tmp_path / "c" / "manifest.json").read_text())
    assert manifest.pop("pictures")["worst"]["layer"] == "block1_conv2"
    assert manifest.pop("written") == {"compare": ["001-block1_conv2.png", "layers.png"]}
    assert manifest == document


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_narrow_terminal_loses_columns_and_says_which(classifier, other, tmp_path, width) -> None:
    found = onnxviz.compare(classifier, tmp_path / other, normal(1, 3, 16, 12))
    out = io.StringIO()
    Console(file=out, width=width).print(comparison_table(found, width))
    ran = Ran(0, out.getvalue(), "")
    heading = next(line for line in ran.lines if line.startswith("layer "))
    left_out = next((line for line in ran.lines if line.startswith("not shown at this width: ")), "")
    for column in ("cosine", "largest", "worst channel", "operator"):
        assert (column in heading) is not (column in left_out)
    assert "SQNR dB" in heading
    assert ("worst channel" in left_out) is (width < 100)
    assert all(len(line) <= width for line in ran.lines if "model" not in line and not line.startswith("A "))
    assert list(rows(ran)) == ["block1_conv1", "block1_conv2", "block2_conv1", "dense", "logits"]


def test_an_image_that_cannot_be_read_is_skipped_and_said(run_command, classifier, other, photos, tmp_path) -> None:
    (tmp_path / photos / "b.png").write_bytes(b"nothing")
    ran = run_command("compare", classifier, other, "--data", photos, "--json")
    assert ran.code == 1
    assert ran.document["images"] == 2
    assert [one["input"] for one in ran.document["failed"]] == ["b.png"]
    assert "skipped b.png" in ran.err
    assert "1 of 3 inputs could not be used" in ran.err
    for name in "ac":
        (tmp_path / photos / f"{name}.png").write_bytes(b"nothing")
    assert "none of 3 inputs could be used" in error_of(run_command("compare", classifier, other, "--data", photos))


def test_where_each_model_runs_stands_behind_its_name(run_command, classifier, photo) -> None:
    ran = run_command("compare", f"{classifier}@noopt", f"{classifier}@cpu", "--data", photo, "--json")
    assert ran.document["b"]["label"] == f"{classifier}@cpu"
    assert ran.document["a"]["provider"] == ran.document["b"]["provider"] == "cpu"
    assert all(one["identical"] or one["sqnr"] > 100 for one in ran.document["layers"])


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["one.onnx"], "cannot be fed the same data: 'image' is batchx3x16x12 float32 NCHW, 'x' 1x3x8x6 float32 NCHW"),
        (["two.onnx"], "cannot be fed the same data: 1 input (image) and 2 inputs (left, right)"),
        (["other.onnx@nowhere"], "behind @: there is no provider 'nowhere'"),
        (["none.onnx"], "none.onnx"),
        (["text.onnx"], "text.onnx"),
        (["other.onnx", "--data", "none.png"], "there is no file none.png"),
        (["other.onnx", "--layers", "nothing"], "no layer"),
        (["other.onnx", "--ops", "Nothing"], "Nothing"),
        (["other.onnx", "--format", "svg"], "nothing is drawn without --output: leave out --format"),
        (["other.onnx", "-o", "c.png"], "a comparison is drawn into a folder: c.png looks like a file"),
        (["other.onnx", "--fit", "crop"], "noise is drawn at the size that it is fed, and opaque: leave out --fit"),
        (["other.onnx", "--size", "9x9"], "takes images of 16x12, not of 9x9: leave out --size"),
    ],
)  # fmt: skip
def test_refusals(run_command, classifier, other, tmp_path, arguments, match) -> None:
    onnx.save(one_conv_proto((1, 3, 8, 6)), tmp_path / "one.onnx")
    onnx.save(two_inputs_proto(), tmp_path / "two.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    before = files_in(tmp_path)
    assert match in error_of(run_command("compare", classifier, *arguments))
    assert files_in(tmp_path) == before


def test_a_provider_that_both_models_name_themselves_is_not_asked_again(run_command, classifier) -> None:
    shutil.copy(classifier, classifier.parent / "copy.onnx")
    ran = run_command("compare", "copy.onnx@noopt", "copy.onnx@cpu", "--provider", "azure")
    assert "--provider" in error_of(ran)
