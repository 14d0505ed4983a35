"""The pictures of docs/beside.md: what others' tools draw of a network and a photo, and what onnxviz draws of them.

`make bench-pictures`, or `python tests/benchmarks/side_by_side.py [maps explain maximize]`. Each picture is the file
that its tool writes, or what its function returns, as it is; only its format is changed. `maximize` copies those of
`make bench-quality`.
"""

from __future__ import annotations

import importlib
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from paint import NETWORK, OURS, Subject, kept
from PIL import Image
from trained import ROOT, file_of

PICTURES = ROOT / "docs" / "pictures" / "side-by-side"
PHOTOS = ROOT / "models" / "photos"
FOLDER = os.environ.get("QUALITY", "bench/quality")
SIDE = NETWORK.size
CLASS = 235  # German shepherd


def keep(name: str, picture: Image.Image | np.ndarray | Figure) -> None:
    """Writes a picture below docs/pictures/side-by-side."""
    if isinstance(picture, Figure):
        drawn = io.BytesIO()
        picture.savefig(drawn, format="png")
        picture = Image.open(drawn)
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    PICTURES.mkdir(parents=True, exist_ok=True)
    picture.convert("RGB").save(PICTURES / f"{name}.webp", quality=88, method=6)


def maps() -> None:
    """64 maps of VGG16's third block: the grid of subplots of the program S2, and `onnxviz maps`."""
    import onnxviz

    sys.path.insert(0, str(ROOT / "tests"))
    originals = importlib.import_module("gallery.originals")
    photo, model = PHOTOS / "cat.jpg", originals.vgg16(classes=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        originals.sheet(originals.maps_of(model, [9], originals.prepared(photo))[0], folder / "maps.png")
        with Image.open(folder / "maps.png") as drawn:
            keep("maps-keras", drawn)
        onnxviz.convert(model, output=folder / "vgg16.onnx")
        asked = ["vgg16.onnx", photo, "--layers", "block3_conv3", "--first", "64", "--size", "224x224", "-o", "maps"]
        subprocess.run([sys.executable, "-m", "onnxviz", "maps", *asked], cwd=folder, check=True)
        (file,) = (folder / "maps").glob("*.png")
        with Image.open(file) as drawn:
            keep("maps-onnxviz", drawn)


def explain() -> None:
    """Grad-CAM of EfficientNet-Lite0's last convolution: torch-cam's overlay, captum's, and `onnxviz explain`."""
    import torch
    from captum.attr import LayerAttribution, LayerGradCam
    from captum.attr import visualization as captum_drawing
    from torchcam.methods import GradCAM
    from torchcam.utils import overlay_mask

    import onnxviz

    with Image.open(PHOTOS / "dog.jpg") as opened:
        photo = np.asarray(opened.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    network = _in_two_parts()
    x = torch.tensor(np.moveaxis((photo.astype(np.float32) - 127) / 128, -1, 0)[None])
    with GradCAM(network, target_layer=network[0]) as extractor:
        scores = network(x.clone().requires_grad_())
        found = extractor(int(scores[0].argmax()), scores)[0][0].detach().numpy()
    keep("explain-torch-cam", overlay_mask(Image.fromarray(photo), Image.fromarray(found), alpha=0.5))

    theirs = LayerGradCam(network, network[0]).attribute(x, target=int(scores[0].argmax()), relu_attributions=True)
    enlarged = LayerAttribution.interpolate(theirs, (SIDE, SIDE), "bilinear")[0].detach().numpy()
    figure, _ = captum_drawing.visualize_image_attr(
        np.moveaxis(enlarged, 0, -1), photo, method="blended_heat_map", sign="positive", show_colorbar=True,
        use_pyplot=False,
    )  # fmt: skip
    keep("explain-captum", figure)

    ours = onnxviz.explain(
        file_of(NETWORK.name, FOLDER), photo, method="grad-cam", layer="_conv_head", preprocess=NETWORK.preprocess
    )
    theirs = theirs[0, 0].detach().numpy()
    apart = np.abs(ours.map / ours.map.max() - theirs / theirs.max()).max()
    print(f"onnxviz' and captum's maps differ by {apart:.1e} of the largest value", file=sys.stderr)
    keep("explain-onnxviz", onnxviz.plot_explanation(ours))


def _in_two_parts() -> Any:
    """EfficientNet-Lite0 as its feature maps, behind their activation function, and what is made of them."""
    from torch import nn

    whole = importlib.import_module("models.trained_models").efficientnet_lite0()

    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.whole = whole

        def forward(self, x):
            return self.whole.extract_features(x)

    return nn.Sequential(Features(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), whole._fc).eval()


def maximize() -> None:
    """A class of EfficientNet-Lite0, by tools that climb pictures of its size, as `make bench-quality` keeps them."""
    for tool in ("lucent", "tf-keras-vis", OURS):
        keep(f"class-{tool}", kept(Subject(NETWORK.classes, CLASS).file(FOLDER, tool, 0))[0])


PAIRS = {one.__name__: one for one in (maps, explain, maximize)}

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    for pair in sys.argv[1:] or PAIRS:
        PAIRS[pair]()
