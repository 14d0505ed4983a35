"""The assembly: the data that fit the time, evenly spaced, and what is said of the others."""

import shutil

import numpy as np
import onnx
import pytest
from page_parts import HOSTILE, read
from planted import MODELS, changed, sample
from small_detector import small_detector

import onnxviz
from onnxviz.inputs.samples import ImageOptions
from onnxviz.messages import printable
from onnxviz.model.model import load
from onnxviz.reports.assembly import Assembly, Inputs
from onnxviz.reports.report import report
from onnxviz.reports.time_budget import PASSES, TimeBudget
from onnxviz.runtime.session import RunOptions

STORED = [text for text in HOSTILE if "\ud800" not in text]  # protobuf keeps no lone surrogates
PHOTO = MODELS / "photos" / "cat.jpg"


@pytest.fixture
def forty(tmp_path):
    """A folder of forty photos."""
    for number in range(40):
        shutil.copy(PHOTO, tmp_path / f"{number:02d}.jpg")
    return tmp_path


def assembly(pace):
    """One with 100 s, of which the checks may take 62, for a model that takes so long for an image."""
    model = load(MODELS / "classifier.onnx")
    made = Assembly(
        model, Inputs(PHOTO, None), ImageOptions.of(model), RunOptions(), TimeBudget(100, lambda: 0.0), None
    )
    made._pace = pace
    return made


@pytest.mark.parametrize(("pace", "count"), [(0.001, 40), (62 / PASSES / 12, 12), (62 / PASSES / 10, 10), (9.0, 4)])
def test_as_many_images_as_fit_are_audited(forty, pace, count):
    made = assembly(pace * 0.999)
    found = made.fitting(forty)
    if count == 40:
        assert found == forty
        assert made.left_out == []
        return
    numbers = [int(path[-6:-4]) for path in found]
    assert len(numbers) == count
    assert (numbers[0], numbers[-1]) == (0, 39)
    assert np.ptp(np.diff(numbers)) <= 1  # evenly spaced
    ((part, why),) = made.left_out
    assert part == "data"
    assert why.startswith(f"{count} of 40 images, evenly spaced: more did not fit the 100 s")


def test_where_the_inputs_do_not_tell_the_pace_the_data_do(forty):
    made = assembly(None)
    assert made.fitting(forty) == forty
    assert made._pace == 0  # its clock stands still
    assert assembly(None).fitting(np.zeros((9, 3, 96, 96), np.float32)).shape[0] == 9


def test_a_model_full_of_hostile_names_and_nan_gets_a_page(tmp_path):
    model = sample()

    def break_(weight):
        weight[1] = np.nan

    changed(model, "conv1.weight", break_)
    for number, node in enumerate(model.graph.node):
        node.name = STORED[number % len(STORED)].format(n=number)
    model.doc_string = HOSTILE[3].format(n=1)
    model.producer_name = HOSTILE[0].format(n=2)
    for number, text in enumerate(STORED):
        entry = model.metadata_props.add()
        entry.key, entry.value = text.format(n=number), text.format(n=number)
    labels = [HOSTILE[number % 9].format(n=number) for number in range(11)]
    path = tmp_path / "<img src=x onerror=alert(1)>.onnx"
    onnx.save(model, path)
    found = report(str(path), [str(PHOTO)], labels=labels, select=("W01", "A01"), seconds=1e6)
    page = read(found.html)
    assert found.fails
    assert len(page.all("script")) == 1
    assert not [one for one in page.all("img") if not one["src"].startswith("data:image/")]
    assert page.one("h1").words == "<img src=x onerror=alert(1)>.onnx"
    assert " ".join(printable(model.doc_string).split()) in page.words
    assert "not finite" in dict(found.left_out)["explanations"]
    assert page.all("tr", data_code="W01")
    assert "no answer: of 11 scores 11 NaN" in page.one("figure", data_input=True).words
    assert not [rect for rect in page.all("rect") if "nan" in rect.attributes.values()]


def test_boxes_of_a_detector_are_drawn_where_they_are():
    found = report(small_detector(), [str(PHOTO)], select=("G00",), seconds=1e6)
    page = read(found.html)
    (view,) = page.all("div", class_="view")
    explained = onnxviz.explain(small_detector(), PHOTO)
    ((left, top, right, bottom),) = [corners for corners, _ in explained.outlines]
    boxes = view.all("rect")
    assert len(boxes) == 2  # on the photo, and on the map
    for box in boxes:
        shown = [float(box[side]) for side in ("x", "y", "width", "height")]
        assert shown == pytest.approx([left, top, right - left, bottom - top], abs=1e-4)
    assert page.all("figure", data_input=True)[0].all("tr", data_class=True)
