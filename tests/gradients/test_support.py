"""What cannot be differentiated is said beforehand, all of it."""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnx.parser
import pytest
from protos import classifier_proto

import onnxviz
from onnxviz.errors import InputError, OnnxvizError, SelectionError, UnsupportedGradientError
from onnxviz.gradients.add_gradient import add_gradient, grad_support


def parsed(text, opset=18):
    """A model from ONNX text; `head` and the opset are put before it."""
    return onnxviz.load(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]>\n{text}'))


@pytest.fixture(scope="module")
def blocked():
    """Conv → Relu → GridSample → a domain of its own → logits; a Resize on another branch."""
    proto = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20, "mine" : 1]>
        g (float[1, 2, 4, 4] images, float[1, 4, 4, 2] grid) => (float logits)
        <float[2, 2, 1, 1] w = {1, 2, 3, 4}, int64[2] sizes = {8, 4}, int64[2] axes = {2, 3}>
        {
            conv = Conv(images, w)
            relu = Relu(conv)
            sampled = GridSample(relu, grid)
            custom = mine.Twist(sampled)
            up = Resize<axes = [2, 3], keep_aspect_ratio_policy = "not_larger">(relu, , , sizes)
            summed = ReduceSum(up)
            total = ReduceSum(custom)
            logits = Add(summed, total)
        }"""
    )
    for node in proto.graph.node:
        node.name = f"n_{node.output[0]}"
    return onnxviz.load(proto)


def test_all_that_stands_in_the_way_is_listed(blocked):
    support = grad_support(blocked, "logits", "images")
    assert not support
    assert [(one.node, one.op, one.kind) for one in support.blocking] == [
        ("n_sampled", "GridSample", "no-rule"),
        ("n_custom", "mine::Twist", "custom-domain"),
        ("n_up", "Resize", "attribute-unsupported"),
    ]
    assert [one.position for one in support.blocking] == sorted(one.position for one in support.blocking)
    assert {one.opset for one in support.blocking} == {20}
    assert (support.reaches, support.reached, support.nodes) == ("relu", 2, 8)
    assert "eigen-cam" in support.gradient_free


def test_the_message_has_reasons_remedies_and_how_far_it_goes(blocked):
    with pytest.raises(UnsupportedGradientError) as caught:
        add_gradient(blocked, "logits", "images")
    assert str(caught.value).splitlines() == [
        "cannot differentiate 'logits' with respect to 'images': 3 of 8 nodes on the path have no gradient.",
        "  1. GridSample  node 'n_sampled' (output 'sampled', opset 20): the operator has no gradient here.",
        "     -> choose a tensor before it",
        "  2. mine::Twist  node 'n_custom' (output 'custom', opset 20): "
        "operators of the domain 'mine' have no gradient.",
        "     -> choose a tensor before it",
        "  3. Resize  node 'n_up' (output 'up', opset 20): keep_aspect_ratio_policy='not_larger' is not supported "
        "(supported: 'stretch').",
        "  Differentiable up to: 'relu' (node 2 of 8) - every target at or before it works.",
        "  Explanation methods that need no gradient: occlusion, rise, score-cam, eigen-cam.",
    ]
    assert isinstance(caught.value, OnnxvizError)
    assert isinstance(caught.value, NotImplementedError)
    assert caught.value.exit_code == 2


def test_what_the_message_promises_works(blocked):
    assert grad_support(blocked, "relu", "images")
    assert grad_support(blocked, "summed", "conv").blocking[0].op == "Resize"
    assert add_gradient(blocked, "relu", "images").outputs


def test_no_session_is_made_before(blocked, monkeypatch):
    def no_session(*_, **__):
        raise AssertionError("a session was made")

    monkeypatch.setattr("onnxviz.gradients.gradient.Session", no_session)
    assert not grad_support(blocked, "logits", "images")
    with pytest.raises(UnsupportedGradientError):
        add_gradient(blocked, "logits", "images")
    with pytest.raises(AssertionError, match="a session was made"):
        add_gradient(blocked, "relu", "images").session()


def test_a_long_list_is_cut_in_the_message():
    chain = "\n".join(f"t{i + 1} = GridSample(t{i}, grid)" for i in range(14))
    model = parsed(f"g (float[1,1,2,2] t0, float[1,2,2,2] grid) => (float[1,1,2,2] t14) {{ {chain} }}", 20)
    support = grad_support(model, wrt="t0")
    assert len(support.blocking) == 14
    assert "… and 4 more (grad_support lists them all)" in str(support)
    assert "14." not in str(support)


def test_sizes_that_are_left_open_are_one_cause_however_many_nodes_need_them():
    weight = "<float[1,1,3,3] w = {1,2,3,4,5,6,7,8,9}>"
    chain = " ".join(f"t{i + 1} = Conv<strides = [2, 2]>(t{i}, w)" for i in range(14))
    support = grad_support(parsed(f"g (float[N,1,H,W] t0) => (float[N,1,h,v] t14) {weight} {{ {chain} }}"))
    assert len(support.blocking) == 14
    lines = str(support).splitlines()
    assert "14 of 14 nodes on the path have no gradient" in lines[0]
    assert re.match(r"  1\. 14 nodes need sizes that are left open, first Conv  node .* leaves open\.$", lines[1])
    assert lines[2] == "     -> pass shapes={'t0': (1, 1, 224, 224)}"
    assert "  2. " not in str(support)
    assert "more (grad_support" not in str(support)
    pinned = grad_support(parsed(f"g (float[N,1,H,W] t0) => (float[N,1,h,v] t14) {weight} {{ {chain} }}"),
                          shapes={"t0": (1, 1, 2**15, 2**15)})  # fmt: skip
    assert pinned


REASONS = {
    "open sizes": (
        "g (float[N, 1, H, W] x) => (float y) <float[1,1,3,3] w = {1,2,3,4,5,6,7,8,9}> "
        "{ c = Conv<strides = [2, 2]>(x, w) y = ReduceSum(c) }",
        "unknown-static-shape",
        r"'x' \(NxxHxW\)|leaves open",
        r"pass shapes=\{'x': \(1, 1, 224, 224\)\}",
    ),
    "integers at the end": (
        "g (float[1, 4] x) => (int64[1, 1] y) { y = ArgMax<axis = 1>(x) }",
        "non-float",
        "'y': it holds int64",
        "choose a tensor of floats",
    ),
    "integers at the start": (
        "g (uint8[1, 4] x) => (float[1, 4] y) { f = Cast<to = 1>(x) y = Relu(f) }",
        "non-float",
        "'x': it holds uint8",
        "'f', which is made of it, holds floats",
    ),
    "only steps": (
        "g (float[1, 4] x) => (float[1, 4] y) { f = Floor(x) y = Relu(f) }",
        "no-path",
        "Floor .*is a step function",
        "choose a target before it",
    ),
    "an integer on the way": (
        "g (float[1, 4] x) => (float[1, 4] y) { i = Cast<to = 7>(x) y = Cast<to = 1>(i) }",
        "no-path",
        "Cast .*numbers that are not floating point",
        "choose a target before it",
    ),
    "no influence": (
        "g (float[1, 4] x, float[1, 4] z) => (float[1, 4] y) { y = Relu(z) u = Relu(x) }",
        "no-path",
        "'y' does not depend on it",
        "choose another tensor",
    ),
    "training": (
        "g (float[2, 2, 3, 3] x) => (float[2, 2, 3, 3] y) <float[2] s = {1, 2}> "
        "{ y, m, v = BatchNormalization<training_mode = 1>(x, s, s, s, s) }",
        "training-mode",
        r"training_mode=1",
        r"model\.eval\(\)",
    ),
    "dropout in training": (
        "g (float[2, 2] x) => (float[2, 2] y) <float r = {0.5}, bool t = {1}> { y = Dropout(x, r, t) }",
        "training-mode",
        "drops values at random",
        "export the model for inference",
    ),
    "quantised operators": (
        "g (float[1, 1, 2, 2] x) => (float[1, 1, 2, 2] y) <float s = {0.1}, uint8 z = {0}, uint8[1,1,1,1] w = {3}> "
        "{ q = QuantizeLinear(x, s, z) c = QLinearConv(q, s, z, w, s, z, s, z) y = DequantizeLinear(c, s, z) }",
        "quantised",
        "a quantised operator is not differentiable",
        "QuantFormat.QDQ",
    ),
    "dynamic weights": (
        "g (float[1, 1, 2, 2] x) => (float[1, 1, 2, 2] y) <int64[4] k = {1, 1, 1, 1}> "
        "{ m = ReduceMean(x) w = Reshape(m, k) y = Conv(x, w) }",
        "no-rule",
        "its input 1 .'w'., which depends on the model's input",
        "",
    ),
    "not an operator": (
        "g (float[1, 4] x) => (float[1, 4] y) { y = Erfc(x) }",
        "custom-domain",
        "ONNX has no such operator: the export is incomplete",
        "export the model again",
    ),
    "a loop": (
        """g (float[2] x) => (float[2] y) <int64 n = {3}, bool c = {1}>
        { y = Loop<body = b (int64 i, bool k, float[2] a) => (bool k2, float[2] a2)
                   { k2 = Identity(k) a2 = Add(a, a) }>(n, c, x) }""",
        "no-rule",
        "control flow that depends on the input",
        "choose a tensor before it",
    ),
}


@pytest.mark.parametrize("name", REASONS)
def test_reason(name):
    text, kind, reason, remedy = REASONS[name]
    support = grad_support(parsed(text), wrt="x")
    assert not support
    assert {one.kind for one in support.blocking} == {kind}
    with pytest.raises(UnsupportedGradientError, match=reason):
        support.check()
    if remedy:
        with pytest.raises(UnsupportedGradientError, match=remedy):
            support.check()


def test_a_foreign_operator_is_named_not_everything_behind_it():
    proto = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 18, "mine" : 1]>
        g (float[N, 1, 4, 4] x) => (float y) <float[1,1,1,1] w = {2}>
        { t = mine.Twist(x) a = Conv<strides = [2, 2]>(t, w) b = Relu(a) c = Add(b, a) y = ReduceMean(c) }"""
    )
    (only,) = grad_support(onnxviz.load(proto), wrt="x").blocking
    assert only.op == "mine::Twist"


