"""The box that is asked for is the box that is explained: held against the source framework's own gradients."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from detectors import SIZE, detectors
from oracles import relative

import onnxviz
from onnxviz import explain, explain_faithfulness, explain_sanity
from onnxviz.errors import InputError, SelectionError
from onnxviz.model.detection.boxes import LEAST_SCORE

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.framework

X = np.random.default_rng(0).random((3, SIZE, SIZE)).astype(np.float32)
CLOSE = 1e-4
NAMES = list(detectors())
SEVERAL = ("v8 raw", "v8 nms", "v5", "ssd", "detr")


@functools.cache
def made(name):
    """The detector, and its export opened."""
    detector = detectors()[name]()
    return detector, onnxviz.load(detector.proto())


def slope(score):
    """A score of the source, and its gradient times the input."""
    x = torch.tensor(X[None], requires_grad=True)
    value = score(x)
    value.backward()
    return float(value.detach()), (x.grad * x)[0].detach().numpy()


def ranked(detector):
    """(boxes, classes) of what the source ranks boxes by."""
    with torch.no_grad():
        return detector.probabilities(torch.tensor(X[None]))[0].numpy()


def agrees(found, score):
    value, gradient = slope(score)
    assert found.score == pytest.approx(value, rel=CLOSE)
    assert relative(found.attribution, gradient) < CLOSE


@pytest.mark.parametrize("name", NAMES)
def test_the_best_box_of_a_class(name):
    detector, model = made(name)
    class_ = 1
    found = explain(model, X, class_=class_, method="input-x-gradient")
    best = int(ranked(detector)[:, class_].argmax())
    assert found.case.target.number == best
    agrees(found, lambda x: detector.scores(x)[0, best, class_])
    assert found.box.score == pytest.approx(float(ranked(detector)[best, class_]), rel=CLOSE)
    if detector.corners is None:
        assert found.box.corners is None
    else:
        with torch.no_grad():
            expected = detector.corners(torch.tensor(X[None]))[0, best].numpy()
        assert np.abs(np.array(found.box.corners) - expected).max() < 1e-3


@pytest.mark.parametrize("name", SEVERAL)
def test_the_box_of_a_number(name):
    detector, model = made(name)
    best = explain(model, X, class_=1, method="input-x-gradient")
    for number in {best.boxes[-1].number if best.boxes else 3}:
        found = explain(model, X, box=number, method="input-x-gradient")
        box = found.case.target.number
        if "nms" not in name:
            assert box == number
        if name != "ssd":  # whose class of no object nothing tells: "top" is the largest of all
            assert found.class_ == ranked(detector)[box, : 3 if name == "detr" else None].argmax()
        agrees(found, lambda x, box=box, c=found.class_: detector.scores(x)[0, box, c])
        other = explain(model, X, box=number, class_=0, method="input-x-gradient")
        agrees(other, lambda x, box=box: detector.scores(x)[0, box, 0])


@pytest.mark.parametrize("name", ["v8 nms", "v8 best", "v5 nms"])
def test_a_row_of_picked_boxes_is_the_box_that_it_shows(name):
    """The row's numbers, as an untouched run gives them, are those of the box that is explained."""
    _, model = made(name)
    from onnxviz.runtime.session import Session

    output = model.outputs[0].name
    rows = Session.of(model).run([output], {"images": X[None]})[0]
    rows = rows[0] if rows.ndim == 3 else rows[:, [1, 2, 3, 4, 6, 5]]
    for number in (0, len(rows) // 2, len(rows) - 1):
        found = explain(model, X, box=number, method="saliency")
        assert found.box.number == number
        assert np.abs(np.array(found.box.corners) - rows[number, :4]).max() < 1e-3
        assert (found.box.score, found.class_) == (pytest.approx(rows[number, 4], rel=1e-5), int(rows[number, 5]))
    with pytest.raises(SelectionError, match=f"row {len(rows) + 5} of the output is no box"):
        explain(model, X, box=len(rows) + 5)


@pytest.mark.parametrize("name", SEVERAL)
def test_the_sum_over_all_boxes(name):
    detector, model = made(name)
    found = explain(model, X, class_=1, region="all", method="input-x-gradient")
    agrees(found, lambda x: detector.probabilities(x)[0, :, 1].sum())
    assert found.box is None
    assert "sum of its probabilities over all" in found.what


@pytest.mark.parametrize("name", ["v8", "v8 raw", "v5", "yolox"])
def test_the_best_box_in_a_region(name):
    detector, model = made(name)
    with torch.no_grad():
        corners = detector.corners(torch.tensor(X[None]))[0].numpy()
    centres = (corners[:, :2] + corners[:, 2:]) / 2
    inside = (centres >= [0, 24]).all(1) & (centres < [40, 64]).all(1)
    best = int(np.where(inside, ranked(detector)[:, 2], -1).argmax())
    found = explain(model, X, class_=2, region=(24, 0, 64, 40), method="input-x-gradient")
    assert found.case.target.number == best
    agrees(found, lambda x: detector.scores(x)[0, best, 2])


@pytest.mark.parametrize("name", ["v8", "v11", "v5 raw", "yolox", "ssd"])
def test_a_class_activation_map_looks_at_the_layer_of_the_boxs_stride(name):
    """Grad-CAM in the source framework, with a hook on the module that the box's stride goes through."""
    detector, model = made(name)
    counts = np.cumsum(explain_counts(detector, model))
    for number in (int(counts[0]) - 1, int(counts[-1]) - 1):
        module = detector.layers[int(np.searchsorted(counts, number, side="right"))]
        kept = {}
        hook = module.register_forward_hook(lambda _, __, out, kept=kept: kept.update(maps=out))
        score = detector.scores(torch.tensor(X[None]))[0, number, 1]
        hook.remove()
        slopes = torch.autograd.grad(score, kept["maps"])[0]
        expected = torch.relu((slopes.mean((2, 3), keepdim=True) * kept["maps"]).sum(1))[0].detach().numpy()
        found = explain(model, X, box=number, class_=1)
        assert relative(found.map, expected) < CLOSE
    summed = explain(model, X, class_=1, region="all")
    assert summed.layer.count(",") == len(detector.layers) - 1
    assert summed.map.shape == (8, 8)


def explain_counts(detector, model):
    """How many boxes there are of each stride: all cells, as many anchors in each."""
    boxes = ranked(detector).shape[0]
    cells = [(SIZE // stride) ** 2 for stride in (8, 16, 32)][: len(detector.layers)]
    return [count * (boxes // sum(cells)) for count in cells]


@pytest.mark.parametrize("name", ["v8", "v5"])
def test_every_method_and_the_checks_work_on_boxes(name):
    _, model = made(name)
    for method, options in (
        ("occlusion", {"window": 16}),
        ("rise", {"samples": 20}),
        ("score-cam", {}),
        ("eigen-cam", {}),
    ):
        assert explain(model, X, class_=1, method=method, **options).map.any(), method
    found = explain(model, X, class_=1, method="input-x-gradient")
    assert explain_sanity(found, stages=2).stages[-1].randomised > 5
    assert explain_faithfulness(found, steps=4).deletion[0] == pytest.approx(
        found.score if found.probability is None else found.probability, rel=1e-4
    )


def test_names_and_their_number():
    _, model = made("v8")
    found = explain(model, X, class_=2, method="saliency")
    assert (found.class_name, found.title, found.classes) == ("owl", "owl", 3)
    assert found.what.startswith(f"owl (class 2) of box {found.box.number}, output")
    assert explain(model, X, class_=0, labels=["a", "b", "c"], method="saliency").title == "a"
    with pytest.raises(InputError, match="2 labels were given for 3 classes of boxes"):
        explain(model, X, labels=["a", "b"])
    _, model = made("detr")
    assert explain(model, X, class_=2, method="saliency").title == "owl"
    assert explain(model, X, class_=3, method="saliency").title == "no object"
    assert explain(model, X, method="saliency").class_ != 3


def test_what_is_not_there_is_refused():
    _, model = made("v8")
    with pytest.raises(SelectionError, match="there is no box 84; there are 84, 0 to 83"):
        explain(model, X, box=84)
    with pytest.raises(SelectionError, match="there is no class 3; the boxes have 3, 0 to 2"):
        explain(model, X, class_=3)
    with pytest.raises(InputError, match=r"region \(0, 0, 65, 9\) is not inside the input of 64×64 pixels"):
        explain(model, X, region=(0, 0, 65, 9))
    with pytest.raises(InputError, match="leave one of them out"):
        explain(model, X, region="all", box=3)
    with pytest.raises(InputError, match="'argmax' is not a region of boxes"):
        explain(model, X, region="argmax")
    with pytest.raises(InputError, match="mask"):
        explain(model, X, region=np.ones((64, 64), bool))
    _, model = made("ssd offsets")
    with pytest.raises(InputError, match=r"writes boxes is not known.*box="):
        explain(model, X, class_=1, region=(0, 0, 9, 9))
    with pytest.raises(SelectionError, match="which of the 4 classes means 'no object' is not known"):
        explain(model, X)


def test_a_box_that_is_hardly_one_is_said_to_be_so():
    detector, model = made("yolox")
    assert ranked(detector)[:, 1].max() < LEAST_SCORE
    assert any("no such box scores 0.25 or more" in text for text in explain(model, X, class_=1).warnings)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("v8", ""),
        ("v8 raw", "drawn as YOLOv8 writes them"),
        ("v5 raw", "the cell of the box is drawn"),
        ("yolox raw", "drawn as YOLOX writes them"),
        ("detr", "drawn as DETR writes them"),
        ("ssd offsets", "is not known, so that none is drawn"),
    ],
)
def test_what_the_graph_does_not_tell_of_a_box_is_said(name, words):
    _, model = made(name)
    told = [text for text in explain(model, X, class_=1, method="eigen-cam").warnings if "draw" in text]
    assert len(told) == bool(words)
    assert all(words in text for text in told)


@pytest.mark.parametrize("name", ["v8", "v5 nms", "detr"])
def test_what_is_written_of_boxes(name, tmp_path):
    _, model = made(name)
    found = explain(model, X, class_=1)
    told = found.as_dict()
    assert told["box"]["box"] == found.box.number
    assert told["box"]["class"] == 1
    assert len(told["boxes"]) == len(found.boxes) > 0
    (left, top, right, bottom), label = found.outlines[0]
    assert np.allclose(np.array([left, top, right, bottom]) * SIZE, found.box.corners)
    assert label == f"{found.title} {found.box.score:.2f}"
    figure = onnxviz.plot_explanation(found)
    corners = [patch.get_bbox().extents for patch in figure.axes[0].patches]
    left, right, *_ = figure.axes[0].images[0].get_extent()  # the first picture is the photo, at the left
    assert left == 0
    width = right - left
    expected = np.clip(
        np.array(found.box.corners) / SIZE * width, 2, width - 2
    )  # of what reaches further, the part inside
    assert any(np.allclose(one, expected, atol=1e-6) for one in corners)
    assert any(text.get_text() == label for text in figure.axes[0].texts)


@pytest.mark.parametrize("name", ["v8", "v5 raw"])
def test_maximize_climbs_the_score_that_is_explained(name):
    detector, model = made(name)
    made_ = onnxviz.maximize(model, class_=1, steps=8, preprocess="unit", transforms="none", leak=0.0)
    given = torch.tensor(np.ascontiguousarray(made_.images.transpose(0, 3, 1, 2), np.float32))
    with torch.no_grad():
        assert made_.after[0] == pytest.approx(float(detector.scores(given)[0, :, 1].mean()), rel=1e-3)
    assert made_.after[0] > made_.before[0]
