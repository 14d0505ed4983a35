"""Arguments of public functions: one of a wrong type is refused in one line that says what is taken."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import numpy as np
import pytest
from numpy.typing import ArrayLike
from protos import classifier_proto

import onnxviz
from onnxviz.arguments import fits, typed, words
from onnxviz.explanations.target import ChooseTarget
from onnxviz.inputs.samples import Size

# `audit` has settings of its own, which say what is wrong with them.
FUNCTIONS = {
    name: function
    for name in onnxviz.__all__
    if inspect.isfunction(function := getattr(onnxviz, name)) and name != "audit"
}


def arguments():
    """(function, argument) of all public functions, those of `**options` too, but what takes anything."""
    for name, function in FUNCTIONS.items():
        for key, hint in get_type_hints(function).items():
            if key == "options":
                yield from ((name, one) for one in get_type_hints(*get_args(hint)))
            elif key != "return" and hint not in (Any, object):
                yield name, key


class Nothing:
    """What no function takes."""

    def __repr__(self):
        return "nothing\n\x1b[31m at all"


@pytest.mark.parametrize(("name", "key"), [*arguments()])
def test_each_public_function_says_what_it_takes(name, key):
    with pytest.raises(onnxviz.InputError) as error:
        FUNCTIONS[name](**{key: Nothing()})
    said = str(error.value)
    assert said.startswith(f"{name} takes ")
    assert f" as {key}, not nothing" in said
    assert said.endswith("(Nothing)")
    assert said.isprintable()
    assert "typing." not in said
    assert "<class" not in said
    assert "onnxviz." not in said


def test_the_walk_is_one_of_many():
    walked = [*arguments()]
    assert len(walked) > 250
    assert {("explain", "samples"), ("load", "source"), ("plot_maps", "maps"), ("convert", "opset")} <= {*walked}


@pytest.mark.parametrize("verb", ["capture", "statistics", "predict", "explain", "top_patches"])
@pytest.mark.parametrize("given", [None, 3, 2.5, b"bytes", object(), lambda: 0])
def test_what_is_no_input_is_refused_with_what_is(verb, given):
    with pytest.raises(onnxviz.InputError, match=r"^an input is an image, an array, a path, a mapping .*, not "):
        FUNCTIONS[verb](classifier_proto(), given)


class Answer:
    def __call__(self, scores, values):
        return None


@pytest.mark.parametrize(
    ("hint", "taken", "refused"),
    [
        (int, [3, True, np.int64(3), np.uint8(3)], [3.0, "3", None, np.float32(3), [3]]),
        (float, [3, 2.5, np.float32(2), np.array(2.0)], ["2", None, [2.0], np.array([2.0, 1.0]), 1j]),
        (bool, [True, np.True_], [1, 0, None, "yes"]),
        (int | None, [None, 3], ["none", 2.5]),
        (str, ["a"], [b"a", 3, None, Path("a")]),
        (str | PathLike[str], ["a", Path("a")], [3, b"a"]),
        (Sequence[int], [[], [1], (1, 2), range(3), np.array([1, 2])], ["12", 1, [1.5], np.array([1.5]), {1: 2}, {1}]),
        (Sequence[str], [["a"], ("a", "b")], ["a", [1], b"a"]),
        (Mapping[str, int], [{}, {"a": 1}], [{"a": "b"}, [("a", 1)], None]),
        (tuple[int, int], [(1, 2), [1, 2]], [(1, 2, 3), (1,), (1, "2"), 3, "12"]),
        (Size, [3, (1, 2), [1, 2]], [1.5, (1, 2, 3), "3"]),
        (tuple[int, ...], [(), (1, 2, 3)], [("1",), 1]),
        (Literal["a", "b"], ["a", "c"], [1, None]),
        (Callable[[int], None], [print, lambda x: x], [3, "print"]),
        (ChooseTarget, [Answer(), print], [3, "top", None]),
        (ArrayLike, [np.zeros(3), [[1.0]], 3], ["a", None, {"a": 1}, b"a"]),
        (ArrayLike | Mapping[str, int], [np.zeros(3), {"a": 1}], ["a", {"a": "b"}]),
        (Any, [None, 3, object()], []),
    ],
)  # fmt: skip
def test_what_fits_a_type_and_what_does_not(hint, taken, refused):
    assert [one for one in taken if not fits(one, hint)] == []
    assert [one for one in refused if fits(one, hint)] == []


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        (int | None, "a whole number or None"),
        (str | PathLike[str] | None, "a path or None"),
        (Sequence[int | str], "a sequence of (a whole number or text)"),
        (Mapping[str, str], "a mapping of text"),
        (tuple[int, int] | int, "(a whole number, a whole number) or a whole number"),
        (tuple[int, ...], "(a whole number, …)"),
        (Literal["a", "b"] | None, "'a' or 'b' or None"),
        (Callable[[int], None], "a function"),
        (ArrayLike | None, "an array or None"),
        (onnxviz.Explanation, "an Explanation"),
        (Size | None, "a whole number or (height, width) in pixels or None"),
    ],
)
def test_types_in_words(hint, said):
    assert words(hint) == said


def test_a_function_is_documented_and_called_as_before():
    @typed
    def scaled(values: Sequence[float], by: float = 2.0, *, shift: float = 0.0) -> list[float]:
        """Its docstring."""
        return [value * by + shift for value in values]

    assert (scaled.__name__, scaled.__doc__) == ("scaled", "Its docstring.")
    assert str(inspect.signature(scaled)).startswith(
        "(values: collections.abc.Sequence[float], by: float = 2.0, *, shift"
    )
    assert scaled([1.0], 3, shift=1) == [4.0]
    with pytest.raises(onnxviz.InputError, match=r"^scaled takes a number as by, not 'x' \(str\)$"):
        scaled([1.0], "x")
    with pytest.raises(TypeError, match="missing"):
        scaled()
    with pytest.raises(TypeError, match="unexpected keyword"):
        scaled([1.0], more=3)


def test_dir_shows_the_public_names_and_nothing_else():
    assert [name for name in dir(onnxviz) if not name.startswith("__")] == sorted(
        name for name in onnxviz.__all__ if not name.startswith("__")
    )


@pytest.mark.parametrize(
    ("verb", "key", "meant"),
    [
        (onnxviz.explain, "clas", "class_"),
        (onnxviz.explain, "classes", "class_"),
        (onnxviz.explain, "sample", "samples"),
        (onnxviz.maximize, "step", "steps"),
        (onnxviz.capture, "layer", "layers"),
    ],
)
def test_a_misspelt_argument_is_refused_with_the_one_that_was_meant(verb, key, meant):
    with pytest.raises(TypeError, match=f"{verb.__name__} has no argument '{key}'; did you mean {meant}\\?$"):
        verb(*[None] * 2, **{key: 1})


def test_a_command_of_another_name_is_refused_with_that():
    with pytest.raises(AttributeError, match=r"no attribute 'stats'; did you mean statistics\?$"):
        _ = onnxviz.stats
