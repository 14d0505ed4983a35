"""Preprocessing: by hand, by its names and notes, and what is none."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import PIXELS

from onnxviz.errors import InputError
from onnxviz.inputs.preprocessing import NAMED, Preprocessing

# The pixel red 10, green 100, blue 250, by the contract's definitions; channels in the order of the result.
BY_HAND = {
    "raw": [10.0, 100.0, 250.0],
    "unit": [10 / 255, 100 / 255, 250 / 255],
    "signed": [10 / 127.5 - 1, 100 / 127.5 - 1, 250 / 127.5 - 1],
    "torch": [(10 / 255 - 0.485) / 0.229, (100 / 255 - 0.456) / 0.224, (250 / 255 - 0.406) / 0.225],
    "caffe": [250 - 103.939, 100 - 116.779, 10 - 123.68],
    "scale=0.5": [5.0, 50.0, 125.0],
    "mean=10": [0.0, 90.0, 240.0],
    "std=2": [5.0, 50.0, 125.0],
    "order=BGR": [250.0, 100.0, 10.0],
    "order=bgr,scale=2": [500.0, 200.0, 20.0],
    "scale=0.5,mean=1:2:3,std=2:4:8": [(5 - 1) / 2, (50 - 2) / 4, (125 - 3) / 8],
    "scale=0.5,mean=1:2:3,std=2:4:8,order=BGR": [(125 - 1) / 2, (50 - 2) / 4, (5 - 3) / 8],
    "std=2:4:8,scale=0.5,order=RGB,mean=-1": [(5 + 1) / 2, (50 + 1) / 4, (125 + 1) / 8],
    "scale=1e-2": [0.1, 1.0, 2.5],
    "scale=-1": [-10.0, -100.0, -250.0],
}


@pytest.mark.parametrize("text", BY_HAND)
def test_preprocessing_is_what_the_contract_says(text):
    pixel = np.array([[[10, 100, 250]]], np.uint8)
    made = Preprocessing.parse(text).apply(pixel)
    assert made.dtype == np.float32
    assert made.shape == (1, 1, 3)
    np.testing.assert_allclose(made[0, 0], BY_HAND[text], rtol=1e-5, atol=1e-6)


def test_the_names_are_those_of_the_contract():
    assert set(NAMED) == {"raw", "unit", "signed", "torch", "caffe"}
    assert all(Preprocessing.parse(name).name == name for name in NAMED)
    assert Preprocessing.parse("scale=1").name == "custom"


def test_ends_of_the_named_ranges_are_exact():
    ends = np.array([[[0, 255, 255]]], np.uint8)
    assert NAMED["raw"].apply(ends).tolist() == [[[0, 255, 255]]]
    assert NAMED["unit"].apply(ends).tolist() == [[[0, 1, 1]]]
    assert NAMED["signed"].apply(ends).tolist() == [[[-1, 1, 1]]]


@pytest.mark.parametrize("text", BY_HAND)
def test_preprocessing_treats_every_pixel_alike(text):
    chosen = Preprocessing.parse(text)
    scale, mean, std = chosen.scale, np.broadcast_to(chosen.mean, 3), np.broadcast_to(chosen.std, 3)
    made = chosen.apply(PIXELS)
    for y in range(5):
        for x in range(7):
            for c in range(3):
                value = float(PIXELS[y, x, 2 - c if chosen.order == "BGR" else c])
                assert made[y, x, c] == pytest.approx((value * scale - mean[c]) / std[c], rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("text", ["raw", "unit", "signed", "scale=0.5,mean=3,std=2"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_one_value_serves_any_number_of_channels(text, channels):
    pixels = np.full((2, 2, channels), 100, np.uint8)
    expected = {"raw": 100, "unit": 100 / 255, "signed": 100 / 127.5 - 1, "scale=0.5,mean=3,std=2": 23.5}[text]
    np.testing.assert_allclose(Preprocessing.parse(text).apply(pixels), expected, rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize(("text", "key"), [("torch", "mean"), ("caffe", "mean"), ("std=1:2:3", "std")])
def test_another_number_of_channels_is_said(text, key, channels):
    with pytest.raises(InputError, match=rf"3 {key} values for {channels} channels"):
        Preprocessing.parse(text).apply(np.zeros((2, 2, channels), np.uint8))


def test_order_bgr_is_not_dropped_for_four_channels():
    pixel = np.array([[[10, 100, 250, 77]]], np.uint8)
    try:
        made = Preprocessing.parse("order=BGR").apply(pixel)
    except InputError as error:
        assert "BGR" in str(error)  # noqa: PT017 - refusing is as good
    else:
        assert made[0, 0].tolist() == [250, 100, 10, 77]


def test_apply_leaves_the_picture_alone():
    pixels = PIXELS.copy()
    for preprocessing in NAMED.values():
        made = preprocessing.apply(pixels)
        assert not np.shares_memory(made, pixels)
    np.testing.assert_array_equal(pixels, PIXELS)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("imagenet", "'imagenet' is not a preprocessing; there are raw, unit, signed, torch, caffe or scale="),
        ("", "'' is not a preprocessing"),
        ("auto", "'auto'"),
        ("scale", "'scale'"),
        ("scale=1,scale=2", "scale=1,scale=2"),
        ("scale=1,gamma=2", "gamma"),
        ("scale=one", "scale=one"),
        ("mean=1:x:3", "not a number"),
        ("mean=", "not a number"),
        ("scale=0", "not 0"),
        ("std=1:0:1", "not 0"),
        ("scale=nan", "nan"),
        ("mean=inf", "inf"),
        ("scale=1e999", "inf"),
        ("mean=nan:1:2", "finite numbers: got scale 1.0, mean nan:1.0:2.0"),
        ("std=1:nan:1", "finite"),
        # Finite as they are written, and yet no picture is left: infinite, black, a few grey levels.
        ("scale=1e39", r"256 levels of a pixel apart in float32: got scale 1e\+39, mean 0.0, std 1.0"),
        ("scale=1e-50", "256 levels"),
        ("scale=1e38", "256 levels"),
        ("scale=1e-30", "256 levels"),
        ("std=1e-45", "256 levels"),
        ("std=1e-60", "256 levels"),
        ("std=1e60", "256 levels"),
        ("std=1:1e60:1", "256 levels"),
        ("mean=1e30", "256 levels"),
        ("mean=1e10", "256 levels"),
        ("scale=1e20,std=1e-20", "256 levels"),
        ("order=GRB", "RGB or BGR, not 'GRB'"),
    ],
)
def test_what_is_no_preprocessing_is_refused(text, match):
    with pytest.raises(InputError, match=match):
        Preprocessing.parse(text)


def either_sign(low, high):
    return st.floats(low, high) | st.floats(-high, -low)


@settings(deadline=None)
@given(
    either_sign(1e-3, 1e3),
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=4),
    st.lists(either_sign(1e-3, 1e3), min_size=1, max_size=4),
    st.sampled_from(["RGB", "BGR"]),
)
def test_formulas_and_notes_are_read_as_they_were_written(scale, mean, std, order):
    text = f"scale={scale!r},mean={':'.join(map(repr, mean))},std={':'.join(map(repr, std))},order={order}"
    parsed = Preprocessing.parse(text)
    assert (parsed.scale, parsed.mean, parsed.std, parsed.order) == (scale, tuple(mean), tuple(std), order)
    assert Preprocessing.from_json(parsed.to_json()) == parsed


@pytest.mark.parametrize("name", NAMED)
def test_named_notes_are_read_as_they_were_written(name):
    note = json.loads(NAMED[name].to_json())
    assert note["name"] == name
    assert Preprocessing.from_json(json.dumps(note)) == NAMED[name]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "null",
        "[]",
        "3",
        "{}",
        '{"name": "x", "scale": 1, "mean": [0]}',
        '{"name": "x", "scale": "a", "mean": [0], "std": [1]}',
        '{"name": "x", "scale": 1, "mean": 0, "std": [1]}',
        '{"name": "x", "scale": 0, "mean": [0], "std": [1]}',
        '{"name": "x", "scale": NaN, "mean": [0], "std": [1]}',
        '{"name": "x", "scale": 1e999, "mean": [0], "std": [1]}',
        '{"name": "x", "scale": 1' + "0" * 400 + ', "mean": [0], "std": [1]}',
        '{"name": "x", "scale": 1, "mean": [], "std": [1]}',
        '{"name": "x", "scale": 1, "mean": [0], "std": [0]}',
        '{"name": "x", "scale": 1, "mean": [[0]], "std": [1]}',
        '{"name": "x", "scale": 1, "mean": [0], "std": [1], "order": "YUV"}',
        "[" * 100_000,
    ],
)
def test_an_unreadable_note_is_an_error_not_a_crash(text):
    with pytest.raises(InputError):
        Preprocessing.from_json(text)


def test_a_preprocessing_made_in_python_is_held_to_the_same():
    for wrong in ({"scale": float("nan")}, {"scale": 1e39}, {"mean": (float("nan"),)}, {"std": (0.0,)}, {"mean": ()}):
        with pytest.raises(InputError, match="a preprocessing"):
            Preprocessing("mine", **wrong)
    with pytest.raises(InputError, match="RGB or BGR"):
        Preprocessing("mine", order="RBG")


@pytest.mark.parametrize("number", ["1e39", "1e-50", "1e38"])
def test_a_note_that_no_picture_survives_is_refused_with_what_to_do(number):
    note = f'{{"name": "unit", "scale": {number}, "mean": [0], "std": [1]}}'
    with pytest.raises(InputError, match=r"note on preprocessing cannot be used, give preprocess=: .*256 levels"):
        Preprocessing.from_json(note)


@pytest.mark.parametrize("name", NAMED)
def test_a_name_with_other_numbers_is_the_numbers(name):
    note = {**NAMED[name].as_dict(), "scale": NAMED[name].scale * 2}
    found = Preprocessing.from_json(json.dumps(note))
    assert (found.name, found.scale) == ("custom", NAMED[name].scale * 2)
    assert Preprocessing.parse(found.words).apply(PIXELS) == pytest.approx(found.apply(PIXELS), rel=1e-5, abs=1e-4)
    order = {**NAMED[name].as_dict(), "order": "RGB" if name == "caffe" else "BGR"}
    assert Preprocessing.from_json(json.dumps(order)).name == "custom"
    rounded = {**NAMED[name].as_dict(), "scale": float(f"{NAMED[name].scale:.7g}")}
    assert Preprocessing.from_json(json.dumps(rounded)).name == name
    # A name of one's own stays.
    assert Preprocessing.from_json(json.dumps({**note, "name": "ours"})).name == "ours"


def test_words_are_what_the_option_takes():
    assert [one.words for one in NAMED.values()] == list(NAMED)
    assert Preprocessing.parse("scale=0.5,mean=1:2:3,std=2:4:8,order=BGR").words == (
        "scale=0.5,mean=1:2:3,std=2:4:8,order=BGR"
    )
    assert Preprocessing.parse("order=BGR").words == "scale=1,order=BGR"
