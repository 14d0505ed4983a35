"""Modes of the commands, each by what one types for it, and values with which their options are tried."""

from onnxviz.explanations.methods import METHODS

MAPS = ["maps", "in/m.onnx", "in/photos/a.png", "--layers", "last"]
EXPLAIN = ["explain", "in/m.onnx", "in/photos/a.png", "--save", "e.npz"]
MAXIMIZE = ["maximize", "in/m.onnx", "block1_conv1", "--steps", "1", "--filters", "0"]

# Each way in which a command works, by what one types for it. What its options are is not said here.
MODES = {
    "layers": ["layers", "in/m.onnx"],
    "layers --all": ["layers", "in/m.onnx", "--all"],
    "layers --ops": ["layers", "in/m.onnx", "--ops", "MaxPool,Conv"],
    "layers --json": ["layers", "in/m.onnx", "--json"],
    "filters": ["filters", "in/m.onnx"],
    "filters, a file": ["filters", "in/m.onnx", "-o", "f.png"],
    "filters, saved": ["filters", "in/m.onnx", "--save", "f.npz"],
    "filters, drawn and saved": ["filters", "in/m.onnx", "--save", "f.npz", "-o", "f"],
    "filters by number": ["filters", "in/m.onnx", "--filters", "1,2"],
    "filters grid": ["filters", "in/m.onnx", "--style", "grid"],
    "filters rgb": ["filters", "in/m.onnx", "--style", "rgb"],
    "filters lines": ["filters", "in/signal.onnx", "--style", "lines"],
    "filters, signals": ["filters", "in/signal.onnx"],
    "maps": MAPS,
    "maps, photos": ["maps", "in/m.onnx", "in/photos", "--layers", "last"],
    "maps, a sized model's sizes": ["maps", "in/open.onnx", "in/photos/a.png", "--layers", "last", "--size", "12x10"],
    "maps, each photo's size": ["maps", "in/open.onnx", "in/photos/a.png", "--layers", "last"],
    "maps, saved": [*MAPS, "--save", "m.npz"],
    "maps, drawn and saved": [*MAPS, "--save", "m.npz", "-o", "m"],
    "maps, arrays": ["maps", "in/m.onnx", "in/x.npy", "--layers", "last"],
    "maps, arrays by name": ["maps", "in/two.onnx", "left=in/l.npy", "right=in/l.npy"],
    "maps strip": [*MAPS, "--style", "strip"],
    "maps by number": [*MAPS, "--channels", "1,0,2"],
    "maps sorted": [*MAPS, "--sort", "mean"],
    "maps, signals": ["maps", "in/signal.onnx", "in/s.npy"],
    "maps lines": ["maps", "in/signal.onnx", "in/s.npy", "--style", "lines"],
    "maps, numbers": ["maps", "in/m.onnx", "in/x.npy", "--ops", "MatMul"],
    "top patches": [*MAPS, "--top-patches", "2"],
    "top patches by number": [*MAPS, "--top-patches", "2", "--channels", "1,2"],
    "top patches, saved": [*MAPS, "--top-patches", "2", "--save", "p.npz"],
    "top patches, each photo's size": ["maps", "in/open.onnx", "in/photos", "--layers", "0,2", "--top-patches", "2"],
    "top patches, arrays": ["maps", "in/m.onnx", "in/x.npy", "--layers", "last", "--top-patches", "2"],
    **{f"explain {name}": [*EXPLAIN, "--method", name] for name in METHODS},
    "explain integrated-gradients": [*EXPLAIN, "--method", "integrated-gradients", "--samples", "4"],
    "explain smooth-grad": [*EXPLAIN, "--method", "smooth-grad", "--samples", "2"],
    "explain rise": [*EXPLAIN, "--method", "rise", "--samples", "4"],
    "explain, a file": ["explain", "in/m.onnx", "in/photos/a.png", "-o", "e.png"],
    "explain, drawn": ["explain", "in/m.onnx", "in/photos/a.png"],
    "explain, photos": ["explain", "in/m.onnx", "in/photos", "--save", "e.npz"],
    "explain, drawn and saved": [*EXPLAIN, "-o", "e"],
    "explain a class": [*EXPLAIN, "--class", "1"],
    "explain --sanity": ["explain", "in/signal.onnx", "in/s.npy", "--save", "e.npz", "--sanity"],
    "explain --sanity rise": [
        "explain", "in/signal.onnx", "in/s.npy", "--save", "e.npz", "--sanity", "--method", "rise", "--samples", "9",
    ],
    "explain a tensor": [*EXPLAIN, "--target", "r1"],
    "explain a segmentation": ["explain", "in/seg.onnx", "in/photos/a.png", "--save", "e.npz"],
    "explain each photo's size": ["explain", "in/open.onnx", "in/photos/a.png", "--save", "e.npz"],
    "explain arrays": ["explain", "in/m.onnx", "in/x.npy", "--save", "e.npz"],
    "explain a detector": ["explain", "in/boxes.onnx", "in/photos/a.png", "--save", "e.npz"],
    "explain signals": ["explain", "in/signal.onnx", "in/s.npy", "--method", "saliency"],
    "maximize": MAXIMIZE,
    "maximize, saved": [*MAXIMIZE, "--save", "s.npz"],
    "maximize, drawn and saved": [*MAXIMIZE, "--save", "s.npz", "-o", "s"],
    "maximize, drawn filters": ["maximize", "in/m.onnx", "block1_conv1", "--steps", "1", "--save", "s.npz"],
    "maximize a class": ["maximize", "in/m.onnx", "--class", "1", "--steps", "1", "--save", "s.npz"],
    "maximize both": [*MAXIMIZE, "--class", "1", "--save", "s.npz"],
    "maximize --at conv": [*MAXIMIZE, "--at", "conv", "--save", "s.npz"],
    "maximize pixels": [*MAXIMIZE, "--param", "pixel", "--save", "s.npz"],
    "maximize unmoved": [*MAXIMIZE, "--transforms", "none", "--save", "s.npz"],
    "maximize jitter": [*MAXIMIZE, "--transforms", "jitter", "--save", "s.npz"],
    "maximize, open size": ["maximize", "in/open.onnx", "0", *MAXIMIZE[3:], "--size", "10x8", "--save", "s.npz"],
    "maximize, two inputs": [
        "maximize", "in/two.onnx", "0", "--filters", "0", "--steps", "1", "--fixed", "right=in/l.npy",
        "--save", "s.npz",
    ],
    "maximize signals": ["maximize", "in/signal.onnx", "front", *MAXIMIZE[3:]],
    "annotate": ["annotate", "in/m.onnx", "--preprocess", "raw", "-o", "out.onnx"],
    "convert": ["convert", "toys:factory", "-o", "out.onnx"],
    "convert, unverified": ["convert", "toys:factory", "-o", "out.onnx", "--no-verify"],
}  # fmt: skip

