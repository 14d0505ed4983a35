"""docs/notebooks: each runs in a kernel, and what it keeps is what its cells give today."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

import nbformat
from deadlines import HANG_SECONDS
from notebooks import NOTEBOOKS, executed

NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")


def said(cell):
    """What a cell gave: words, the numbers in them, and how many pictures."""
    words = "".join(one.get("text", "") or one.get("data", {}).get("text/plain", "") for one in cell.outputs)
    pictures = [kind for one in cell.outputs for kind in one.get("data", {}) if kind.startswith("image/")]
    drawn = len(pictures)
    if drawn:  # beside a picture stands the figure's address in memory
        words = ""
    numbers = [float(number.replace(",", "")) for number in NUMBER.findall(words)]
    return NUMBER.sub("#", words), numbers, drawn


@pytest.mark.filterwarnings("ignore")  # the kernel's own
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_gives_what_it_keeps(path):
    kept = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    today = [cell for cell in executed(path, HANG_SECONDS).cells if cell.cell_type == "code"]
    assert sum(said(cell)[2] for cell in kept) >= 1
    for before, now in zip(kept, today, strict=True):
        words, numbers, drawn = said(before)
        assert said(now)[0] == words
        assert said(now)[1] == pytest.approx(numbers, rel=1e-2, abs=1e-2), before.source
        assert said(now)[2] == drawn, before.source


def test_notebooks_are_small_and_name_no_place_of_this_machine():
    assert {path.stem for path in NOTEBOOKS} == {"look", "audit"}
    for path in NOTEBOOKS:
        assert path.stat().st_size < 300_000
        book = nbformat.read(path, as_version=4)
        nbformat.validate(book)
        assert not [one for cell in book.cells for one in cell.get("outputs", ()) if one.output_type == "error"]
        assert not re.search(
            r"/(home|root|tmp|work|Users)/", str([said(one) for one in book.cells if "outputs" in one])
        )
