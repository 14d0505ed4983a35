#!/bin/sh
# S2: which of the 4,096 pictures of VGG16's second layer to look at.
# Run in the repository's root, after s2_blocks.sh: tests/gallery/s2_choose.sh OUT
set -e
out=$1

onnxviz filters "$out/vgg16.onnx" block1_conv2 --sort norm --first 8 -o "$out/norm.png"
onnxviz filters "$out/vgg16.onnx" block1_conv2 --sort cluster --filters all --channels all -o "$out/clustered.png"
onnxviz filters "$out/vgg16.onnx" block1_conv2 --feeds 19 -o "$out/feeds.png"
