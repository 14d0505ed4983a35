"""Colours of classes: distinct where they can be, and a class's own wherever that is free."""

from matplotlib.colors import to_rgb

from onnxviz.plots.palette import OTHERS, colours_of


def test_a_class_has_its_own_colour_where_that_is_free():
    alone = {number: colours_of([number])[number] for number in range(16)}
    assert len({*alone.values(), OTHERS}) == 17
    assert colours_of([5, 2, 9]) == {number: alone[number] for number in (2, 5, 9)}
    assert colours_of([3, 19]) == {3: alone[3], 19: alone[4]}
    assert colours_of(range(16)) == alone


def test_sixteen_are_distinct_and_more_repeat():
    many = colours_of([7, 23, 39, *range(100, 113)])
    assert len(set(many.values())) == 16
    assert len(colours_of(range(40))) == 40
    assert all(len(to_rgb(colour)) == 3 for colour in many.values())
