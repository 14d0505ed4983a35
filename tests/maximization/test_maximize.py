"""`onnxviz.maximize` as a person uses it: what comes back, what it promises, what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from protos import classifier_proto
from small_classifier import STILL, activation_of, edited, small

import onnxviz
from onnxviz.maximization.maximize import Progress, maximize
from onnxviz.maximization.objectives import Class, Direction, Filter, Neuron
from onnxviz.maximization.parametrisation import Fourier
from onnxviz.maximization.penalties import Diversity, Norm, TotalVariation
from onnxviz.maximization.transforms import Jitter

SAMPLE = Path(__file__).resolve().parents[2] / "models" / "classifier.onnx"


# --- what comes back ----------------------------------------------------------------------------------------------


def test_the_result_says_what_it_is():
    found = maximize(small(), "block1_conv2", filters=[5, 0], steps=6, seed=3)
    assert found.images.shape == (2, 16, 12, 3)
    assert found.images.dtype == np.float32
    assert 0 <= found.images.min() < found.images.max() <= 1
    assert [(target.layer, target.filter, str(target)) for target in found.targets] == [
        ("block1_conv2", 5, "block1_conv2 5"),
        ("block1_conv2", 0, "block1_conv2 0"),
    ]
    assert found.trace.shape == (2, 6)
    assert repr(found) == "SyntheticInputs(2 of 16x12x3, 'the model')"
    assert len(found) == 2
    for array in (found.images, found.before, found.after, found.trace, found.best_step, found.dead):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(AttributeError):
        found.images = None


def test_activations_are_those_of_the_pictures():
    """Before and after are what any run of the model on the pictures gives, neither moved about."""
    model = small()
    found = maximize(model, ["block1_conv2", 2], filters=[1, 3], steps=8)
    assert [target.layer for target in found.targets] == ["block1_conv2"] * 2 + ["block2_conv1"] * 2
    for image, target, after in zip(found.images, found.targets, found.after, strict=True):
        seen = activation_of(model, target.layer, image[None])[0, target.filter].mean()
        assert after == pytest.approx(seen, rel=1e-4)


def test_the_first_of_the_trace_is_the_start_where_nothing_moves():
    found = maximize(small(), 1, filters=2, steps=3, **STILL)
    assert found.trace[0, 0] == pytest.approx(found.before[0], rel=1e-5)
    assert found.best_step[0] == 3
    assert found.after[0] > found.trace[0, -1]


def test_the_best_picture_is_kept():
    """With a rate that overshoots, the last picture is not the best."""
    found = maximize(small(), 1, filters=list(range(8)), steps=40, rate=30.0, seed=1, **STILL)
    np.testing.assert_allclose(found.after, np.maximum(found.trace.max(axis=1), found.after), rtol=1e-6)
    assert (found.best_step < 40).any()


def test_same_seed_same_pictures_whatever_else_is_asked_for():
    model = small()
    both = maximize(model, 1, filters=[4, 6], steps=5, seed=1)
    again = maximize(model, 1, filters=[4, 6], steps=5, seed=1)
    np.testing.assert_array_equal(both.images, again.images)
    alone = maximize(model, 1, filters=6, steps=5, seed=1)
    np.testing.assert_allclose(alone.images[0], both.images[1], atol=2e-4)
    other = maximize(model, 1, filters=6, steps=5, seed=2)
    assert np.abs(other.images - alone.images).max() > 1e-3


@pytest.mark.parametrize("batch", ["batch", 1, 2])
def test_batches_do_not_show(batch):
    """One batch, batches of what fits, or what the model insists on: the same pictures."""
    whole = maximize(small(), 1, filters=[0, 1, 2, 3, 4], steps=4)
    dealt = maximize(small(batch=batch), 1, filters=[0, 1, 2, 3, 4], steps=4, memory=100_000)
    assert len(dealt) == 5
    np.testing.assert_allclose(dealt.images, whole.images, atol=2e-4)
    np.testing.assert_allclose(dealt.after, whole.after, rtol=1e-3)


def test_a_model_that_takes_one_picture_and_says_any():
    """A Reshape with the 1 written in, as careless exports have it."""
    shape = numpy_helper.from_array(np.array([1, -1, 8, 6], np.int64), "shape")
    proto = classifier_proto()
    proto.graph.initializer.append(shape)
    proto.graph.node.insert(5, helper.make_node("Reshape", ["p1", "shape"], ["fixed"]))
    proto.graph.node[6].input[0] = "fixed"
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info("r3", TensorProto.FLOAT, None))
    found = maximize(proto, "block2_conv1", filters=[0, 1, 2], steps=3)
    assert found.images.shape == (3, 16, 12, 3)


def test_random_filters_are_drawn_by_the_seed():
    model = small()
    drawn = [t.filter for t in maximize(model, 0, random=3, steps=1, seed=5).targets]
    assert len(set(drawn)) == 3
    assert drawn == sorted(drawn)
    assert drawn == [t.filter for t in maximize(model, 0, random=3, steps=1, seed=5).targets]
    assert [t.filter for t in maximize(model, "block2_conv1", steps=1).targets] == [0, 1, 2, 3]  # there are but 4


def test_classes_by_their_scores_and_names():
    model = small().with_metadata({"classes": json.dumps(["ant", "bee", "cat", "dog", "eel"])})
    softmaxed = edited(helper.make_node("Softmax", ["logits"], ["p"]), output="p")
    found = maximize(model, class_=[2], steps=5, **STILL)
    assert [(t.class_, t.name, t.label) for t in found.targets] == [(2, "cat", "2 cat")]
    same = maximize(softmaxed, class_=2, steps=5, **STILL)
    np.testing.assert_allclose(same.images, found.images, atol=1e-4)
    np.testing.assert_allclose(same.after, found.after, rtol=1e-3)


def test_any_objective():
    vector = (1.0, 0.0, -1.0, 0.5)
    wanted = [
        Neuron("block1_conv2", 3),
        Neuron("block1_conv2", 3, (0, 1)),
        Direction("block2_conv1", vector, "dot-cosine"),
        Filter("block1_conv1", 1) + 0.5 * Filter("block2_conv1", 0),
        Class(1) - Class(0),
    ]
    found = maximize(small(), wanted, steps=10, transforms="none", plus=-0.01 * (TotalVariation() + Norm()), seed=1)
    assert (found.after > found.before).all()
    assert str(found.targets[4].objective) == "class 1 + -1 · class 0"


def test_penalties_do_what_they_say_and_are_not_counted():
    plain = maximize(small(), 1, filters=1, steps=20, param="pixel", **STILL)
    smooth = maximize(small(), 1, filters=1, steps=20, param="pixel", plus=-30 * TotalVariation(), **STILL)
    assert np.abs(np.diff(smooth.images, axis=1)).mean() < 0.5 * np.abs(np.diff(plain.images, axis=1)).mean()
    seen = activation_of(small(), "block1_conv2", smooth.images)[0, 1].mean()
    assert smooth.after[0] == pytest.approx(seen, rel=1e-4)


def test_variants_can_be_made_to_differ():
    model = small()
    options = {"filters": [0, 1], "variants": 3, "steps": 25, "seed": 1, **STILL}
    alike = maximize(model, "block2_conv1", **options)
    apart = maximize(model, "block2_conv1", plus=20 * Diversity("block1_conv2"), **options)
    assert [t.variant for t in apart.targets] == [0, 1, 2] * 2 == [t.variant for t in alike.targets]
    assert apart.images.shape == (6, 16, 12, 3)

    def resemblance(found):
        return -Diversity("block1_conv2").value(activation_of(model, "block1_conv2", found.images[:3])).sum()

    assert resemblance(apart) < resemblance(alike)


def test_what_is_varied_follows_from_what_a_unit_sees(monkeypatch):
    """Each layer's own; a class sees all, and nothing is said of it."""
    fields = []
    monkeypatch.setattr(Fourier, "seen_by", lambda self, field: fields.append(field) or self)
    maximize(small(), ["block1_conv1", "block1_conv2"], filters=[0], steps=1)
    assert [*dict.fromkeys(fields)] == [3, 5]
    fields.clear()
    maximize(small(), class_=0, steps=1)
    assert not fields


