"""Choices of classes: numbers, ranges, all, and names."""

import numpy as np
import pytest

from onnxviz.errors import SelectionError
from onnxviz.model.class_choice import class_numbers

NAMES = ("tench, Tinca tinca", "crane", "Crane", "cat", "great white shark, white shark", "all-rounder", "7")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (3, [3]),
        (np.int64(3), [3]),
        ("3", [3]),
        ("0,3,5-6", [0, 3, 5, 6]),
        ("3,0,3", [3, 0]),
        ("all", [*range(7)]),
        ("cat", [3]),
        (" CAT ", [3]),
        ("tench, Tinca tinca", [0]),
        ("Tinca tinca", [0]),
        ("tench", [0]),
        ("white shark,cat,1", [4, 3, 1]),
        (["great white shark, white shark", "cat", 2, "5-6"], [4, 3, 2, 5, 6]),
        ((1, np.uint8(2)), [1, 2]),
        ("all-rounder", [5]),
        ("7", [7]),
        (99, [99]),
    ],
)
def test_what_is_meant(given, found):
    assert class_numbers(given, NAMES, 7) == found


@pytest.mark.parametrize(
    ("given", "names", "count", "said"),
    [
        ("crane", NAMES, 7, "several classes are called 'crane': write the number, 1, 2"),
        ("catt", NAMES, 7, "there is no class 'catt'; did you mean cat? there are 7, such as tench"),
        ("zebra crossing", NAMES, 7, "there is no class 'zebra crossing'; there are 7, such as"),
        ("cat", (), 7, "nothing gives their names: annotate(model, None, output, labels=names) keeps them"),
        ("all", (), None, "how many classes there are is not known before the model runs: write numbers, as 0-9"),
        ("", NAMES, 7, "no class is named"),
        (",", NAMES, 7, "no class is named"),
        ([], NAMES, 7, "no class is named"),
        ("5-3", NAMES, 7, "does not count upwards"),
        ("a\x1b[31m", NAMES, 7, "there is no class 'a\N{REPLACEMENT CHARACTER}[31m'"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(given, names, count, said):
    with pytest.raises(SelectionError) as error:
        class_numbers(given, names, count)
    assert said in str(error.value)


def test_one_score_has_two_classes_and_its_only_name_is_that_of_class_1():
    assert class_numbers("all", (), 1) == [0, 1]
    assert class_numbers("dog", ("dog",), 1) == [1]
    assert class_numbers("all", ("dog",), 1) == [0, 1]
    assert class_numbers("all", ("cat", "dog"), None) == [0, 1]
