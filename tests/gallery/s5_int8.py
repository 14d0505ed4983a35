"""S5: what is left of the activations in int8. `python tests/gallery/s5_int8.py OUT`, after s5_looks_for.sh.

onnxruntime's own quantiser makes the int8 model, with the sample photos for its ranges.
"""

import json
import sys
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from PIL import Image

import onnxviz

MEAN = (103.939, 116.779, 123.68)  # of VGG16's input: BGR, minus these


class Photos(CalibrationDataReader):
    """The sample photos as the model takes them, (1, side, side, 3)."""

    def __init__(self, side: int) -> None:
        photos = [Image.open(path).convert("RGB").resize((side, side)) for path in Path("models/photos").glob("*.jpg")]
        self.left = [{"input": np.asarray(one, np.float32)[None, ..., ::-1] - np.float32(MEAN)} for one in photos]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self.left.pop() if self.left else None


def main() -> None:
    """Prints the activation of each picture in the model and in its int8 version."""
    out = Path(sys.argv[1])
    pictures = [np.uint8(np.round(one * 255)) for one in np.load(out / "looks-for.npz")["images"]]
    targets = json.loads((out / "looks-for.npz.manifest.json").read_text(encoding="utf-8"))["pictures"]
    quantize_static(out / "vgg16.onnx", out / "vgg16-int8.onnx", Photos(pictures[0].shape[0]))
    layers = list(dict.fromkeys(target["layer"] for target in targets))
    found = [onnxviz.capture(out / f"vgg16{kind}.onnx", pictures, layers=layers, preprocess="caffe")
             for kind in ("", "-int8")]  # fmt: skip
    for place, target in enumerate(targets):
        whole, rounded = (float(maps[target["layer"]][place, target["filter"]].mean()) for maps in found)
        left = f"{rounded / whole:7.1%}" if whole else "   dead"
        print(f"{target['layer']:14} {target['filter']:4} {whole:10.2f} {rounded:10.2f} {left}")


if __name__ == "__main__":
    main()
