"""Messages: strangers' text, shapes, and choices that there are not."""

import numpy as np
import pytest
import zoo

from onnxviz import InputError, ProviderError, SelectionError
from onnxviz.messages import dims, meant, one_of, printable


def test_what_is_there_passes():
    assert one_of("tap", "conv", ("activation", "conv")) is None
    assert one_of("tap", "conv", iter(["conv"])) is None


@pytest.mark.parametrize("given", ["relu", "", None, 3])
def test_what_is_not_there_is_refused_with_what_is(given):
    with pytest.raises(InputError) as error:
        one_of("tap", given, ("activation", "conv"))
    assert str(error.value) == f"there is no tap '{given}'; there are activation, conv"


@pytest.mark.parametrize(
    ("given", "said"),
    [("activation ", "activation"), ("Conv", "conv"), ("convv", "conv"), ("kernel", None), (None, None)],
)
def test_what_is_spelt_much_like_a_choice_is_taken_for_a_misspelling_of_it(given, said):
    assert meant(given, ("activation", "conv")) == (f"did you mean {said}? " if said else "")
    with pytest.raises(InputError) as error:
        one_of("tap", given, ("activation", "conv"))
    assert ("did you mean" in str(error.value)) == bool(said)


@pytest.mark.parametrize(("given", "said"), [("cta", "cat"), ("tpu", None), ("dgo", None), ("ct", "cat")])
def test_of_a_short_word_letters_may_change_places_and_none_may_be_another(given, said):
    """`tpu` is no misspelling of `cpu`, though it is as near to it as `cta` to `cat`."""
    assert meant(given, ("cat", "cpu")) == (f"did you mean {said}? " if said else "")


def test_a_suggestion_is_fit_for_a_terminal():
    assert meant("layer", ["layer\x1b"]) == "did you mean layer\N{REPLACEMENT CHARACTER}? "


def test_the_error_can_be_another():
    with pytest.raises(ProviderError, match="there is no provider 'tpu'; there are cpu, cuda"):
        one_of("provider", "tpu", ["cpu", "cuda"], ProviderError)


def test_a_strangers_text_is_shown_fit_for_a_terminal():
    with pytest.raises(InputError) as error:
        one_of("mode", "a\x1b[31m" + "b" * 500, ("plain",))
    assert "\x1b" not in str(error.value)
    assert len(str(error.value)) < 200


def test_every_verb_refuses_a_choice_in_the_same_words():
    from onnxviz import add_gradient, capture, explain, maximize, plot_filters, plot_maps

    maps, model = np.zeros((1, 3, 32, 32), np.float32), zoo.model("classifier")
    refusals = [
        (lambda: add_gradient(model, mode="smooth"), InputError, "mode 'smooth'; there are plain, guided, deconv"),
        (
            lambda: plot_filters(maps, style="row"),
            InputError,
            "style 'row'; did you mean rows? there are rows, grid, rgb, lines",
        ),
        (lambda: plot_maps(maps, scale="big"), InputError, "scale 'big'; there are map, layer, symmetric, standardize"),
        (lambda: plot_maps(maps, sort="std"), InputError, "order of channels 'std'; there are mean, variance, norm"),
        (lambda: plot_maps(maps, cmap="mauve"), InputError, "colour map 'mauve'; some of"),
        (lambda: plot_filters(maps, cmap="mauve"), InputError, "colour map 'mauve'; some of"),
        (lambda: explain(model, maps, method="magic"), SelectionError, "method 'magic'; there are grad-cam, "),
        (lambda: maximize(model, 0, param="wave"), InputError, "parametrisation 'wave'; there are fourier, pixel"),
        (lambda: capture(model, maps, errors="hide"), InputError, "way to treat errors 'hide'; there are raise, skip"),
    ]
    for call, kind, words in refusals:
        with pytest.raises(kind) as error:
            call()
        assert str(error.value).startswith(f"there is no {words}"), error.value


def test_shapes_in_words():
    assert [dims(None), dims(()), dims((1, "n", None))] == ["?", "scalar", "1xnx?"]
    assert printable(b"a\xff\n") == "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"
