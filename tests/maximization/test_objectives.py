"""What `maximize` is made of: every linear step against its adjoint, every slope against differences."""

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from protos import classifier_proto

from onnxviz.errors import InputError, SelectionError
from onnxviz.inputs.preprocessing import NAMED, Preprocessing
from onnxviz.maximization.ascent import Adam, AscentSettings
from onnxviz.maximization.image_input import ImageInput, image_input
from onnxviz.maximization.objectives import Class, Direction, Filter, Neuron, Sum, parts
from onnxviz.maximization.parametrisation import COLOURS, Fourier, Pixels
from onnxviz.maximization.penalties import Diversity, Norm, TotalVariation
from onnxviz.maximization.transforms import Jitter, Pad, Rotate, Scale, draw, margin, standard, usual_jitter
from onnxviz.model.model import load
from onnxviz.model.ports import Port

RNG = np.random.default_rng(11)
SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple)
CHANNELS = st.sampled_from([1, 2, 3, 4])


def dot(a, b):
    return float((a.astype(np.float64) * b).sum())


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_adjoint(forward, adjoint, x, y):
    """⟨Ax, y⟩ = ⟨x, Aᵀy⟩, relative to the sizes."""
    image, pulled = forward(x), adjoint(y)
    assert image.shape == y.shape
    assert pulled.shape == x.shape
    scale = np.linalg.norm(image.astype(np.float64)) * np.linalg.norm(y) + 1e-30
    assert abs(dot(image, y) - dot(x, pulled)) < 2e-6 * scale + 1e-6


# --- parametrisations ---------------------------------------------------------------------------------------------


@given(size=SIZES, channels=CHANNELS, decay=st.sampled_from([0.0, 1.0, 1.5]), seed=st.integers(0, 99))
@settings(max_examples=examples(20, 60), deadline=None)
def test_the_spectrum_has_its_adjoint(size, channels, decay, seed):
    way = Fourier((channels, *size), decay)
    x = noise(*way.start([np.random.default_rng(0)] * 2).shape, seed=seed)
    assert_adjoint(way.plane, way.plane_adjoint, x, noise(2, channels, *size, seed=seed + 1))


