"""Blind pairs of pictures of `make bench-quality`: whose picture of a subject is the better one, without names.

`python tests/benchmarks/blind.py write FOLDER PAIRS` writes NNN.png, A on the left and B on the right, and key.json,
which is not to be opened; into `PAIRS/judgements.txt` go lines such as `001 A`, `002 B` or `003 =`;
`python tests/benchmarks/blind.py read PAIRS` counts them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

GAP = 16


class Count(NamedTuple):
    """Of the pairs with one other tool: how often ours was better, worse, and neither."""

    won: int
    lost: int
    even: int


def write_pairs(pictures: Mapping[str, Mapping[str, np.ndarray]], ours: str, folder: Path, seed: int = 0) -> int:
    """Writes, in random order and on random sides, our picture of each subject beside each other tool's; how many.

    Args:
        pictures: by tool and subject, (H, W, 3) uint8.
        ours: which tool each pair has one of.
        folder: of the pairs and the key.
        seed: of order and sides.
    """
    from PIL import Image

    rng = np.random.default_rng(seed)
    pairs = [(ours, tool, subject) for tool in pictures if tool != ours for subject in pictures[tool]
             if subject in pictures[ours]]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    key = {}
    for place, number in enumerate(rng.permutation(len(pairs))):
        first, second, subject = pairs[number]
        left, right = (first, second) if rng.random() < 0.5 else (second, first)
        images = [pictures[tool][subject] for tool in (left, right)]
        height = max(image.shape[0] for image in images)
        gap = np.full((height, GAP, 3), 255, np.uint8)
        Image.fromarray(np.concatenate([images[0], gap, images[1]], axis=1)).save(folder / f"{place + 1:03}.png")
        key[f"{place + 1:03}"] = (left, right, subject)
    (folder / "key.json").write_text(json.dumps({"ours": ours, "pairs": key}, indent=1), encoding="utf-8")
    return len(key)


def read_judgements(folder: Path) -> dict[str, Count]:
    """What the lines of judgements.txt say of ours beside each other tool.

    Raises:
        SystemExit: a line is no judgement, of no pair, or of one that was judged before.
    """
    written = json.loads((folder / "key.json").read_text(encoding="utf-8"))
    key, ours = written["pairs"], written["ours"]
    found: dict[str, list[int]] = {}
    seen = set()
    for line in (folder / "judgements.txt").read_text(encoding="utf-8").splitlines():
        if not line.strip():
            continue
        name, _, verdict = line.strip().partition(" ")
        if name not in key or verdict not in ("A", "B", "="):
            raise SystemExit(f"'{line}' is no judgement of a pair: write NNN A, NNN B or NNN =")
        if name in seen:
            raise SystemExit(f"pair {name} is judged twice")
        seen.add(name)
        left, right, _ = key[name]
        other = right if left == ours else left
        won = 2 if verdict == "=" else int({"A": left, "B": right}[verdict] != ours)
        found.setdefault(other, [0, 0, 0])[won] += 1
    return {other: Count(*counts) for other, counts in found.items()}


def main() -> int:
    """Writes or reads."""
    if len(sys.argv) == 4 and sys.argv[1] == "write":
        import quality

        count = write_pairs(quality.class_pictures(sys.argv[2]), "onnxviz", Path(sys.argv[3]))
        print(f"{count} pairs in {sys.argv[3]}")
    elif len(sys.argv) == 3 and sys.argv[1] == "read":
        for other, count in sorted(read_judgements(Path(sys.argv[2])).items()):
            print(f"beside {other}: better {count.won}, worse {count.lost}, neither {count.even}")
    else:
        raise SystemExit(__doc__)
    return 0


if __name__ == "__main__":
    sys.exit(main())
