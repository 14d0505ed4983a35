"""The sample models and photos of models/."""

from pathlib import Path

import numpy as np
from PIL import Image

MODELS = Path(__file__).resolve().parent.parent / "models"
DOG, CAT = MODELS / "photos" / "dog.jpg", MODELS / "photos" / "cat.jpg"
CLASSIFIER, UNET = MODELS / "classifier.onnx", MODELS / "unet.onnx"


def photo_crops(count: int, side: int, seed: int, *, more: bool = False) -> np.ndarray:
    """Crops of the three photos in turn, (count, side, side, 3) in 0…255; with `more` of five of scikit-image's too."""
    rng = np.random.default_rng(seed)
    photos = [Image.open(MODELS / "photos" / f"{name}.jpg").convert("RGB") for name in ("cat", "dog", "macaw")]
    if more:
        from skimage import data

        pictures = (data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), data.stereo_motorcycle()[0])
        photos += [Image.fromarray(pixels) for pixels in pictures]
    made = []
    for number in range(count):
        photo = photos[number % len(photos)]
        edge = rng.uniform(0.3, 1) * min(photo.size)
        left, top = (rng.uniform(0, length - edge) for length in photo.size)
        crop = photo.crop((left, top, left + edge, top + edge)).resize((side, side), Image.Resampling.BILINEAR)
        made.append(np.asarray(crop))
    return np.stack(made)
