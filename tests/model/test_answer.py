"""Which of several outputs is explained: what the graph proves, else the question."""

from __future__ import annotations

import json

import numpy as np
import pytest
from protos import normal, parsed

from onnxviz import explain, load
from onnxviz.errors import SelectionError
from onnxviz.model.scores import find_scores

# Features f (n, 4, 8, 8) and their means m (n, 4).
HEAD = "c = Conv <pads=[1,1,1,1]> (x, w) f = Relu (c) m = ReduceMean <keepdims=0> (f, a) "


def model(outputs, body, names=(), size="8,8", **weights):
    """A model with these outputs, `NAME:float[n,5]` or `NAME:int64[n]`."""
    listed = ", ".join(f"{kind} {name}" for name, kind in (one.split(":") for one in outputs))
    weights = {"w": normal(4, 3, 3, 3), "a": np.array([2, 3]), "d": normal(4, 5), "e": normal(4, 2), **weights}
    proto = parsed(f"g (float[n,3,{size}] x) => ({listed}) {{ {HEAD} {body} }}", **weights)
    if names:
        proto.metadata_props.add(key="classes", value=json.dumps(list(names)))
    return load(proto)


@pytest.mark.parametrize(
    ("outputs", "body", "names", "output"),
    [
        # one ends in a softmax, as of MTCNN's networks
        (["b:float[n,4]", "p:float[n,2]"], "b = Identity (m) z = MatMul (m, e) p = Softmax (z)", (), "p"),
        # the same at every position, channels last
        (
            ["b:float[n,8,8,4]", "p:float[n,8,8,2]"],
            "b = Transpose <perm=[0,2,3,1]> (f) z = Conv (f, two) t = Transpose <perm=[0,2,3,1]> (z) "
            "p = Softmax <axis=3> (t)",
            (),
            "p",
        ),
        # logits and what is made of them are one answer
        (["z:float[n,5]", "p:float[n,5]"], "z = MatMul (m, d) p = Softmax (z)", (), "z"),
        # a label and its scores
        (["l:int64[n]", "z:float[n,5]"], "z = MatMul (m, d) l = ArgMax <axis=1, keepdims=0> (z)", (), "l"),
        # features on the way
        (["m:float[n,4]", "z:float[n,5]"], "z = MatMul (m, d)", (), "z"),
        # the names say which
        (["u:float[n,2]", "z:float[n,5]"], "u = MatMul (m, e) z = MatMul (m, d)", tuple("abcde"), "z"),
        # deep supervision: the finest of several with the same classes
        (
            ["s:float[n,4,4,4]", "z:float[n,4,8,8]"],
            "q = MaxPool <kernel_shape=[2,2], strides=[2,2]> (f) s = Conv (q, v) z = Conv (f, v)",
            (),
            "z",
        ),
        (
            ["s:float[n,4,h,k]", "z:float[n,4,i,j]"],
            "q = MaxPool <kernel_shape=[2,2], strides=[2,2]> (f) s = Conv (q, v) z = Conv (f, v)",
            (),
            "z",
        ),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_the_output_that_is_proven(outputs, body, names, output, turned):
    opened = model(outputs[::-1] if turned else outputs, body, names, v=normal(4, 4, 1, 1), two=normal(2, 4, 1, 1))
    same = {"p", "z", "l"} if (output in ("z", "l") and "l" in body) or "p = " in body else {output}
    found = find_scores(opened).output
    assert found == output or (
        found in same and find_scores(opened, found).tensor == find_scores(opened, output).tensor
    )
    explained = explain(opened, normal(3, 8, 8), method="saliency", class_=1)
    assert explained.output == found
    assert explained.as_dict()["output"] == found
    assert f"of {found}" in explained.facts


def test_open_sizes_are_compared_by_example():
    opened = model(
        ["s:float[n,4,h,k]", "z:float[n,4,i,j]"],
        "q = MaxPool <kernel_shape=[2,2], strides=[2,2]> (f) s = Conv (q, v) z = Conv (f, v)",
        size="h0,w0",
        v=normal(4, 4, 1, 1),
    )
    assert find_scores(opened).output == "z"


@pytest.mark.parametrize(
    ("outputs", "body", "message"),
    [
        (
            ["u:float[n,2]", "z:float[n,5]"],
            "u = MatMul (m, e) z = MatMul (m, d)",
            r"2 outputs that may be scores, .*: u \(nx2\), z \(nx5\)",
        ),
        (
            ["p:float[n,2]", "r:float[n,5]"],
            "u = MatMul (m, e) p = Softmax (u) z = MatMul (m, d) r = Softmax (z)",
            r"p \(nx2\), r \(nx5\)",
        ),
        (
            ["s:float[n,4,8,8]", "z:float[n,4,8,8]"],
            "s = Conv (f, v) z = Conv (f, v)",
            r"s \(nx4x8x8\), z \(nx4x8x8\)",
        ),
    ],
)
def test_where_several_qualify_they_are_named(outputs, body, message):
    opened = model(outputs, body, v=normal(4, 4, 1, 1))
    with pytest.raises(SelectionError, match=message):
        explain(opened, normal(3, 8, 8))
    second = outputs[1].split(":")[0]
    assert explain(opened, normal(3, 8, 8), target=second, method="saliency").output == second


def test_one_output_is_taken_as_it_is():
    opened = model(["m:float[n,4]"], "")
    assert find_scores(opened).output == "m"
    assert "of m" not in explain(opened, normal(3, 8, 8), method="saliency").facts
