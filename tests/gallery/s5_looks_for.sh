#!/bin/sh
# S5: what filters of VGG16 look for, six of each of five layers.
# Run in the repository's root: tests/gallery/s5_looks_for.sh OUT [STEPS] [SIDExSIDE]
set -e
out=$1 steps=${2:-256} side=${3:-64x64}
mkdir -p "$out"

onnxviz convert "models.trained_models:vgg16(classes=False)" -o "$out/vgg16.onnx" --no-verify
onnxviz maximize "$out/vgg16.onnx" block1_conv1 block2_conv1 block3_conv2 block4_conv1 block5_conv2 --random 6 \
    --jitter 16 --steps "$steps" --size "$side" --format jpg -o "$out/looks-for" --save "$out/looks-for.npz"