@pytest.mark.parametrize("way", [Fourier((3, 6, 5)), Fourier((1, 8)), Pixels((3, 6, 5)), Fourier((2, 4, 3, 4))])
def test_gradients_pass_the_sigmoid(way):
    z = way.start([np.random.default_rng(1)]) * 100
    toward = noise(1, *way.shape, seed=2)
    pulled = way.pull(way.images(z), toward)
    step = noise(*z.shape, seed=3) * 1e-2
    slope = (dot(way.images(z + step), toward) - dot(way.images(z - step), toward)) / 2
    assert dot(pulled, step) == pytest.approx(slope, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("shape", [(3, 32, 24), (1, 33), (5, 7, 7)])
def test_starts_are_near_grey_reproducible_and_of_their_own(shape):
    for way in (Fourier(shape), Pixels(shape)):
        sources = [np.random.default_rng((4, i)) for i in range(2)]
        pictures = way.images(way.start(sources))
        assert pictures.dtype == np.float32
        assert pictures.shape == (2, *shape)
        assert np.abs(pictures - 0.5).max() < 0.1
        assert not np.array_equal(pictures[0], pictures[1])
        alone = way.images(way.start([np.random.default_rng((4, 1))]))
        np.testing.assert_allclose(alone[0], pictures[1], atol=1e-6)


def test_colours_are_lucids():
    """Columns of the square root of the covariance; the first is brightness, and none is longer than 1."""
    assert np.linalg.norm(COLOURS, axis=0).max() == pytest.approx(1)
    assert (COLOURS[:, 0] > 0).all()
    assert COLOURS[1, 1] == 0
    np.testing.assert_allclose(COLOURS[0] / COLOURS[0, 0], np.array([0.26, 0.09, 0.02]) / 0.26, rtol=1e-6)


def test_low_frequencies_are_scaled_by_the_longest_side():
    scale = Fourier((1, 8, 16), decay=1).scale
    assert scale[0, 1] == 16 / 4  # one cycle in 16 pixels
    assert scale[4, 0] == pytest.approx(2 / 4)  # half a cycle a pixel
    assert scale[1, 0] == pytest.approx(8 / 4)


def test_the_mean_moves_faster_than_lucids_and_slower_than_pixels_about_it():
    """Equal changes of every coefficient, in random directions: the mean lies between, as a geometric mean."""
    way = Fourier((1, 32, 24), decay=1)
    planes = way.plane(noise(300, *way.start([np.random.default_rng(0)]).shape[1:], seed=8))
    means = planes.mean(axis=(1, 2, 3))
    about = (planes - means[:, None, None, None]).std()
    lucids = (32 / 4) / np.sqrt(32 * 24)
    assert means.std() == pytest.approx(np.sqrt(lucids * about), rel=0.2)


def test_an_extreme_parameter_stays_in_range():
    images = Pixels((1, 2)).images(np.array([[[-1e4, 1e4]]], np.float32))
    np.testing.assert_array_equal(images, [[[0, 1]]])


# --- transforms ---------------------------------------------------------------------------------------------------

MOVES = st.lists(
    st.one_of(
        st.integers(0, 5).map(Jitter),
        st.floats(0.5, 1).flatmap(lambda low: st.floats(low, 2).map(lambda high: Scale(low, high))),
        st.floats(0, 180).map(Rotate),
        st.floats(0, 1).map(Pad),
    ),
    max_size=4,
)


@given(moves=MOVES, size=SIZES, seed=st.integers(0, 99), more=st.integers(0, 3))
@settings(max_examples=examples(50, 150), deadline=None)
def test_movements_have_their_adjoints(moves, size, seed, more):
    source = tuple(side + 2 * more for side in size)
    warp = draw(moves, np.random.default_rng(seed), size, source)
    constant = warp.forward(np.zeros((1, 1, *source), np.float32))  # what comes in from outside is not linear
    x, y = noise(2, 3, *source, seed=seed), noise(2, 3, *size, seed=seed + 1)
    assert_adjoint(lambda x: warp.forward(x) - constant, warp.adjoint, x, y)


@given(moves=MOVES, size=SIZES, seed=st.integers(0, 99))
@settings(max_examples=examples(20, 60), deadline=None)
def test_movements_average_and_stay_in_range(moves, size, seed):
    picture = np.random.default_rng(seed).random((1, 2, *size), np.float32)
    warp = draw(moves, np.random.default_rng(seed), size)
    moved = warp.forward(picture)
    assert moved.min() > -1e-6
    assert moved.max() < 1 + 1e-6
    if warp.fill is None:
        np.testing.assert_allclose(warp.forward(np.ones_like(picture)), 1, atol=1e-6)


def test_jitter_shifts_a_tile_and_copies_no_pixel():
    picture = noise(1, 1, 6, 5)
    seen = set()
    for seed in range(60):
        warp = draw([Jitter(2)], np.random.default_rng(seed), (6, 5))
        down, across = (int(step) for step in warp.matrix[:2, 2])
        np.testing.assert_array_equal(warp.forward(picture), np.roll(picture, (-down, -across), (2, 3)))
        seen.add((down, across))
    assert {step for pair in seen for step in pair} == {-2, -1, 0, 1, 2}


def test_a_window_sees_the_middle_of_a_larger_picture():
    picture = noise(1, 2, 10, 9)
    np.testing.assert_array_equal(
        draw([], np.random.default_rng(0), (6, 5), (10, 9)).forward(picture), picture[..., 2:8, 2:7]
    )
    turned = draw([Rotate(1e-9)], np.random.default_rng(0), (6, 5), (10, 9)).forward(picture)
    np.testing.assert_allclose(turned, picture[..., 2:8, 2:7], atol=1e-6)
    assert margin(standard(16)) == 16
    assert margin([Scale(), Rotate()]) == 0


def test_rotation_and_scale_are_about_the_middle():
    picture = np.zeros((1, 1, 9, 9), np.float32)
    picture[..., 4, 4] = 1
    picture[..., 4, 6] = 0.5
    for move in (Rotate(90), Scale(2, 2)):
        assert draw([move], np.random.default_rng(3), (9, 9)).forward(picture)[0, 0, 4, 4] == pytest.approx(1)
    enlarged = draw([Scale(2, 2)], np.random.default_rng(3), (9, 9)).forward(picture)
    assert enlarged[0, 0, 4, 8] == pytest.approx(0.5)


def test_a_quarter_turn_is_a_quarter_turn():
    picture = noise(1, 1, 5, 5)
    warp = draw([], np.random.default_rng(0), (5, 5))
    quarter = type(warp)((5, 5), (5, 5), np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]))
    np.testing.assert_allclose(quarter.forward(picture)[0, 0], np.rot90(picture[0, 0], -1), atol=1e-6)


