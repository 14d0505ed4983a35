"""Options of what is varied, as `maximize` heeds them: photos, contrast, transparency, and an interrupt."""

import numpy as np
import pytest
from protos import classifier_proto

from onnxviz.errors import InputError
from onnxviz.maximization.half_spectrum import COVARIANCE_ROOT
from onnxviz.maximization.maximize import maximize
from onnxviz.maximization.objectives import Class, Filter
from onnxviz.maximization.penalties import TotalVariation
from onnxviz.maximization.variation import CHANGE, CLASS_RATE, photo_contrast

PHOTO = np.random.default_rng(5).random((3, 16, 12), np.float32) * 0.8 + 0.1
STEPS = {"filters": [0, 1], "steps": 24}


def root(images):
    """The root mean square before the sigmoid, from the pixels, (N,)."""
    planes = np.log(images.astype(np.float64) / (1 - images))
    return np.sqrt((planes**2).mean(axis=(1, 2, 3)))


def test_the_contrast_is_that_of_photos():
    assert photo_contrast(3) == pytest.approx(np.sqrt(np.trace(16 * COVARIANCE_ROOT @ COVARIANCE_ROOT.T) / 3))


@pytest.mark.parametrize("param", ["fourier", "pixel"])
def test_contrast_is_bounded_whatever_the_rate(param):
    """A class of a small network saturates, so its contrast does not grow; without jitter all of it is seen."""
    options = {"class_": 1, "param": param, "rate": 3.0, "transforms": "none", "steps": 12}
    found = maximize(classifier_proto(), **options)
    assert root(found.images).max() <= photo_contrast(3) * 1.01


def test_a_photo_is_where_it_begins_and_stays_near():
    one = maximize(classifier_proto(), "block2_conv1", from_=PHOTO[None], transforms="none", **STEPS)
    seen = np.moveaxis(PHOTO, 0, -1)
    change = np.log(one.images / (1 - one.images)) - np.log(seen / (1 - seen))
    assert np.sqrt((change.astype(np.float64) ** 2).mean(axis=(1, 2, 3))).max() <= CHANGE * photo_contrast(3) * 1.01
    assert np.abs(change).max() > 1e-3
    assert (one.after >= one.before).all()
    other = maximize(classifier_proto(), "block2_conv1", from_=PHOTO[None], transforms="none", **STEPS)
    assert np.array_equal(one.images, other.images)


@pytest.mark.parametrize("options", [{}, {"magnitude_from": [PHOTO[None]]}, {"decay": 1.0}])
def test_maco_climbs_and_is_reproducible(options):
    one, other = (
        maximize(classifier_proto(), "block2_conv1", param="maco", seed=3, **STEPS, **options) for _ in range(2)
    )
    assert np.array_equal(one.images, other.images)
    assert (one.after > one.before).all()
    note = one.manifest()
    assert note["param"] == "maco"
    assert (note["photos"] is not None) == ("magnitude_from" in options)


def test_alpha_is_the_share_of_the_gradient():
    found = maximize(classifier_proto(), "block2_conv1", alpha=True, **STEPS)
    assert found.alpha.shape == found.images.shape[:-1]
    assert found.alpha.min() >= 0
    assert ((found.alpha == 1).mean(axis=(1, 2)) >= 0.09).all()
    assert maximize(classifier_proto(), "block2_conv1", **STEPS).alpha is None


@pytest.mark.parametrize("at", [1, 17, 30])
def test_an_interrupt_keeps_what_there_is(at):
    told = []

    def stop(now):
        told.append(now)
        if len(told) == at:
            raise KeyboardInterrupt

    found = maximize(classifier_proto(), ["block1_conv1", "block2_conv1"], progress=stop, **STEPS)
    assert len(told) == at
    assert found.interrupted
    assert len(found) == (2 if at <= 24 else 4)
    assert found.manifest()["interrupted"] is True
    assert f"interrupted: {len(found)} of 4 pictures" in found.warnings[-1]
    assert not found.dead.any()
    whole = maximize(classifier_proto(), ["block1_conv1", "block2_conv1"], **STEPS)
    assert not whole.interrupted
    if at > 24:
        assert np.array_equal(found.images[:2], whole.images[:2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"magnitude_from": [PHOTO[None]]}, "'maco' takes the magnitude of photos: leave out magnitude_from"),
        ({"param": "pixel", "from_": PHOTO[None]}, "does not start from a photo.*: leave out from_"),
        ({"param": "maco", "jitter": 2}, "crops: leave out jitter"),
        ({"param": "maco", "magnitude_from": [PHOTO[None]], "decay": 1.0}, "leave out decay"),
        ({"from_": PHOTO[None], "variants": 2}, "the same: leave out variants"),
        ({"from_": [PHOTO[None], PHOTO[None]]}, "from one photo, and 2 are given"),
    ],
)
def test_what_would_do_nothing_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        maximize(classifier_proto(), "block2_conv1", steps=1, filters=0, **options)


def kinds(found):
    return [move["kind"] for move in found.manifest()["transforms"]]


def test_classes_are_seen_in_parts_and_filters_are_not():
    """Of the standard movements; a photo that is changed a little stays where it is."""
    seen = {"class_": 1, "steps": 2}
    assert kinds(maximize(classifier_proto(), **seen)) == ["jitter", "crop", "rotate"]
    assert kinds(maximize(classifier_proto(), [Class(1) - 0.1 * TotalVariation()], steps=2)) == [
        "jitter", "crop", "rotate",
    ]  # fmt: skip
    assert maximize(classifier_proto(), **seen).manifest()["rate"] == CLASS_RATE
    assert maximize(classifier_proto(), rate=0.5, **seen).manifest()["rate"] == 0.5
    usual = ["jitter", "scale", "rotate"]
    assert kinds(maximize(classifier_proto(), "block2_conv1", filters=0, steps=2)) == usual
    assert kinds(maximize(classifier_proto(), [Class(1), Filter("block2_conv1", 0)], steps=2)) == usual
    assert kinds(maximize(classifier_proto(), from_=PHOTO[None], **seen)) == usual
    assert kinds(maximize(classifier_proto(), param="pixel", **seen)) == usual
    assert kinds(maximize(classifier_proto(), transforms="jitter", **seen)) == ["jitter"]
    assert maximize(classifier_proto(), jitter=1, **seen).manifest()["transforms"][0] == {"kind": "jitter", "pixels": 1}
