"""Networks that amplify rounding: their conversion is judged by how far they move when their input hardly does."""

from __future__ import annotations

import numpy as np
import pytest
from toy_framework import Toy, ToySource

from onnxviz import ConversionError
from onnxviz.conversion.convert import conversion
from onnxviz.conversion.sensitivity import Sensitivity, allowed


def amplifier(closeness: float, **options) -> Toy:
    """The second layer sees differences of channels that the first makes nearly alike: all but `closeness` cancels."""
    model = Toy(**options)
    rng = np.random.default_rng(7)
    first, second = model.kernels["body/first"], model.kernels["body/second"]
    for even in (0, 2):
        first[..., even + 1] = first[..., even] + closeness * rng.normal(0, 0.3, first.shape[:-1])
        second[:, :, even + 1] = -second[:, :, even]
    model.biases["body/first"][:] = 3  # positive throughout: the ReLU cuts nothing
    model.biases["body/second"][:] = 0
    return model


def noise(model: Toy) -> dict[str, np.ndarray]:
    shape = [size or 1 for size in model.shape]
    return {"image": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}


def test_an_ordinary_network_hardly_moves():
    model = Toy()
    found = Sensitivity(ToySource(model), noise(model))
    assert found.of_outputs()[0] < 1e-6
    assert found.of_map("body/second") < 1e-6
    assert allowed(1e-4, found.of_outputs()[0]) == 1e-4


@pytest.mark.parametrize("closeness", [1e-3, 1e-4])
def test_sensitivity_grows_as_what_is_left_shrinks(closeness):
    """Rounding of one unit in the last place, 6e-8, against a difference of `closeness`: by the quotient."""
    model = amplifier(closeness)
    found = Sensitivity(ToySource(model), noise(model)).of_map("body/second")
    assert 0.02 < found / (6e-8 / closeness) < 50


def test_a_right_conversion_of_a_network_that_amplifies_rounding_is_taken(toy):
    toy("")
    done = conversion(amplifier(1e-3))
    checked = done.verification
    assert checked.maps_max_rel_diff > 1e-4  # it was refused
    assert checked.maps_max_rel_diff < checked.tolerance <= 8 * checked.sensitivity
    assert 1e-4 < checked.tolerance < 1e-2
    assert checked.as_dict()["sensitivity"] == checked.sensitivity


def test_an_ordinary_conversion_has_no_more_allowed(toy):
    toy("")
    checked = conversion(Toy()).verification
    assert (checked.sensitivity, checked.tolerance) == (0, 1e-4)


@pytest.mark.parametrize("harm", ["activation", "output"])
def test_a_wrong_conversion_of_such_a_network_is_refused(toy, harm):
    toy(harm)
    words = (
        r"of the largest value \(0\.00\d+ is allowed: the source itself moves by [\d.e-]+ with its input's last place"
    )
    with pytest.raises(ConversionError, match=words):
        conversion(amplifier(1e-3))


def test_a_network_of_nothing_but_rounding_is_refused(toy):
    toy("")
    with pytest.raises(ConversionError, match=r"\(0\.01 is allowed: the source itself moves by"):
        conversion(amplifier(1e-7))


def test_a_source_that_draws_numbers_is_not_taken_for_a_sensitive_one(toy):
    toy("unsteady")
    with pytest.raises(ConversionError, match="different outputs for the same input"):
        conversion(amplifier(1e-3))


def test_an_input_of_integers_cannot_be_moved():
    model = Toy(dtype="uint8")
    feeds = {"image": np.zeros((1, 3, 7, 9), np.uint8)}
    assert Sensitivity(ToySource(model), feeds).of_outputs() == [0.0]


def test_the_command_says_what_was_allowed(toy, capsys):
    from onnxviz.cli.tables import conversion_table
    from onnxviz.cli.terminal import stdout

    toy("")
    stdout().print(conversion_table(conversion(amplifier(1e-3))))
    assert "rounding  the source itself moves by" in capsys.readouterr().out
    stdout().print(conversion_table(conversion(Toy())))
    assert "rounding" not in capsys.readouterr().out
