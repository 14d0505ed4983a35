"""Heads of detectors in graphs written by hand: what is recognised, what is not, and what is said then."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import untouched
from protos import classifier_proto, normal, parsed
from samples import CLASSIFIER, UNET
from small_detector import small_detector

from onnxviz import explain, load
from onnxviz.errors import InputError, SelectionError
from onnxviz.model.detection.box_scores import BOX_PROBABILITIES, BOX_SCORES
from onnxviz.model.detection.heads import find_head
from onnxviz.model.scores import find_scores, with_scores

X = normal(3, 16, 16)


def test_boxes_beside_scores():
    model = load(small_detector())
    head = find_head(model)
    assert (head.outputs, head.count, head.link, head.objectness, head.boxes.form) == (
        ("y",),
        3,
        "sigmoid",
        None,
        "xyxy",
    )
    found = find_scores(model)
    assert (found.tensor, found.axis, found.link, found.inner) == (BOX_SCORES, -1, "sigmoid", False)
    explained = explain(model, X, class_=2, method="saliency")
    assert explained.target == explained.output == "y"
    assert explain(model, X, class_=2, target="y", method="saliency").box == explained.box
    with pytest.raises(InputError, match="is not a region of boxes"):
        explain(model, X, region="argmax")


def test_the_scores_of_boxes_are_added_once():
    model = load(small_detector())
    added = with_scores(model)
    assert {BOX_SCORES, BOX_PROBABILITIES} <= {*added.scope.producers}
    assert BOX_SCORES not in model.scope.producers
    assert with_scores(added) is added
    assert added.outputs == model.outputs
    assert with_scores(load(classifier_proto())).outputs[0].name == "logits"


def test_one_class_is_no_logit_of_two():
    tail = "only = Slice (cc, zero, one, one) p = Sigmoid (only) y = Concat <axis=1> (q, p)"
    model = load(small_detector(tail, zero=np.array([0]), one=np.array([1])))
    assert find_scores(model).classes((1, 4, 1)) == 1
    assert explain(model, X, class_=0, method="saliency").class_ == 0
    with pytest.raises(SelectionError, match="no class 1; the boxes have 1, 0 to 0"):
        explain(model, X, class_=1)


def test_two_outputs():
    tail = "p = Transpose <perm=[0,2,1]> (cc) y = Softmax <axis=2> (p) z = Transpose <perm=[0,2,1]> (q)"
    for order in ("float[n,k,l] y, float[n,k,m] z", "float[n,k,m] z, float[n,k,l] y"):
        head = find_head(load(small_detector(tail, order)))
        assert (head.classes.parts[0].tensor, head.link, head.exclusive, head.boxes.form) == (
            "c",
            "softmax",
            True,
            "xyxy",
        )
    named = "{0: 'background', 1: 'cat', 2: 'dog'}"
    model = load(small_detector(tail, order, named))
    assert (find_head(model, ("background", "cat", "dog")).background, explain(model, X).class_ in (1, 2)) == (0, True)


def test_boxes_that_are_picked_by_rank():
    """The three best of all boxes and classes, as RT-DETR is exported: a row is found by its score and class."""
    tail = (
        "p = Sigmoid (cc) t = Transpose <perm=[0,2,1]> (p) flat = Reshape (t, all) "
        "best, place = TopK <axis=1> (flat, k) box = Div (place, three_) class = Mod (place, three_) "
        "u = Unsqueeze (box, two) wide = Concat <axis=2> (u, u, u, u) corners = Transpose <perm=[0,2,1]> (q) "
        "rows = GatherElements <axis=1> (corners, wide) score = Unsqueeze (best, two) "
        "number = Cast <to=1> (class) label = Unsqueeze (number, two) y = Concat <axis=2> (rows, score, label)"
    )
    made = small_detector(
        tail, all=np.array([0, -1]), k=np.array([3]), three_=np.array(3, np.int64), two=np.array([2])
    )  # fmt: skip
    model = load(made)
    assert find_head(model).selected
    scores = 1 / (1 + np.exp(-untouched(made, ["cc"], {"x": X[None]})["cc"][0].T))
    order = np.argsort(-scores, axis=None)[:3]
    for row, (box, class_) in enumerate(zip(*np.unravel_index(order, scores.shape), strict=True)):
        found = explain(model, X, box=row, method="saliency")
        assert (found.case.target.number, found.class_, found.box.number) == (box, class_, row)
        assert found.box.score == pytest.approx(scores[box, class_], rel=1e-5)
    assert [one.number for one in explain(model, X, method="saliency").boxes] == [0, 1, 2]
    with pytest.raises(
        SelectionError, match="row 3 of the output is no box of this input; the first that are: 0, 1, 2"
    ):
        explain(model, X, box=3)


@pytest.mark.parametrize(
    "tail",
    [
        # five columns, then probabilities
        "p = Sigmoid (cc) m = Slice (bb, zero, one, one) y = Concat <axis=1> (q, m, p)",
        # probabilities first
        "p = Sigmoid (cc) y = Concat <axis=1> (p, q)",
    ],
)
def test_what_is_not_recognised_is_said_to_be_no_scores(tail):
    model = load(small_detector(tail, zero=np.array([0]), one=np.array([1])))
    assert find_head(model) is None
    with pytest.raises(
        SelectionError,
        match=r"does not look like scores of classes: y \(nx\d+x4\) holds boxes and scores in a way that is not known "
        r"here; tensors that may score classes: cc \(nx3x4\)",
    ):
        explain(model, X, class_=1)
    assert explain(model, X, target="cc", class_=1, method="saliency").target == "cc"


def test_what_its_metadata_call_a_detector_is_no_classifier():
    made = parsed(
        "g (float[n,3,16,16] x) => (float[n,9,2,2] y) { y = Conv <strides=[8,8]> (x, w) }", w=normal(9, 3, 8, 8)
    )
    assert explain(load(made), X, class_=1, region="all", method="saliency").class_ == 1
    made.metadata_props.add(key="task", value="detect")
    with pytest.raises(SelectionError, match="does not look like scores"):
        explain(load(made), X, class_=1)


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        ({"region": (1, 2, 3)}, r"\(top, left, bottom, right\) in whole numbers .* as region, not \(1, 2, 3\)"),
        ({"region": ("a", 0, 40, 40)}, r"in whole numbers .* not \('a', 0, 40, 40\)"),
        ({"region": (0.5, 0, 9, 9)}, "in whole numbers"),
        ({"region": (0, 0, True, 9)}, "in whole numbers"),
        ({"region": (0, 0, 17, 9)}, r"region \(0, 0, 17, 9\) is not inside the input of 16×16 pixels"),
        ({"region": "middle"}, "'middle' is not a region of boxes; boxes have the regions all and"),
        ({"class_": 0.5}, r"explain takes text or a whole number or a sequence of .* as class_, not 0\.5"),
        ({"class_": True}, "a class is a number or 'top', not True"),
        ({"class_": 3}, "there is no class 3; the boxes have 3, 0 to 2"),
        ({"box": True}, "a box is chosen by its number, not by True"),
        ({"box": 1.5}, "explain takes a whole number or None as box, not 1.5"),
    ],
)
def test_what_is_no_region_class_or_box_is_refused(asked, refusal):
    with pytest.raises((InputError, SelectionError), match=refusal):
        explain(load(small_detector()), X, method="saliency", **asked)


@pytest.mark.parametrize("path", [CLASSIFIER, UNET])
def test_other_models_have_no_head(path):
    assert find_head(load(path)) is None
    assert find_scores(load(path)).head is None
    with pytest.raises(InputError, match="is not one of boxes"):
        explain(path, normal(3, 64, 64), box=0)


def test_two_heads_of_a_volume_are_no_strides():
    made = parsed(
        "g (float[n,1,4,8,8] x) => (float[n,3,4,8,8] y, float[n,3,4,8,8] z) { y = Conv (x, w) z = Conv (x, v) }",
        w=normal(3, 1, 1, 1, 1),
        v=normal(3, 1, 1, 1, 1, seed=2),
    )
    assert find_head(load(made)) is None
    with pytest.raises(SelectionError, match="2 outputs that may be scores"):
        find_scores(load(made))


def test_a_fixed_convolution_is_no_layer_to_explain():
    """The mean of a distribution, as the boxes of YOLOv8 are made: no weight of it was trained."""
    made = parsed(
        "g (float[n,3,8,8] x) => (float[n,4] y) { c = Conv (x, w) r = Reshape (c, s) p = Softmax <axis=1> (r) "
        "d = Conv (p, mean) f = Reshape (d, t) y = MatMul (f, v) }",
        w=normal(16, 3, 1, 1),
        s=np.array([0, 16, 4, 16]),
        mean=np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1),
        t=np.array([0, -1]),
        v=normal(64, 4),
    )
    assert explain(load(made), normal(3, 8, 8), class_=1).tensor == "c"
