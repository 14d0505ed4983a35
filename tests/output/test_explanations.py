"""Figures of explanations: what is drawn where, and that nothing is cut off."""

from __future__ import annotations

import numpy as np
import pytest
from cross_finder import finder, scene
from figures import drawn, inside
from PIL import Image
from protos import normal, parsed
from samples import CAT, CLASSIFIER, DOG, UNET

from onnxviz import explain, explain_faithfulness, explain_sanity, plot_explanation
from onnxviz.errors import InputError
from onnxviz.explanations import explanation
from onnxviz.inputs.sample_picture import sample_picture
from onnxviz.output.explanations import figure_of
from onnxviz.plots import plot_faithfulness, plot_sanity, save_figure


@pytest.mark.parametrize("method", ["grad-cam", "guided", "occlusion", "integrated-gradients", "eigen-cam"])
def test_photo_and_map(method):
    found = explain(CLASSIFIER, DOG, method=method)
    figure = drawn(plot_explanation(found))
    photo, overlay, bare, bar = figure.axes[0].images
    assert np.array_equal(np.rint(photo.get_array() * 255).astype(np.uint8), found.photos(352)[0])
    assert overlay.get_array().shape == bare.get_array().shape == photo.get_array().shape == (264, 352, 3)
    assert (overlay.get_extent()[0], bare.get_extent()[0]) == (352 + 16, 2 * (352 + 16))
    assert bar.get_extent()[2] > 264
    assert inside(figure)
    words = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert "dog" in words
    assert method in words
    assert ("Note: guided" in words) == (method == "guided")


def test_colour_lies_where_the_map_is_large():
    found = explain(finder(), scene(10, 12))
    overlay = plot_explanation(found).axes[0].images[1].get_array()
    colour = np.ptp(overlay, axis=2)
    peak = np.unravel_index(colour.argmax(), colour.shape)
    assert abs(peak[0] / colour.shape[0] - 10.5 / 40) < 0.05
    assert abs(peak[1] / colour.shape[1] - 12.5 / 48) < 0.05
    assert colour[-40:, -40:].max() < 0.02


def test_signed_maps_are_red_and_blue():
    found = explain(CLASSIFIER, CAT, method="occlusion")
    overlay = plot_explanation(found).axes[0].images[1].get_array()
    heat = found.upsampled(overlay.shape[:2])
    high, low = np.unravel_index(heat.argmax(), heat.shape), np.unravel_index(heat.argmin(), heat.shape)
    assert overlay[(*high, 0)] > overlay[(*high, 2)]
    assert overlay[(*low, 2)] > overlay[(*low, 0)]


def test_a_map_of_zeros_colours_nothing():
    found = explain(finder(), np.zeros((3, 40, 48), np.float32))
    assert not found.map.any()
    assert any("zero everywhere" in text for text in found.warnings)
    overlay = drawn(plot_explanation(found)).axes[0].images[1].get_array()
    assert np.ptp(overlay, axis=2).max() < 1e-6


def test_photos_keep_their_proportions_or_are_cropped():
    assert explain(CLASSIFIER, CAT).photo().shape == (298, 448, 3)
    assert explain(CLASSIFIER, CAT, fit="crop").photo().shape == (448, 448, 3)
    assert explain(UNET, DOG, size=(64, 128)).photo().shape == (336, 448, 3)
    assert explain(finder(), scene(9, 9)).photo().shape == (373, 448, 3)


def test_a_picture_too_large_to_decode_twice(tmp_path, monkeypatch):
    from onnxviz.inputs import image_files as images

    monkeypatch.setattr(images, "MAX_OWN_PIXELS", 1000)
    assert explain(CLASSIFIER, CAT).photo().shape == (448, 448, 3)


def test_long_names_are_shortened():
    found = explain(finder(), scene(9, 9), labels=["a" * 500, "b" * 500])
    assert inside(drawn(plot_explanation(found)))


def test_signals_are_drawn_with_the_map_behind_their_lines(tmp_path):
    proto = parsed(
        "g (float[n,2,30] x) => (float[n,3] y) { c = Conv (x, w) r = Relu (c) m = ReduceMean <keepdims=0> (r, a)"
        " y = MatMul (m, d) }",
        w=normal(4, 2, 5), a=np.array([2]), d=normal(4, 3),
    )  # fmt: skip
    found = explain(proto, normal(2, 30), method="occlusion")
    figure = plot_explanation(found)
    assert [line.get_xdata().size for line in figure.axes[0].lines[:2]] == [30, 30]
    with pytest.raises(InputError, match="a signal is drawn with all its channels: leave out bands="):
        plot_explanation(found, bands=(1,))
    assert save_figure(figure_of(found), tmp_path / "signal.png").exists()