def test_outside_is_what_pad_says_else_the_picture_goes_on_round():
    picture = np.ones((1, 1, 4, 4), np.float32)
    far = [Jitter(0), Scale(0.5, 0.5)]
    assert draw(far, np.random.default_rng(0), (4, 4)).forward(picture).min() == pytest.approx(1)
    padded = draw([*far, Pad(0.25)], np.random.default_rng(0), (4, 4)).forward(picture)
    assert padded[0, 0, 0, 0] == pytest.approx(0.25)
    assert padded[0, 0, 2, 2] == pytest.approx(1)


def test_chained_movements_are_sampled_once():
    """Turned there and back, nothing is blurred."""
    warp = draw([], np.random.default_rng(0), (7, 7))
    turn = draw([Rotate(30)], np.random.default_rng(1), (7, 7)).matrix
    picture = noise(1, 1, 7, 7)
    back = type(warp)((7, 7), (7, 7), turn @ np.linalg.inv(turn)).forward(picture)
    np.testing.assert_allclose(back, picture, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "pixels"), [((224, 224), 16), ((96, 96), 7), ((32, 48), 2), ((5,), 1), ((600, 400), 16)]
)
def test_jitter_is_less_for_small_pictures(size, pixels):
    assert usual_jitter(size) == pixels


def test_impossible_transforms_are_refused():
    with pytest.raises(InputError, match="-1"):
        Jitter(-1)
    with pytest.raises(InputError, match=r"1\.5"):
        Scale(1.5, 1)


# --- canvas: preprocessing and layout -----------------------------------------------------------------------------

HOWS = st.one_of(
    st.sampled_from(list(NAMED.values())),
    st.builds(
        Preprocessing,
        st.just("custom"),
        st.floats(0.001, 2),
        st.just((0.1, 0.2, 0.3)),
        st.just((0.5, 2.0, 3.0)),
        st.sampled_from(["RGB", "BGR"]),
    ),
)


@given(how=HOWS, last=st.booleans(), size=SIZES)
@settings(max_examples=examples(20, 60), deadline=None)
def test_preprocessing_and_layout_have_their_adjoint(how, last, size):
    axes = "DHW"[-len(size) :]
    port = Port("x", "float32", (None,) * (len(size) + 2), f"N{axes}C" if last else f"NC{axes}")
    frame = ImageInput(port, 3, size, how, False)
    constant = frame.feed(np.zeros((1, 3, *size), np.float32))
    x = noise(2, 3, *size)
    assert frame.model_shape(2) == (2, *constant.shape[1:])
    y = noise(*frame.model_shape(2), seed=1)
    # Offsets of a hundred leave few digits to differences.
    assert dot(frame.feed(x).astype(np.float64) - constant, y) == pytest.approx(
        dot(x, frame.pull(y)),
        abs=1e-4 * np.abs(constant).max() * np.sqrt(y.size) + 1e-3 * np.linalg.norm(frame.pull(y)),
    )