# Values that are not the usual ones, where the option's type does not give one. An option that is not here fails.
VALUES = {
    "output": "elsewhere", "save": "saved.npz", "ops": "MaxPool", "layers": "block1_conv2", "channels": "0",
    "numbers": "1", "first": "2", "cmap": "magma", "preprocess": "torch", "size": "14x10", "background": "black",
    "memory": "2MiB", "axes": "image=N,C,H,W", "box": "1",
    "class_": "2", "method": "layer-cam", "layer": "block1_conv2",
    "target": "r2", "region": "0,0,2,2", "wrt": "other", "labels": "in/names.txt", "plus": "norm=-0.5",
    "fixed": "image=in/x.npy", "input_shape": "1x3x8x9", "weights": "in/m.onnx", "opset": "17",
}  # fmt: skip
FLAG_VALUES = {
    ("annotate", "output"): "elsewhere.onnx", ("convert", "output"): "elsewhere.onnx", ("maximize", "size"): "12x9",
    ("filters", "scale"): "symmetric", ("maps", "scale"): "symmetric", ("maps", "sort"): "variance",
}  # fmt: skip
# Where the mode has other layers, classes or sizes than most.
MODE_VALUES = {
    ("filters rgb", "channels"): "2,1,0", ("explain occlusion", "stride"): "2",
    **{(mode, "ops"): "Relu" for mode in ("maps, signals", "maps lines", "maps, arrays by name")},
    **{(mode, "axes"): "x=N,C,W" for mode in ("maps, signals", "maps lines", "explain signals")},
    **{(f"explain --sanity{rise}", "axes"): "x=N,C,W" for rise in ("", " rise")},
    **{(mode, "axes"): "x=N,C,H,W" for mode in ("explain a segmentation", "explain a detector")},
    ("maps, arrays by name", "axes"): "left=N,C,H,W",
    ("explain a detector", "region"): "8,8,16,16", ("explain a detector", "labels"): "in/three.txt",
    ("explain a detector", "target"): "c", ("explain a detector", "layer"): "f",
    ("explain a tensor", "labels"): "in/six.txt", ("explain a tensor", "class_"): "1",
    ("explain a segmentation", "labels"): "in/three.txt", ("explain signals", "labels"): "in/three.txt",
    **{(f"explain --sanity{rise}", "labels"): "in/three.txt" for rise in ("", " rise")},
    **{(f"explain --sanity{rise}", "target"): "f" for rise in ("", " rise")},
    ("explain --sanity", "layer"): "r", ("explain signals", "target"): "f", ("explain signals", "wrt"): "other",
    ("maximize, two inputs", "class_"): "1", ("maximize signals", "fixed"): "x=in/s.npy",
    ("maximize signals", "size"): "19x1",
}  # fmt: skip
