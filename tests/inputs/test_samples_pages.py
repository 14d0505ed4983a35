"""Pages and frames of image files as samples: in order, each decoded once, named in results."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tifffile
from fed import RNG, fed
from PIL import Image, ImageFile
from tiff import tiff

from onnxviz import InputError, capture, explain, load
from onnxviz.inputs.sample_picture import sample_picture
from onnxviz.inputs.samples import ImageOptions, samples

FRAMES = RNG.integers(0, 256, (4, 8, 6, 3), np.uint8)
KINDS = {"a.tif": {}, "a.png": {}, "a.webp": {"lossless": True}, "a.gif": {}}


def stack(path, frames=FRAMES):
    pictures = [Image.fromarray(frame) for frame in frames]
    if path.suffix == ".gif":
        pictures = [picture.quantize(256) for picture in pictures]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **KINDS[f"a{path.suffix}"])
    return path


@pytest.mark.parametrize("name", KINDS)
def test_each_page_is_a_sample(one_conv, tmp_path, name):
    labels, arrays = fed(one_conv(("n", 3, 8, 6)), stack(tmp_path / name), preprocess="raw")
    assert labels == [f"{name}[{number}]" for number in range(4)]
    np.testing.assert_array_equal(np.concatenate(arrays), FRAMES.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("name", KINDS)
def test_a_page_can_be_named(one_conv, tmp_path, name):
    path = stack(tmp_path / name)
    labels, arrays = fed(one_conv(("n", 3, 8, 6)), [f"{path}[2]", f"{path}[0]", f"{path}[:]"], preprocess="raw")
    assert [Path(label).name for label in labels] == [f"{name}[{number}]" for number in (2, 0, 0, 1, 2, 3)]
    for label, array in zip(labels, arrays, strict=True):
        np.testing.assert_array_equal(array[0], FRAMES[int(label[-2])].transpose(2, 0, 1))
    with pytest.raises(InputError, match=r"has 4 pages, 0 to 3: there is no page 4"):
        fed(one_conv(("n", 3, 8, 6)), f"{path}[4]")


def test_the_pages_of_a_folder_follow_one_another(one_conv, tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("b.gif", "a.tif"):
        stack(tmp_path / "photos" / name, FRAMES[:2])
    Image.fromarray(FRAMES[3]).save(tmp_path / "photos" / "c.png")
    (tmp_path / "photos" / "bad.png").write_text("no image")
    model = load(one_conv(("n", 3, 8, 6)))
    found = samples(model, tmp_path / "photos", ImageOptions.of(model))
    assert [sample.label for sample in found] == ["a.tif[0]", "a.tif[1]", "b.gif[0]", "b.gif[1]", "bad.png", "c.png"]
    maps = capture(model, [f"{tmp_path}/photos/a.tif", f"{tmp_path}/photos/c.png"])
    assert maps.samples == ("a.tif[0]", "a.tif[1]", "c.png")


@pytest.mark.parametrize("name", KINDS)
def test_no_page_is_decoded_twice_and_no_file_stays_open(one_conv, tmp_path, name, monkeypatch):
    path = stack(tmp_path / name)
    model = load(one_conv(("n", 3, 8, 6)))
    opened = Counter()
    begin = Image.open
    monkeypatch.setattr(Image, "open", lambda file, **options: opened.update(["file"]) or begin(file, **options))
    loaded = Counter()
    load_picture = ImageFile.ImageFile.load_prepare
    monkeypatch.setattr(
        ImageFile.ImageFile, "load_prepare", lambda self: loaded.update([self.tell()]) or load_picture(self)
    )
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    for sample in samples(model, path, ImageOptions.of(model)):
        sample.read()
    after = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    assert after <= before
    assert opened["file"] == 1
    assert max(loaded.values(), default=1) == 1


def test_a_stack_that_may_be_one_input_is_asked_about(one_conv, tmp_path):
    slices = RNG.integers(0, 65536, (3, 8, 6), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", slices, photometric="minisblack")
    model = one_conv(("n", 3, 8, 6))
    match = r"a\.tif has 3 grey pages and the input takes 3 channels: write 'a\.tif\[:\]' to take each page"
    with pytest.raises(InputError, match=match):
        fed(model, tmp_path / "a.tif")
    labels, arrays = fed(model, f"{tmp_path}/a.tif[:]", preprocess="raw")
    assert labels == ["a.tif[0]", "a.tif[1]", "a.tif[2]"]
    for array, page in zip(arrays, slices, strict=True):
        np.testing.assert_allclose(array, np.broadcast_to(page / 257, (1, 3, 8, 6)), rtol=1e-6)
    assert len(fed(one_conv(("n", 1, 8, 6)), tmp_path / "a.tif")[0]) == 3


def test_of_several_pages_one_is_named_for_one_input_of_several(one_conv, tmp_path):
    path = stack(tmp_path / "a.tif")
    model = one_conv(("n", 3, 8, 6))
    for given in (f"x={path}", {"x": path}, f"x={path}[:]"):
        with pytest.raises(InputError, match=r"a\.tif has 4 pages: name one, such as 'a\.tif\[0\]'"):
            fed(model, given)
    _, (array,) = fed(model, f"x={path}[1]", preprocess="raw")
    np.testing.assert_array_equal(array[0], FRAMES[1].transpose(2, 0, 1))


def test_a_page_that_is_damaged_costs_only_itself(one_conv, tmp_path):
    grey = (6, 8, bytes(48), {})
    (tmp_path / "a.tif").write_bytes(tiff([grey, (6, 8, b"", {279: (4, [48]), 273: (4, [10**6])}), grey]))
    with pytest.raises(InputError, match=r"a\.tif"):
        capture(one_conv(("n", 1, 8, 6)), tmp_path / "a.tif")
    maps = capture(one_conv(("n", 1, 8, 6)), tmp_path / "a.tif", errors="skip")
    assert maps.samples == ("a.tif[0]", "a.tif[2]")


def test_results_show_the_page_that_was_fed(one_conv, tmp_path):
    path = stack(tmp_path / "a.tif")
    model = load(one_conv(("n", 3, 8, 6)))
    images = ImageOptions.of(model)
    for number, sample in enumerate(samples(model, path, images)):
        assert sample.path == f"{path}[{number}]"
        shown = sample_picture(sample.read()["x"][0], 0, sample.path, images)
        np.testing.assert_array_equal(shown, FRAMES[number])


def test_explanations_are_laid_on_their_page(one_conv, tmp_path):
    found = explain(one_conv(("n", 3, 8, 6)), f"{stack(tmp_path / 'a.tif')}[3]", method="saliency", region="all")
    assert found.sample == "a.tif[3]"
    assert found.photo().shape[2] == 3
    assert np.array_equal(sample_picture(found.input, 0, found.path, found.provenance.images), FRAMES[3])


def test_bands_are_shown_by_their_colours(one_conv, tmp_path):
    bands = RNG.integers(0, 256, (8, 6, 4), np.uint8)
    for photometric, others in (("rgb", 1), ("minisblack", 3)):
        extra = ["unspecified"] * others
        tifffile.imwrite(tmp_path / "a.tif", bands, photometric=photometric, planarconfig="contig", extrasamples=extra)
        model = load(one_conv(("n", 4, 8, 6)))
        (sample,) = samples(model, tmp_path / "a.tif", ImageOptions.of(model, "raw"))
        array = sample.read()["x"][0]
        np.testing.assert_array_equal(array, bands.transpose(2, 0, 1))
        np.testing.assert_array_equal(sample_picture(array, 0, sample.path, ImageOptions.of(model)), bands[..., :3])


def broken_at(frame, load_picture):
    """Pillow's `load`, which fails at one frame."""

    def load_or_fail(self):
        if self.tell() == frame:
            raise OSError("broken")
        return load_picture(self)

    return load_or_fail


@pytest.mark.parametrize(("name", "failing"), [("a.gif", 8), ("a.png", 8), ("a.tif", 1)])
def test_frames_behind_one_that_is_damaged_are_not_tried_again(one_conv, tmp_path, name, failing, monkeypatch):
    """A frame needs those before it, so that all behind would be decoded from the start, each for nothing."""
    path = stack(tmp_path / name, RNG.integers(0, 256, (12, 8, 6, 3), np.uint8))
    model = load(one_conv(("n", 3, 8, 6)))
    opened = Counter()
    begin = Image.open
    monkeypatch.setattr(Image, "open", lambda file, **options: opened.update(["file"]) or begin(file, **options))
    monkeypatch.setattr(ImageFile.ImageFile, "load", broken_at(4, ImageFile.ImageFile.load))
    failed = []
    for sample in samples(model, path, ImageOptions.of(model)):
        try:
            sample.read()
        except InputError:
            failed.append(sample.label)
    assert failed == [f"{name}[{number}]" for number in range(4, 4 + failing)]
    assert opened["file"] == 1
