"""Makes the pictures of docs/gallery.md of what `make gallery` drew.

`python tests/gallery/pictures.py [gallery] [docs/pictures/gallery]`
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

WIDEST = 1000
# Several are put below one another.
PICTURES = {
    "s1-filters": ["s1/filters.png"],
    "s1-maps": ["s1/maps/000-block1_conv1.png"],
    "s2-block3": ["s2/sheets/*-block3_conv3.png"],
    "s2-clustered": ["s2/clustered.png"],
    "s2-feeds": ["s2/feeds.png"],
    "s3-strips": [f"s3/strips/*-{photo}.jpg/*-{layer}.png" for layer in ("conv1", "pool2") for photo in ("dog", "cat")],
    "s3-ginger": ["s3/ginger-grad-cam.png"],
    "s3-odd-maps": [f"s3/odd-maps-{photo}.png" for photo in ("ginger", "cat", "dog")],
    "s4-masks": ["s4/masks.png"],
    "s5-looks-for": ["s5/looks-for/sheet.jpg"],
    "s5-where": ["s5-class/saliency.png", "s5-class/grad-cam.png"],
}


def main() -> None:
    """Writes those of which all parts are there, and says which are not."""
    given = sys.argv[1:]
    made, target = (Path(one) for one in (*given, *("gallery", "docs/pictures/gallery")[len(given) :]))
    target.mkdir(parents=True, exist_ok=True)
    for name, patterns in PICTURES.items():
        files = [file for pattern in patterns for file in sorted(made.glob(pattern))[:1]]
        if len(files) < len(patterns):
            print(f"{name}: {', '.join(patterns)} is not there")
            continue
        parts = [Image.open(file).convert("RGB") for file in files]
        whole = Image.new("RGB", (max(one.width for one in parts), sum(one.height for one in parts)),
                          parts[0].getpixel((0, 0)))  # fmt: skip
        top = 0
        for one in parts:
            whole.paste(one, (0, top))
            top += one.height
        whole.thumbnail((WIDEST, 100_000), Image.Resampling.LANCZOS)
        for quality in (88, 75, 60):
            whole.save(target / f"{name}.webp", quality=quality, method=6)
            if (target / f"{name}.webp").stat().st_size < 200_000:
                break
        print(f"{name}.webp  {(target / f'{name}.webp').stat().st_size / 1000:.0f} kB  {whole.width}x{whole.height}")


if __name__ == "__main__":
    main()