def test_the_remedy_for_open_sizes_is_one():
    model = parsed(REASONS["open sizes"][0])
    session = add_gradient(model, shapes={"x": ("batch", 1, 7, 8)}).session()
    x = np.random.default_rng(0).normal(size=(3, 1, 7, 8)).astype(np.float32)
    found = session.run({"x": x}, np.ones((1, 1, 1, 1)))
    assert found.gradients["x"].shape == x.shape
    assert found.gradients["x"][:, :, 6].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"of": "nothing"}, "'nothing' is not a tensor of its main graph"),
        ({"wrt": "nothing"}, "'nothing' is not a tensor"),
        ({"wrt": "dense/kernel"}, "'dense/kernel' is a constant"),
        ({"of": "image"}, "inputs image and outputs logits"),
    ],
)
def test_a_tensor_that_is_not_there(options, message):
    with pytest.raises(SelectionError, match=message):
        add_gradient(onnxviz.load(classifier_proto()), **options)


def test_sizes_that_do_not_fit():
    model = onnxviz.load(classifier_proto())
    with pytest.raises(InputError, match=r"has no input 'x'; it has image"):
        add_gradient(model, shapes={"x": (1, 3, 16, 12)})
    with pytest.raises(
        InputError, match=r"'image' of .* has 4 axes \(batchx3x16x12\), but 3 sizes were given: 3x16x12"
    ):
        grad_support(model, shapes={"image": (3, 16, 12)})


def test_a_mode_that_there_is_not():
    with pytest.raises(InputError, match="there is no mode 'smooth'; there are plain, guided, deconv"):
        add_gradient(onnxviz.load(classifier_proto()), mode="smooth")


def test_a_mode_that_changes_nothing_says_so():
    model = parsed("g (float[1, 4] x) => (float[1, 4] y) { y = Sigmoid(x) }")
    assert add_gradient(model, mode="guided").warnings == (
        "mode 'guided' changes nothing: there is no Relu between x and y",
    )
    assert add_gradient(onnxviz.load(classifier_proto()), mode="guided").warnings == ()
