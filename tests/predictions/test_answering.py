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
