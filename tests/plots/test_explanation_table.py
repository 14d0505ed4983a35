"""A table of explanations: classes down, methods across, the photo first; where things lie, and what is said."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from figures import assert_laid_out, facts, words
from matplotlib import colormaps
from PIL import Image
from protos import classifier_proto, normal, parsed

from onnxviz import InputError, UnheededOptionError, explain, explain_each, plot_explanation
from onnxviz.plots.compared import Compared

X = np.abs(normal(1, 3, 16, 12))
METHODS = ["grad-cam", "saliency", "occlusion", "eigen-cam"]
LONG = [f"{'a very long name of a class, ' * 8}{number}"[-200:] for number in range(24)]


def classifier(shape, classes=24):
    """Of any input (C, positions…)."""
    rank = len(shape) - 1
    sides = ", ".join("12345"[:rank])
    return parsed(
        f"""g (float["n", {", ".join(map(str, shape))}] x) => (float["n", {classes}] y) {{
              c = Conv <pads = [{", ".join(["1"] * 2 * rank)}]> (x, w)
              r = Relu (c)
              m = ReduceMean <keepdims = 0> (r, a)
              y = MatMul (m, d)
            }}""",
        w=normal(4, shape[0], *[3] * rank), a=np.arange(2, 2 + rank), d=normal(4, classes), s=np.array([len(sides)]),
    )  # fmt: skip


def table(shape, classes, methods=METHODS, **options):
    """Explanations of one array."""
    return list(explain_each(classifier(shape), np.abs(normal(1, *shape)), class_=classes, method=methods, **options))


def corners(image):
    left, right, bottom, top = image.get_extent()
    return left, top, right, bottom


def test_classes_are_rows_and_methods_columns_and_the_photo_is_first():
    found = list(explain_each(classifier_proto(), X, class_="0,2", method="grad-cam,saliency,occlusion"))
    figure = plot_explanation(found)
    assert_laid_out(figure)
    images = figure.axes[0].images
    pictures, bars = images[:8], images[8:]
    lefts = sorted({corners(image)[0] for image in pictures})
    tops = sorted({corners(image)[1] for image in pictures})
    assert [corners(image)[:2] for image in pictures] == [(left, top) for top in tops for left in lefts]
    assert len(lefts) == 4
    assert len(tops) == 2
    assert np.array_equal(pictures[0].get_array(), pictures[4].get_array())
    assert len(bars) == 3
    for bar, left in zip(bars, lefts[1:], strict=True):  # each below its column
        assert left <= corners(bar)[0]
        assert corners(bar)[2] <= left + max(corners(pictures[0])[2], 150)
        assert corners(bar)[1] > corners(pictures[-1])[3]
    written = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    for name, left in zip(["input", "grad-cam", "saliency", "occlusion"], lefts, strict=True):
        assert written[name][0] == left
        assert 0 < written[name][1] < tops[0]
    for row, top in zip((found[0], found[3]), tops, strict=True):
        assert written[row.title] == (0, top - 4)
        assert any(f"score {row.score:.4g}".replace("-", "−") in text for text in written)
    assert {
        "2 classes, 3 methods",
        "each method on its own scale",
        "colours of saliency up to the 99th percentile",
    } <= {*facts(figure).replace("  ·  ", " · ").split(" · ")}


def test_each_column_has_the_range_of_its_method_and_each_cell_its_map():
    found = list(explain_each(classifier_proto(), X, class_="0,2", method="occlusion,layer-cam"))
    figure = plot_explanation(found, smooth="none", cmap="viridis")
    for column in (0, 1):
        maps = [found[column].map, found[2 + column].map]
        most = max(np.abs(one).max() for one in maps)
        assert f"{most:.3g}" in words(figure)
    images = figure.axes[0].images
    for row, one in enumerate((found[1], found[3])):
        picture = images[row * 3 + 2].get_array()
        most = max(found[1].map.max(), found[3].map.max())
        rows, columns = ((2 * np.arange(n) + 1) * side // (2 * n)
                         for n, side in zip(picture.shape[:2], one.map.shape, strict=True))  # fmt: skip
        share = one.map[rows][:, columns] / most
        colours = colormaps["viridis"](share)[..., :3]
        cover = 0.82 * share[..., None]
        inside = (picture - colours * cover)[cover[..., 0] < 0.8]
        assert (inside > -1e-6).all()
        grey = (picture - colours * cover) / (1 - cover)
        assert np.ptp(grey, axis=2).max() < 1e-6


@pytest.mark.parametrize("count", [2, 4, 5, 9])
def test_classes_by_one_method_follow_one_another_on_one_scale(count):
    found = table((3, 16, 12), f"0-{count - 1}", "occlusion")
    figure = plot_explanation(found)
    assert_laid_out(figure)
    photo, *heats, bar = figure.axes[0].images
    assert len(heats) == count
    assert {corners(image)[2] - corners(image)[0] for image in heats} == {corners(photo)[2]}
    assert {"input", *(one.title for one in found)} <= {*words(figure)}
    assert f"{count} classes" in facts(figure)
    assert "one scale" in facts(figure)
    assert "map of 16×12" in facts(figure)
    most = max(np.abs(one.map).max() for one in found)
    assert f"{most:.3g}" in " ".join(words(figure))
    assert corners(bar)[1] > corners(heats[-1])[3]


@pytest.mark.parametrize("count", [2, 4, 7])
def test_methods_of_one_class_follow_one_another_each_with_its_bar(count):
    methods = ["grad-cam", "saliency", "occlusion", "eigen-cam", "hires-cam", "guided", "input-x-gradient"][:count]
    found = table((3, 16, 12), 3, methods)
    figure = plot_explanation(found)
    assert_laid_out(figure)
    images = figure.axes[0].images
    assert len(images) == 1 + 2 * count
    assert {*methods} <= {*words(figure)}
    assert "score" in facts(figure)
    for heat, bar in zip(images[1 : count + 1], images[count + 1 :], strict=True):
        assert corners(bar)[1] == corners(heat)[3] + 10
        assert corners(heat)[0] <= corners(bar)[0]


@pytest.mark.parametrize(
    ("shape", "photo"),
    [
        ((3, 32, 32), (32, 32)), ((3, 64, 16), (64, 16)), ((3, 10, 90), (10, 90)), ((3, 24, 32), (300, 900)),
        ((1, 40), None), ((2, 3000), None), ((1, 6, 8, 12), None), ((1, 30, 8, 12), None),
    ],
    ids=str,
)  # fmt: skip
def test_twenty_classes_with_long_names_by_four_methods_are_not_clipped(shape, photo, tmp_path):
    given = np.abs(normal(1, *shape))
    options = {}
    if photo is not None:
        pixels = np.random.default_rng(1).integers(0, 256, (*photo, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photo.png")
        given, options = tmp_path / "photo.png", {"preprocess": "unit"}
    found = list(explain_each(classifier(shape), given, class_="0-19", method=METHODS, labels=LONG, **options))
    assert len(found) == 80
    figure = plot_explanation(found)
    assert_laid_out(figure)
    every = " ".join(words(figure))
    assert all(name in every for name in METHODS)
    assert all(f"class {number} of 24" in every for number in range(20))


@pytest.mark.parametrize(("classes", "methods"), [("0-19", "saliency"), (1, METHODS), ("0,1", METHODS)])
@pytest.mark.parametrize("shape", [(3, 64, 16), (3, 16, 64), (1, 40), (2, 7, 8, 12)], ids=str)
def test_nor_are_tables_of_other_shapes(shape, classes, methods):
    found = list(
        explain_each(classifier(shape), np.abs(normal(1, *shape)), class_=classes, method=methods, labels=LONG)
    )
    assert_laid_out(plot_explanation(found))


def test_a_map_of_zeros_says_so_in_its_cell_and_in_no_note():
    # Twice the same network, once with weights of nothing before class 1.
    proto = classifier((3, 16, 12), 3)
    dense = np.array(normal(4, 3))
    dense[:, 1] = 0
    proto.graph.initializer[2].CopyFrom(parsed("g (float[n] x) => (float[n] y) { y = Add (x, d) }", d=dense)
                                        .graph.initializer[0])  # fmt: skip
    found = list(explain_each(proto, X, class_="0,1", method="saliency,occlusion"))
    assert [bool(one.map.any()) for one in found] == [True, True, False, False]
    figure = plot_explanation(found)
    assert words(figure).count("zero everywhere") == 2
    assert not [text for text in words(figure) if text.startswith("Note: the map is zero")]
    assert_laid_out(figure)


def test_of_a_signal_each_map_is_a_ribbon_over_the_same_positions():
    found = table((2, 40), "0,2", ["grad-cam", "occlusion"])
    figure = plot_explanation(found)
    assert_laid_out(figure)
    ribbons, bars = figure.axes[0].images[:4], figure.axes[0].images[4:]
    assert [corners(image)[::2] for image in ribbons] == [(0, 720)] * 4
    assert [corners(image)[1] for image in ribbons] == sorted(corners(image)[1] for image in ribbons)
    assert len(bars) == 2
    most = max(np.abs(found[place].map).max() for place in (1, 3))
    expected = colormaps["RdBu_r"]((found[3].map / most + 1) / 2)[None, :, :3]
    np.testing.assert_allclose(ribbons[3].get_array(), expected, atol=0.01)
    labels = [text for text in words(figure) if text.startswith(("class 0 ·", "class 2 ·"))]
    assert [label.split(" · ")[1] for label in labels] == [one.way for one in found]
    with pytest.raises(UnheededOptionError, match="leave out smooth="):
        plot_explanation(found, smooth="none")


def test_of_a_volume_slices_are_columns_and_maps_rows():
    found = table((1, 30, 8, 12), "0,2", ["grad-cam", "occlusion"])
    figure = plot_explanation(found)
    assert_laid_out(figure)
    pictures = figure.axes[0].images[:-2]
    assert len(pictures) == 6 * 5
    lefts = sorted({corners(image)[0] for image in pictures})
    tops = sorted({corners(image)[1] for image in pictures})
    assert [corners(image)[:2] for image in pictures] == [(left, top) for top in tops for left in lefts]
    assert {"slice 0", "slice 29"} <= {*words(figure)}
    assert {one.title + ", " + one.way for one in found} <= {*words(figure)}


def test_what_does_not_belong_into_one_table_is_refused():
    proto = classifier_proto()
    one, other = (explain(proto, x, class_=0, method="occlusion") for x in (X, X + 1))
    with pytest.raises(InputError, match="a table is of one input, these are explanations of several"):
        plot_explanation([one, other])
    with pytest.raises(InputError, match="once, 2×2 here; 2 explanations were given"):
        plot_explanation([one, explain(proto, X, class_=1, method="saliency")])
    with pytest.raises(InputError, match="once, 1×1 here; 2 explanations were given"):
        plot_explanation([one, one])
    with pytest.raises(InputError, match="no explanation"):
        plot_explanation([])
    with pytest.raises(UnheededOptionError, match="leave out sanity="):
        plot_explanation([one, explain(proto, X, class_=0, method="saliency")], sanity=_Checked())
    assert len(plot_explanation([one]).axes[0].images) == 4


class _Checked:
    """What a check looks like from outside."""

    true, stages, findings, faithfulness = np.zeros((2, 2)), (), (), None


def test_the_method_says_its_options_where_they_are_not_the_usual_ones():
    found = list(
        explain_each(classifier_proto(), X, class_=1, method=["occlusion", "grad-cam"], window=5, layer="block1_conv1")
    )
    assert [one.way for one in found] == ["occlusion, window 5", "grad-cam at block1_conv1"]
    said = " ".join(words(plot_explanation(found)))
    assert "window 5 · map of 16×12" in said
    assert "at block1_conv1 · map of 16×12" in said


@dataclass
class Warned:
    """An explanation of which only its warnings are of interest."""

    title: str
    warnings: tuple
    way: str = "occlusion"
    answer: tuple = ()
    common: tuple = ()
    sample: str = "array"
    method: str = "occlusion"
    labels: tuple = ()
    signed: bool = False
    of_pixels: bool = False
    given: np.ndarray = field(default_factory=lambda: np.zeros((3, 4, 4)))
    map: np.ndarray = field(default_factory=lambda: np.zeros((4, 4)))


@pytest.mark.parametrize(
    ("warnings", "notes"),
    [
        ([("all",), ("all",)], ["all"]),
        ([("one",), ()], ["class 0: one"]),
        ([("two",), ("two",), ()], ["class 0, class 1: two"]),
        ([("many",)] * 5 + [()], ["5 classes: many"]),
        ([("the map is zero everywhere: nothing speaks for it",), ()], []),
        (
            [(f"note {number}",) for number in range(9)],
            [*(f"class {number}: note {number}" for number in range(5)),
             "4 more are among the warnings of the explanations"],
        ),
    ],
)  # fmt: skip
def test_notes_name_the_classes_that_they_are_of(warnings, notes):
    assert Compared([Warned(f"class {n}", told) for n, told in enumerate(warnings)]).notes == notes


def test_notes_shorten_the_names_of_classes():
    (note,) = Compared([Warned("x" * 200, ("it",)), Warned("y", ())]).notes
    assert note == "x" * 39 + "…: it"
