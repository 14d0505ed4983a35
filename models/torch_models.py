"""PyTorch CNNs to convert: one factory a network, ``models.torch_models:resnet`` for a command.

A factory takes keyword arguments only, all with defaults, and returns a freshly built module in evaluation mode.
Weights are drawn, not trained: kernels keep the signal's variance (He et al. 2015), biases, scales, offsets and
running statistics all differ from 0 and 1, so that a wrong axis, a swapped weight or a lost bias changes the output.
Equal seeds give equal weights; no global random state is changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

# Example inputs of every factory, batch and channels first; float32 of about -2...2.
INPUT_SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    "resnet": ((1, 3, 64, 64),),
    "unet": ((1, 3, 64, 96),),
    "mobilenet": ((1, 3, 96, 80),),
    "densenet": ((1, 3, 64, 48),),
    "inception": ((1, 3, 75, 75),),
    "convnext": ((1, 3, 64, 96),),
    "yolo_like": ((1, 3, 128, 96),),
    "signal_net": ((1, 2, 512),),
    "volume_net": ((1, 1, 16, 24, 20),),
    "shared_twice": ((1, 3, 48, 64), (1, 3, 24, 32)),
}

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm, nn.LayerNorm)


def _fan_in(module: nn.Module, weight: Tensor) -> float:
    """How many products one element of the output sums, on average for a transposed convolution."""
    if isinstance(module, TRANSPOSED):
        return weight.numel() / weight.shape[1] / module.groups / math.prod(module.stride)
    return weight.numel() / weight.shape[0]


@torch.no_grad()
def _draw(network: nn.Module, generator: torch.Generator) -> None:
    """Sets every parameter and running statistic of the network, module by module."""
    # A variance of 2 / fan in keeps the signal after a ReLU, 1 / fan in without one; gates about 1/2 want 2 / fan in.
    gains: dict[nn.Module, float] = {}
    for module in network.modules():
        if isinstance(module, ConvNorm) and len(module) == 2:
            gains.setdefault(module.conv, 1.0)
        elif isinstance(module, InvertedResidual) and isinstance(module.excite, SqueezeExcite):
            gains[module.project.conv] = 2.0  # modules() yields the block before the ConvNorm in it
    for module in network.modules():
        if isinstance(module, CONVOLUTIONS + TRANSPOSED + (nn.Linear,)):
            if parametrize.is_parametrized(module, "weight"):  # weight normalisation: a length for each direction
                length, weight = module.parametrizations.weight.original0, module.parametrizations.weight.original1
                length.uniform_(0.8, 1.4, generator=generator)
            else:
                weight = module.weight
            gain = gains.get(module, 1.0 if isinstance(module, nn.Linear) else 2.0)
            weight.normal_(0.0, math.sqrt(gain / _fan_in(module, weight)), generator=generator)
            if module.bias is not None:
                module.bias.normal_(0.0, 0.1, generator=generator)
        elif isinstance(module, NORMS):
            module.weight.uniform_(0.6, 1.4, generator=generator)
            module.bias.normal_(0.0, 0.1, generator=generator)
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(0.0, 0.2, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
                module.num_batches_tracked.fill_(1000)
        elif isinstance(module, ConvNeXtBlock):
            module.layer_scale.uniform_(0.1, 0.5, generator=generator)


def _built(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """The network, drawn from the seed, in evaluation mode; PyTorch's own initial values are drawn and thrown away."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        network = build()
    _draw(network, torch.Generator().manual_seed(seed))
    return network.eval()


