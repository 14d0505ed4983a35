"""S4: how far each layer's maps are masks. `python tests/gallery/s4_masks.py OUT scenes.npz`, after s4_sd_unet.sh.

`scenes.npz` has held-out scenes and where the animal is: images (N, H, W, 3) in 0…1, masks (N, H, W) of booleans.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import onnxviz

LAYERS = (0, 4, 11, 23, 32, 42, 49, 50)


def best_map(maps: NDArray[np.float32], masks: NDArray[np.bool_]) -> tuple[int, float]:
    """The map (of N, C, H, W) that is most of a mask: its channel, and its IoU with the masks (N, H, W), all together.

    A map is enlarged by repeating its values and cut at one height for all scenes: the best of 32 between its least and
    its largest value, from above or from below.
    """
    factor = masks.shape[1] // maps.shape[2]
    least, most = maps.min(axis=(0, 2, 3), keepdims=True), maps.max(axis=(0, 2, 3), keepdims=True)
    scaled = (maps - least) / np.maximum(most - least, 1e-12)
    scaled = scaled.repeat(factor, axis=2).repeat(factor, axis=3)
    best = (0, 0.0)
    for height in (np.arange(32) + 0.5) / 32:
        for above in (scaled > height, scaled <= height):
            both = (above & masks[:, None]).sum(axis=(0, 2, 3))
            either = (above | masks[:, None]).sum(axis=(0, 2, 3))
            score = both / np.maximum(either, 1)
            best = max(best, (int(score.argmax()), float(score.max())), key=lambda found: found[1])
    return best


def main() -> None:
    """Prints the best map of each layer, and draws them for the first scene, one after the other."""
    out, scenes = Path(sys.argv[1]), np.load(sys.argv[2])
    maps = onnxviz.capture(out / "sd_unet.onnx", scenes["images"], layers=LAYERS)
    best = {name: best_map(array, scenes["masks"]) for name, array in maps.items()}
    for name, (channel, score) in best.items():
        print(f"{name:24} map {channel:3}  IoU {score:.2f}")
    strip = [np.kron(maps[name][0, channel], np.ones((128 // maps[name].shape[2],) * 2, np.float32))
             for name, (channel, _) in best.items()]  # fmt: skip
    names = ", ".join(f"{name} {score:.2f}" for name, (_, score) in best.items())
    figure = onnxviz.plot_maps(np.stack(strip)[None], columns=4, scale="map", title="maps become masks", subtitle=names)
    onnxviz.save_figure(figure, out / "masks.png")


if __name__ == "__main__":
    main()
