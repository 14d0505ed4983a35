"""The report: every number on the page is the one that JSON has, and what does not fit is said."""

import json
import re

import numpy as np
import onnx
import pytest
from page_parts import read
from planted import MODELS
from protos import parsed
from quantised import quantise

import onnxviz
from onnxviz.errors import InputError, OnnxvizError
from onnxviz.reports import picture_budget
from onnxviz.reports.report import report

PHOTO = MODELS / "photos" / "cat.jpg"


def values(element):
    """The exact number that an element keeps beside its words."""
    return float(element["data-value"]) if element["data-value"] else None


def test_findings_are_those_of_the_audit(made):
    audited = onnxviz.audit(
        made.model, made.photos, against=str(MODELS / "classifier.onnx"), select=("W", "A01", "A03", "G01", "P02")
    ).as_dict()
    rows = made.page.all("tr", data_code=True)
    shown = [
        {
            "code": row["data-code"],
            "message": row.one("td", class_="message").all("span")[0].words,
            "value": values(row.one("td", class_="measured")),
            "threshold": values(row.one("td", class_="limit")),
        }
        for row in rows
    ]
    wanted = [
        {**{key: one[key] for key in ("code", "value", "threshold")}, "message": one["message"].replace("`", "")}
        for one in audited["findings"]
    ]
    key = json.dumps
    assert sorted(shown, key=key) == sorted([{k: one[k] for k in shown[0]} for one in wanted], key=key)
    assert {one["code"] for one in shown} >= {"W02", "P02"}
    not_run = {one["data-not-run"] for one in made.page.all("span", data_not_run=True)}
    assert not_run == {one["code"] for one in audited["not_run"]}
    counts = {one["data-severity"]: int(one["data-value"]) for one in made.page.all("li", data_severity=True)}
    for severity in ("error", "warning", "note"):
        assert counts[severity] == sum(one["severity"] == severity for one in audited["findings"])
    assert made.page.one("p", class_="decision").words == "✗ Not fit to deploy"


def test_answers_are_those_of_predict(made):
    predictions = onnxviz.predict(made.model, made.photos)
    asked = predictions.as_dict()["inputs"]
    cards = made.page.all("figure", data_input=True)
    assert [card["data-input"] for card in cards] == [one.input for one in predictions]
    for card, one in zip(cards, asked, strict=True):
        top = one["outputs"][0]["top"]
        rows = card.all("tr", data_class=True)
        assert [int(row["data-class"]) for row in rows] == [entry["class"] for entry in top]
        assert [row.all("td", class_="name")[0].words for row in rows] == [entry["name"] for entry in top]
        assert [values(row.one("td", class_="num")) for row in rows] == [entry["share"] for entry in top]


def test_layers_and_statistics_are_those_of_stats_and_layers(made):
    listed = onnxviz.layers(made.model)["layers"]
    counted = onnxviz.statistics(made.model, made.photos, complete=True).as_dict()["layers"]
    rows = made.page.all("tr", data_layer=True)
    by_name = {row["data-layer"]: row for row in rows if row.all("td", class_="mean")}
    assert [*by_name] == [one["name"] for one in listed]
    for layer, stats in zip(listed, counted, strict=True):
        row = by_name[layer["name"]]
        parameters = row.all("td", class_="num")[1]
        assert values(parameters) == layer["parameters"] == int(parameters.words.replace(",", ""))
        mean, var = np.array(stats["mean"]), np.array(stats["var"])
        whole = mean.mean()
        wanted = {
            "mean": whole,
            "deviation": np.sqrt((var + (mean - whole) ** 2).mean()),
            "lowest": min(stats["min"]),
            "highest": max(stats["max"]),
            "zeros": sum(stats["zeros"]) / (stats["count"] * stats["channels"]),
            "constant": sum(low == high for low, high in zip(stats["min"], stats["max"], strict=True)),
        }
        for name, number in wanted.items():
            assert values(row.one("td", class_=name)) == pytest.approx(number, rel=1e-5, abs=1e-9), name


def test_the_card_is_that_of_the_listing(made):
    listed = onnxviz.layers(made.model)
    facts = {one["data-key"]: one for one in made.page.all("dd", data_key=True)}
    assert values(facts["parameters"]) == listed["parameters"]
    assert facts["producer"].words == listed["producer"]
    assert facts["preprocessing"].words == "signed"
    assert values(facts["weight-bytes"]) == sum(
        int(np.prod(one.dims)) * onnx.helper.tensor_dtype_to_np_dtype(one.data_type).itemsize
        for one in onnx.load(made.model).graph.initializer
    )
    # conv1 makes 48x48 positions of 96x96, and each later block halves them: by hand from the listing.
    sizes = {"conv1": 48, "conv2": 24, "conv3": 12, "conv4": 12, "conv5": 12}
    macs = sum(np.prod(one["weight"]["shape"]) * sizes[one["name"]] ** 2 for one in listed["layers"])
    dense = next(one for one in onnx.load(made.model).graph.initializer if one.name == "dense.weight")
    assert values(facts["macs"]) == macs + np.prod(dense.dims)
    assert made.page.one("p", class_="hash").words == f"SHA-256 {onnxviz.load(made.model).sha256}"


