"""Figures written to files."""

from pathlib import Path

import pytest
from figures import MAPS, flawed
from matplotlib.figure import Figure
from PIL import Image

from onnxviz.errors import InputError, OnnxvizError
from onnxviz.plots import plot_maps, save_figure


@pytest.mark.parametrize(("suffix", "begins"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".PDF", b"%PDF")])
def test_files_are_whole_and_the_same_every_time(tmp_path, suffix, begins):
    first = save_figure(plot_maps(flawed(), title="conv"), tmp_path / f"a{suffix}")
    second = save_figure(plot_maps(flawed(), title="conv"), str(tmp_path / f"b{suffix}"))
    assert first.read_bytes().startswith(begins)
    assert first.read_bytes() == second.read_bytes()
    assert b"matplotlib" not in first.read_bytes()[-2000:].lower()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a{suffix}", f"b{suffix}"]


def test_resolution(tmp_path):
    figure = plot_maps(MAPS)
    sizes = []
    for dpi in (None, 200):
        with Image.open(save_figure(figure, tmp_path / "a.png", dpi=dpi)) as picture:
            sizes.append(picture.size)
    normal, double = sizes
    assert double == pytest.approx((2 * normal[0], 2 * normal[1]), abs=1)


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"must end in \.png, \.jpg, \.jpeg, \.webp, \.svg, \.pdf"):
        save_figure(plot_maps(MAPS), tmp_path / "a.bmp")
    with pytest.raises(OnnxvizError, match="nowhere"):
        save_figure(plot_maps(MAPS), tmp_path / "nowhere" / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    target = tmp_path / "a.png"
    target.write_bytes(b"old")

    def fail(self, file, **options):
        Path(file).write_bytes(b"half")
        raise RuntimeError("stopped")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(RuntimeError, match="stopped"):
        save_figure(Figure(), target)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
