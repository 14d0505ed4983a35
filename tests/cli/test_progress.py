"""What is said of runs that take long, before they are through."""

from __future__ import annotations

import pytest
from samples import CLASSIFIER, DOG

from onnxviz.cli import progress, run
from onnxviz.cli.progress import Forecast, climbing, counting, duration, reporting
from onnxviz.maximization.maximize import Progress


def told(capsys, seconds_a_run: float, total: int, inputs: int = 1) -> list[str]:
    """What is said while so many runs are told, each of which takes so long."""
    now = 100.0
    forecast = Forecast(False, "occlusion", inputs, "a larger --stride shortens it", clock=lambda: now)
    for done in range(0, total + 1, 5):
        now = 100.0 + done * seconds_a_run
        forecast(done, total)
    return capsys.readouterr().err.splitlines()


def test_runs_and_their_time_are_said_once(capsys):
    assert told(capsys, 0.5, 1050) == ["occlusion: 1,050 runs of the model, about 9 min; a larger --stride shortens it"]
    assert told(capsys, 0.5, 50, inputs=7) == [
        "occlusion: 50 runs of the model for each of 7 maps, about 3 min; a larger --stride shortens it"
    ]
    assert told(capsys, 0.1, 50) == []


def test_the_time_before_the_first_run_is_not_counted(capsys):
    now = 0.0
    forecast = Forecast(False, "rise", 1, clock=lambda: now)
    now = 60.0
    forecast(0, 1000)
    now = 61.0
    forecast(10, 1000)
    assert capsys.readouterr().err.splitlines() == ["rise: 1,000 runs of the model, about 2 min"]


def test_the_bar_is_told_too_and_quiet_is_quiet(capsys):
    seen = []
    now = 0.0
    forecast = Forecast(True, "rise", 1, part=lambda *counts: seen.append(counts), clock=lambda: now)
    forecast(0, 1000)
    now = 60.0
    forecast(10, 1000)
    assert seen == [(0, 1000), (10, 1000)]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "words"), [(20, "20 s"), (99.4, "99 s"), (100, "2 min"), (5900, "98 min"), (9000, "2.5 h")]
)
def test_durations(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("occlusion", "occlusion: 225 runs of the model, about 0 s; a larger --stride shortens it"),
        ("rise", "rise: 30 runs of the model, about 0 s; fewer --samples shorten it"),
        ("score-cam", "score-cam: 128 runs of the model, about 0 s\n"),
        ("smooth-grad", "smooth-grad: 30 runs of the model, about 0 s; fewer --samples shorten it"),
    ],
)
def test_explain_says_it(method, words, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "_LONG", 0)
    monkeypatch.setattr(progress, "duration", lambda seconds: "0 s")
    options = ["--samples", "30"] if method in ("rise", "smooth-grad") else []
    assert run(["explain", str(CLASSIFIER), str(DOG), "--method", method, *options, "-o", str(tmp_path / "o.png")]) == 0
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "said"), [(0.02, []), (0.05, ["about 20 s"])])
def test_a_climb_of_over_ten_seconds_is_announced_once(capsys, seconds, said):
    now = 0.0
    with climbing(False, clock=lambda: now) as tell:
        for done in range(1, 401):
            tell(Progress(done, 400, "conv1", 1.0))
            now += seconds
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(said)
    for line, words in zip(lines, said, strict=True):
        assert line.startswith(f"maximize: 400 runs of the model, {words}; fewer --steps")
    with climbing(True) as tell:
        assert tell is None


@pytest.mark.parametrize(
    ("seconds", "total", "said"),
    [
        (0.5, 600, ["gathering: 4 of 600 in 2 s, about 5 min in all"]),
        (5, 3, ["gathering: 1 of 3 in 5 s, about 15 s in all"]),
        (0.5, 19, []),  # through in less than ten seconds
        (30, 1, []),  # there is nothing that would tell before it is through
    ],
)
@pytest.mark.parametrize("counted", [True, False])
def test_a_long_run_is_announced_once_where_no_bar_shows_it(capsys, seconds, total, said, counted):
    now = 0.0
    with (counting if counted else reporting)(False, "gathering", *[total][: int(counted)], clock=lambda: now) as bar:
        for done in range(1, total + 1):
            now += seconds
            bar.advance() if counted else bar(done, total)
    assert capsys.readouterr().err.splitlines() == said


def test_nothing_is_announced_where_quiet_is_asked_for(capsys):
    now = 0.0
    with counting(True, "gathering", 600, clock=lambda: now) as bar:
        for _ in range(600):
            now += 1
            bar.advance()
    with reporting(True, "gathering") as bar:
        assert bar is None
    assert capsys.readouterr().err == ""
