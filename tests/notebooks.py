"""`python tests/notebooks.py`: the notebooks of docs/, run anew, with what their cells give kept small."""

from __future__ import annotations

import io
import os
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
_WIDEST, _COLOURS, _QUALITY = 720, 128, 76  # as wide as a notebook's column


def executed(path: Path, seconds: int) -> Any:
    """The notebook with what its cells give today; a cell that fails is an error.

    Args:
        path: a notebook.
        seconds: that a cell may take.
    """
    book = nbformat.read(path, as_version=4)
    # As the reader's kernel, beside the file; this tree's package, whichever is installed.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    NotebookClient(
        book, timeout=seconds, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    return book


def compact(book: Any) -> None:
    """Keeps of each cell what it gives, pictures at their own size and small, and no times."""
    for cell in book.cells:
        cell.metadata.clear()
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                shown = _fitted(**output.metadata["image/png"])
                kind, encoded = _small(data.pop("image/png"), (shown["width"], shown["height"]))
                data[kind], output.metadata = encoded, nbformat.from_dict({kind: shown})
                data.pop("text/plain", None)
    book.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )


def _fitted(width: int, height: int) -> dict[str, int]:
    """Sides that a column has room for."""
    scale = min(1.0, _WIDEST / width)
    return {"width": round(width * scale), "height": round(height * scale)}


def _small(picture: str, size: tuple[int, int]) -> tuple[str, str]:
    """A PNG in base64, at a size: the smaller of a PNG in few colours and a JPEG, with its media type."""
    with Image.open(io.BytesIO(b64decode(picture))) as opened:
        small = opened.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    drawn, photo = io.BytesIO(), io.BytesIO()
    small.quantize(_COLOURS, dither=Image.Dither.NONE).save(drawn, "png", optimize=True)
    small.save(photo, "jpeg", quality=_QUALITY, optimize=True)
    kind, file = min(("image/png", drawn), ("image/jpeg", photo), key=lambda one: len(one[1].getvalue()))
    return kind, b64encode(file.getvalue()).decode()


if __name__ == "__main__":
    for one in NOTEBOOKS:
        book = executed(one, 600)
        compact(book)
        nbformat.write(book, one)
        print(one.relative_to(ROOT), f"{one.stat().st_size / 1000:.0f} kB")
