"""A folder that is used again: a run replaces what an earlier run of the same command wrote there, and nothing else."""

import json
from pathlib import Path

import pytest
from command_line import files_in

from onnxviz.files import write_manifest

MADE = ["--steps", "1"]
COMMANDS = {
    "maps": (["--layers", "all"], ["--layers", "first"]),
    "maps --top-patches": (["--layers", "all", "--top-patches", "1"], ["--layers", "first", "--top-patches", "1"]),
    "maps, photos": (["--layers", "first"], ["--layers", "last", "--first", "1"]),
    "explain": (["--method", "saliency", "--class", "0,1"], ["--method", "saliency"]),
    "maximize": (["all", "--filters", "0,1", *MADE], ["first", "--filters", "1", *MADE]),
    "stats": (["--format", "svg"], ["--format", "png"]),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_replaces_what_the_same_command_wrote_and_nothing_else(run_command, classifier, photos, command):
    name = command.partition(" ")[0].strip(",")
    shown = "photos" if command.endswith("photos") else next(Path("photos").glob("*.png"))
    inputs = [] if name == "maximize" else [shown]
    first, second = ([name, classifier, *inputs, *options] for options in COMMANDS[command])
    Path("out").mkdir()
    others = {"out/notes.txt": "mine", "out/mine.png": "a picture of mine", "out/deep/mine.png": "another"}
    for path, text in others.items():
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(text)
    assert run_command(*first, "-o", "out").code == 0
    before = {*files_in("out")}
    assert run_command(*second, "-o", "out").code == 0
    assert run_command(*second, "-o", "alone").code == 0
    after, alone = {*files_in("out")}, {*files_in("alone")}
    assert before - after, "the first run wrote what the second does not"
    assert after == alone | {path.removeprefix("out/") for path in others}
    assert {path: Path(path).read_text() for path in others} == others
    manifest = json.loads(Path("out/manifest.json").read_text())
    assert [*manifest["written"].values()] == [sorted(alone - {"manifest.json"})]


def test_what_another_command_wrote_stays_and_is_still_known(run_command, classifier, photo):
    assert run_command("maps", classifier, photo, "-o", "out").code == 0
    maps = {*files_in("out")} - {"manifest.json"}
    assert run_command("explain", classifier, photo, "--method", "saliency", "-o", "out").code == 0
    assert maps < {*files_in("out")}
    assert run_command("maps", classifier, photo, "--layers", "first", "-o", "out").code == 0
    left = {*files_in("out")}
    assert left & maps == {"000-block1_conv1.png"}
    assert "photo-saliency.png" in left


@pytest.mark.hostile
@pytest.mark.parametrize(
    "written",
    [
        {"maps": ["../precious.png", "/etc/hostname", "sub/../../precious.png", "a.txt"]},
        {"maps": ["link.png", "linked/precious.png"]},
        {"maps": "precious.png"},
        {"maps": [["precious.png"]]},
        {"maps": None},
        [],
        "precious",
        {"maps": ["x" * 5000 + ".png", "a\0b.png", ""]},
    ],
)
def test_a_manifest_of_a_stranger_removes_nothing_outside_the_folder(tmp_path, written):
    folder, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    precious = [tmp_path / "precious.png", elsewhere / "precious.png", folder / "a.txt"]
    for path in precious:
        path.write_text("kept")
    (folder / "link.png").symlink_to(tmp_path / "precious.png")
    (folder / "linked").symlink_to(elsewhere)
    (folder / "manifest.json").write_text(json.dumps({"written": written}))
    write_manifest(folder, "maps", [], {"new": True})
    assert [path.read_text() for path in precious] == ["kept"] * 3
    assert (folder / "link.png").is_symlink()
    assert json.loads((folder / "manifest.json").read_text())["new"]


@pytest.mark.parametrize("text", ["", "not JSON", "[" * 100_000, "{}", "null", "\xff"])
def test_a_manifest_that_is_none_is_replaced(tmp_path, text):
    (tmp_path / "manifest.json").write_bytes(text.encode("latin-1"))
    picture = tmp_path / "sub" / "a.png"
    picture.parent.mkdir()
    picture.write_text("x")
    write_manifest(tmp_path, "maps", [picture], {})
    assert json.loads((tmp_path / "manifest.json").read_text()) == {"written": {"maps": ["sub/a.png"]}}
    write_manifest(tmp_path, "maps", [], {})
    assert not picture.parent.exists()
