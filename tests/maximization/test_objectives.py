"""Objectives and penalties: every slope against differences."""

import numpy as np
import pytest
from adjoints import dot

from onnxviz.errors import InputError, SelectionError
from onnxviz.maximization.objectives import Class, Direction, Filter, Neuron, Sum, parts
from onnxviz.maximization.penalties import Diversity, Norm, TotalVariation

RNG = np.random.default_rng(11)


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
