"""Masks as `predict` keeps them: which class wins where, and which lies behind everything."""

import numpy as np
import onnxruntime
import pytest
from protos import normal, parsed

from onnxviz import predict

X = normal(2, 3, 7, 9)


def segmenter(channels, last=False):
    order = "y = Transpose <perm=[0,2,3,1]> (c)" if last else "y = Identity (c)"
    return parsed(
        f"g (float[n,3,7,9] x) => (float[n,a,b,d] y) {{ c = Conv <pads=[1,1,1,1]> (x, w) {order} }}",
        w=normal(channels, 3, 3, 3, seed=4),
    )


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("channels", [1, 5, 300])
def test_a_mask_is_the_class_with_the_largest_score_at_each_position(channels, last):
    proto = segmenter(channels, last)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"x": X})
    scores = np.moveaxis(scores, -1, 1) if last else scores
    expected = scores.argmax(axis=1) if channels > 1 else (scores[:, 0] > 0).astype(int)
    for one, winners in zip(predict(proto, X, top=2), expected, strict=True):
        assert one.answer.kind == "mask"
        np.testing.assert_array_equal(one.answer.mask, winners)
        for share in one.answer.top:
            assert share.share == pytest.approx((winners == share.number).mean())
        assert one.answer.ground == ((0,) if channels == 1 else ())


def test_what_is_no_mask_has_none():
    (one, _) = predict(
        parsed("g (float[n,3,7,9] x) => (float[n,4] y) { p = GlobalAveragePool (x) f = Flatten (p) y = MatMul (f, w) }",
               w=normal(3, 4)),
        X,
    )  # fmt: skip
    assert one.answer.mask is None
    assert one.answer.ground == ()


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
]


def ending(end):
    kind = "int64" if "ArgMax" in end else "float"
    rank = 3 if "ArgMax" in end else 2 if "Flatten" in end else 4
    return parsed(
        f"g (float[n,3,7,9] x) => ({kind}[{','.join('nabd'[:rank])}] y) {{ c = Conv <pads=[1,1,1,1]> (x, w) {end} }}",
        w=normal(5, 3, 3, 3, seed=4), v=normal(4, 5, 1, 1), low=np.float32(0), six=np.float32(6), one=np.float32(1),
    )  # fmt: skip


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


@pytest.mark.parametrize("end", HEADS)
def test_scores_behind_a_head_are_scores(end):
    assert predict(ending(end), X)[0].answer.kind != "numbers"