def test_at_conv_climbs_what_the_operator_makes():
    model = small()
    found = maximize(model, "block1_conv1", filters=2, at="conv", steps=10)
    seen = onnxviz.capture(model, found.images.transpose(0, 3, 1, 2), layers="block1_conv1", at="conv")
    assert found.after[0] == pytest.approx(seen["block1_conv1"][0, 2].mean(), rel=1e-4)


def test_progress_counts_every_step_of_every_picture():
    told = []
    maximize(small(), [0, 1], filters=[0, 1, 2], steps=4, memory=50_000, progress=told.append)
    assert all(isinstance(one, Progress) for one in told)
    assert [one.done for one in told] == sorted(one.done for one in told)
    assert told[-1].done == told[-1].total == 2 * 3 * 4
    assert {one.target for one in told} == {"block1_conv1", "block1_conv2"}


def test_the_model_is_not_changed():
    model = small()
    before = model.proto.SerializeToString()
    maximize(model, 1, filters=0, steps=2)
    assert model.proto.SerializeToString() == before


def test_saved_whole_with_what_made_it(tmp_path):
    found = maximize(small(), 1, filters=[1], steps=3, jitter=2, seed=9)
    path = found.save(tmp_path / "made.npz")
    with np.load(path) as archive:
        np.testing.assert_array_equal(archive["images"], found.images)
        np.testing.assert_array_equal(archive["trace"], found.trace)
    note = json.loads((tmp_path / "made.npz.manifest.json").read_text())
    assert (note["steps"], note["seed"], note["param"], note["preprocessing"]["name"]) == (3, 9, "fourier", "unit")
    assert note["transforms"][0] == {"kind": "jitter", "pixels": 2}
    assert note["pictures"][0]["filter"] == 1
    assert note["pictures"][0]["after"] == found.after[0]


