"""Files written whole or not at all, and names that are safe whatever a layer is called."""

import os
import re
import stat
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from onnxviz import files
from onnxviz.errors import InputError, OnnxvizError
from onnxviz.files import make_folder, replacing, safe_name


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def umask():
    """A function that sets the umask; put back afterwards."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def test_the_new_content_appears_at_the_end_and_not_before(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent  # else the move is no atomic one
        assert temporary.suffix == ".txt"  # what is written may go by it
    assert path.read_text() == "new"
    assert names_in(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3), InputError("bad")])
@pytest.mark.parametrize("there_before", [True, False])
def test_a_block_that_raises_changes_nothing(tmp_path, error, there_before):
    path = tmp_path / "out.txt"
    if there_before:
        path.write_text("old")

    def attempt():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)) as caught:
        attempt()
    assert caught.value is error
    assert names_in(tmp_path) == (["out.txt"] if there_before else [])
    if there_before:
        assert path.read_text() == "old"


def test_a_full_disk_is_one_sentence(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(OnnxvizError, match=r"out\.txt cannot be written: No space left on device"), replacing(path):
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["out.txt"]


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664), (0o000, 0o666)])
def test_permissions_follow_the_umask(tmp_path, umask, mask, mode):
    umask(mask)
    with replacing(tmp_path / "out") as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600  # nobody else reads half a file
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == mode
    assert umask(mask) == mask  # the process keeps its umask


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(OnnxvizError, match="there cannot be written: it is a folder"), replacing(tmp_path / "there"):
        pytest.fail("the block must not run")


def test_a_missing_folder_is_named(tmp_path):
    path = tmp_path / "nowhere" / "out"
    with pytest.raises(OnnxvizError, match=f"there is no folder {re.escape(str(path.parent))}"), replacing(path):
        pytest.fail("the block must not run")
    assert names_in(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OnnxvizError, match="Permission denied"), replacing(tmp_path / "out"):
            pytest.fail("the block must not run")
    finally:
        tmp_path.chmod(0o700)


def test_two_at_once_do_not_meet(tmp_path):
    with replacing(tmp_path / "out") as one, replacing(tmp_path / "out") as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "out").read_text() == "one"  # the outer block ends last
    assert names_in(tmp_path) == ["out"]


def test_unfinished_files_are_noted_for_the_supervisor(tmp_path, monkeypatch):
    with (tmp_path / "journal").open("w+b") as journal:
        monkeypatch.setattr(files, "journal", journal)
        with replacing(tmp_path / "out") as temporary:
            assert temporary.name.startswith(files.UNFINISHED)
            noted = (tmp_path / "journal").read_text()  # on disk before anything is written
        assert noted == f"{temporary.absolute()}\n"


def test_make_folder(tmp_path):
    made = make_folder(tmp_path / "a" / "b")
    assert made.is_dir()
    assert make_folder(made) == made
    (tmp_path / "file").write_text("")
    with pytest.raises(OnnxvizError, match=r"file.* cannot be made"):
        make_folder(tmp_path / "file")
    with pytest.raises(OnnxvizError, match=r"sub.* cannot be made"):
        make_folder(tmp_path / "file" / "sub")


@pytest.mark.parametrize(
    ("index", "name", "expected"),
    [
        (4, "block3_conv1", "004-block3_conv1"),
        (0, "layers.0.conv", "000-layers.0.conv"),
        (1234, "a", "1234-a"),
        (1, "卷积1", "001-卷积1"),
        (1, "Größe_é", "001-Größe_é"),
        (1, "свёртка.0", "001-свёртка.0"),
        (1, "घुमाव", "001-घुमाव"),
        (1, "الطبقة", "001-الطبقة"),
    ],
)
def test_plain_names_stay_readable(index, name, expected):
    assert safe_name(index, name) == expected


@pytest.mark.parametrize(
    "name", ["a/b", "../../etc/passwd", "a\\b", "C:evil", "con", "NUL", "com1", "lpt9", "aux", ".", "..",
             "x" * 300, "a.", "a ", "~", "-rf", "a\nb", "a\0b", ".hidden", "\udc80", "a\u202eb", "a\u2066b",
             "a\u200bb", "e\u0301", "卷" * 30, "层 1", "COM¹"]
)  # fmt: skip
def test_changed_names_carry_a_digest_of_the_true_one(name):
    made = safe_name(7, name)
    assert re.fullmatch(r"007-(?:[\w.-]+-)?[0-9a-f]{8}", made)
    assert made != safe_name(7, name + "!")


ANY = st.text(st.characters(exclude_categories=()), max_size=80) | st.sampled_from(
    [
        "a",
        "A",
        "a/b",
        "a_b",
        "a b",
        "con",
        "CON",
        "con.txt",
        "aux.",
        "nul",
        "..",
        "",
        "ß",
        "ss",
        "İ",
        "x" * 200,
        "x" * 201,
    ]
)
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³")}


@settings(deadline=None)
@given(st.lists(ANY, max_size=20))
@example(["a", "A", "a", "A."])
@example(["a/b", "a_b", "a:b", "a b"])
def test_the_names_of_a_list_are_safe_and_distinct_on_every_system(names):
    made = [safe_name(index, name) for index, name in enumerate(names)]
    assert len({name.casefold() for name in made}) == len(names)
    for name in made:
        file = f"{name}.png"
        assert all(c in "._-" or unicodedata.category(c)[0] in "LMN" for c in file)
        assert unicodedata.is_normalized("NFC", file)
        assert file.partition(".")[0].lower() not in _DEVICES
        assert not name.endswith((".", " "))
        assert not name.startswith((".", "-"))
        assert len(file.encode()) <= 100
        assert Path(file).name == file


@settings(deadline=None)
@given(ANY, ANY)
@example("a/b", "a_b")
@example("x" * 100, "x" * 101)
def test_two_names_at_one_position_differ(one, other):
    if one != other:
        assert safe_name(3, one) != safe_name(3, other)