class ConvNorm(nn.Sequential):
    """Convolution without bias, padded to keep the size at stride 1; batch normalisation; activation, if any."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int] = 3,
        stride: int = 1,
        groups: int = 1,
        padding: int | tuple[int, int] | None = None,
        activation: Callable[[], nn.Module] | None = nn.ReLU,
    ) -> None:
        high, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (high // 2, wide // 2) if padding is None else padding
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, (high, wide), stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        if activation is not None:
            self.act = activation()


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut, a 1x1 convolution where size or width change."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inputs, width, stride=stride)
        self.conv2 = ConvNorm(width, width, activation=None)
        same = stride == 1 and inputs == width
        self.downsample = nn.Identity() if same else ConvNorm(inputs, width, 1, stride, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(self.conv1(x)) + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1 to narrow, 3x3, 1x1 to four times the width, around a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = ConvNorm(inputs, width, 1)
        self.conv2 = ConvNorm(width, width, stride=stride)
        self.conv3 = ConvNorm(width, outputs, 1, activation=None)
        same = stride == 1 and inputs == outputs
        self.downsample = nn.Identity() if same else ConvNorm(inputs, outputs, 1, stride, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv3(self.conv2(self.conv1(x))) + self.downsample(x))


class ResNet(nn.Module):
    """Two stages of basic blocks, two of bottlenecks (He et al. 2016)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.width = 32
        self.layer1 = self._stage(BasicBlock, 32, 1)
        self.layer2 = self._stage(BasicBlock, 64, 2)
        self.layer3 = self._stage(Bottleneck, 32, 2)
        self.layer4 = self._stage(Bottleneck, 64, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(self.width, classes)

    def _stage(self, block: type[BasicBlock] | type[Bottleneck], width: int, stride: int) -> nn.Sequential:
        first = block(self.width, width, stride)
        self.width = width * block.expansion
        return nn.Sequential(first, block(self.width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def resnet(*, seed: int = 0, classes: int = 10) -> nn.Module:
    """ResNet of basic and bottleneck blocks (He et al. 2016); (batch, 3, 64, 64) to logits (batch, classes)."""
    return _built(lambda: ResNet(classes), seed)


class DoubleConv(nn.Sequential):
    """Two 3x3 convolutions, each with group normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        for i, before in enumerate((inputs, outputs), start=1):
            self.add_module(f"conv{i}", nn.Conv2d(before, outputs, 3, padding=1))
            self.add_module(f"norm{i}", nn.GroupNorm(8, outputs))
            self.add_module(f"relu{i}", nn.ReLU(inplace=True))


class UNet(nn.Module):
    """Three poolings; transposed convolutions on the way up, but bilinear upsampling and a 1x1 at the middle level."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        one, two, four, eight = 16, 32, 64, 128
        self.down1 = DoubleConv(3, one)
        self.down2 = DoubleConv(one, two)
        self.down3 = DoubleConv(two, four)
        self.bottom = DoubleConv(four, eight)
        self.pool = nn.MaxPool2d(2)
        self.up3 = nn.ConvTranspose2d(eight, four, 2, stride=2)
        self.merge3 = DoubleConv(2 * four, four)
        self.up2 = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False), nn.Conv2d(four, two, 1)
        )
        self.merge2 = DoubleConv(2 * two, two)
        self.up1 = nn.ConvTranspose2d(two, one, 3, stride=2, padding=1, output_padding=1)
        self.merge1 = DoubleConv(2 * one, one)
        self.head = nn.Conv2d(one, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip1 = self.down1(x)
        skip2 = self.down2(self.pool(skip1))
        skip3 = self.down3(self.pool(skip2))
        x = self.bottom(self.pool(skip3))
        x = self.merge3(torch.cat([self.up3(x), skip3], 1))
        x = self.merge2(torch.cat([self.up2(x), skip2], 1))
        x = self.merge1(torch.cat([self.up1(x), skip1], 1))
        return self.head(x)


def unet(*, seed: int = 0, classes: int = 2) -> nn.Module:
    """U-Net (Ronneberger et al. 2015) with group normalisation (Wu and He 2018); sides must be multiples of 8.

    (batch, 3, height, width) to logits (batch, classes, height, width).
    """
    return _built(lambda: UNet(classes), seed)


class SqueezeExcite(nn.Module):
    """A gate for every channel, from the mean over the map (Hu et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, channels // 4, 1)
        self.relu = nn.ReLU()
        self.expand = nn.Conv2d(channels // 4, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.expand(self.relu(self.reduce(self.squeeze(x)))))


class InvertedResidual(nn.Module):
    """1x1 to widen, depthwise, squeeze and excitation if wanted, 1x1 to narrow without activation."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, excite: bool, activation: type[nn.Module]
    ) -> None:
        super().__init__()
        wide = 4 * inputs
        self.expand = ConvNorm(inputs, wide, 1, activation=activation)
        self.depthwise = ConvNorm(wide, wide, kernel, stride, groups=wide, activation=activation)
        self.excite = SqueezeExcite(wide) if excite else nn.Identity()
        self.project = ConvNorm(wide, outputs, 1, activation=None)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.excite(self.depthwise(self.expand(x))))
        return x + y if self.residual else y