# --- pictures -----------------------------------------------------------------------------------------------------


def high_frequencies(images):
    """Share of the power above a quarter of a cycle per pixel, the mean left out."""
    power = np.abs(np.fft.fft2(images - images.mean(axis=(1, 2), keepdims=True), axes=(1, 2))) ** 2
    down, across = np.fft.fftfreq(images.shape[1])[:, None], np.fft.fftfreq(images.shape[2])
    return power[:, np.hypot(down, across) > 0.25].sum() / power.sum()


def test_pictures_of_a_trained_network_excite_it_and_are_no_noise():
    """On the sample classifier: far above the start, random images and the photo, and smoother than from pixels."""
    options = {"filters": [5, 63, 78], "steps": 64, "threads": 1}
    made = maximize(SAMPLE, "conv5", **options)
    from_pixels = maximize(SAMPLE, "conv5", param="pixel", transforms="none", **options)
    model = onnxviz.load(SAMPLE)
    noise = np.random.default_rng(0).random((8, 96, 96, 3), np.float32) * 2 - 1
    usual = activation_of(model, "conv5", noise)[:, options["filters"]].mean(axis=(2, 3))
    assert (made.after > made.before + 1).all()
    assert (made.after > usual.mean(axis=0) + 3 * usual.std(axis=0)).all()
    assert high_frequencies(made.images) < 0.5 * high_frequencies(from_pixels.images)


def test_movement_makes_pictures_that_hold_when_moved():
    """Moved about by a few pixels, they keep more of their activation than those made without."""
    options = {"class_": [2, 8], "steps": 48, "threads": 1}
    kept = []
    for transforms in ("none", [Jitter(7)]):
        found = maximize(SAMPLE, transforms=transforms, **options)
        model = onnxviz.load(SAMPLE)
        moved = [np.roll(found.images, step, (1, 2)) * 2 - 1 for step in ((3, 2), (-4, 5), (6, -3))]
        run = [onnxviz.capture(model, x.transpose(0, 3, 1, 2), layers="conv5")["conv5"].mean() for x in moved]
        still = onnxviz.capture(model, found.images.transpose(0, 3, 1, 2) * 2 - 1, layers="conv5")["conv5"].mean()
        kept.append(np.mean(run) / still)
    assert kept[1] > kept[0] - 0.05
