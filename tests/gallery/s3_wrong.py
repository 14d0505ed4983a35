"""S3: why is the ginger kitten called a dog? `python tests/gallery/s3_wrong.py OUT`, after s3_cats_and_dogs.sh."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import onnxviz

out = Path(sys.argv[1])
model = onnxviz.load(out / "cats_and_dogs.onnx")
photos = [f"models/{name}.jpg" for name in ("pets/ginger", "photos/cat", "pets/kitten", "photos/dog")]


def logit(photo: str | Path) -> float:
    """What the network says of a photo: one number, above 0 for a dog."""
    (number,) = onnxviz.predict(model, photo)[0].answer.numbers["first"]
    return float(number)


for photo in photos:
    print(f"{Path(photo).name:12} {logit(photo):+.2f}")

# Where it looks.
found = onnxviz.explain(model, photos[0], method="grad-cam")
onnxviz.save_figure(onnxviz.plot_explanation(found), out / "ginger-grad-cam.png")

# Which maps are least like a cat's: their means, in deviations over the four photos.
maps = onnxviz.capture(model, photos, layers="conv3")["conv3"]
means = maps.mean(axis=(2, 3))
apart = (means[0] - means[1:3].mean(axis=0)) / np.maximum(means.std(axis=0), 1e-6)
odd = [int(channel) for channel in np.argsort(-np.abs(apart))[:8]]
for place, photo in enumerate(photos):
    figure = onnxviz.plot_maps(maps, sample=place, channels=odd, style="strip", title=f"conv3, {Path(photo).stem}")
    onnxviz.save_figure(figure, out / f"odd-maps-{Path(photo).stem}.png")
print("maps of conv3 least like a cat's:", ", ".join(map(str, odd)))

# What these filters answer to, in the photos that it learnt from and in this one.
patches = onnxviz.top_patches(model, photos, layers="conv3", count=6)["conv3"]
onnxviz.save_figure(onnxviz.plot_patches(patches, filters=odd), out / "odd-patches.png")

# The test of the answer: the kitten without the garden around it.
with Image.open(photos[0]) as picture:
    face = picture.convert("RGB").crop((200, 60, 450, 330))
face.save(out / "ginger-face.png")
print(f"its face alone {logit(out / 'ginger-face.png'):+.2f}")