class MobileNet(nn.Module):
    """Inverted residuals, with ReLU6 in the first half and hard swish in the second."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 16, 3, 2, activation=nn.Hardswish)
        rows = (
            # inputs, outputs, kernel, stride, squeeze and excitation, activation
            (16, 16, 3, 1, True, nn.ReLU6),
            (16, 24, 3, 2, False, nn.ReLU6),
            (24, 24, 3, 1, False, nn.ReLU6),
            (24, 40, 5, 2, True, nn.Hardswish),
            (40, 40, 5, 1, True, nn.Hardswish),
            (40, 64, 5, 2, True, nn.Hardswish),
            (64, 64, 5, 1, True, nn.Hardswish),
        )
        self.blocks = nn.Sequential(*(InvertedResidual(*row) for row in rows))
        self.last = ConvNorm(64, 256, 1, activation=nn.Hardswish)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Linear(256, 128), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(128, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.last(self.blocks(self.stem(x)))), 1))


def mobilenet(*, seed: int = 0, classes: int = 10) -> nn.Module:
    """MobileNetV2 and V3 blocks (Sandler et al. 2018, Howard et al. 2019); an image to logits (batch, classes)."""
    return _built(lambda: MobileNet(classes), seed)


class DenseLayer(nn.Module):
    """Normalise, ReLU, 1x1, normalise, ReLU, 3x3; adds ``growth`` maps to those it was given."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.relu1(self.norm1(x)))
        return torch.cat([x, self.conv2(self.relu2(self.norm2(y)))], 1)


class DenseNet(nn.Module):
    """Three dense blocks of four layers, transitions that halve width and size between them."""

    def __init__(self, classes: int, growth: int = 16, depth: int = 4) -> None:
        super().__init__()
        width = 2 * growth
        self.features = nn.Sequential()
        self.features.add_module("conv0", nn.Conv2d(3, width, 5, stride=2, padding=2, bias=False))
        for block in (1, 2, 3):
            dense = nn.Sequential()
            for layer in range(1, depth + 1):
                dense.add_module(f"denselayer{layer}", DenseLayer(width, growth))
                width += growth
            self.features.add_module(f"denseblock{block}", dense)
            if block < 3:
                transition = nn.Sequential()
                transition.add_module("norm", nn.BatchNorm2d(width))
                transition.add_module("relu", nn.ReLU())
                transition.add_module("conv", nn.Conv2d(width, width // 2, 1, bias=False))
                transition.add_module("pool", nn.AvgPool2d(2))
                self.features.add_module(f"transition{block}", transition)
                width //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(width))
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.features(x), inplace=True)
        return self.classifier(x.mean((2, 3)))


def densenet(*, seed: int = 0, classes: int = 10) -> nn.Module:
    """DenseNet-BC (Huang et al. 2017); an image to logits (batch, classes)."""
    return _built(lambda: DenseNet(classes), seed)


class InceptionA(nn.Module):
    """1x1, 5x5, two 3x3 and a mean over neighbours inside the map, side by side."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch1x1 = ConvNorm(inputs, 32, 1)
        self.branch5x5 = nn.Sequential(ConvNorm(inputs, 24, 1), ConvNorm(24, 32, 5))
        self.branch3x3 = nn.Sequential(ConvNorm(inputs, 32, 1), ConvNorm(32, 48, 3), ConvNorm(48, 48, 3))
        self.branch_pool = nn.Sequential(
            nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False), ConvNorm(inputs, 16, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1x1(x), self.branch5x5(x), self.branch3x3(x), self.branch_pool(x)], 1)


class Reduction(nn.Module):
    """Half the size by a strided convolution and by a max-pool whose last windows hang over the edge."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = nn.Sequential(ConvNorm(inputs, 32, 1), ConvNorm(32, 64, 3, stride=2))
        self.branch_pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch3x3(x), self.branch_pool(x)], 1)


