"""The same data for two models: what each is fed, beside the photo prepared by hand; what cannot be fed is refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from PIL import Image
from protos import normal, one_conv_proto, parsed, two_inputs_proto

from onnxviz import InputError, UnheededOptionError, load
from onnxviz.comparison.fed_alike import NOISE, paired_samples, settle_preprocessing
from onnxviz.comparison.side import Side
from onnxviz.inputs.preprocessing import NAMED
from onnxviz.inputs.samples import ImageOptions
from onnxviz.runtime.session import RunOptions

PIXELS = np.random.default_rng(23).integers(0, 256, (8, 6, 3), np.uint8)
UNIT = (PIXELS / 255).astype(np.float32)


def side(proto, label="a.onnx", **images) -> Side:
    model = load(proto)
    return Side(model, ImageOptions.of(model, **images), RunOptions(), label)


def first(shape=("n", 3, 8, 6), **options) -> Side:
    return side(one_conv_proto(shape), **options)


def last(shape=("n", 8, 6, 3), **options) -> Side:
    return side(one_conv_proto(shape, layout="NHWC", name="pixels"), "b.onnx", **options)


def fed(a: Side, b: Side, data) -> list[tuple[dict, dict]]:
    return [sample.read() for sample in paired_samples(a, b, data)]


@pytest.fixture
def photo(tmp_path) -> str:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    return str(tmp_path / "a.png")


def noted(proto, name: str):
    proto.metadata_props.add(key="onnxviz.preprocessing", value=NAMED[name].to_json())
    return proto


def test_each_layout_gets_the_photo_in_its_own(photo) -> None:
    ((a, b),) = fed(first(), last(), photo)
    np.testing.assert_allclose(a["x"], UNIT.transpose(2, 0, 1)[None], rtol=1e-6)
    np.testing.assert_allclose(b["pixels"], UNIT[None], rtol=1e-6)


def test_each_model_gets_the_photo_in_the_range_that_it_expects(photo) -> None:
    raw = side(one_conv_proto(("n", 3, 8, 6), dtype=TensorProto.UINT8), "raw.onnx")
    ((a, b),) = fed(first(), raw, photo)
    np.testing.assert_allclose(a["x"], UNIT.transpose(2, 0, 1)[None], rtol=1e-6)
    np.testing.assert_array_equal(b["x"], PIXELS.transpose(2, 0, 1)[None])
    assert b["x"].dtype == np.uint8


def test_where_one_model_leaves_the_size_open_the_others_counts(tmp_path) -> None:
    Image.fromarray(np.repeat(np.repeat(PIXELS, 2, 0), 2, 1)).save(tmp_path / "large.png")
    for a, b in ((first(("n", 3, "h", "w")), last()), (first(), last(("n", "h", "w", 3)))):
        for data in (str(tmp_path / "large.png"), None):
            one, other = fed(a, b, data)[0]
            assert one["x"].shape == (1, 3, 8, 6)
            np.testing.assert_array_equal(one["x"], other["pixels"].transpose(0, 3, 1, 2))


def test_arrays_are_refused_where_the_layout_is_another() -> None:
    words = "arrays cannot be fed to both: 'x' of a.onnx is NCHW, 'pixels' of b.onnx NHWC; give image files"
    with pytest.raises(InputError, match=words):
        fed(first(), last(), normal(1, 3, 8, 6))


def test_arrays_are_refused_where_they_would_lose_their_fractions() -> None:
    whole = side(one_conv_proto(("n", 3, 8, 6), dtype=TensorProto.UINT8), "b.onnx")
    with pytest.raises(InputError, match=r"'x' of a\.onnx takes float32, 'x' of b.onnx uint8; give image files"):
        fed(first(), whole, normal(1, 3, 8, 6))


def test_arrays_go_to_inputs_of_other_names_by_position_in_their_precision() -> None:
    array = normal(2, 3, 8, 6)
    half = side(one_conv_proto(("n", 3, 8, 6), dtype=TensorProto.FLOAT16, name="half"), "b.onnx")
    rows = fed(first(), half, array)
    assert len(rows) == 2
    for number, (a, b) in enumerate(rows):
        np.testing.assert_array_equal(a["x"], array[number : number + 1])
        np.testing.assert_array_equal(b["half"], array[number : number + 1].astype(np.float16))
        assert b["half"].dtype == np.float16


def turned_two():
    """The model of two inputs with these in the other order."""
    proto = two_inputs_proto()
    ports = list(proto.graph.input)[::-1]
    del proto.graph.input[:]
    proto.graph.input.extend(ports)
    return proto


@pytest.mark.parametrize("how", ["names", "mapping"])
def test_inputs_of_the_same_names_in_another_order(how, tmp_path) -> None:
    left, right = normal(1, 3, 4, 4), normal(1, 3, 4, 4, seed=5)
    np.save(tmp_path / "l.npy", left)
    np.save(tmp_path / "r.npy", right)
    data = {"names": [f"left={tmp_path / 'l.npy'}", f"right={tmp_path / 'r.npy'}"],
            "mapping": {"left": left, "right": right}}[how]  # fmt: skip
    ((a, b),) = fed(side(two_inputs_proto()), side(turned_two(), "b.onnx"), data)
    for one in (a, b):
        np.testing.assert_array_equal(one["left"], left)
        np.testing.assert_array_equal(one["right"], right)


def test_a_photo_by_the_name_of_an_input(photo) -> None:
    other = side(one_conv_proto(("n", 3, 8, 6), name="other"), "b.onnx")
    ((a, b),) = fed(first(), other, f"x={photo}")
    np.testing.assert_array_equal(a["x"], b["other"])
    np.testing.assert_allclose(a["x"], UNIT.transpose(2, 0, 1)[None], rtol=1e-6)
    signed = side(noted(one_conv_proto(("n", 3, 8, 6)), "signed"), "b.onnx")
    with pytest.raises(InputError, match="prepared alike for both: give preprocess="):
        fed(first(), signed, f"x={photo}")


def test_noise_is_the_same_whatever_the_layout_batch_and_order() -> None:
    rows = fed(first((4, 3, 8, 6)), last(("n", 8, 6, 3)), None)
    assert len(rows) == NOISE
    for a, b in rows:
        assert a["x"].shape == (1, 3, 8, 6)
        np.testing.assert_array_equal(a["x"], b["pixels"].transpose(0, 3, 1, 2))
    for a, b in fed(side(two_inputs_proto()), side(turned_two(), "b.onnx"), None):
        np.testing.assert_array_equal(a["left"], b["left"])
        np.testing.assert_array_equal(a["right"], b["right"])
        assert (a["left"] != a["right"]).any()


def test_noise_for_signals_of_another_layout_is_refused() -> None:
    a = parsed("g (float[n,2,20] x) => (float[n,3,h] y) { y = Conv (x, w) }", w=normal(3, 2, 3))
    b = parsed(
        "g (float[n,20,2] x) => (float[n,3,h] y) { t = Transpose <perm=[0,2,1]> (x) y = Conv (t, w) }",
        w=normal(3, 2, 3),
    )
    with pytest.raises(InputError, match=r"noise cannot be fed to both: 'x' of a\.onnx is NCW, 'x' of b\.onnx NWC$"):
        fed(side(a), side(b, "b.onnx"), None)


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (first(), last(("n", 8, 7, 3)), r"'x' is nx3x8x6 float32 NCHW, 'pixels' nx8x7x3 float32 NHWC"),
        (first(), first(("n", 4, 8, 6), label="b.onnx"), "'x' is nx3x8x6 float32 NCHW, 'x' nx4x8x6"),
        (first(), side(two_inputs_proto(), "b.onnx"), r"1 input \(x\) and 2 inputs \(left, right\)"),
    ],
)
def test_models_that_take_other_things_are_refused_with_both(a, b, words) -> None:
    with pytest.raises(InputError, match=f"^a.onnx and b.onnx cannot be fed the same data: {words}"):
        paired_samples(a, b, None)


def test_fixed_batches_may_differ() -> None:
    array = normal(2, 3, 8, 6)
    assert len(fed(first((1, 3, 8, 6)), first((4, 3, 8, 6), label="b.onnx"), array)) == 2


OPEN, PHOTO = ("n", 3, "h", "w"), "photo"


@pytest.mark.parametrize(
    ("shape", "options", "data", "words"),
    [
        *((OPEN, {name: value, "size": (8, 6)}, None, f"noise is drawn .*leave out {name}=$")
          for name, value in (("fit", "crop"), ("background", "black"))),
        (("n", 3, 8, 6), {"size": (9, 9)}, None, "takes images of 8x6, not of 9x9: leave out size="),
        (("n", 3, 8, 6), {"size": (9, 9)}, PHOTO, "takes images of 8x6, not of 9x9: leave out size="),
        (OPEN, {"size": (9, 9)}, PHOTO, "b.onnx takes images of 8x6, not of 9x9: leave out size="),
        (OPEN, {"size": (9, 9)}, None, "b.onnx takes images of 8x6, not of 9x9: leave out size="),
        *((("n", 3, 8, 6), {name: value}, normal(1, 3, 8, 6), f"arrays are fed as they are: leave out {name}=$")
          for name, value in (("fit", "crop"), ("background", "black"), ("preprocess", "torch"))),
    ],
)  # fmt: skip
def test_options_that_nothing_heeds_are_refused(shape, options, data, words, photo, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(one_conv_proto(("n", 3, 8, 6)), "b.onnx")
    b = side("b.onnx", "b.onnx", **options)
    with pytest.raises(UnheededOptionError, match=words):
        paired_samples(first(shape, **options), b, photo if data is PHOTO else data)


def test_options_about_images_where_no_input_takes_any() -> None:
    signal = parsed("g (float[n,2,20] x) => (float[n,3,h] y) { y = Conv (x, w) }", w=normal(3, 2, 3))
    for options in ({"preprocess": "torch"}, {"size": (8, 6)}):
        with pytest.raises(UnheededOptionError, match="no input of the model takes images: leave out"):
            paired_samples(side(signal, **options), side(signal, "b.onnx", **options), None)


# ---------------------------------------------------------------- preprocessing


def test_a_model_that_does_not_say_how_images_are_prepared_takes_the_others_word(photo) -> None:
    silent, telling = first(), side(noted(one_conv_proto(("n", 3, 8, 6)), "signed"), "b.onnx")
    signed = (PIXELS / 127.5 - 1).transpose(2, 0, 1)[None]
    for a, b in ((silent, telling), (telling, silent)):
        one, other, words = settle_preprocessing(a, b)
        assert words.startswith(f"{silent.label} does not say how images are prepared: as those of {telling.label}")
        assert (one.label, other.label) == (a.label, b.label)
        for array in fed(one, other, photo)[0]:
            np.testing.assert_allclose(array["x"], signed, rtol=1e-5, atol=1e-6)


def test_what_both_say_or_neither_is_left_as_it_is() -> None:
    signed, torch = (side(noted(one_conv_proto(("n", 3, 8, 6)), name), name) for name in ("signed", "torch"))
    for a, b in ((signed, torch), (signed, signed), (first(), last())):
        one, other, words = settle_preprocessing(a, b)
        assert one is a
        assert other is b
        assert words == ""
