"""Many inputs: in batches, within a budget of memory, and saved."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import oracles
import pytest
import zoo
from PIL import Image

from onnxviz import capture, stream
from onnxviz.errors import InputError
from onnxviz.model.model import load

CLOSE = 1e-5


def photos(folder: Path, count: int, size: tuple[int, int] = (40, 32)) -> Path:
    folder.mkdir(exist_ok=True)
    for index in range(count):
        pixels = np.random.default_rng(index).integers(0, 255, (*size, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:03d}.png")
    return folder


def test_batches_give_what_single_runs_give(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 11)
    model = load(zoo.model("classifier"))
    together = capture(model, folder, preprocess="torch")
    assert together.samples == tuple(f"{i:03d}.png" for i in range(11))
    for index in range(11):
        alone = capture(model, folder / f"{index:03d}.png", preprocess="torch")
        for name in model.layers:
            np.testing.assert_allclose(together[name.name][index], alone[name.name][0], rtol=1e-5, atol=1e-6)


def test_batch_follows_from_the_budget(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 40)
    model = load(zoo.model("classifier"))
    small = [len(m.samples) for m in stream(model, folder, memory=2**20)]
    large = [len(m.samples) for m in stream(model, folder, memory=2**30)]
    assert sum(small) == sum(large) == 40
    assert max(small) < max(large) == 32
    assert large[0] == 1  # the first run measures


@pytest.mark.parametrize("batch", [1, 4])
def test_fixed_batches_are_filled(batch: int) -> None:
    proto = zoo.model("classifier")
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    x = np.random.default_rng(0).standard_normal((6, 3, 32, 32)).astype(np.float32)
    maps = capture(load(proto), x)
    expected = oracles.untouched(zoo.model("classifier"), ["r2"], {"x": x})["r2"]
    assert oracles.relative(maps["layers.0.conv"], expected) <= CLOSE


def test_more_than_fits_goes_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["onnxviz.maps.map_store"], "KEPT_BYTES", 200_000)
    x = np.random.default_rng(0).standard_normal((20, 3, 32, 32)).astype(np.float32)
    maps = capture(load(zoo.model("classifier")), x, memory=2**20)
    assert all(isinstance(array, np.memmap) for array in maps.values())
    expected = oracles.untouched(zoo.model("classifier"), ["r1", "r2", "c3"], {"x": x})
    for array, value in zip(maps.values(), expected.values(), strict=True):
        assert oracles.relative(array, value) <= CLOSE
    saved = np.load(maps.save(tmp_path / "maps.npz"))
    for name, array in maps.items():
        np.testing.assert_array_equal(saved[name], array)


def test_saved_maps_and_manifest(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(zoo.model("classifier"), path)
    maps = capture(path, photos(tmp_path / "p", 3), preprocess="caffe", at="conv")
    maps.save(tmp_path / "maps.npz")
    saved = np.load(tmp_path / "maps.npz")
    assert saved.files == ["stem/conv1", "layers.0.conv", "layers.1.conv"]
    manifest = json.loads((tmp_path / "maps.npz.manifest.json").read_text())
    assert manifest["model"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert manifest["preprocessing"]["name"] == "caffe"
    assert manifest["preprocessing"]["assumed"] is False
    assert (manifest["provider"], manifest["at"]) == ("cpu", "conv")
    assert manifest["samples"] == ["000.png", "001.png", "002.png"]
    assert manifest["layers"]["stem/conv1"]["tensor"] == "c1"
    assert set(manifest["versions"]) == {"onnxviz", "onnx", "onnxruntime", "numpy"}
    with pytest.raises(InputError, match=r"\.npz, not as maps.txt"):
        maps.save(tmp_path / "maps.txt")


def test_the_hash_is_not_computed_unless_something_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(zoo.model("classifier"), path)
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("hashed"))
    maps = capture(path, np.zeros((1, 3, 32, 32), np.float32))
    with pytest.raises(pytest.fail.Exception, match="hashed"):
        maps.save(tmp_path / "maps.npz")


def test_one_bad_image_does_not_take_the_others_along(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 5)
    (folder / "002.png").write_bytes(b"nonsense")
    model = load(zoo.model("classifier"))
    maps = capture(model, folder, errors="skip")
    assert maps.samples == ("000.png", "001.png", "003.png", "004.png")
    assert maps.failed[0][0] == "002.png"
    assert "not an image" in maps.failed[0][1]
    assert maps["stem/conv1"].shape[0] == 4
    with pytest.raises(InputError, match=r"002\.png"):
        capture(model, folder)


def test_pictures_of_their_own_size(tmp_path: Path) -> None:
    proto = zoo.model("classifier")
    for axis, name in ((2, "height"), (3, "width")):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    model = load(proto)
    folder = photos(tmp_path / "photos", 2)
    photos(tmp_path / "other", 1, (50, 60))
    (tmp_path / "other" / "000.png").replace(folder / "002.png")
    sizes = [m["stem/conv1"].shape for m in stream(model, folder)]
    assert sizes == [(1, 8, 40, 32), (1, 8, 40, 32), (1, 8, 50, 60)]
    with pytest.raises(InputError, match="give size="):
        capture(model, folder)
    assert capture(model, folder, size=(24, 32))["stem/conv1"].shape == (3, 8, 24, 32)
    ends = capture(model, folder / "002.png", layers="block-ends")
    assert list(ends) == ["stem/conv1", "layers.0.conv", "layers.1.conv"]


MEASURE = """
import resource, sys, numpy as np
sys.path[:0] = {path!r}
import zoo
from onnxviz import capture, load
x = np.lib.format.open_memmap({file!r}, mode="r")
maps = capture(load(zoo.model("classifier")), x[: {count}], memory=2**24)
assert maps["stem/conv1"].shape[0] == {count}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in kB on Linux only")
def test_memory_does_not_grow_with_the_number_of_inputs(tmp_path: Path) -> None:
    file = str(tmp_path / "x.npy")
    np.save(file, np.random.default_rng(0).standard_normal((3000, 3, 32, 32)).astype(np.float32))
    peaks = []
    for count in (300, 3000):  # 16 MB and 160 MB of maps
        code = MEASURE.format(path=[str(Path(__file__).resolve().parents[1])], file=file, count=count)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    fed = 2700 * 3 * 32 * 32 * 4 / 2**20  # pages of the mapped input file count as resident
    assert peaks[1] - peaks[0] < fed + 20
