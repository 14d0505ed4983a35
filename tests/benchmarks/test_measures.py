"""The measures of `make bench-quality`, where their values are known in closed form."""

import json

import numpy as np
import pytest

from benchmarks import blind
from benchmarks.measures import (
    RINGS,
    burnt_share,
    colour_histogram,
    histogram_distance,
    radial_spectrum,
    spectrum_distance,
)

SIDE = 224


def falling(power, seed=0):
    """Noise whose power falls as frequency^-power, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE))
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((SIDE, SIDE))) * frequency ** (-power / 2)
    grey = np.fft.irfft2(spectrum, (SIDE, SIDE))
    grey = 127.5 + 35 * grey / grey.std()
    return np.repeat(np.rint(np.clip(grey, 0, 255)).astype(np.uint8)[..., None], 3, axis=2)


def test_a_spectrum_is_not_apart_from_itself():
    picture = falling(2)
    assert spectrum_distance(radial_spectrum(picture), radial_spectrum(picture)) == 0


def test_a_spectrum_falls_as_its_picture_was_made():
    """By two decades of power for one of frequency, where rounding does not yet count."""
    middles = np.log10(np.sqrt(RINGS[:-1] * RINGS[1:]))
    slope = np.polyfit(middles, radial_spectrum(falling(2)), 1)[0]
    assert slope == pytest.approx(-2, abs=0.15)


def test_white_noise_is_far_from_what_falls_as_photos_do():
    """Of one variance, white noise has the same power everywhere, 1/f² decades more of it at the end."""
    like = radial_spectrum(falling(2))
    assert spectrum_distance(like, radial_spectrum(falling(2, seed=1))) < 0.2
    assert spectrum_distance(like, radial_spectrum(falling(0))) > 0.8


def test_the_power_of_white_noise_is_its_variance():
    noise = falling(0)
    variance = float((noise[..., 0] / 255).var())
    assert 10 ** radial_spectrum(noise) == pytest.approx(np.full(len(RINGS) - 1, variance), rel=0.3)


def test_twice_the_contrast_is_a_distance_of_the_log_of_four():
    """And a picture of one colour has what rounding gives, not minus infinity."""
    wave = np.rint(40 * np.cos(2 * np.pi * np.arange(SIDE) / 8)).astype(int)
    soft, loud = (np.broadcast_to(128 + k * wave[:, None], (SIDE, SIDE)).astype(np.uint8) for k in (1, 2))
    rings = [radial_spectrum(np.repeat(grey[..., None], 3, axis=2)) for grey in (soft, loud)]
    ring = int(np.digitize(1 / 8, RINGS)) - 1
    assert (rings[1] - rings[0])[ring] == pytest.approx(np.log10(4), abs=0.01)
    flat = radial_spectrum(np.full((SIDE, SIDE, 3), 90, np.uint8))
    assert flat == pytest.approx(np.full(len(RINGS) - 1, np.log10((1 / 255) ** 2 / 12)))


def test_colours_in_common():
    red, blue = np.zeros((2, 8, 8, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    half = np.concatenate([red[:4], blue[:4]])
    histograms = [colour_histogram(one) for one in (red, blue, half)]
    assert [float(one.sum()) for one in histograms] == [1, 1, 1]
    assert histogram_distance(histograms[0], histograms[0]) == 0
    assert histogram_distance(histograms[0], histograms[1]) == 1
    assert histogram_distance(histograms[0], histograms[2]) == 0.5


def test_what_is_burnt():
    """One pixel of eight black, one with one of three values at 255: (3 + 1) / 24."""
    picture = np.full((2, 4, 3), 100, np.uint8)
    picture[0, 0], picture[1, 2, 1] = 0, 255
    assert burnt_share(picture) == pytest.approx(4 / 24)
    assert burnt_share(np.full((4, 4, 3), 254, np.uint8)) == 0
    assert burnt_share(np.full((4, 4, 3), 255, np.uint8)) == 1


# ---------------------------------------------------------------- blind pairs

GREY = {tool: {f"class-{n}": np.full((16, 16, 3), shade + n, np.uint8) for n in range(6)} for tool, shade in
        (("ours", 10), ("theirs", 100), ("third", 200))}  # fmt: skip


def test_pairs_do_not_say_whose_they_are_and_the_key_does(tmp_path):
    from PIL import Image

    assert blind.write_pairs(GREY, "ours", tmp_path, seed=0) == 12
    key = json.loads((tmp_path / "key.json").read_text("utf-8"))["pairs"]
    sides = set()
    for name, (left, right, subject) in key.items():
        picture = np.asarray(Image.open(tmp_path / f"{name}.png"))
        number = int(subject.split("-")[1])
        assert picture[8, 8, 0] == GREY[left][f"class-{number}"][0, 0, 0]
        assert picture[8, -8, 0] == GREY[right][f"class-{number}"][0, 0, 0]
        assert {left, right} & {"ours"}
        assert "ours" not in name
        sides.add(left == "ours")
    assert sides == {True, False}, "ours lies on one side always"
    subjects = [subject for _, _, subject in key.values()]
    assert subjects != sorted(subjects), "pairs are in the order of their subjects"


def test_judgements_are_counted_for_who_made_the_picture(tmp_path):
    blind.write_pairs(GREY, "ours", tmp_path, seed=0)
    key = json.loads((tmp_path / "key.json").read_text("utf-8"))["pairs"]
    lines = []
    for name, (left, right, _) in key.items():
        other = right if left == "ours" else left
        better = "ours" if other == "theirs" else "third"
        lines.append(f"{name} {'A' if left == better else 'B'}")
    lines[-1] = lines[-1][:-1] + "="
    (tmp_path / "judgements.txt").write_text("\n".join(lines), "utf-8")
    won = blind.read_judgements(tmp_path)
    assert sum(sum(one) for one in won.values()) == 12
    assert won["theirs"].lost == won["third"].won == 0
    assert won["theirs"].won + won["theirs"].even == won["third"].lost + won["third"].even == 6


@pytest.mark.parametrize(
    ("text", "said"), [("001 C", "001 C"), ("999 A", "999"), ("001 A\n001 B", "twice"), ("nonsense", "nonsense")]
)
def test_a_judgement_that_is_none_is_refused(tmp_path, text, said):
    blind.write_pairs(GREY, "ours", tmp_path, seed=0)
    (tmp_path / "judgements.txt").write_text(text, "utf-8")
    with pytest.raises(SystemExit, match=said):
        blind.read_judgements(tmp_path)