def test_display_space_is_before_preprocessing():
    port = Port("x", "float32", (1, 3, 2, 2), "NCHW")
    picture = np.zeros((1, 3, 2, 2), np.float32)
    picture[:, 0] = 1  # red
    fed = ImageInput(port, 3, (2, 2), NAMED["caffe"], False).feed(picture)
    np.testing.assert_allclose(fed[0, :, 0, 0], [-103.939, -116.779, 255 - 123.68], rtol=1e-5)


def with_input(shape, dtype=1):
    proto = classifier_proto()
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", dtype, shape))
    return proto


def test_the_canvas_is_the_models_input():
    frame = image_input(load(with_input(["n", 3, 16, 12])))
    assert (frame.channels, frame.size) == (3, (16, 12))
    assert (frame.preprocessing.name, frame.assumed) == ("unit", True)
    open_sides = load(with_input([1, 3, "h", "w"]))
    assert image_input(open_sides).size == (128, 128)
    assert image_input(open_sides, (20, 10)).size == (20, 10)
    assert image_input(load(with_input([1, 3, 24, "w"]))).size == (24, 24)


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        (with_input(["n", 3, 16, 12]), (16, 16), "16x12, not of 16x16"),
        (with_input(["n", 3, "h", 12]), (16, 16), "hx12, not of 16x16"),
        (with_input(["n", 3, "h", "w"]), (10**5, 10**5), "100000x100000 are too large"),
        (with_input(["n", 3, "h", "w"], 2), None, "uint8; only float"),
        (with_input(["n", 3, 0, 0]), None, "no pixels"),
        (with_input(["n", 7]), None, "no input for pictures"),
    ],
)
def test_what_cannot_be_a_canvas_is_refused(model, size, message):
    with pytest.raises(InputError, match=message):
        image_input(load(model), size)


def test_a_preprocessing_for_other_channels_is_refused():
    with pytest.raises(InputError, match="3 mean values for 1 channels"):
        image_input(load(with_input(["n", 1, 8, 8])), preprocess="torch")


def test_signals_are_not_taken_for_brightnesses():
    frame = image_input(load(with_input(["n", 3, 64])))
    assert (frame.size, frame.preprocessing.name) == ((64,), "signed")


# --- objectives ---------------------------------------------------------------------------------------------------

VALUES = RNG.standard_normal((3, 4, 3, 2))
PICTURES = RNG.random((3, 2, 5, 4))
VECTOR = (0.5, -1.0, 0.0, 2.0)
TERMS = [
    (Filter("conv", 2), VALUES),
    (Filter("conv", 2), VALUES[:, :, 0, 0]),
    (Neuron("conv", 1), VALUES),
    (Neuron("conv", 1, (2, 0)), VALUES),
    (Class(3), VALUES[:, :, 0, 0]),
    (Class(0), VALUES),
    *((Direction("conv", VECTOR, measure), VALUES) for measure in ("dot", "cosine", "dot-cosine")),
    (Diversity("conv"), VALUES),
    (TotalVariation(), PICTURES),
    (TotalVariation(1.2), PICTURES),
    (TotalVariation(), PICTURES[..., 0]),
    (Norm(), PICTURES),
    (Norm(1), PICTURES),
]


