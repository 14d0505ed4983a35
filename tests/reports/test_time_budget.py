"""The time budget: shares add up, parts end in time, and the pace of a verb is measured without its start."""

import pytest

from onnxviz.reports.time_budget import SHARES, OutOfTimeError, Pace, TimeBudget


class Clock:
    """Seconds that a test sets."""

    now = 100.0

    def __call__(self):
        return self.now


def test_the_shares_are_all_of_the_time():
    assert sum(SHARES.values()) == pytest.approx(1)


def test_a_part_may_take_what_those_before_it_left():
    clock = Clock()
    budget = TimeBudget(100, clock)
    assert budget.left("answers") == pytest.approx(12)
    clock.now += 2
    assert budget.left("checks") == pytest.approx(60)
    assert budget.left("explanations") == pytest.approx(98)
    clock.now += 60.5
    assert "did not fit the 100 s" in budget.spent("checks")
    assert budget.spent("statistics") == ""


def test_what_comes_next_must_fit_too():
    clock = Clock()
    budget = TimeBudget(100, clock)
    clock.now += 90
    budget.check("explanations", 9)
    with pytest.raises(OutOfTimeError):
        budget.check("explanations", 11)


def test_a_verb_that_is_late_ends_unless_it_is_done():
    clock = Clock()
    told = TimeBudget(100, clock).progress("answers")
    told(1, 2)
    clock.now += 13
    told(2, 2)
    with pytest.raises(OutOfTimeError):
        told(1, 2)


def test_the_pace_leaves_the_first_sample_out():
    clock, seen = Clock(), []
    pace = Pace(lambda done, of: seen.append((done, of)), clock)
    clock.now += 50  # what it takes to begin
    pace(1, 3)
    assert pace.seconds is None
    for done in (2, 3):
        clock.now += 4
        pace(done, 3)
    assert pace.seconds == 4
    assert seen == [(1, 3), (2, 3), (3, 3)]
