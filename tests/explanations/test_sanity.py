"""Sanity checks and curves: the measures against scipy and scikit-image, the verdicts against what is known."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from cross_finder import finder, scene
from onnx import numpy_helper
from protos import normal, parsed
from samples import CLASSIFIER, DOG

from onnxviz import explain, explain_faithfulness, explain_sanity, load
from onnxviz.cli import run
from onnxviz.errors import InputError, ModelError
from onnxviz.explanations.faithfulness import Faithfulness, area, outwards
from onnxviz.explanations.map_similarity import blurred, rank_correlation, structural_similarity
from onnxviz.explanations.method import Method, MethodResult
from onnxviz.explanations.methods import METHODS
from onnxviz.explanations.sanity import RandomizedModel, cascade, learnt_layers


def pairs():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(30, 24))
    yield one, one
    yield one, -one
    yield one, one + rng.normal(size=one.shape)
    yield one, rng.normal(size=one.shape)
    yield np.maximum(one, 0), np.maximum(one + 0.3 * rng.normal(size=one.shape), 0)  # ties
    yield np.round(one), np.round(one * 2)


def test_rank_correlation():
    stats = pytest.importorskip("scipy.stats", reason="the oracle is scipy: pip install scipy")
    for one, other in pairs():
        expected = stats.spearmanr(one.ravel(), other.ravel()).statistic
        assert rank_correlation(one, other) == pytest.approx(expected, abs=1e-12)
    assert rank_correlation(np.zeros((4, 4)), normal(4, 4)) == 0


def test_rank_correlation_by_hand():
    assert rank_correlation(np.array([1, 2, 3, 4]), np.array([10, 20, 30, 31])) == pytest.approx(1)
    # Ranks 1 2.5 2.5 4 and 1 2 3 4: 4.5 / √(4.5 · 5).
    assert rank_correlation(np.array([1, 2, 2, 3]), np.array([1, 2, 3, 4])) == pytest.approx(4.5 / np.sqrt(22.5))


def test_structural_similarity():
    metrics = pytest.importorskip("skimage.metrics", reason="the oracle is scikit-image: pip install scikit-image")
    for one, other in pairs():
        a, b = ((x - x.min()) / (x.max() - x.min()) for x in (one, other))
        expected = metrics.structural_similarity(
            a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
        )
        assert structural_similarity(one, other) == pytest.approx(expected, abs=1e-10)


def test_structural_similarity_of_small_and_constant_maps():
    assert structural_similarity(normal(3, 3), normal(3, 3)) == pytest.approx(1)
    assert structural_similarity(np.zeros((7, 7)), np.zeros((7, 7))) == pytest.approx(1)
    assert structural_similarity(np.zeros((30, 30)), normal(30, 30)) < 0.1
    assert structural_similarity(normal(30), normal(30)) == pytest.approx(1)


def test_blur():
    ndimage = pytest.importorskip("scipy.ndimage", reason="the oracle is scipy: pip install scipy")
    values = np.random.default_rng(1).normal(size=(3, 40, 50))
    expected = ndimage.gaussian_filter(values, (0, 2, 2), mode="reflect")
    assert np.abs(blurred(values, 2, 2) - expected).max() < 1e-12


def test_layers_from_the_top_down():
    names = [name for name, _ in learnt_layers(load(CLASSIFIER), "logits")]
    assert names == ["dense", "conv5", "conv4", "conv3", "conv2", "conv1"]
    assert [name for name, _ in learnt_layers(load(CLASSIFIER), "relu2")] == ["conv2", "conv1"]
    assert cascade(6, 8) == [1, 2, 3, 4, 5, 6]
    assert cascade(100, 4) == [1, 34, 67, 100]
    assert cascade(1, 8) == [1]


def test_only_what_is_asked_for_is_forgotten():
    model = load(CLASSIFIER)
    before = {t.name: numpy_helper.to_array(t) for t in onnx.load(CLASSIFIER).graph.initializer}
    proto = RandomizedModel(model, 0).without({"dense.weight", "conv5.weight"})
    after = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    assert before.keys() == after.keys()
    for name, values in before.items():
        assert np.array_equal(values, after[name]) != (name in ("dense.weight", "conv5.weight")), name
    assert after["conv5.weight"].std() == pytest.approx(before["conv5.weight"].std(), rel=0.05)
    again = RandomizedModel(model, 0).without({"conv5.weight"})
    other = RandomizedModel(model, 1).without({"conv5.weight"})
    values = [
        next(numpy_helper.to_array(t) for t in p.graph.initializer if t.name == "conv5.weight") for p in (again, other)
    ]
    assert np.array_equal(values[0], after["conv5.weight"])
    assert not np.array_equal(values[1], after["conv5.weight"])


@pytest.mark.parametrize(
    ("method", "passed"), [("grad-cam", True), ("saliency", True), ("occlusion", True), ("guided", False)]
)
def test_guided_backpropagation_fails_and_others_pass(method, passed):
    """As in Adebayo et al. 2018, figures 2 to 4."""
    found = explain_sanity(explain(CLASSIFIER, DOG, method=method), stages=2 if passed else 6)
    assert found.depends_on_weights is passed
    assert found.verdict.startswith("failed") is not passed
    assert passed or not found.passed
    assert found.stages[-1].randomised == found.layers == 6
    assert found.stages[0].map.shape == (96, 96)
    if not passed:
        assert found.stages[0].rank_correlation > 0.8
        assert found.half.rank_correlation > 0.5


@dataclass(frozen=True)
class UpsideDown(Method):
    """Saliency with the least important pixels first: it depends on the weights as saliency does, and misleads."""

    name = "upside-down"
    source = "nobody"

    def __call__(self, case):
        return MethodResult(map=-METHODS["saliency"](case).map)


@pytest.mark.parametrize(("method", "verdict"), [("saliency", "passed"), (UpsideDown(), "doubtful")])
def test_a_map_that_a_random_order_beats_does_not_pass(method, verdict):
    """The two maps change alike with the weights; only what the score does tells which is right."""
    found = explain_sanity(explain(CLASSIFIER, DOG, method=method), stages=2)
    curves = found.faithfulness
    assert found.depends_on_weights
    assert found.passed is (verdict == "passed")
    assert found.verdict.startswith(f"{verdict}: the map's rank correlation")
    assert ("in a random order" in found.verdict) is not found.passed
    worse = curves.insertion_auc < curves.random_insertion_auc or curves.deletion_auc > curves.random_deletion_auc
    assert worse is not found.passed
    told = found.as_dict()
    assert (told["passed"], told["depends_on_weights"]) == (found.passed, True)
    assert told["worse_than_random"] == (curves.worse_than_random or None)


@pytest.mark.parametrize(
    ("deletion", "insertion", "words"),
    [
        (0.1, 0.9, ""),
        (0.5, 0.5, ""),  # a score that no pixel changes: neither order is better
        (0.6, 0.9, "pixels in a random order take the score away sooner than in the map's"),
        (0.1, 0.4, "pixels in a random order bring the score back sooner than in the map's"),
        (0.6, 0.4, "pixels in a random order take the score away and bring it back sooner than in the map's"),
    ],
)
def test_what_a_random_order_does_better(deletion, insertion, words):
    nothing = np.zeros(2)
    curves = Faithfulness(
        shares=nothing, deletion=nothing, insertion=nothing, deletion_auc=deletion, insertion_auc=insertion,
        random_deletion=nothing, random_insertion=nothing, random_deletion_auc=0.5, random_insertion_auc=0.5,
        blob_deletion=nothing, blob_insertion=nothing, blob_deletion_auc=0.5, blob_insertion_auc=0.5,
        unit="probability",
    )  # fmt: skip
    assert curves.worse_than_random == words


def test_a_model_without_stored_weights():
    proto = parsed("g (float[n,3,8,8] x) => (float[n,3] y) { m = GlobalAveragePool (x) y = Flatten (m) }")
    with pytest.raises(ModelError, match="no stored weights before 'y'"):
        explain_sanity(explain(proto, normal(3, 8, 8), method="saliency"))


def test_a_map_of_zeros_cannot_be_checked():
    with pytest.raises(InputError, match="zero everywhere"):
        explain_sanity(explain(finder(), np.zeros((3, 40, 48), np.float32)))


def test_curves_follow_a_map_that_is_right():
    x = scene(20, 24)
    right = explain_faithfulness(explain(finder(), x, method="grad-cam"), steps=40)
    assert right.better_than_random
    assert right.unit == "probability"
    assert len(right.shares) == len(right.deletion) == 41
    assert right.deletion[0] == pytest.approx(right.insertion[-1])
    assert right.deletion_auc < right.random_deletion_auc - 0.1
    assert "Faithfulness(deletion" in repr(right)
    with pytest.raises(InputError, match="0 steps"):
        explain_faithfulness(explain(finder(), x), steps=0)


def test_curves_against_a_loop():
    """`evaluation.py` of github.com/eclique/RISE: pixels in the order of the map, and their area."""
    x = scene(20, 24)
    found = explain(finder(), x, method="saliency")
    curves = explain_faithfulness(found, steps=16)
    order = np.argsort(-found.upsampled().ravel(), kind="stable")
    deleted = x.copy()
    expected = [explain(finder(), deleted, class_=1, method="eigen-cam").probability]
    size = order.size // 16
    for step in range(16):
        deleted.reshape(3, -1)[:, order[step * size : (step + 1) * size]] = 0
        expected.append(explain(finder(), deleted, class_=1, method="eigen-cam").probability)
    assert np.allclose(curves.deletion, expected, atol=1e-6)
    expected = np.array(expected)
    assert curves.deletion_auc == pytest.approx((expected.sum() - expected[0] / 2 - expected[-1] / 2) / 16)
    assert area(np.array([0.0, 1.0])) == 0.5


def test_the_baselines_against_a_loop():
    """Pixels in numpy's random order, and from the centre outwards, blanked one share after the other."""
    x = scene(9, 9)
    found = explain(finder(), x, method="saliency")
    curves = explain_faithfulness(found, steps=4, seed=3)
    y, x_ = np.indices(x.shape[1:])
    far = ((y + 0.5) / 40 - 0.5) ** 2 + ((x_ + 0.5) / 48 - 0.5) ** 2
    orders = {
        "random": np.random.default_rng(3).permutation(far.size),
        "blob": np.array(sorted(range(far.size), key=lambda place: (far.ravel()[place], place))),
    }
    for name, order in orders.items():
        expected = []
        for step in range(5):
            blank = x.copy()
            blank.reshape(3, -1)[:, order[: far.size * step // 4]] = 0
            expected.append(explain(finder(), blank, class_=found.class_, method="eigen-cam").probability)
        assert np.allclose(getattr(curves, f"{name}_deletion"), expected, atol=1e-6)
        assert getattr(curves, f"{name}_deletion_auc") == pytest.approx(area(np.array(expected)), abs=1e-6)
    assert outwards((2, 3, 3), 1)[:2].tolist() == [4, 13]  # of each frame its own centre
    assert f"centred blob {curves.blob_deletion_auc:.3g}" in curves.verdict


def test_a_centred_object_is_where_a_blob_is_good():
    curves = explain_faithfulness(explain(finder(), scene(18, 22), method="grad-cam"), steps=20)
    assert curves.blob_deletion_auc < curves.random_deletion_auc
    told = curves.as_dict()
    assert told["beats_blob"] is curves.beats_blob
    assert len(told["blob_insertion"]) == len(told["random_insertion"]) == 21


@pytest.mark.dear
def test_command(tmp_path: Path, capsys):
    arguments = ["explain", str(CLASSIFIER), str(DOG), "--sanity", "-q", "-o", str(tmp_path / "dog.png")]
    assert run(arguments) == 0
    out = capsys.readouterr().out.splitlines()
    # Grad-CAM is coarse, and scattered pixels bring this dog back sooner.
    assert out[0].startswith("dog.jpg: doubtful: the map's rank correlation")
    assert out[0].endswith("but pixels in a random order bring the score back sooner than in the map's")
    assert out[1].startswith("dog.jpg: deletion area")
    assert [Path(path).name for path in out[2:]] == ["dog.png"]  # all in one picture
    assert run([*arguments, "--json"]) == 0
    entry = json.loads(capsys.readouterr().out)["explanations"][0]
    assert (entry["sanity"]["passed"], entry["sanity"]["depends_on_weights"]) == (False, True)
    assert entry["faithfulness"]["insertion_auc"] < entry["faithfulness"]["random_insertion_auc"]
    assert len(entry["sanity"]["stages"]) == 6
    assert 0 < entry["faithfulness"]["deletion_auc"] < 1
