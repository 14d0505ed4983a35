"""torchvision's architectures with drawn weights; torch is imported by whoever calls `networks`."""

from __future__ import annotations

import math
import sys


def import_torchvision():
    """torchvision's Python code, whichever build it is; it is only needed for its architectures.

    PyPI serves the build for CUDA, whose compiled operators do not load beside torch for the CPU. Its Python code then
    describes operators that do not exist, which is an error: they are declared here, without anything that runs.
    """
    try:
        import torchvision
    except RuntimeError:
        import torch

        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        global _declared  # what it declares goes when the object does
        _declared = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            _declared.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision
    return torchvision


# In small pictures a single number near a Relu's kink carries a part of the gradient that would show.
SHAPES = {
    "alexnet": (2, 3, 224, 224),
    "vgg11_bn": (1, 3, 224, 224),
    "vgg16": (1, 3, 224, 224),
    "resnet18": (2, 3, 224, 224),
    "resnet50": (2, 3, 224, 224),
    "resnext50_32x4d": (2, 3, 224, 192),
    "mobilenet_v2": (2, 3, 224, 224),
    "mobilenet_v3_large": (2, 3, 224, 224),
    "efficientnet_b0": (2, 3, 224, 224),
    "densenet121": (2, 3, 224, 192),
    "googlenet": (2, 3, 224, 224),
    "inception_v3": (2, 3, 299, 299),
    "shufflenet_v2_x1_0": (2, 3, 224, 224),
    "squeezenet1_1": (2, 3, 224, 224),
    "mnasnet1_0": (2, 3, 224, 224),
    "regnet_y_400mf": (2, 3, 224, 192),
    "convnext_tiny": (2, 3, 224, 192),
    "swin_t": (2, 3, 224, 224),
    "vit_b_32": (2, 3, 224, 224),
    "maxvit_t": (2, 3, 224, 224),
    "deeplabv3_resnet50": (2, 3, 161, 193),
    "fcn_resnet50": (2, 3, 160, 192),
    "lraspp_mobilenet_v3_large": (2, 3, 224, 192),
    "r3d_18": (2, 3, 8, 112, 112),
}
_OPTIONS = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
    "deeplabv3_resnet50": {"aux_loss": False},
    "fcn_resnet50": {"aux_loss": False},
}


def network(name):
    """An architecture in evaluation mode; its weights are drawn from a seed of its own."""
    import torch

    torch.manual_seed(sum(name.encode()))
    models = import_torchvision().models
    options = {"weights": None, **_OPTIONS.get(name, {})}
    if name.startswith(("deeplab", "fcn", "lraspp")):
        options["weights_backbone"] = None
    module = models.get_model(name, **options)
    draw(module)
    settle(module, SHAPES[name])
    return module.eval()


def draw(module):
    """Weights that keep the signal's variance (He et al. 2015), and nothing that is 0 or 1 by initialisation."""
    import torch
    from torch import nn

    residual = []
    with torch.no_grad():
        for part in module.modules():
            own = dict(part.named_parameters(recurse=False))
            if isinstance(part, nn.Linear | nn.modules.conv._ConvNd):
                fan_in = math.prod(part.weight.shape[1:])
                gain = 1 if isinstance(part, nn.Linear) else 2
                own.pop("weight").normal_(0, math.sqrt(gain / fan_in))
                if "bias" in own:
                    own.pop("bias").normal_(0, 0.1)
            elif isinstance(part, nn.modules.batchnorm._BatchNorm | nn.LayerNorm | nn.GroupNorm):
                own.pop("weight").uniform_(0.6, 1.4)
                own.pop("bias").normal_(0, 0.1)
            if last := getattr(part, "bn3", None) or (hasattr(part, "downsample") and getattr(part, "bn2", None)):
                residual.append(last.weight)
            for key, value in own.items():  # tokens, places, the scale of a ConvNeXt block
                if key == "layer_scale":
                    value.uniform_(0.1, 0.5)
                elif not value.any() or value.dim() == 1:
                    value.normal_(0, 0.1)
        # Residual branches add little each, as in trained networks; else rounding errors grow from block to block.
        for scale in residual:
            scale *= 0.3


def settle(module, shape):
    """Batch statistics near those of noise, each a little off, as training leaves them."""
    import torch
    from torch import nn

    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    module.eval()
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        module(torch.randn(shape))
        for norm in norms:
            deviation = norm.running_var.sqrt()
            norm.running_mean += 0.1 * torch.randn_like(deviation) * deviation
            norm.running_var.add_(1e-3 * norm.running_var.mean() + 1e-5)
            norm.running_var *= torch.empty_like(deviation).uniform_(0.7, 1.4)