@pytest.mark.parametrize(("term", "values"), TERMS, ids=lambda value: str(value)[:30])
def test_slopes_are_those_of_the_values(term, values):
    assert term.value(values).shape == (len(values),)
    slope = term.slope(values)
    assert slope.shape == values.shape
    for seed in range(4):
        way = np.random.default_rng(seed).standard_normal(values.shape)
        found = (term.value(values + 1e-5 * way).sum() - term.value(values - 1e-5 * way).sum()) / 2e-5
        assert dot(slope, way) == pytest.approx(found, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize(("term", "values"), TERMS, ids=lambda value: str(value)[:30])
def test_linear_terms_say_so(term, values):
    same = np.allclose(term.slope(values), term.slope(values * 0.3 + 0.1))
    assert same == term.linear


def test_terms_see_one_image_each_unless_they_say_so():
    for term, values in TERMS:
        alone = np.concatenate([term.value(values[i : i + 1]) for i in range(len(values))])
        assert np.allclose(alone, term.value(values)) != term.together


def test_objectives_add_and_scale_and_stay_as_they_are():
    one, two = Filter("a", 1), Norm()
    whole = 2 * (one + two * 3) - one
    assert parts(whole) == ((2.0, one), (6.0, two), (-1.0, one))
    assert parts(one) == ((1.0, one),)
    assert sum([one, one]) == Sum(((1.0, one), (1.0, one)))
    assert parts(-one) == ((-1.0, one),)
    assert str(one - 0.5 * two) == "a 1 + -0.5 · L6 norm"
    assert {whole: "frozen"}[2 * (one + 3 * two) - one] == "frozen"
    with pytest.raises(TypeError):
        one + 1
    with pytest.raises(InputError, match="'conv'"):
        parts("conv")


def test_a_direction_is_checked():
    with pytest.raises(InputError, match="not all 0"):
        Direction("conv", (0, 0))
    with pytest.raises(InputError, match="euclid"):
        Direction("conv", (1,), "euclid")
    with pytest.raises(InputError, match="4 filters, the vector 2"):
        Direction("conv", (1, 2)).value(VALUES)


def test_what_is_not_there_is_said_with_how_many_there_are():
    with pytest.raises(SelectionError, match="4 filters, 0 to 3"):
        Filter("conv", 4).value(VALUES)
    with pytest.raises(SelectionError, match="4 classes"):
        Class(9).value(VALUES)
    with pytest.raises(SelectionError, match=r"\(3, 0\).*3x2"):
        Neuron("conv", 0, (3, 0)).value(VALUES)


def test_equal_images_are_not_diverse_and_orthogonal_ones_are():
    same = np.ones((3, 2, 4))
    np.testing.assert_allclose(Diversity("conv").value(same), -2 / 3)
    apart = np.zeros((2, 2, 4))
    apart[0, 0], apart[1, 1] = 1, 1
    np.testing.assert_allclose(Diversity("conv").value(apart), 0)


def test_directions_measure_what_they_say():
    a = np.zeros((1, 2, 1))
    a[0, :, 0] = [3, 4]
    assert Direction("c", (2, 0)).value(a)[0] == 6
    assert Direction("c", (2, 0), "cosine").value(a)[0] == pytest.approx(0.6)
    assert Direction("c", (2, 0), "dot-cosine").value(a)[0] == pytest.approx(3.6)


# --- Adam ---------------------------------------------------------------------------------------------------------


def test_the_rate_falls_only_where_something_moves():
    moving, still = (AscentSettings(8, 0.05, 0, transforms, 0) for transforms in ((Jitter(1),), ()))
    rates = [moving.rate_at(step) for step in range(8)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 0.05
    assert rates[4] == pytest.approx(0.025)
    assert 0 < rates[7] < 0.002
    assert {still.rate_at(step) for step in range(8)} == {0.05}


def test_adam_is_adam():
    """A first step of the rate whatever the gradient's size; the second by hand. (Kingma & Ba 2015, algorithm 1)"""
    adam = Adam(0.1)
    first = adam.step(np.zeros(2, np.float32), np.array([1e-3, -5], np.float32))
    np.testing.assert_allclose(first, [0.1, -0.1], rtol=1e-4)
    second = adam.step(first, np.array([2e-3, 0], np.float32))
    mean = (0.9 * 0.1 * 1e-3 + 0.1 * 2e-3) / (1 - 0.9**2)
    square = (0.999 * 0.001 * 1e-6 + 0.001 * 4e-6) / (1 - 0.999**2)
    assert second[0] == pytest.approx(0.1 + 0.1 * mean / (np.sqrt(square) + 1e-8), rel=1e-4)


def test_standard_transforms_hold_still_what_they_should():
    assert [type(move) for move in standard(7)] == [Jitter, Scale, Rotate]
