"""Small networks with the structure of the known ones, in PyTorch; torch is imported by whoever calls `networks`."""

from __future__ import annotations


def networks():
    """By name: (module, shape of its input). Weights are seeded."""
    import torch
    from torch import nn
    from torch.nn import functional as f

    def conv(i, o, k=3, s=1, g=1, act=nn.ReLU, norm=nn.BatchNorm2d, d=1):
        layers = [nn.Conv2d(i, o, k, s, d * (k - 1) // 2, d, g, bias=norm is None)]
        layers += [norm(o)] if norm else []
        return nn.Sequential(*layers, *([act()] if act else []))

    class Residual(nn.Module):
        def __init__(self, i, o, s):
            super().__init__()
            self.body = nn.Sequential(conv(i, o, 3, s), conv(o, o, act=None))
            self.skip = conv(i, o, 1, s, act=None) if s > 1 or i != o else nn.Identity()

        def forward(self, x):
            return torch.relu(self.body(x) + self.skip(x))

    class Gate(nn.Module):
        """Squeeze and excitation."""

        def __init__(self, c, act=nn.SiLU, gate=nn.Sigmoid):
            super().__init__()
            self.gate = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, c // 2, 1), act(), nn.Conv2d(c // 2, c, 1), gate()
            )

        def forward(self, x):
            return x * self.gate(x)

    class Inverted(nn.Module):
        """An inverted bottleneck with a depthwise convolution."""

        def __init__(self, c, o, s, act, gate=None, k=3):
            super().__init__()
            inner = [conv(c, 3 * c, 1, act=act), conv(3 * c, 3 * c, k, s, 3 * c, act)]
            self.body = nn.Sequential(*inner, *([gate] if gate else []), conv(3 * c, o, 1, act=None))
            self.same = s == 1 and c == o

        def forward(self, x):
            return x + self.body(x) if self.same else self.body(x)

    class Dense(nn.Module):
        """Pre-activated layers that see all before them."""

        def __init__(self, c, growth, depth):
            super().__init__()
            self.layers = nn.ModuleList(
                nn.Sequential(
                    nn.BatchNorm2d(c + i * growth), nn.ReLU(), nn.Conv2d(c + i * growth, growth, 3, padding=1)
                )
                for i in range(depth)
            )

        def forward(self, x):
            for layer in self.layers:
                x = torch.cat([x, layer(x)], 1)
            return x

    class Inception(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.a = conv(c, 4, 1)
            self.b = nn.Sequential(nn.Conv2d(c, 4, (1, 5), padding=(0, 2)), nn.Conv2d(4, 4, (5, 1), padding=(2, 0)))
            self.c = nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), conv(c, 4, 1))
            self.d = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(c, 4, 1))

        def forward(self, x):
            return torch.cat([self.a(x), torch.relu(self.b(x)), self.c(x), self.d(x)], 1)

    class UNet(nn.Module):
        def __init__(self, up):
            super().__init__()
            self.up, self.top = up, conv(3, 6)
            self.down = nn.Sequential(nn.MaxPool2d(2), conv(6, 8))
            self.raise_ = nn.ConvTranspose2d(8, 6, 2, 2) if up == "transposed" else conv(8, 6, 1)
            self.out = nn.Sequential(conv(12, 6), nn.Conv2d(6, 2, 1))

        def forward(self, x):
            top = self.top(x)
            low = self.raise_(self.down(top))
            if self.up != "transposed":
                options = {} if self.up == "nearest" else {"align_corners": self.up == "corners"}
                mode = self.up if self.up in ("nearest", "bicubic") else "bilinear"
                low = f.interpolate(low, size=top.shape[2:], mode=mode, **options)
            return self.out(torch.cat([top, low], 1))

    class LayerNorm2d(nn.LayerNorm):
        def forward(self, x):
            return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    class ConvNext(nn.Module):
        def __init__(self, c, approximate):
            super().__init__()
            self.depth, self.norm = nn.Conv2d(c, c, 7, padding=3, groups=c), nn.LayerNorm(c, eps=1e-6)
            self.mlp = nn.Sequential(nn.Linear(c, 4 * c), nn.GELU(approximate), nn.Linear(4 * c, c))
            self.scale = nn.Parameter(torch.full((c,), 0.5))

        def forward(self, x):
            y = self.mlp(self.norm(self.depth(x).permute(0, 2, 3, 1))) * self.scale
            return x + y.permute(0, 3, 1, 2)

    class Yolo(nn.Module):
        """Cross-stage blocks with split, fast pyramid pooling, nearest upsampling, a distribution head."""

        def __init__(self):
            super().__init__()
            silu = nn.SiLU
            self.stem, self.one, self.two = conv(3, 8, 3, 2, act=silu), conv(8, 8, act=silu), conv(4, 4, act=silu)
            self.join, self.low = conv(12, 8, 1, act=silu), conv(8, 8, 3, 2, act=silu)
            self.pool, self.mix = nn.MaxPool2d(5, 1, 2), conv(32, 8, 1, act=silu)
            self.head = nn.Conv2d(16, 4 * 5 + 3, 1)

        def forward(self, x):
            a, b = self.one(self.stem(x)).chunk(2, 1)
            p3 = self.join(torch.cat([a, b, self.two(b)], 1))
            pools = [self.low(p3)]
            for _ in range(3):
                pools.append(self.pool(pools[-1]))
            p4 = self.mix(torch.cat(pools, 1))
            y = self.head(torch.cat([p3, f.interpolate(p4, scale_factor=2.0, mode="nearest")], 1))
            box, classes = y.flatten(2).split([20, 3], 1)
            box = box.reshape(box.shape[0], 4, 5, -1).softmax(2)
            place = (box * torch.arange(5, dtype=box.dtype).reshape(1, 1, 5, 1)).sum(2)
            return torch.cat([place, classes.sigmoid()], 1)

    class Shuffle(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.body = nn.Sequential(
                conv(c // 2, c // 2, 1), conv(c // 2, c // 2, g=c // 2, act=None), conv(c // 2, c // 2, 1)
            )

        def forward(self, x):
            a, b = x.chunk(2, 1)
            y = torch.cat([a, self.body(b)], 1)
            n, c, h, w = y.shape
            return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)

    class Attention(nn.Module):
        """Patches, a class token, one head of attention."""

        def __init__(self, c=8):
            super().__init__()
            self.patch, self.token = nn.Conv2d(3, c, 4, 4), nn.Parameter(torch.randn(1, 1, c))
            self.place, self.norm = nn.Parameter(torch.randn(1, 17, c)), nn.LayerNorm(c)
            self.qkv, self.out = nn.Linear(c, 3 * c), nn.Linear(c, 5)

        def forward(self, x):
            x = self.patch(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
            q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
            x = x + (q @ k.transpose(-1, -2) * 0.35).softmax(-1) @ v
            return self.out(x[:, 0])

    class Pyramid(nn.Module):
        """Pools of several sizes, dilated convolutions, all resized and joined."""

        def __init__(self, c):
            super().__init__()
            self.pools = nn.ModuleList(nn.Sequential(nn.AdaptiveAvgPool2d(n), nn.Conv2d(c, 4, 1)) for n in (1, 2, 4))
            self.wide = nn.ModuleList(conv(c, 4, d=d) for d in (2, 4))

        def forward(self, x):
            found = [f.interpolate(p(x), size=(16, 16), mode="bilinear", align_corners=False) for p in self.pools]
            return torch.cat([x, *found, *(w(x) for w in self.wide)], 1)

    def head(c, n=5):
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, n))

    image = (2, 3, 32, 32)
    hard = (nn.Hardswish, nn.Hardsigmoid)
    kinds = [
        nn.LeakyReLU(0.2),
        nn.PReLU(6),
        nn.ELU(1.3),
        nn.SELU(),
        nn.CELU(1.5),
        nn.Softplus(),
        nn.Softsign(),
        nn.Mish(),
    ]
    made = {
        "vgg": lambda: (
            nn.Sequential(
                conv(3, 6, norm=None),
                conv(6, 6, norm=None),
                nn.MaxPool2d(2),
                conv(6, 8),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Linear(512, 16),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(16, 5),
            ),
            image,
        ),
        "alexnet": lambda: (
            nn.Sequential(
                nn.Conv2d(3, 6, 11, 4, 2),
                nn.ReLU(),
                nn.LocalResponseNorm(3),
                nn.MaxPool2d(3, 2),
                conv(6, 6, 5, g=2),
                head(6),
            ),
            (2, 3, 63, 61),
        ),
        "resnet": lambda: (
            nn.Sequential(conv(3, 6, 7, 2), nn.MaxPool2d(3, 2, 1), Residual(6, 6, 1), Residual(6, 8, 2), head(8)),
            (2, 3, 45, 51),
        ),
        "resnext": lambda: (nn.Sequential(conv(3, 8, s=2), conv(8, 8, g=4), conv(8, 8, s=2, g=2), head(8)), image),
        "mobilenet-v2": lambda: (
            nn.Sequential(
                conv(3, 6, s=2, act=nn.ReLU6), Inverted(6, 6, 1, nn.ReLU6), Inverted(6, 8, 2, nn.ReLU6), head(8)
            ),
            (2, 3, 33, 31),
        ),
        "mobilenet-v3": lambda: (
            nn.Sequential(
                conv(3, 6, s=2, act=nn.Hardswish), Inverted(6, 6, 1, nn.Hardswish, Gate(18, *hard), 5), head(6)
            ),
            image,
        ),
        "efficientnet": lambda: (
            nn.Sequential(
                conv(3, 6, s=2, act=nn.SiLU),
                Inverted(6, 6, 1, nn.SiLU, Gate(18)),
                Inverted(6, 8, 2, nn.SiLU, Gate(18), 5),
                head(8),
            ),
            image,
        ),
        "densenet": lambda: (
            nn.Sequential(
                conv(3, 6, s=2),
                Dense(6, 3, 3),
                conv(15, 8, 1),
                nn.AvgPool2d(2),
                Dense(8, 3, 2),
                nn.BatchNorm2d(14),
                nn.ReLU(),
                head(14),
            ),
            image,
        ),
        "inception": lambda: (
            nn.Sequential(conv(3, 6, s=2), nn.MaxPool2d(3, 2, ceil_mode=True), Inception(6), nn.AvgPool2d(2), head(16)),
            image,
        ),
        "squeezenet": lambda: (
            nn.Sequential(
                nn.Conv2d(3, 6, 3, 2),
                nn.ReLU(),
                nn.MaxPool2d(3, 2, ceil_mode=True),
                conv(6, 4, 1, norm=None),
                conv(4, 5, 1, norm=None),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
            ),
            image,
        ),
        "unet-transposed": lambda: (UNet("transposed"), image),
        "unet-nearest": lambda: (UNet("nearest"), (2, 3, 31, 29)),
        "unet-bilinear": lambda: (UNet("bilinear"), (2, 3, 30, 33)),
        "unet-corners": lambda: (UNet("corners"), (2, 3, 30, 33)),
        "unet-bicubic": lambda: (UNet("bicubic"), image),
        "convnext": lambda: (
            nn.Sequential(nn.Conv2d(3, 6, 4, 4), LayerNorm2d(6), ConvNext(6, "none"), ConvNext(6, "tanh"), head(6)),
            image,
        ),
        "yolo": lambda: (Yolo(), image),
        "shufflenet": lambda: (nn.Sequential(conv(3, 8, s=2), Shuffle(8), Shuffle(8), head(8)), image),
        "attention": lambda: (Attention(), (2, 3, 16, 16)),
        "pyramid": lambda: (nn.Sequential(conv(3, 6), Pyramid(6), nn.Conv2d(26, 3, 1)), (2, 3, 16, 16)),
        "style": lambda: (
            nn.Sequential(
                nn.ReflectionPad2d(3),
                nn.Conv2d(3, 6, 7),
                nn.InstanceNorm2d(6, affine=True),
                nn.ReLU(),
                nn.ReplicationPad2d(1),
                nn.Conv2d(6, 6, 3, 2),
                nn.GroupNorm(2, 6),
                nn.Mish(),
                nn.Upsample(scale_factor=2),
                nn.Conv2d(6, 3, 3, padding=1),
                nn.Tanh(),
            ),
            (2, 3, 20, 22),
        ),
        "super-resolution": lambda: (
            nn.Sequential(conv(3, 6, norm=None, act=nn.Tanh), nn.Conv2d(6, 12, 3, padding=1), nn.PixelShuffle(2)),
            (2, 3, 12, 14),
        ),
        "activations": lambda: (
            nn.Sequential(
                nn.Conv2d(3, 6, 3),
                *(layer for kind in kinds for layer in (kind, nn.Conv2d(6, 6, 1))),
                head(6),
                nn.LogSoftmax(1),
            ),
            (2, 3, 8, 8),
        ),
        "audio": lambda: (
            nn.Sequential(
                nn.Conv1d(1, 6, 9, 4, 4),
                nn.BatchNorm1d(6),
                nn.ReLU(),
                nn.MaxPool1d(3, 2),
                nn.Conv1d(6, 6, 3, dilation=2),
                nn.GELU(),
                nn.AdaptiveAvgPool1d(1),
                nn.Flatten(),
                nn.Linear(6, 4),
            ),
            (2, 1, 200),
        ),
        "volume": lambda: (
            nn.Sequential(
                nn.Conv3d(1, 4, 3, padding=1),
                nn.BatchNorm3d(4),
                nn.ReLU(),
                nn.MaxPool3d(2),
                nn.ConvTranspose3d(4, 3, 2, 2),
                nn.Sigmoid(),
            ),
            (2, 1, 8, 10, 6),
        ),
    }

    def build(name):
        torch.manual_seed(sum(name.encode()))
        module, shape = made[name]()
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.running_mean.uniform_(-0.3, 0.3)
                part.running_var.uniform_(0.5, 1.5)
        return module.eval(), shape

    return {name: build(name) for name in made}


NAMES = (
    "vgg alexnet resnet resnext mobilenet-v2 mobilenet-v3 efficientnet densenet inception squeezenet unet-transposed "
    "unet-nearest unet-bilinear unet-corners unet-bicubic convnext yolo shufflenet attention pyramid style "
    "super-resolution activations audio volume"
).split()
