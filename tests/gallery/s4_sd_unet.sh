#!/bin/sh
# S4: 51 convolutions of an SD-UNet, and how their maps turn into masks, for a sample that is an array.
# Run in the repository's root: tests/gallery/s4_sd_unet.sh OUT sd_unet.keras sample.npy
set -e
out=$1 source=$2 sample=$3
mkdir -p "$out"

onnxviz convert "$source" --preprocess unit -o "$out/sd_unet.onnx"
onnxviz layers "$out/sd_unet.onnx" --layout keras
onnxviz maps "$out/sd_unet.onnx" "$sample" --layers 0,4,11,23,32,42,49,50 --first 32 --scale map \
    -o "$out/maps" --save "$out/maps.npz"
onnxviz predict "$out/sd_unet.onnx" "$sample"