def test_the_comparison_is_that_of_compare(made):
    compared = onnxviz.compare(MODELS / "classifier.onnx", made.model, made.photos).as_dict()
    rows = {row["data-layer"]: row for row in made.page.all("tr", data_layer=True) if row.all("td", class_="sqnr")}
    assert len(rows) == len(compared["layers"]) + len(compared["outputs"])
    for one in compared["layers"]:
        shown = values(rows[one["a"]].one("td", class_="sqnr"))
        assert shown == (1e9 if one["identical"] else pytest.approx(one["sqnr"], rel=1e-6)), one["a"]
    agreement = made.page.one("b", data_key="agreement")
    assert values(agreement) == compared["agreement"]["top1"]


def test_dead_filters_are_marked_as_the_check_counts_them(made):
    (finding,) = [one for one in made.report.audit.findings if one.code == "W02"]
    assert finding.message.startswith("3 of 64 filters are dead")
    (card,) = [one for one in made.page.all("div", class_="finding") if one.all("tr", data_code="W02")]
    bars = card.one("svg", class_="bars").all("rect")
    marked = [bar for bar in bars if "bad" in bar["class"].split()]
    assert len([bar for bar in bars if bar["class"] in ("good", "bad")]) == 64
    assert [float(bar["x"]) / 4 for bar in marked] == [3, 9, 20]
    assert "marked: 3, 9, 20" in card.words


def test_every_input_has_its_maps_and_its_explanation(made):
    views = made.page.all("div", class_="view")
    assert [view.all("h3")[0].words for view in views] == ["cat.jpg", "dog.jpg", "macaw.jpg"]
    for view in views:
        (explained,) = view.all("figure", class_="explained")
        assert len(explained.all("img")) == 2
        one = onnxviz.explain(made.model, made.photos / view.all("h3")[0].words)
        assert f"Where it looks for {one.title}" in explained.words
        assert len(view.one("div", class_="maps").all("img")) == 3  # before each change of size


def test_the_same_inputs_give_the_same_bytes(made):
    options = {"select": ("W",), "seconds": 1e6}
    first, second = (report(str(made.model), [str(PHOTO)], **options).html for _ in range(2))
    assert first == second
    assert not re.search(r"\b20\d\d-\d\d", first)


def test_what_does_not_fit_the_time_is_left_out_and_said(defective):
    found = report(str(defective), [str(PHOTO)], select=("W", "A01"), seconds=1e-9)
    page = read(found.html)
    assert {part for part, _ in found.left_out} >= {"statistics", "maps", "explanations"}
    assert not found.audit.findings
    assert {one.code for one in found.audit.not_run} >= {"W01", "A01"}
    assert all("did not fit the 1e-09 s of the page" in one.why for one in found.audit.not_run)
    assert "Left out of this page, or reduced" in page.words
    assert "There are no statistics." in page.words
    assert not page.all("figure", class_="explained")


def test_pictures_that_do_not_fit_are_counted(defective, monkeypatch):
    monkeypatch.setattr(picture_budget.PictureBudget.__init__, "__defaults__", (9_000, 0, 0))
    found = report(str(defective), [str(PHOTO)], select=("G00",), seconds=1e6)
    (why,) = [why for part, why in found.left_out if part == "pictures"]
    assert int(why.split()[0]) > 0
    assert sum(len(image["src"]) for image in read(found.html).all("img")) <= 9_000


def test_a_model_without_scores_says_so():
    signal = parsed(
        "g (float[n,3,8,8] x) => (float[n,2,8,8] a, float[n,2,8,8] b) "
        "{ a = Conv <pads=[1,1,1,1]> (x, u) b = Conv <pads=[1,1,1,1]> (x, v) }",
        u=np.ones((2, 3, 3, 3), np.float32), v=np.ones((2, 3, 3, 3), np.float32),
    )  # fmt: skip
    found = report(signal, np.zeros((2, 3, 8, 8), np.float32), select=("G00",), seconds=1e6)
    (why,) = [why for part, why in found.left_out if part == "explanations"]
    assert "score" in why
    assert "No explanation." in read(found.html).words


def test_a_quantised_model_is_shown(tmp_path):
    photos = np.random.default_rng(1).uniform(-1, 1, (2, 1, 3, 96, 96)).astype(np.float32)
    quantise(MODELS / "classifier.onnx", tmp_path / "q.onnx", list(photos))
    found = report(str(tmp_path / "q.onnx"), [str(PHOTO)], select=("G00",), seconds=1e6)
    page = read(found.html)
    assert page.all("figure", data_input=True)
    assert page.all("div", class_="maps")[0].all("img")


def test_an_output_that_cannot_be_written_leaves_the_old(made, tmp_path):
    (tmp_path / "r.html").write_text("old")
    tmp_path.joinpath("folder.html").mkdir()
    with pytest.raises(OnnxvizError, match="it is a folder"):
        made.report.save(tmp_path / "folder.html")
    assert made.report.save(tmp_path / "r.html").read_text(encoding="utf-8") == made.report.html
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.html", "r.html"]


def test_the_report_says_what_it_is(made):
    assert repr(made.report).startswith(f"Report('{made.model}', not fit, ")
    assert made.report.fails
    assert len(made.report.html) < 5_000_000


def test_no_time_is_refused(defective):
    with pytest.raises(InputError, match="takes some seconds, not 0"):
        report(str(defective), [str(PHOTO)], seconds=0)
