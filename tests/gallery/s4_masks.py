"""S4: how far each layer's maps are masks. `python tests/gallery/s4_masks.py OUT scenes.npz`, after s4_sd_unet.sh.

`scenes.npz` has held-out scenes and where the animal is: images (N, H, W, 3) in 0…1, masks (N, H, W) of booleans.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import onnxviz

LAYERS = (0, 4, 11, 23, 32, 42, 49, 50)


def best_map(maps: NDArray[np.float32], masks: NDArray[np.bool_]) -> tuple[float, int, bool]:
    """The map (of N, C, H, W) that is most of a mask (N, H, W): its IoU over all scenes, its channel, if it is above.

    A map is enlarged by repeating its values and cut at one height for all scenes: the best of 32 between its least and
    its largest value, where it is above it or where it is not.
    """
    factor = masks.shape[1] // maps.shape[2]
    least, most = maps.min(axis=(0, 2, 3), keepdims=True), maps.max(axis=(0, 2, 3), keepdims=True)
    scaled = (maps - least) / np.maximum(most - least, 1e-12)
    scaled = scaled.repeat(factor, axis=2).repeat(factor, axis=3)
    found = []
    for height in (np.arange(32) + 0.5) / 32:
        for above in (True, False):
            part = (scaled > height) == above
            both = (part & masks[:, None]).sum(axis=(0, 2, 3))
            score = both / np.maximum((part | masks[:, None]).sum(axis=(0, 2, 3)), 1)
            found.append((float(score.max()), int(score.argmax()), above))
    return max(found)


def main() -> None:
    """Prints the best map of each layer, and draws them for the first scene, one after the other, the animal bright."""
    out, scenes = Path(sys.argv[1]), np.load(sys.argv[2])
    maps = onnxviz.capture(out / "sd_unet.onnx", scenes["images"], layers=LAYERS)
    strip, scores = [], []
    for name, array in maps.items():
        score, channel, above = best_map(array, scenes["masks"])
        print(f"{name:24} map {channel:3}  IoU {score:.2f}")
        size = scenes["masks"].shape[1] // array.shape[2]
        strip.append(np.kron(array[0, channel] if above else -array[0, channel], np.ones((size, size), np.float32)))
        scores.append(f"{score:.2f}")
    said = f"the best map of convolutions {', '.join(map(str, LAYERS))}; IoU {', '.join(scores)}"
    figure = onnxviz.plot_maps(np.stack(strip)[None], columns=4, scale="map", title="Maps become masks", subtitle=said)
    onnxviz.save_figure(figure, out / "masks.png")


if __name__ == "__main__":
    main()
