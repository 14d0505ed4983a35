"""`classifier_proto` opened and changed, and what its layers give."""

from onnx import TensorProto, helper, numpy_helper
from protos import classifier_proto

import onnxviz

STILL = {"transforms": "none", "leak": 0.0}


def small(**options):
    """`classifier_proto` opened: 6, 8 and 4 filters, 5 classes, images of 16x12."""
    return onnxviz.load(classifier_proto(**options))


def edited(*nodes, weights=(), output=None, drop=0):
    """`classifier_proto` with other nodes at the end."""
    proto = classifier_proto()
    if drop:
        del proto.graph.node[-drop:]
    proto.graph.node.extend(nodes)
    proto.graph.initializer.extend(weights)
    if output is not None:
        del proto.graph.output[:]
        proto.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    return proto


def with_weight(name, change):
    """`classifier_proto` with one of its weights changed."""
    proto = classifier_proto()
    for tensor in proto.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), name))
    return proto


def activation_of(model, layer, images):
    """What capture sees of a layer: (N, C, spatial…)."""
    return onnxviz.capture(model, (images.transpose(0, 3, 1, 2)), layers=layer)[layer]
