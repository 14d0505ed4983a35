"""How samples are run for statistics: in which threads, with how much memory, how often, and read by whom."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
import zoo
from PIL import Image
from protos import normal, parsed

import onnxviz
from onnxviz import Statistics, capture, statistics
from onnxviz.errors import InputError
from onnxviz.maps.reduced_run import ReducedRun
from onnxviz.runtime.session import Session


def net(activation: str = "Relu", channels: int = 8) -> onnx.ModelProto:
    """A convolution over (n, 2, 9, 7) with an activation."""
    return parsed(
        f"g (float[n,2,9,7] x) => (float[n,{channels},h,v] y) {{ c = Conv (x, w) y = {activation} (c) }}",
        w=normal(channels, 2, 3, 3),
    )


def saved(found: Statistics, folder: Path) -> tuple[bytes, str]:
    folder.mkdir()
    path = found.save(folder / "s.npz")
    return path.read_bytes(), (folder / "s.npz.manifest.json").read_text()


@pytest.mark.parametrize("histogram", [False, True])
def test_the_same_bytes_whatever_the_threads_and_the_memory(tmp_path: Path, histogram: bool) -> None:
    x = normal(150, 2, 9, 7)
    x[70:] = 0.01 * x[70:] + 40  # other channels vary little here than in the samples that are looked at first
    found = {
        saved(
            statistics(net("Identity"), x, threads=threads, memory=memory, histogram=histogram),
            tmp_path / f"{threads}-{memory}",
        )
        for threads in (1, 3)
        for memory in (2**20, 2**24, 2**30)
    }
    assert len(found) == 1


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many samples run whenever one begins."""
    running, seen, lock, values = [0], [], threading.Lock(), ReducedRun.values

    def counted(self, feeds, sample):
        with lock:
            running[0] += 1
            seen.append(running[0])
        time.sleep(0.01)
        try:
            return values(self, feeds, sample)
        finally:
            with lock:
                running[0] -= 1

    monkeypatch.setattr(ReducedRun, "values", counted)
    return seen


@pytest.mark.parametrize(("memory", "most"), [(2**20, 1), (2**22, 3), (2**30, 4)])
def test_the_memory_bounds_how_many_run_at_once(at_once: list[int], memory: int, most: int) -> None:
    """Maps of 0.6 MB each, half of the memory for them."""
    proto = parsed("g (float[n,1,64,64] x) => (float[n,36,h,v] y) { y = Conv (x, w) }", w=normal(36, 1, 1, 1))
    statistics(proto, normal(24, 1, 64, 64), threads=4, memory=memory)
    assert max(at_once) == most


def test_a_memory_that_is_too_small() -> None:
    with pytest.raises(InputError, match="a memory budget of 1,000 bytes is too small"):
        statistics(net(), normal(2, 2, 9, 7), memory=1000)


@pytest.mark.parametrize("options", [{}, {"histogram": True}], ids=str)
def test_each_sample_is_run_once(at_once: list[int], options: dict[str, bool]) -> None:
    """Where no channel varies little, and where none would be reduced in another way."""
    x = normal(20, 2, 9, 7)
    x[:, 0] += 30 if options else 0
    statistics(net("Identity"), x, **options)
    assert len(at_once) == 20


def test_a_channel_that_is_constant_but_for_a_rare_event_is_found_at_once(at_once: list[int]) -> None:
    """It varies in one of the first samples, little in the others, and little over all: four are run twice, not all."""
    proto = parsed(
        "g (float[n,1,9,7] x) => (float[n,1,9,7] y) { y = Conv (x, w) }", w=np.ones((1, 1, 1, 1), np.float32)
    )
    x = np.full((120, 1, 9, 7), 5, np.float32)
    x[1, 0, 4, 4] += 17.7
    found = statistics(proto, x)["conv_0"]
    np.testing.assert_allclose(found.var, x.var(dtype=np.float64), rtol=1e-6)
    assert len(at_once) == 124


def test_the_session_for_whole_maps_opens_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, of = [], Session.of

    def counted(model, graph, options):
        opened.append(graph)
        time.sleep(0.05)
        return of(model, graph, options)

    monkeypatch.setattr(Session, "of", counted)
    found = statistics(net("Identity"), np.full((12, 2, 9, 7), np.nan, np.float32), threads=4)
    assert found["conv_0"].nonfinite.sum() == found["conv_0"].count.sum()
    assert len(opened) == 2


@pytest.mark.parametrize("suffix", ["gif", "tif"])
def test_pages_of_one_file(tmp_path: Path, suffix: str) -> None:
    """A file that stays open is read by one thread, in order."""
    rng = np.random.default_rng(0)
    pages = [Image.fromarray(rng.integers(0, 255, (40, 30, 3), np.uint8)) for _ in range(40)]
    path = tmp_path / f"pages.{suffix}"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    proto = parsed("g (float[n,3,40,30] image) => (float[n,4,h,v] y) { y = Conv (image, w) }", w=normal(4, 3, 3, 3))
    model = onnxviz.load(proto)
    maps = capture(model, path, preprocess="unit")["conv_0"].astype(np.float64)
    for _ in range(3):
        found = statistics(model, path, preprocess="unit", threads=6)
        assert found.images == 40
        np.testing.assert_array_equal(found["conv_0"].max, maps.max((0, 2, 3)))
        np.testing.assert_array_equal(found["conv_0"].min, maps.min((0, 2, 3)))


def test_a_page_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((9, 7, 3), 20 * number, np.uint8)) for number in range(6)]
    path = tmp_path / "pages.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:], compression="tiff_lzw")
    path.write_bytes(path.read_bytes()[:-180])
    proto = parsed("g (float[n,3,9,7] image) => (float[n,4,h,v] y) { y = Conv (image, w) }", w=normal(4, 3, 3, 3))
    found = statistics(proto, path, preprocess="unit", errors="skip", threads=3)
    assert found.images + len(found.failed) == 6
    assert found.failed
    with pytest.raises(InputError, match=r"pages\.tif"):
        statistics(proto, path, preprocess="unit", threads=3)


def test_a_branch_that_does_not_run_is_said() -> None:
    """One line instead of an error of numpy's."""
    proto = zoo.model("subgraphs")
    feeds = zoo.feeds(proto)
    maps = capture(proto, feeds)
    silent = [name for name, array in maps.items() if not array.size]
    assert silent
    with pytest.raises(InputError, match=f"'{silent[0]}' is in a branch that does not run on this input"):
        statistics(proto, feeds, layers=silent)
