"""Archives and HDF5 files that are not what they should be."""

import zipfile

import pytest
from keras_checks import layers, sequential
from keras_code import BASE, archived, written

import onnxviz
from onnxviz import CodeExecution, ConversionError

# Keras calls .h5 legacy, and uses what numpy deprecates.
pytestmark = pytest.mark.filterwarnings("ignore")
h5py = pytest.importorskip("h5py")


def is_refused(path, match):
    with pytest.raises(ConversionError, match=match) as caught:
        onnxviz.convert(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "name", ["run.py", "../outside.txt", "/etc/outside", "assets/../../x", "assets/words.txt", "é"]
)
def test_members_that_no_one_asked_for(parts, tmp_path, watched, name):
    is_refused(archived(parts[0], tmp_path / "m.keras", **{name: b"x"}), "which no .keras file of a network")
    assert watched() == []


def test_a_member_that_is_there_twice(parts, tmp_path):
    path = archived(parts[0], tmp_path / "m.keras")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", b"{}")
    is_refused(path, "config.json more than once")


@pytest.mark.parametrize("member", ["model.weights.h5", "config.json"])
def test_an_archive_that_unpacks_to_far_more(parts, tmp_path, member):
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in parts[0].items():
            if name != member:
                archive.writestr(name, data)
        with archive.open(member, "w") as file:
            for _ in range(260):
                file.write(bytes(2**20))
    is_refused(path, r"bytes that would become|the limit is")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"a": [' * 300 + "]}" * 300])
def test_a_configuration_that_is_too_deep(parts, tmp_path, text):
    is_refused(archived(parts[0], tmp_path / "m.keras", **{"config.json": text}), "nested more than 256 deep")


@pytest.mark.parametrize(("data", "match"), [(b"\xff\xfe", "no UTF-8"), (b"{", "no JSON"), (b"", "no JSON")])
def test_a_configuration_that_is_none(parts, tmp_path, data, match):
    is_refused(archived(parts[0], tmp_path / "m.keras", **{"config.json": data}), match)


def external_link(file):
    file["model_weights/elsewhere"] = h5py.ExternalLink("/etc/secret.h5", "/x")


def soft_link(file):
    file["model_weights/elsewhere"] = h5py.SoftLink("/model_weights")


def virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/secret.h5", "x", shape=(4,))
    file.create_virtual_dataset("model_weights/elsewhere", layout)


def external_storage(file):
    file.create_dataset("model_weights/elsewhere", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def unwritten(file):
    file.create_dataset("model_weights/large", (2**30,), "f4", chunks=(2**20,), compression="gzip")


HDF5 = {
    external_link: "a link that leads elsewhere",
    soft_link: "a link that leads elsewhere",
    virtual: "lie in another file",
    external_storage: "lie in another file",
    unwritten: "bytes that would become 4,29",
}


@pytest.mark.parametrize("change", HDF5, ids=lambda one: one.__name__)
@pytest.mark.parametrize("how", ["model", "weights", "archive"])
def test_hdf5_that_leads_elsewhere_or_is_larger_than_it_looks(parts, tmp_path, change, how):
    path = tmp_path / "m.h5"
    path.write_bytes(parts[1])
    with h5py.File(path, "r+") as file:
        change(file)
    if how == "archive":
        path = archived(parts[0], tmp_path / "m.keras", **{"model.weights.h5": path.read_bytes()})
    if how == "weights":
        with pytest.raises(ConversionError, match=HDF5[change]):
            onnxviz.convert(sequential(layers.Conv2D(4, 3, name="c1"), shape=(8, 8, 3)), weights=path)
    else:
        is_refused(path, HDF5[change])


def test_the_good_file_is_taken(parts, tmp_path):
    for suffix in (".keras", ".h5"):
        assert len(onnxviz.convert(written(parts, tmp_path / f"m{suffix}", BASE)).layers) == 1


def test_a_savedmodel_is_not_loaded(watched, program_of_tensorflow):
    folder, _ = program_of_tensorflow
    with pytest.raises(CodeExecution, match="is a SavedModel, a program that loading would run"):
        onnxviz.convert(folder)
    assert watched() == []


def test_weights_of_another_form(tmp_path):
    """Weights in several files would name the others."""
    path = tmp_path / "m.weights.json"
    path.write_text('{"weight_map": {"c1": "../../secret.weights.h5"}}')
    with pytest.raises(ConversionError, match="lists weights in several files, which is not supported"):
        onnxviz.convert(sequential(layers.Conv2D(4, 3, name="c1")), weights=path)
