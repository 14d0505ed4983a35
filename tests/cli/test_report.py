"""`onnxviz report` and `audit --format html`: a page, its exit code, and one line for what cannot be meant."""

import pytest
from command_line import error_of, files_in
from page_parts import read
from PIL import Image
from planted import MODELS

CLASSIFIER = MODELS / "classifier.onnx"
PHOTO = MODELS / "photos" / "cat.jpg"
FEW = ("--select", "W")


def test_a_page_is_written(run_command, tmp_path):
    ran = run_command("report", CLASSIFIER, PHOTO, *FEW, "-o", "page.html")
    assert ran.code == 0, ran
    assert ran.lines == ["page.html"]
    assert files_in(tmp_path) == ["page.html"]
    page = read((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.one("p", class_="decision").words == "✓ Fit to deploy"
    assert page.one("footer").words.startswith("Made by onnxviz 0.1.0 in at most 120 s, about.")


def test_json_is_that_of_the_audit_and_names_the_page(run_command):
    few = ("--select", "W,A01")
    document = run_command("report", CLASSIFIER, PHOTO, *few, "-o", "page.html", "--json").document
    audited = run_command("audit", CLASSIFIER, "--data", PHOTO, *few, "--json").document
    assert {key: document[key] for key in audited} == audited
    assert document["files"] == ["page.html"]
    assert document["left_out"] == []


def test_the_exit_code_is_1_where_it_is_not_fit_and_the_page_is_there(run_command, classifier, tmp_path):
    ran = run_command("report", "classifier.onnx", PHOTO, "--select", "I03", "--fail-on", "note", "-o", "page.html")
    assert ran.code == 1, ran
    page = read((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.one("p", class_="decision").words == "✗ Not fit to deploy"


def test_what_is_left_out_is_noted(run_command):
    ran = run_command("report", CLASSIFIER, PHOTO, *FEW, "--seconds", "0.1", "-o", "page.html")
    assert ran.code == 0, ran
    assert "explanations: it did not fit the 0.1 s of the page: give it more (--seconds)" in " ".join(ran.err.split())
    assert run_command("report", CLASSIFIER, PHOTO, *FEW, "--seconds", "0.1", "-q").err == ""


def test_an_input_that_cannot_be_used_is_said_on_the_page(run_command, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    ran = run_command("report", CLASSIFIER, "broken.png", "red.png", *FEW, "-o", "page.html")
    assert ran.code == 0, ran
    page = read((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "broken.png could not be used" in page.words
    assert [one["data-input"] for one in page.all("figure", data_input=True)] == ["red.png"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere/page.html",), "nowhere/page.html cannot be written: there is no folder nowhere"),
        ((".",), ". cannot be written: it is a folder"),
    ],
)
def test_nothing_is_computed_for_a_page_that_cannot_be_written(run_command, arguments, words):
    ran = run_command("report", "there-is-none.onnx", PHOTO, "-o", *arguments)
    assert words in error_of(ran)


def test_no_input_can_be_used(run_command, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "page.html").write_text("old")
    assert "none of 1 inputs could be used" in error_of(
        run_command("report", CLASSIFIER, "broken.png", "-o", "page.html")
    )
    assert (tmp_path / "page.html").read_text() == "old"


def test_an_audit_of_many_models_as_one_page(run_command, tmp_path):
    ran = run_command("audit", CLASSIFIER, MODELS / "unet.onnx", "--select", "W01,W02", "-o", "all.html")
    assert ran.code == 0, ran
    page = read((tmp_path / "all.html").read_text(encoding="utf-8"))
    assert [one["data-model"] for one in page.all("article")] == [str(CLASSIFIER), str(MODELS / "unet.onnx")]
    printed = run_command("audit", CLASSIFIER, "--select", "W01", "--format", "html").out
    assert printed.startswith("<!doctype html>")
