"""Arithmetic in front of a first layer: what that was trained on, and the range that its pictures must have."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

RNG = np.random.default_rng(12)
PHOTO = RNG.integers(0, 256, (8, 6, 3), np.uint8)
RGB = PHOTO.astype(np.float64)
IMAGENET, SPREAD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
CAFFE = np.array([103.939, 116.779, 123.68])
CLIP, CLIP_SPREAD = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])

UNIT, SIGNED, HALF = RGB / 255, RGB / 127.5 - 1, RGB / 255 - 0.5
TORCH = (RGB / 255 - IMAGENET) / SPREAD
BGR_CAFFE = RGB[..., ::-1] - CAFFE
RAW = RGB


def column(values):
    """Of a channel each, as it meets (N, C, H, W)."""
    return np.asarray(values, np.float32).reshape(1, -1, 1, 1)


def graph(text, *, shape="n,3,8,6", dtype="float", opset=18, kernel=3, **constants):
    """Arithmetic from `x` to `z`, and a convolution of `z`, (N, C, H, W), behind it."""
    proto = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}, "com.microsoft" : 1]> '
        f"g ({dtype}[{shape}] x) => (float[n,k,h,w] y) {{ {text} y = Conv (z, kernel) }}"
    )
    for name, value in constants.items():
        array = np.asarray(value)
        if array.dtype.kind == "f" and dtype != "double":
            array = array.astype(np.float32)
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    weight = RNG.normal(size=(2, kernel, 3, 3)).astype(np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(weight, "kernel"))
    return proto


# Arithmetic, what the network has been trained on as (H, W, C), the range in words; constants and other options.
TO_CHANNELS_FIRST = "z = Transpose <perm=[0,3,1,2]> (t)"
CASES = {
    # ---- 0…255
    "divided by 255": ("z = Div (x, a)", UNIT, "raw", {"a": 255.0}),
    "multiplied by 1/255": ("z = Mul (a, x)", UNIT, "raw", {"a": 1 / 255}),
    "multiplied by 1/256": ("z = Mul (x, a)", RGB / 256, "raw", {"a": 1 / 256}),
    "divided by a Constant node": ("a = Constant <value_float=255.0> () z = Div (x, a)", UNIT, "raw", {}),
    "Keras Rescaling(1/127.5, -1)": ("t = Mul (x, a) z = Add (t, b)", SIGNED, "raw", {"a": 1 / 127.5, "b": -1.0}),
    "minus 127.5, divided": ("t = Sub (x, a) z = Div (t, a)", SIGNED, "raw", {"a": 127.5}),
    "minus 127.5, by 1/128": ("t = Sub (x, a) z = Mul (t, b)", (RGB - 127.5) / 128, "raw", {"a": 127.5, "b": 1 / 128}),
    "minus 128, divided by 128": ("t = Sub (x, a) z = Div (t, a)", (RGB - 128) / 128, "raw", {"a": 128.0}),
    "divided by 255, minus a half": ("t = Div (x, a) z = Sub (t, b)", HALF, "raw", {"a": 255.0, "b": 0.5}),
    "ImageNet in pixels": (
        "t = Sub (x, m) z = Div (t, s)", TORCH, "raw", {"m": column(255 * IMAGENET), "s": column(255 * SPREAD)},
    ),
    "by 255, then ImageNet": (
        "t = Div (x, a) u = Sub (t, m) z = Div (u, s)", TORCH, "raw",
        {"a": 255.0, "m": column(IMAGENET), "s": column(SPREAD)},
    ),
    "EfficientNet: rescaled, normalised, scaled again": (
        "t = Mul (x, a) u = Sub (t, m) v = Div (u, s) z = Mul (v, r)", TORCH / np.sqrt(SPREAD), "raw",
        {"a": 1 / 255, "m": column(IMAGENET), "s": column(SPREAD), "r": column(1 / np.sqrt(SPREAD))},
    ),
    "mean alone": ("z = Sub (x, m)", RGB - 255 * IMAGENET, "raw", {"m": column(255 * IMAGENET)}),
    "Caffe by 0.017": (
        "t = Sub (x, m) z = Mul (t, a)", (RGB - CAFFE[::-1]) * 0.017, "raw", {"m": column(CAFFE[::-1]), "a": 0.017},
    ),
    "a data set's own": (
        "t = Sub (x, m) z = Div (t, s)", (RGB - [90, 140, 71]) / [40, 61, 33], "raw",
        {"m": column([90, 140, 71]), "s": column([40, 61, 33])},
    ),
    "Keras Normalization: a root, and no smaller than": (
        "t = Sub (x, m) u = Sqrt (v) s = Max (u, e) z = Div (t, s)", (RGB - [90, 140, 71]) / [40, 61, 33], "raw",
        {"m": column([90, 140, 71]), "v": column([1600, 3721, 1089]), "e": 1e-7},
    ),
    "by a reciprocal": ("r = Reciprocal (a) z = Mul (x, r)", UNIT, "raw", {"a": 255.0}),
    "plus a negative mean": ("n = Neg (m) z = Add (x, n)", RGB - 255 * IMAGENET, "raw", {"m": column(255 * IMAGENET)}),
    "inverted": ("t = Sub (a, x) z = Div (t, a)", 1 - UNIT, "raw", {"a": 255.0}),
    "negated first": ("t = Neg (x) u = Add (t, a) z = Div (u, a)", 1 - UNIT, "raw", {"a": 255.0}),
    # ---- layouts, and what stands between
    "channels last": (f"t = Div (x, a) {TO_CHANNELS_FIRST}", UNIT, "raw", {"a": 255.0, "shape": "n,8,6,3"}),
    "channels last, by channel": (
        f"s = Sub (x, m) t = Div (s, d) {TO_CHANNELS_FIRST}", TORCH, "raw",
        {"m": 255 * IMAGENET, "d": 255 * SPREAD, "shape": "n,8,6,3"},
    ),
    "there and back": (
        "t = Transpose <perm=[0,2,3,1]> (x) u = Sub (t, m) v = Div (u, d) z = Transpose <perm=[0,3,1,2]> (v)",
        TORCH, "raw", {"m": 255 * IMAGENET, "d": 255 * SPREAD},
    ),
    "open sizes": ("z = Div (x, a)", UNIT, "raw", {"a": 255.0, "shape": "n,3,h,w"}),
    "uint8": ("t = Cast <to=1> (x) z = Div (t, a)", UNIT, "raw", {"a": 255.0, "dtype": "uint8"}),
    "int8": (
        "t = Cast <to=1> (x) u = Add (t, b) z = Div (u, a)", UNIT, "scale=1,mean=128",
        {"a": 255.0, "b": 128.0, "dtype": "int8"},
    ),
    "a quantised input": (
        "z = DequantizeLinear (x, a, b)", (RGB - 128) / 128, "raw",
        {"a": 1 / 128, "b": np.uint8(128), "dtype": "uint8"},
    ),
    "float64": (
        "t = Div (x, a) z = Cast <to=1> (t)", UNIT, "raw", {"a": np.float64(255), "dtype": "double"},
    ),
    "cropped": ("t = Slice (x, b, e, c) z = Div (t, a)", UNIT[1:7], "raw",
                {"a": 255.0, "b": np.array([1]), "e": np.array([7]), "c": np.array([2])}),
    "padded": ("t = Pad (x, p) z = Div (t, a)", np.pad(UNIT, ((1, 1), (1, 1), (0, 0))), "raw",
               {"a": 255.0, "p": np.array([0, 0, 1, 1, 0, 0, 1, 1])}),
    "enlarged": ('t = Resize <mode="nearest"> (x, , f) z = Div (t, a)', UNIT.repeat(2, 0).repeat(2, 1), "raw",
                 {"a": 255.0, "f": np.array([1.0, 1, 2, 2])}),
    "Dropout and Identity": ("t = Dropout (x) u = Identity (t) z = Div (u, a)", UNIT, "raw", {"a": 255.0}),
    "unsqueezed and squeezed": (
        "t = Unsqueeze (x, c) u = Div (t, a) z = Squeeze (u, c)", UNIT, "raw", {"a": 255.0, "c": np.array([1])},
    ),
    "reshaped to itself": ("t = Div (x, a) z = Reshape (t, s)", UNIT, "raw", {"a": 255.0, "s": np.array([0, 3, 8, 6])}),
    "operator set 9: attributes": (
        "u = Unsqueeze <axes=[1]> (x) t = Squeeze <axes=[1]> (u) s = Slice <axes=[2], starts=[1], ends=[7]> (t) "
        "p = Pad <pads=[0,0,1,0,0,0,1,0]> (s) c = Clip <min=0.0, max=255.0> (p) z = Div (c, a)",
        np.pad(UNIT[1:7], ((1, 1), (0, 0), (0, 0))), "raw", {"a": 255.0, "opset": 9},
    ),
    "a mean image": (
        "z = Sub (x, m)", RGB - (255 * IMAGENET + np.linspace(-9, 9, 48).reshape(8, 6, 1)), "raw",
        {"m": (255 * IMAGENET + np.linspace(-9, 9, 48).reshape(8, 6, 1)).transpose(2, 0, 1)[None]},
    ),
    # ---- 0…1
    "ImageNet": ("t = Sub (x, m) z = Div (t, s)", TORCH, "unit", {"m": column(IMAGENET), "s": column(SPREAD)}),
    "CLIP": ("t = Sub (x, m) z = Div (t, s)", (UNIT - CLIP) / CLIP_SPREAD, "unit",
             {"m": column(CLIP), "s": column(CLIP_SPREAD)}),
    "doubled, minus one": ("t = Mul (x, a) z = Sub (t, b)", SIGNED, "unit", {"a": 2.0, "b": 1.0}),
    "Inception: minus a half, doubled": ("t = Sub (x, a) z = Mul (t, b)", SIGNED, "unit", {"a": 0.5, "b": 2.0}),
    "minus a half": ("z = Sub (x, a)", HALF, "unit", {"a": 0.5}),
    "CIFAR-10": ("t = Sub (x, m) z = Div (t, s)", (UNIT - [0.4914, 0.4822, 0.4465]) / [0.2470, 0.2435, 0.2616], "unit",
                 {"m": column([0.4914, 0.4822, 0.4465]), "s": column([0.2470, 0.2435, 0.2616])}),
    "back to pixels": ("z = Mul (x, a)", RAW, "unit", {"a": 255.0}),
    "times 255 in Caffe's order": (
        "t = Mul (x, a) u = Gather <axis=1> (t, i) z = Sub (u, m)", BGR_CAFFE, "unit",
        {"a": 255.0, "i": np.array([2, 1, 0]), "m": column(CAFFE)},
    ),
    "mean of 0…1 alone": ("z = Sub (x, m)", UNIT - [0.4488, 0.4371, 0.4040], "unit",
                          {"m": column([0.4488, 0.4371, 0.4040])}),
    "inverted 0…1": ("z = Sub (a, x)", 1 - UNIT, "unit", {"a": 1.0}),
    "cut to 0…1 by Max and Min": ("t = Max (x, a) z = Min (b, t)", UNIT, "unit", {"a": 0.0, "b": 1.0}),
    "cut to 0…255": ("z = Clip (x, a, b)", RAW, "raw", {"a": 0.0, "b": 255.0}),
    "cut to 0…1": ("z = Clip (x, a, b)", UNIT, "unit", {"a": 0.0, "b": 1.0}),
    # ---- −1…1, and ImageNet's
    "halved, plus a half": ("t = Mul (x, a) z = Add (t, a)", UNIT, "signed", {"a": 0.5}),
    "plus one, by 127.5": ("t = Add (x, a) z = Mul (t, b)", RAW, "signed", {"a": 1.0, "b": 127.5}),
    "LPIPS": ("t = Sub (x, m) z = Div (t, s)", TORCH, "signed",
              {"m": column(2 * IMAGENET - 1), "s": column(2 * SPREAD)}),
    "to 0…1, then ImageNet": (
        "t = Add (x, a) u = Div (t, b) v = Sub (u, m) z = Div (v, s)", TORCH, "signed",
        {"a": 1.0, "b": 2.0, "m": column(IMAGENET), "s": column(SPREAD)},
    ),
    "torchvision's transform_input": (
        " ".join(f"c{i} = Gather <axis=1> (x, i{i}) u{i} = Unsqueeze (c{i}, one) m{i} = Mul (u{i}, s{i}) "
                 f"a{i} = Add (m{i}, b{i})" for i in range(3)) + " z = Concat <axis=1> (a0, a1, a2)",
        SIGNED, "torch",
        {"one": np.array([1]), **{f"i{i}": np.array(i) for i in range(3)},
         **{f"s{i}": SPREAD[i] / 0.5 for i in range(3)}, **{f"b{i}": (IMAGENET[i] - 0.5) / 0.5 for i in range(3)}},
    ),
    "ImageNet taken back": ("t = Mul (x, s) z = Add (t, m)", UNIT, "torch",
                            {"m": column(IMAGENET), "s": column(SPREAD)}),
    "Caffe taken back": ("z = Add (x, m)", RAW[..., ::-1], "caffe", {"m": column(CAFFE)}),
    # ---- the order of channels
    "Caffe by Gather": ("t = Gather <axis=1> (x, i) z = Sub (t, m)", BGR_CAFFE, "raw",
                        {"i": np.array([2, 1, 0]), "m": column(CAFFE)}),
    "Caffe by a negative step": (
        "t = Slice (x, b, e, c, d) z = Sub (t, m)", BGR_CAFFE, "raw",
        {"b": np.array([-1]), "e": np.array([-(2**63)]), "c": np.array([1]), "d": np.array([-1]), "m": column(CAFFE)},
    ),
    "Caffe by Split and Concat": (
        "r, g, b = Split <axis=1, num_outputs=3> (x) t = Concat <axis=1> (b, g, r) z = Sub (t, m)", BGR_CAFFE, "raw",
        {"m": column(CAFFE)},
    ),
    "Caffe by three slices": (
        "r = Slice (x, i0, i1, c) g = Slice (x, i1, i2, c) b = Slice (x, i2, i3, c) u = Sub (b, m0) v = Sub (g, m1) "
        "w = Sub (r, m2) z = Concat <axis=1> (u, v, w)", BGR_CAFFE, "raw",
        {"c": np.array([1]), **{f"i{i}": np.array([i]) for i in range(4)}, **{f"m{i}": CAFFE[i] for i in range(3)}},
    ),
    "Caffe by squeezed slices, as Keras has it": (
        "r = Slice (x, i0, i1, c) g = Slice (x, i1, i2, c) b = Slice (x, i2, i3, c) rs = Squeeze (r, c) "
        "gs = Squeeze (g, c) bs = Squeeze (b, c) u = Unsqueeze (bs, c) v = Unsqueeze (gs, c) w = Unsqueeze (rs, c) "
        f"s = Concat <axis=3> (u, v, w) t = Add (s, m) {TO_CHANNELS_FIRST}", BGR_CAFFE, "raw",
        {"c": np.array([3]), **{f"i{i}": np.array([i]) for i in range(4)}, "m": -CAFFE, "shape": "n,8,6,3"},
    ),
    "Caffe by GatherND between transposes, as torch.export has it": (
        "s = Transpose <perm=[1,0,2,3]> (x) t = GatherND (s, i) u = Transpose <perm=[1,0,2,3]> (t) z = Sub (u, m)",
        BGR_CAFFE, "raw", {"i": np.array([[2], [1], [0]]), "m": column(CAFFE)},
    ),
    "Caffe by indices that are computed, as torch.export has it unoptimised": (
        "s = Transpose <perm=[1,0,2,3]> (x) m0 = Max (i) h = Shape (m0) e = Expand (i, h) o = Unsqueeze (e, last) "
        "j = Concat <axis=-1> (o) t = GatherND (s, j) u = Transpose <perm=[1,0,2,3]> (t) z = Sub (u, m)",
        BGR_CAFFE, "raw", {"i": np.array([2, 1, 0]), "last": np.array([-1]), "m": column(CAFFE)},
    ),
    "Caffe, unturned: pictures in BGR": ("z = Sub (x, m)", BGR_CAFFE, "scale=1,order=BGR", {"m": column(CAFFE)}),
    "Detectron's, unturned": (
        "z = Sub (x, m)", RGB[..., ::-1] - [102.9801, 115.9465, 122.7717], "scale=1,order=BGR",
        {"m": column([102.9801, 115.9465, 122.7717])},
    ),
    "ImageNet, turned: pictures in BGR": (
        "t = Gather <axis=1> (x, i) u = Div (t, a) v = Sub (u, m) z = Div (v, s)", TORCH, "scale=1,order=BGR",
        {"i": np.array([2, 1, 0]), "a": 255.0, "m": column(IMAGENET), "s": column(SPREAD)},
    ),
    "VGGFace in 0…255": (
        "z = Sub (x, m)", RGB[..., ::-1] - [93.5940, 104.7624, 129.1863], "scale=1,order=BGR",
        {"m": column([93.5940, 104.7624, 129.1863])},
    ),
    # ---- other operators
    "a mean shift, written as a convolution": (
        "z = Conv (x, w, b)", RGB - 255 * np.array([0.4488, 0.4371, 0.4040]), "raw",
        {"w": np.eye(3).reshape(3, 3, 1, 1), "b": -255 * np.array([0.4488, 0.4371, 0.4040])},
    ),
    "a mean shift that turns channels": (
        "z = Conv (x, w, b)", BGR_CAFFE, "raw", {"w": np.eye(3)[::-1].reshape(3, 3, 1, 1), "b": -CAFFE},
    ),
    "normalised by a depthwise convolution": (
        "z = Conv <group=3> (x, w, b)", TORCH, "unit",
        {"w": (1 / SPREAD).reshape(3, 1, 1, 1), "b": -IMAGENET / SPREAD},
    ),
    "BatchNormalization without scale and shift": (
        "z = BatchNormalization <epsilon=0.0> (x, one, none, m, v)", TORCH, "raw",
        {"one": np.ones(3), "none": np.zeros(3), "m": 255 * IMAGENET, "v": (255 * SPREAD) ** 2},
    ),
    "through QuantizeLinear and DequantizeLinear": (
        "t = Div (x, a) q = QuantizeLinear (t, s, o) z = DequantizeLinear (q, s, o)", UNIT, "raw",
        {"a": 255.0, "s": 1 / 255, "o": np.uint8(0)},
    ),
    "a channel at a time, as torch.export writes x[:, 0] = …": (
        " ".join(f"c{i} = Gather <axis=1> ({'x' if i == 0 else f'r{i - 1}'}, i{i}) s{i} = Sub (c{i}, m{i}) "
                 f"d{i} = Div (s{i}, e{i}) u{i} = Unsqueeze (d{i}, one) "
                 f"r{i} = ScatterElements <axis=1> ({'x' if i == 0 else f'r{i - 1}'}, p{i}, u{i})" for i in range(3))
        + " z = Identity (r2)",
        TORCH, "unit",
        {"shape": "1,3,8,6", "one": np.array([1]), **{f"i{i}": np.array(i) for i in range(3)},
         **{f"p{i}": np.full((1, 1, 8, 6), i) for i in range(3)},
         **{f"m{i}": IMAGENET[i] for i in range(3)}, **{f"e{i}": SPREAD[i] for i in range(3)}},
    ),
}  # fmt: skip

# Arithmetic that tells nothing; constants.

LEARNT = {"g": RNG.uniform(0.4, 1.6, 3), "b": RNG.normal(0, 0.3, 3)}
SILENT = {
    "nothing": ("z = Identity (x)", {}),
    "rectified": ("z = Relu (x)", {}),
    "a ReLU6": ("z = Clip (x, a, b)", {"a": 0.0, "b": 6.0}),
    "a hard sigmoid": ("t = Mul (x, s) u = Add (t, h) z = Clip (u, a, b)", {"s": 0.2, "h": 0.5, "a": 0.0, "b": 1.0}),
    "cut to −1…1": ("z = Clip (x, a, b)", {"a": -1.0, "b": 1.0}),
    "no more than 1": ("z = Min (x, a)", {"a": 1.0}),
    "negated": ("z = Neg (x)", {}),
    "a learnt scale": ("z = Mul (x, a)", {"a": column([0.8, 1.3, 1.1])}),
    "a half": ("z = Mul (x, a)", {"a": 0.5}),
    "doubled": ("z = Mul (x, a)", {"a": 2.0}),
    "plus one": ("z = Add (x, a)", {"a": 1.0}),
    "minus one": ("z = Sub (x, a)", {"a": 1.0}),
    "plus a little": ("z = Add (x, a)", {"a": 0.003}),
    "by 100": ("z = Div (x, a)", {"a": 100.0}),
    "sixteen bits": ("z = Div (x, a)", {"a": 65535.0}),
    "10,000 of reflectance": ("z = Div (x, a)", {"a": 10000.0}),
    "Hounsfield units": ("t = Sub (x, a) z = Div (t, b)", {"a": -600.0, "b": 1500.0}),
    "a scan's own mean": ("t = Sub (x, a) z = Div (t, b)", {"a": 412.0, "b": 231.0}),
    "decibels": ("t = Add (x, a) z = Div (t, a)", {"a": 40.0}),
    "AudioSet's spectrogram": ("t = Sub (x, a) z = Div (t, b)", {"a": -4.2677, "b": 9.1378}),
    "latents": ("z = Div (x, a)", {"a": 0.18215}),
    "latents with a shift": ("t = Div (x, a) z = Add (t, b)", {"a": 0.3611, "b": 0.1159}),
    "each picture by its own mean and deviation": (
        "m = ReduceMean <keepdims=1> (x) t = Sub (x, m) q = Mul (t, t) v = ReduceMean <keepdims=1> (q) s = Sqrt (v) "
        "z = Div (t, s)", {},
    ),
    "each picture by its largest value": ("m = ReduceMax <keepdims=1> (x) z = Div (x, m)", {}),
    "an instance normalisation": ("z = InstanceNormalization (x, g, b)", LEARNT),
    "a fresh batch normalisation": (
        "z = BatchNormalization (x, g, b, m, v)", {**LEARNT, "m": np.zeros(3), "v": np.ones(3)},
    ),
    "a batch normalisation behind ImageNet's": (
        "z = BatchNormalization (x, g, b, m, v)", {**LEARNT, "m": np.array([0.05, -0.1, 0.2]), "v": np.full(3, 1.1)},
    ),
    "a batch normalisation behind −1…1": (
        "z = BatchNormalization (x, g, b, m, v)", {**LEARNT, "m": np.array([-0.3, -0.1, -0.2]), "v": np.full(3, 0.3)},
    ),
    "bright pictures in −1…1": (
        "z = BatchNormalization (x, g, b, m, v)", {**LEARNT, "m": np.array([0.7, 0.72, 0.68]), "v": np.full(3, 0.08)},
    ),
    "the same, folded": (
        "t = Mul (x, s) z = Add (t, o)", {"s": column([1.9, 2.2, 1.8]), "o": column([0.1, 0.2, 0.3])},
    ),
    "mixed channels": ("z = Conv (x, w)", {"w": RNG.normal(size=(3, 3, 1, 1))}),
    "grey by a weighted sum": (
        "t = Mul (x, w) u = ReduceSum <keepdims=1> (t, c) z = Concat <axis=1> (u, u, u)",
        {"w": column([0.299, 0.587, 0.114]), "c": np.array([1])},
    ),
    "a power": ("t = Pow (x, a) z = Div (t, b)", {"a": 2.2, "b": 255.0}),
    "divides, and not by a constant": ("m = ReduceMax <keepdims=1> (x) t = Max (m, a) z = Div (x, t)", {"a": 255.0}),
    "divides another": ("z = Div (a, x)", {"a": 255.0}),
    "true or false": ("t = Cast <to=9> (x) u = Cast <to=1> (t) z = Div (u, a)", {"a": 255.0}),
    "a part of the channels": (
        "t = Slice (x, b, e, c) u = Div (t, a) r = Slice (x, e, f, c) z = Concat <axis=1> (u, r)",
        {"a": 255.0, "b": np.array([0]), "e": np.array([2]), "f": np.array([3]), "c": np.array([1])},
    ),
    "two parts that disagree": (
        "t = Slice (x, b, e, c) u = Div (t, a) r = Slice (x, e, f, c) v = Mul (r, a) z = Concat <axis=1> (u, v)",
        {"a": 255.0, "b": np.array([0]), "e": np.array([2]), "f": np.array([3]), "c": np.array([1])},
    ),
    "a constant that would grow beyond measure": (
        "e = Expand (a, s) m = Max (e, e) r = ReduceMax <keepdims=1> (m) z = Div (x, r)",
        {"a": 255.0, "s": np.array([1, 2**20, 2**20, 4])},
    ),
    "quantised with a scale of zero": (
        "q = QuantizeLinear (x, s, o) z = DequantizeLinear (q, s, o)", {"s": 0.0, "o": np.uint8(0)},
    ),
    "a negative variance": (
        "z = BatchNormalization (x, g, b, m, v)", {**LEARNT, "m": np.full(3, 120.0), "v": np.full(3, -9.0)},
    ),
    "divided by zero": ("z = Div (x, a)", {"a": 0.0}),
    "divided by NaN": ("z = Div (x, a)", {"a": float("nan")}),
    "a constant that contradicts itself": (
        "s = Reshape (m, t) z = Sub (x, s)", {"m": column([1, 2, 3]), "t": np.array([5])},
    ),
    "symmetric calibration": (
        "q = QuantizeLinear (x, s, o) z = DequantizeLinear (q, s, o)", {"s": 1 / 127, "o": np.int8(0)},
    ),
    "symmetric calibration, unsigned": (
        "q = QuantizeLinear (x, s, o) z = DequantizeLinear (q, s, o)", {"s": 2 / 255, "o": np.uint8(128)},
    ),
    "calibrated on noise": (
        "q = QuantizeLinear (x, s, o) z = DequantizeLinear (q, s, o)", {"s": 0.031, "o": np.uint8(121)},
    ),
}  # fmt: skip
