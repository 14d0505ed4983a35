"""Feature maps at a model's end: nobody takes them for scores of classes unless the user says so."""

import numpy as np
import pytest
from protos import normal, parsed

from onnxviz import compare, explain, load, maximize, predict
from onnxviz.errors import SelectionError
from onnxviz.model.scores import find_scores

X = normal(2, 3, 7, 9)
BODIES = [
    "y = Relu (c)",
    "y = MaxPool <kernel_shape=[2,2]> (c)",
    "y = AveragePool <kernel_shape=[2,2]> (c)",
    "y = Clip (c, low, six)",
    "r = Relu (c) y = Transpose <perm=[0,2,3,1]> (r)",
    "r = Relu (c) y = Identity (r)",
]
HEADS = [
    "y = Clip (c, low, one)",  # as of probabilities
    "y = Softmax <axis=1> (c)",
    "r = Relu (c) y = Conv (r, v)",
    "y = Sigmoid (c)",
    "y = HardSigmoid (c)",
    "r = Relu (c) y = ArgMax <axis=1> (r)",
    "r = Relu (c) p = GlobalAveragePool (r) y = Flatten (p)",  # so ends SqueezeNet
    "r = Relu (c) y = GlobalAveragePool (r)",
]


def ending(end):
    kind = "int64" if "ArgMax" in end else "float"
    rank = 3 if "ArgMax" in end else 2 if "Flatten" in end else 4
    return parsed(
        f"g (float[n,3,7,9] x) => ({kind}[{','.join('nabd'[:rank])}] y) {{ c = Conv <pads=[1,1,1,1]> (x, w) {end} }}",
        w=normal(5, 3, 3, 3, seed=4), v=normal(4, 5, 1, 1), low=np.float32(0), six=np.float32(6), one=np.float32(1),
    )  # fmt: skip


REFUSED = r"does not look like scores of classes: y \(nx.*\) comes out of .*, as feature maps do"


def test_a_bound_of_the_old_form_is_one():
    """MobileNet's Relu6 as it was until opset 10, with its bounds as attributes."""
    old = parsed(
        "g (float[n,3,7,9] x) => (float[n,5,a,b] y) { c = Conv (x, w) y = Clip <min=0.0,max=6.0> (c) }",
        opset=9, w=normal(5, 3, 3, 3),
    )  # fmt: skip
    assert predict(old, X)[0].answer.kind == "numbers"


@pytest.mark.parametrize("end", BODIES)
def test_feature_maps_are_no_mask(end):
    """The body of a network has no classes, of which the largest could win a position."""
    found = predict(ending(end), X)
    assert found[0].answer.kind == "numbers"
    assert any("as feature maps do: its outputs are shown as numbers" in note for note in found.notes)
    named = predict(ending(end), X, labels=[*"abcde"])
    assert named[0].answer.kind == "mask", "who names its channels says that they are classes"


@pytest.mark.parametrize("end", BODIES)
def test_a_channel_of_feature_maps_is_no_class(end):
    proto = ending(end)
    with pytest.raises(SelectionError, match=REFUSED + ".*name the one that is meant"):
        explain(proto, X[:1])
    with pytest.raises(SelectionError, match=REFUSED + ".*a layer and numbers of its filters"):
        maximize(proto, class_=0, steps=1)
    assert find_scores(load(proto), "y").tensor == "y", "whoever names it is believed"
    assert find_scores(load(proto), labelled=True).tensor == "y"
    assert explain(proto, X[:1], method="saliency", target="y", class_=2).class_ == 2
    assert explain(proto, X[:1], method="saliency", labels=[*"abcde"], class_="c").class_ == 2


def test_two_bodies_are_compared_by_their_values():
    found = compare(ending(BODIES[0]), ending(BODIES[0]), X)
    assert found.agreement is None


@pytest.mark.parametrize("end", HEADS)
def test_scores_behind_a_head_are_scores(end):
    assert predict(ending(end), X)[0].answer.kind != "numbers"
    assert find_scores(load(ending(end))).output == "y"
