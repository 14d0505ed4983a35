"""Images in memory: one of Pillow's, or (H, W, 3) uint8, is what its file is; a Path is a path."""

import io

import numpy as np
import pytest
from PIL import Image
from protos import classifier_proto, parsed

import onnxviz
from onnxviz import InputError
from onnxviz.inputs.samples import ImageOptions, samples
from onnxviz.model.model import load

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (20, 15, 4), np.uint8)


def fed(model, given, **options):
    """What the model is fed for each sample, and how the samples are called."""
    opened = load(model)
    found = samples(opened, given, ImageOptions.of(opened, **options))
    return [next(iter(sample.read().values())) for sample in found], [sample.label for sample in found]


@pytest.fixture(params=["NCHW", "NHWC", "grey", "open"])
def model(request):
    shapes = {"NCHW": "n,3,16,12", "NHWC": "n,16,12,3", "grey": "n,1,16,12", "open": "n,3,h,w"}
    if request.param == "NHWC":
        text = "y = Transpose <perm=[0,3,1,2]> (x) z = Conv (y, w)"
    else:
        text = "z = Conv (x, w)"
    channels = 1 if request.param == "grey" else 3
    return parsed(f"g (float[{shapes[request.param]}] x) => (float[n,2,a,b] z) {{ {text} }}",
                  w=np.ones((2, channels, 3, 3), np.float32))  # fmt: skip


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize(
    "options", [{}, {"preprocess": "signed", "fit": "crop", "background": "red", "size": (16, 12)}]
)
def test_an_image_of_pillow_is_what_its_file_is(tmp_path, model, mode, options):
    image = Image.fromarray(PIXELS).convert(mode)
    path = tmp_path / f"a.{'jpg' if mode == 'CMYK' else 'tif' if mode == 'YCbCr' else 'png'}"
    image.save(path)
    (of_file,), (name,) = fed(model, path, **options)
    with Image.open(path) as opened:
        (of_image,), label = fed(model, opened, **options)
        assert np.array_equal(of_image, of_file)
    assert label == [name]


def test_an_image_that_was_never_in_a_file(tmp_path, model):
    image = Image.fromarray(PIXELS[..., :3])
    image.save(tmp_path / "a.png")
    assert np.array_equal(fed(model, image)[0], fed(model, tmp_path / "a.png")[0])
    assert fed(model, image)[1] == ["image"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_upright_as_its_file_is(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PIXELS[..., :3]).save(tmp_path / "a.jpg", exif=exif, quality=95)
    with Image.open(tmp_path / "a.jpg") as opened:
        assert np.array_equal(fed(classifier_proto(), opened)[0], fed(classifier_proto(), tmp_path / "a.jpg")[0])


@pytest.mark.parametrize("kind", ["array", "read-only", "strided", "tensor"])
def test_an_array_of_pixels_is_an_image(tmp_path, model, kind):
    pixels = np.ascontiguousarray(PIXELS[..., :3])
    Image.fromarray(pixels).save(tmp_path / "a.png")
    given = pixels
    if kind == "read-only":
        given.flags.writeable = False
    elif kind == "strided":
        given = np.repeat(pixels, 2, axis=0)[::2]
    elif kind == "tensor":
        given = pytest.importorskip("torch").from_numpy(pixels)
    expected, _ = fed(model, tmp_path / "a.png", preprocess="signed")
    assert np.array_equal(fed(model, given, preprocess="signed")[0], expected)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (RNG.integers(0, 256, (3, 16, 12), np.uint8), "it is of the model's layout"),
        (RNG.integers(0, 256, (1, 3, 16, 12), np.uint8), "it has a batch axis"),
        (RNG.random((3, 16, 12)), "it is no bytes"),
    ],
)
def test_other_arrays_are_fed_as_they_are(array, reason):
    (found,), _ = fed(classifier_proto(), array)
    assert np.array_equal(found.reshape(3, 16, 12), array.reshape(3, 16, 12).astype(np.float32)), reason


def test_a_square_that_could_be_both_is_of_the_models_layout():
    proto = parsed(
        "g (float[n,3,3,3] x) => (float[n,1,1,1] y) { y = Conv (x, w) }", w=np.ones((1, 3, 3, 3), np.float32)
    )
    array = RNG.integers(0, 256, (3, 3, 3), np.uint8)
    assert np.array_equal(fed(proto, array)[0][0][0], array.astype(np.float32))


def test_images_arrays_and_paths_go_together(tmp_path):
    image = Image.fromarray(PIXELS[..., :3])
    image.save(tmp_path / "a.png")
    (a, b, c), labels = fed(classifier_proto(), [image, PIXELS[..., :3], tmp_path / "a.png"])
    assert np.array_equal(a, b)
    assert np.array_equal(a, c)
    assert labels == ["image", "image", "a.png"]


def test_an_image_by_the_name_of_its_input(tmp_path):
    image = Image.fromarray(PIXELS[..., :3])
    assert np.array_equal(fed(classifier_proto(), {"image": image})[0], fed(classifier_proto(), image)[0])


@pytest.mark.parametrize("mode", ["I", "F", "I;16"])
def test_an_image_without_a_known_range_is_refused(mode):
    with pytest.raises(InputError, match=f"an image of mode {mode} has values without a known range: give its file"):
        fed(classifier_proto(), Image.new(mode, (12, 16)))


def test_an_image_whose_file_is_damaged_is_refused():
    data = io.BytesIO()
    Image.fromarray(PIXELS[..., :3]).save(data, "png")
    with pytest.raises(InputError, match=r"^image cannot be decoded: "):
        fed(classifier_proto(), Image.open(io.BytesIO(data.getvalue()[:200])))


def test_what_lies_behind_a_map_is_the_image_itself(tmp_path):
    pixels = np.ascontiguousarray(PIXELS[..., :3])
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for given in (Image.fromarray(pixels), pixels):
        found = onnxviz.explain(classifier_proto(), given, preprocess="caffe", method="saliency")
        expected = onnxviz.explain(classifier_proto(), tmp_path / "a.png", preprocess="caffe", method="saliency")
        assert np.array_equal(found.photos(15)[0], expected.photos(15)[0])
        assert found.provenance.images is not None
        assert found.path == ""


def test_options_of_images_are_heeded_and_told():
    found = onnxviz.predict(classifier_proto(), PIXELS[..., :3])
    assert found.provenance.images.assumed
    assert "assumed" in str(found.provenance.images.as_dict())
    one, other = (
        onnxviz.capture(classifier_proto(), PIXELS[..., :3], preprocess=how)["block1_conv1"] for how in ("raw", "unit")
    )
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("verb", ["capture", "statistics", "predict", "explain", "top_patches"])
def test_the_side_of_a_square_is_a_size(verb):
    proto, call = classifier_proto(("height", "width")), getattr(onnxviz, verb)
    more = {"method": "saliency"} if verb == "explain" else {"layers": "first"} if verb not in ("predict",) else {}

    def said(size):
        found = call(proto, PIXELS[..., :3], size=size, **more)
        if verb == "explain":
            return found.map
        if verb == "predict":
            return str(found.as_dict())
        one = found["block1_conv1"]
        return one if verb == "capture" else one.mean if verb == "statistics" else one.values

    assert np.array_equal(said(14), said((14, 14)))
    assert not np.array_equal(said(14), said((14, 10)))
