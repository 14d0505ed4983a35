"""Makes the gallery: `make gallery`, or `python tests/gallery FOLDER [s1 s2 …]`.

Trains what S3 and S4 look at, runs the scripts, and prints how long each step took and the most memory that one of its
processes had. What `make gallery-check` compares lies in FOLDER then.
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gallery.runs import run

STEPS = {
    "s1": [("s1_vgg16.sh", "s1", ["{out}"])],
    "s2": [("s2_blocks.sh", "s2", ["{out}"]), ("s2_choose.sh", "s2", ["{out}"])],
    "s3": [
        ("models/train_cats_and_dogs.py", "s3", ["-o", "{folder}/cats_and_dogs.keras"]),
        ("s3_cats_and_dogs.sh", "s3", ["{out}", "{folder}/cats_and_dogs.keras"]),
        ("s3_wrong.py", "s3", ["{out}"]),
    ],
    "s4": [
        ("models/train_sd_unet.py", "s4", ["-o", "{folder}/sd_unet.keras"]),
        ("models/scenes.py", "s4", ["-o", "{folder}/scenes.npz"]),
        ("s4_sd_unet.sh", "s4", ["{out}", "{folder}/sd_unet.keras", "{folder}/sample.npy"]),
        ("s4_masks.py", "s4", ["{out}", "{folder}/scenes.npz"]),
    ],
    "s5": [
        ("s5_looks_for.sh", "s5", ["{out}"]),
        ("s5_int8.py", "s5", ["{out}"]),
        ("s5_class.sh", "s5-class", ["{out}"]),
    ],
}


def main() -> int:
    """Runs the systems that are named, or all."""
    os.environ.pop("GALLERY", None)  # it would be read instead of made
    folder = Path(sys.argv[1]).resolve()
    named = sys.argv[2:] or list(STEPS)
    if unknown := [name for name in named if name not in STEPS]:
        print(f"there is no system {', '.join(unknown)}; there are {', '.join(STEPS)}", file=sys.stderr)
        return 2
    print("| step | seconds | most memory so far |\n|---|---|---|", flush=True)
    for out in dict.fromkeys(step[1] for name in named for step in STEPS[name]):
        shutil.rmtree(folder / out, ignore_errors=True)
    for script, place, arguments in (step for name in named for step in STEPS[name]):
        out, started = folder / place, time.perf_counter()
        try:
            said = run(script, out, *(one.format(out=out, folder=folder) for one in arguments))
        except AssertionError as error:
            print(error, file=sys.stderr)
            return 1
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"| {script} | {time.perf_counter() - started:.0f} | {peak:.0f} MiB |", flush=True)
        if "held-out" in said:
            print(*(line for line in said.splitlines() if "held-out" in line), sep="\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