def test_unknown_colour_map():
    with pytest.raises(InputError, match="no colour map 'pink lady'"):
        plot_explanation(explain(finder(), scene(9, 9)), cmap="pink lady")


def of_length(figure, count):
    """The lines of so many points, as arrays (points, 2)."""
    return [line.get_xydata() for line in figure.axes[0].lines if len(line.get_xdata()) == count]


def test_curves_with_their_baselines_and_cascade():
    found = explain(finder(), scene(9, 9))
    curves = explain_faithfulness(found, steps=10)
    figure = drawn(plot_faithfulness(curves, subtitle="cross"))
    assert inside(figure)
    names = ("deletion", "random_deletion", "blob_deletion", "insertion", "random_insertion", "blob_insertion")
    lines = of_length(figure, 11)
    assert len(lines) == 6
    for name, line in zip(names, lines, strict=True):  # up is a probability: 140 pixels below the header
        np.testing.assert_allclose(1 - (line[:, 1] - 26) / 140, getattr(curves, name), atol=1e-5)
        across = (line[:, 0] - line[0, 0]) / (line[-1, 0] - line[0, 0])
        np.testing.assert_allclose(across, curves.shares, atol=1e-9)
    words = [text.get_text() for text in figure.axes[0].texts]
    for which, said in (("", "this map"), ("random_", "random order"), ("blob_", "centred blob")):
        assert f"{said} {getattr(curves, f'{which}deletion_auc'):.3g}" in words
    sanity = explain_sanity(found)
    figure = drawn(plot_sanity(sanity, subtitle="cross"))
    assert inside(figure)
    assert figure.axes[0].images[0].get_array().shape[1] > 3 * 48


@pytest.mark.parametrize("size", [(320, 240), (40, 200)])
def test_the_evidence_stands_in_the_picture(size, tmp_path):
    with Image.open(DOG) as photo:
        photo.resize(size).save(tmp_path / "dog.png")
    found = explain(CLASSIFIER, tmp_path / "dog.png")
    sanity = explain_sanity(found, stages=3)
    figure = drawn(plot_explanation(found, sanity=sanity))
    assert inside(figure)
    said = " ".join(text.get_text() for text in figure.axes[0].texts).casefold()
    for finding in sanity.findings:
        assert all(word.casefold() in said for word in finding.split())
    lines = of_length(figure, len(sanity.faithfulness.shares))
    assert len(lines) == 6
    images = figure.axes[0].images
    assert len(images) == 4 + 1 + len(sanity.stages)
    right, low = figure.axes[0].get_xlim()[1], images[3].get_extent()[2]
    for image in images[4:]:
        left, end, _, top = image.get_extent()
        assert top > low
        assert 0 <= left < end <= right
    for stage in sanity.stages:
        assert f"ρ {stage.rank_correlation:.2f}".replace("-", "−") in said
    assert not of_length(plot_explanation(found), len(sanity.faithfulness.shares))


@pytest.mark.parametrize(
    ("graph", "size", "photos"),
    [
        (
            "g (float[n,4,3,6,8] views) => (float[n,5] z) { r = Reshape (views, apart) y = Conv <pads=[1,1,1,1]> (r, w)"
            " q = GlobalMaxPool (y) s = Reshape (q, beside) z = ReduceMean <keepdims=0> (s, one) }",
            (4, 3, 6, 8),
            4,
        ),
        (
            "g (float[n,3,6,8] x) => (float[n,5] z) { t = Neg (x) r = Concat <axis=0> (x, t)"
            " y = Conv <pads=[1,1,1,1]> (r, w) q = GlobalMaxPool (y) s = Reshape (q, stacked)"
            " z = ReduceMean <keepdims=0> (s, zero) }",
            (3, 6, 8),
            1,
        ),
    ],
)
def test_each_photo_is_made_once(graph, size, photos, monkeypatch):
    proto = parsed(
        graph, w=normal(5, 3, 3, 3), apart=np.array([-1, 3, 6, 8]), beside=np.array([-1, 4, 5]),
        stacked=np.array([2, -1, 5]), one=np.array([1]), zero=np.array([0]),
    )  # fmt: skip
    found = explain(proto, normal(*size), class_=1)
    assert len(found.labels) > 1
    made = []
    monkeypatch.setattr(explanation, "sample_picture", lambda *a, **k: made.append(a) or sample_picture(*a, **k))
    images = plot_explanation(found).axes[0].images
    assert len(made) == photos == len(found.photos(9))
    assert len(images) == photos + 2 * len(found.labels) + 1