class InceptionC(nn.Module):
    """7x7 taken apart into 1x7 and 7x1, once and twice; a mean over neighbours that counts the padding."""

    def __init__(self, inputs: int, middle: int = 40) -> None:
        super().__init__()
        row, column = (1, 7), (7, 1)
        self.branch1x1 = ConvNorm(inputs, 48, 1)
        self.branch7x7 = nn.Sequential(
            ConvNorm(inputs, middle, 1), ConvNorm(middle, middle, row), ConvNorm(middle, 48, column)
        )
        self.branch7x7dbl = nn.Sequential(
            ConvNorm(inputs, middle, 1),
            ConvNorm(middle, middle, column),
            ConvNorm(middle, middle, row),
            ConvNorm(middle, middle, column),
            ConvNorm(middle, 48, row),
        )
        self.branch_pool = nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1), ConvNorm(inputs, 48, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1x1(x), self.branch7x7(x), self.branch7x7dbl(x), self.branch_pool(x)], 1)


class Inception(nn.Module):
    """Side by side branches; the first pooling's last windows lie half outside the map (35 to 18)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem1 = ConvNorm(3, 24, 3, stride=2, padding=0)
        self.stem2 = ConvNorm(24, 48, 3, padding=0)
        self.pool = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
        self.mixed1 = InceptionA(48)
        self.mixed2 = InceptionA(128)
        self.reduction = Reduction(128)
        self.mixed3 = InceptionC(192)
        self.mixed4 = InceptionC(192)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.3)
        self.fc = nn.Linear(192, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.stem2(self.stem1(x)))
        x = self.mixed4(self.mixed3(self.reduction(self.mixed2(self.mixed1(x)))))
        return self.fc(self.dropout(torch.flatten(self.avgpool(x), 1)))


def inception(*, seed: int = 0, classes: int = 10) -> nn.Module:
    """Blocks of Inception v3 (Szegedy et al. 2016); (batch, 3, 75, 75) to logits (batch, classes)."""
    return _built(lambda: Inception(classes), seed)


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7, then channels last: layer normalisation, linear, GELU, linear, a scale for each channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(4 * width, width)
        self.layer_scale = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.layer_scale * self.pwconv2(self.act(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of (batch, channels, height, width)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """Patches of 4x4, three stages, layer normalisation and a 2x2 convolution of stride 2 between them."""

    def __init__(self, classes: int, widths: tuple[int, ...] = (32, 64, 128), depths: tuple[int, ...] = (2, 2, 3)):
        super().__init__()
        self.downsample_layers = nn.ModuleList()
        self.stages = nn.ModuleList()
        before = 3
        for width, depth in zip(widths, depths, strict=True):
            if before == 3:
                down = nn.Sequential(nn.Conv2d(before, width, 4, stride=4), ChannelNorm(width, eps=1e-6))
            else:
                down = nn.Sequential(ChannelNorm(before, eps=1e-6), nn.Conv2d(before, width, 2, stride=2))
            self.downsample_layers.append(down)
            self.stages.append(nn.Sequential(*(ConvNeXtBlock(width) for _ in range(depth))))
            before = width
        self.norm = nn.LayerNorm(before, eps=1e-6)
        self.head = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        for down, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(down(x))
        return self.head(self.norm(x.mean([-2, -1])))


def convnext(*, seed: int = 0, classes: int = 10) -> nn.Module:
    """ConvNeXt (Liu et al. 2022); an image, sides multiples of 16, to logits (batch, classes)."""
    return _built(lambda: ConvNeXt(classes), seed)


class CSP(nn.Module):
    """Half of the maps go through residual bottlenecks, half go round them; 1x1 before and after."""

    def __init__(self, inputs: int, outputs: int, depth: int, shortcut: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.cv1 = ConvNorm(inputs, half, 1, activation=nn.SiLU)
        self.cv2 = ConvNorm(inputs, half, 1, activation=nn.SiLU)
        self.m = nn.ModuleList(
            nn.Sequential(ConvNorm(half, half, 1, activation=nn.SiLU), ConvNorm(half, half, 3, activation=nn.SiLU))
            for _ in range(depth)
        )
        self.cv3 = ConvNorm(2 * half, outputs, 1, activation=nn.SiLU)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv1(x)
        for block in self.m:
            y = y + block(y) if self.shortcut else block(y)
        return self.cv3(torch.cat([y, self.cv2(x)], 1))


class SPP(nn.Module):
    """Spatial pyramid pooling: maxima over 5x5, 9x9 and 13x13 beside the map itself (He et al. 2015)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cv1 = ConvNorm(width, width // 2, 1, activation=nn.SiLU)
        self.m = nn.ModuleList(nn.MaxPool2d(k, stride=1, padding=k // 2) for k in (5, 9, 13))
        self.cv2 = ConvNorm(2 * width, width, 1, activation=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cv1(x)
        return self.cv2(torch.cat([x] + [pool(x) for pool in self.m], 1))


class YOLO(nn.Module):
    """CSP backbone, path aggregation up and down, one 1x1 head for each of three strides."""

    def __init__(self, classes: int, anchors: int = 3) -> None:
        super().__init__()

        def down(inputs: int, outputs: int) -> ConvNorm:
            return ConvNorm(inputs, outputs, 3, 2, activation=nn.SiLU)

        a, b, c, d = 32, 64, 96, 128
        self.stem = ConvNorm(3, 16, 6, 2, padding=2, activation=nn.SiLU)
        self.stage2 = nn.Sequential(down(16, a), CSP(a, a, 1))
        self.stage3 = nn.Sequential(down(a, b), CSP(b, b, 2))
        self.stage4 = nn.Sequential(down(b, c), CSP(c, c, 2))
        self.stage5 = nn.Sequential(down(c, d), CSP(d, d, 1), SPP(d))
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.lateral5 = ConvNorm(d, c, 1, activation=nn.SiLU)
        self.up4 = CSP(2 * c, c, 1, shortcut=False)
        self.lateral4 = ConvNorm(c, b, 1, activation=nn.SiLU)
        self.up3 = CSP(2 * b, b, 1, shortcut=False)
        self.down4 = down(b, b)
        self.merge4 = CSP(2 * b, c, 1, shortcut=False)
        self.down5 = down(c, c)
        self.merge5 = CSP(2 * c, d, 1, shortcut=False)
        self.heads = nn.ModuleList(nn.Conv2d(width, anchors * (5 + classes), 1) for width in (b, c, d))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        three = self.stage3(self.stage2(self.stem(x)))
        four = self.stage4(three)
        five = self.lateral5(self.stage5(four))
        four = self.lateral4(self.up4(torch.cat([self.upsample(five), four], 1)))
        three = self.up3(torch.cat([self.upsample(four), three], 1))
        middle = self.merge4(torch.cat([self.down4(three), four], 1))
        coarse = self.merge5(torch.cat([self.down5(middle), five], 1))
        fine_head, middle_head, coarse_head = self.heads
        return fine_head(three), middle_head(middle), coarse_head(coarse)


def yolo_like(*, seed: int = 0, classes: int = 4) -> nn.Module:
    """A detector in the manner of YOLOv5: CSP (Wang et al. 2020), SPP, path aggregation (Liu et al. 2018).

    (batch, 3, height, width), sides multiples of 32, to three raw maps (batch, 3 * (5 + classes), h, w) of strides
    8, 16 and 32.
    """
    return _built(lambda: YOLO(classes), seed)


class TemporalBlock(nn.Module):
    """Two dilated convolutions with weight normalisation around a shortcut; length kept."""

    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        padding = 2 * dilation
        self.conv1 = parametrizations.weight_norm(
            nn.Conv1d(inputs, outputs, 5, padding=padding, dilation=dilation, padding_mode="zeros")
        )
        self.conv2 = parametrizations.weight_norm(
            nn.Conv1d(outputs, outputs, 5, padding=padding, dilation=dilation, groups=2)
        )
        self.downsample = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.conv2(F.relu(self.conv1(x))), 0.1)
        return F.relu(y + self.downsample(x))


class SignalNet(nn.Module):
    """Strided stem, dilated residual blocks, mean and maximum over time."""

    def __init__(self, classes: int, width: int = 48) -> None:
        super().__init__()
        self.stem = nn.Conv1d(2, 24, 9, stride=2, padding=4)
        self.norm = nn.BatchNorm1d(24)
        self.act = nn.ELU()
        self.blocks = nn.Sequential(
            TemporalBlock(24, width, 1), *(TemporalBlock(width, width, dilation) for dilation in (2, 4, 8))
        )
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.act(self.norm(self.stem(x))))
        return self.head(torch.cat([x.mean(2), x.amax(2)], 1))


def signal_net(*, seed: int = 0, classes: int = 5) -> nn.Module:
    """Temporal convolutional network (Bai et al. 2018) with weight normalisation (Salimans and Kingma 2016).

    (batch, 2, samples) to logits (batch, classes). Convolutions ``conv1`` and ``conv2`` keep direction and length of
    their filters apart; the weight they work with is computed from both.
    """
    return _built(lambda: SignalNet(classes), seed)


class VolumeBlock(nn.Sequential):
    """Two 3x3x3 convolutions, each with batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        for i, before in enumerate((inputs, outputs), start=1):
            self.add_module(f"conv{i}", nn.Conv3d(before, outputs, 3, padding=1, bias=False))
            self.add_module(f"norm{i}", nn.BatchNorm3d(outputs))
            self.add_module(f"relu{i}", nn.ReLU())


class VolumeNet(nn.Module):
    """Two poolings, two transposed convolutions, skips."""

    def __init__(self) -> None:
        super().__init__()
        self.enc1 = VolumeBlock(1, 8)
        self.enc2 = VolumeBlock(8, 16)
        self.bottom = VolumeBlock(16, 32)
        self.pool = nn.MaxPool3d(2)
        self.up2 = nn.ConvTranspose3d(32, 16, 2, stride=2)
        self.dec2 = VolumeBlock(32, 16)
        self.up1 = nn.ConvTranspose3d(16, 8, (4, 2, 2), stride=2, padding=(1, 0, 0))
        self.dec1 = VolumeBlock(16, 8)
        self.head = nn.Conv3d(8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip1 = self.enc1(x)
        skip2 = self.enc2(self.pool(skip1))
        x = self.bottom(self.pool(skip2))
        x = self.dec2(torch.cat([self.up2(x), skip2], 1))
        x = self.dec1(torch.cat([self.up1(x), skip1], 1))
        return torch.sigmoid(self.head(x))


def volume_net(*, seed: int = 0) -> nn.Module:
    """3D U-Net (Çiçek et al. 2016): (batch, 1, depth, height, width), sides multiples of 4, to probabilities."""
    return _built(VolumeNet, seed)


class SharedTwice(nn.Module):
    """One trunk for both inputs; the second steers the first, channel by channel."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.shared = nn.Conv2d(3, width, 3, padding=1)
        self.reflected = nn.Conv2d(width, width, 5, padding=2, padding_mode="reflect")
        self.around = nn.Conv2d(width, width, 3, padding=(1, 1), padding_mode="circular")
        self.same = nn.Conv2d(width, width, (5, 3), padding="same", dilation=(1, 2))
        self.norm = nn.BatchNorm2d(width)
        self.map = nn.Conv2d(width, 1, 3, padding="valid")
        self.score = nn.Linear(2 * width, 1)

    def forward(self, search: Tensor, template: Tensor) -> dict[str, Tensor]:
        x = F.relu(self.shared(search))
        z = F.relu(self.around(F.relu(self.shared(template)))).amax((2, 3), keepdim=True)
        y = F.mish(self.norm(self.same(F.relu(self.reflected(x)) * torch.sigmoid(z))))
        pooled = torch.cat([y.mean((2, 3)), z.flatten(1)], 1)
        return {"map": self.map(y), "score": self.score(pooled)}


def shared_twice(*, seed: int = 0) -> nn.Module:
    """Siamese network (Bromley et al. 1993): (batch, 3, h, w) to search in, (batch, 3, h', w') to look for.

    Returns a dictionary: ``map`` (batch, 1, h - 2, w - 2) and ``score`` (batch, 1). ``shared`` is one
    convolution applied to both; the others pad by reflection, by wrapping round, by "same" and by "valid".
    """
    return _built(SharedTwice, seed)
