"""Detectors rebuilt small, with the arithmetic of their sources, and what they score; torch is imported by the caller.

Sources: YOLOv5 `models/yolo.py` (Detect), YOLOv8 and v11 (Ultralytics: Detect, DFL, dist2bbox), YOLOv7's end-to-end
export (`ORT_NMS`), YOLOX (`YOLOXHead`), SSD (qfgaohao/pytorch-ssd: `center_form_to_corner_form`), DETR (Carion et al.).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onnx

SIZE = 64
CLASSES = 3
NAMES = "{0: 'cat', 1: 'dog', 2: 'owl'}"


@dataclass(frozen=True)
class Detector:
    """A detector's torch module, and what its export is asked for.

    Attributes:
        module: called with (N, 3, 64, 64), gives what the export gives.
        scores: (N, 3, 64, 64) to (N, boxes, classes): what is explained of a box.
        probabilities: the same of what boxes are ranked by.
        corners: the same to (N, boxes, 4) in pixels; None where the export does not tell.
        layers: the modules whose activations are looked at, one for each stride; () where that is not tested.
        names: whether the export holds the names of the classes.
        background: which class is none.
    """

    module: Any
    scores: Callable[[Any], Any]
    probabilities: Callable[[Any], Any]
    corners: Callable[[Any], Any] | None
    layers: tuple[Any, ...] = ()
    names: bool = False
    background: int | None = None

    def proto(self, dynamo: bool = False, dynamic: bool = False, opset: int = 17) -> onnx.ModelProto:
        """The export."""
        import torch

        self.module.eval()
        file = io.BytesIO()
        example = (torch.zeros(1, 3, SIZE, SIZE),)
        axes = {"dynamic_axes": {"images": {0: "batch", 2: "height", 3: "width"}}} if dynamic else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sizes become constants, the exporter is the old one
            if dynamo:
                made = torch.onnx.export(self.module, example, dynamo=True, verbose=False, input_names=["images"])
                proto = made.model_proto
            else:
                torch.onnx.export(
                    self.module, example, file, opset_version=opset, dynamo=False, input_names=["images"], **axes
                )
                proto = onnx.load_from_string(file.getvalue())
        if self.names:
            for key, value in (("names", NAMES), ("task", "detect"), ("stride", "32")):
                proto.metadata_props.add(key=key, value=value)
        return proto


def detectors() -> dict[str, Callable[[], Detector]]:
    """By name; weights are seeded."""
    import torch
    from torch import nn

    def conv(i, o, k=3, s=1, g=1):
        return nn.Sequential(nn.Conv2d(i, o, k, s, k // 2, groups=g), nn.SiLU())

    class Backbone(nn.Module):
        """Features at strides 8, 16 and 32, the coarser ones mixed into the finer ones."""

        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(conv(3, 8, 3, 4), conv(8, 8, 3, 2))
            self.down = nn.ModuleList([conv(8, 8, 3, 2), conv(8, 8, 3, 2)])
            self.mixed = nn.ModuleList([conv(16, 8), conv(16, 8), conv(8, 8)])

        def forward(self, x):
            fine = self.stem(x)
            middle = self.down[0](fine)
            coarse = self.mixed[2](self.down[1](middle))
            middle = self.mixed[1](torch.cat([middle, nn.functional.interpolate(coarse, scale_factor=2)], 1))
            return [
                self.mixed[0](torch.cat([fine, nn.functional.interpolate(middle, scale_factor=2)], 1)),
                middle,
                coarse,
            ]

    def lively(module, seed):
        """Weights that make boxes differ."""
        torch.manual_seed(seed)
        for name, weight in module.named_parameters():
            if weight.ndim > 1:
                nn.init.normal_(weight, 0, 1.7 / weight[0].numel() ** 0.5)
            elif name.endswith("bias"):
                nn.init.normal_(weight, 0, 0.3)
        return module.eval()

    class Picked(torch.autograd.Function):
        """NonMaxSuppression, as end-to-end exports write it; without ONNX it gives three boxes."""

        @staticmethod
        def forward(ctx, boxes, scores, most, overlap, least):
            return torch.tensor([[0, 0, 0], [0, 1, 5], [0, 2, 7]])

        @staticmethod
        def symbolic(g, boxes, scores, most, overlap, least):
            return g.op("NonMaxSuppression", boxes, scores, most, overlap, least)

    def picked(corners, scores):
        """(K, 7): sample, corners, class, score; corners (1, A, 4), scores (1, A, C)."""
        number = torch.tensor
        rows = Picked.apply(corners, scores.transpose(1, 2), number([20]), number([0.45]), number([0.05]))
        sample, class_, box = rows[:, 0], rows[:, 1], rows[:, 2]
        kept = corners[sample, box, :]
        score = scores.transpose(1, 2)[sample, class_, box]
        return torch.cat([sample[:, None].float(), kept, class_[:, None].float(), score[:, None]], 1)

    def best(corners, scores, most=9):
        """(1, most, 6): the boxes with the largest scores, as exports without suppression write them."""
        flat, order = scores.flatten(1).topk(most)
        box, class_ = order // scores.shape[2], order % scores.shape[2]
        kept = corners.gather(1, box[..., None].repeat(1, 1, 4))
        return torch.cat([kept, flat[..., None], class_[..., None].float()], -1)

    def to_corners(boxes):
        return torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)

    class AnchorFree(nn.Module):
        """YOLOv8; with `depthwise`, YOLOv11."""

        def __init__(self, form, depthwise=False):
            super().__init__()
            self.form, self.backbone = form, Backbone()
            thin = (lambda: nn.Sequential(conv(8, 8, g=8), conv(8, 8, 1))) if depthwise else lambda: conv(8, 8)
            self.cv2 = nn.ModuleList([nn.Sequential(conv(8, 8), conv(8, 8), nn.Conv2d(8, 64, 1)) for _ in range(3)])
            self.cv3 = nn.ModuleList([nn.Sequential(thin(), thin(), nn.Conv2d(8, CLASSES, 1)) for _ in range(3)])
            self.dfl = nn.Conv2d(16, 1, 1, bias=False).requires_grad_(False)

        def raw(self, x):
            features = self.backbone(x)
            return [
                torch.cat([box(f), score(f)], 1) for box, score, f in zip(self.cv2, self.cv3, features, strict=True)
            ]

        def parts(self, x):
            flat = torch.cat([one.view(one.shape[0], 64 + CLASSES, -1) for one in self.raw(x)], 2)
            return flat.split((64, CLASSES), 1)

        def distances(self, x):
            box = self.parts(x)[0]
            n, _, a = box.shape
            return self.dfl(box.view(n, 4, 16, a).transpose(2, 1).softmax(1)).view(n, 4, a)

        def anchors(self):
            found = []
            for stride in (8, 16, 32):
                side = torch.arange(SIZE // stride) + 0.5
                rows, across = torch.meshgrid(side, side, indexing="ij")
                found.append((torch.stack([across, rows]).view(2, -1), torch.full((1, side.numel() ** 2), stride)))
            return torch.cat([one for one, _ in found], 1)[None], torch.cat([one for _, one in found], 1).float()

        def decoded(self, x, corners=False):
            anchors, strides = self.anchors()
            low, high = self.distances(x).chunk(2, 1)
            first, last = anchors - low, anchors + high
            if corners:
                return torch.cat([first, last], 1) * strides
            return torch.cat([(first + last) / 2, last - first], 1) * strides

        def forward(self, x):
            if self.form == "raw":
                return tuple(self.raw(x))
            boxes, scores = self.decoded(x, self.form in ("nms", "best")), self.parts(x)[1].sigmoid()
            if self.form == "nms":
                return picked(boxes.transpose(1, 2), scores.transpose(1, 2))
            y = torch.cat([boxes, scores], 1)
            if self.form == "best":
                boxes, scores = y.permute(0, 2, 1).split((4, CLASSES), -1)
                return best(boxes, scores)
            return torch.cat([y, self.parts(x)[0][:, :5].sin()], 1) if self.form == "masks" else y

    def anchor_free(form, depthwise=False, names=True):
        net = lively(AnchorFree(form, depthwise), 1)
        net.dfl.weight.data[:] = torch.arange(16.0).view(1, 16, 1, 1)
        return Detector(
            net,
            lambda x: net.parts(x)[1].transpose(1, 2),
            lambda x: net.parts(x)[1].transpose(1, 2).sigmoid(),
            lambda x: net.decoded(x, True).transpose(1, 2),
            tuple(one[1] for one in net.cv3),
            names,
        )

    class Anchored(nn.Module):
        """YOLOv5; `form` "flat" as v3 and v4 export what their convolutions give."""

        anchors = torch.tensor(
            [[[10.0, 13], [16, 30], [33, 23]], [[30, 61], [62, 45], [59, 119]], [[60, 40], [15, 19], [3, 32]]]
        )

        def __init__(self, form):
            super().__init__()
            self.form, self.backbone = form, Backbone()
            self.m = nn.ModuleList([nn.Conv2d(8, 3 * (5 + CLASSES), 1) for _ in range(3)])

        def flat(self, x):
            return [one(f) for one, f in zip(self.m, self.backbone(x), strict=True)]

        def raw(self, x):
            n = 5 + CLASSES
            return [
                y.view(y.shape[0], 3, n, y.shape[2], y.shape[3]).permute(0, 1, 3, 4, 2).contiguous()
                for y in self.flat(x)
            ]

        def decoded(self, x):
            found = []
            for y, anchors, stride in zip(self.raw(x), self.anchors, (8, 16, 32), strict=True):
                side = torch.arange(y.shape[3]).float()
                rows, across = torch.meshgrid(side, side, indexing="ij")
                grid = torch.stack([across, rows], 2) - 0.5
                xy, wh, conf = y.sigmoid().split((2, 2, 1 + CLASSES), 4)
                xy = (xy * 2 + grid) * stride
                wh = (wh * 2) ** 2 * anchors.view(1, 3, 1, 1, 2)
                found.append(torch.cat([xy, wh, conf], 4).view(y.shape[0], -1, 5 + CLASSES))
            return torch.cat(found, 1)

        def product(self, x):
            y = self.decoded(x)
            return y[..., 5:] * y[..., 4:5]

        def forward(self, x):
            if self.form in ("raw", "flat"):
                return tuple(self.raw(x) if self.form == "raw" else self.flat(x))
            if self.form == "nms":
                return picked(to_corners(self.decoded(x)[..., :4]), self.product(x))
            return self.decoded(x)

        def cells(self, x):
            found = []
            for stride in (8, 16, 32):
                side = torch.arange(SIZE // stride).float()
                rows, across = torch.meshgrid(side, side, indexing="ij")
                corner = torch.stack([across, rows, across + 1, rows + 1], 2).view(-1, 4) * stride
                found.append(corner.repeat(3, 1))
            return torch.cat(found)[None]

    def anchored(form, names=True):
        net = lively(Anchored(form), 2)
        corners = net.cells if form in ("raw", "flat") else lambda x: to_corners(net.decoded(x)[..., :4])
        return Detector(net, net.product, net.product, corners, tuple(net.backbone.mixed), names)

    class X(nn.Module):
        """YOLOX."""

        def __init__(self, form):
            super().__init__()
            self.form, self.backbone = form, Backbone()
            self.stems = nn.ModuleList([conv(8, 8, 1) for _ in range(3)])
            self.cls = nn.ModuleList([nn.Sequential(conv(8, 8), nn.Conv2d(8, CLASSES, 1)) for _ in range(3)])
            self.reg = nn.ModuleList([conv(8, 8) for _ in range(3)])
            self.box, self.obj = (nn.ModuleList([nn.Conv2d(8, o, 1) for _ in range(3)]) for o in (4, 1))

        def raw(self, x):
            found = []
            for k, f in enumerate(self.backbone(x)):
                f = self.stems[k](f)
                reg = self.reg[k](f)
                found.append(torch.cat([self.box[k](reg), self.obj[k](reg).sigmoid(), self.cls[k](f).sigmoid()], 1))
            return torch.cat([one.flatten(start_dim=2) for one in found], 2).permute(0, 2, 1)

        def decoded(self, x):
            grids, strides = [], []
            for stride in (8, 16, 32):
                side = torch.arange(SIZE // stride)
                rows, across = torch.meshgrid(side, side, indexing="ij")
                grids.append(torch.stack([across, rows], 2).view(1, -1, 2))
                strides.append(torch.full((1, side.numel() ** 2, 1), stride))
            grid, stride, y = torch.cat(grids, 1).float(), torch.cat(strides, 1).float(), self.raw(x)
            return torch.cat([(y[..., :2] + grid) * stride, torch.exp(y[..., 2:4]) * stride, y[..., 4:]], -1)

        def product(self, x):
            y = self.raw(x)
            return y[..., 5:] * y[..., 4:5]

        def forward(self, x):
            return self.raw(x) if self.form == "raw" else self.decoded(x)

    def yolox(form):
        net = lively(X(form), 3)
        return Detector(
            net, net.product, net.product, lambda x: to_corners(net.decoded(x)[..., :4]), tuple(net.stems)
        )  # fmt: skip

    class SSD(nn.Module):
        """Two strides, two boxes a cell; class 0 is background."""

        def __init__(self, form):
            super().__init__()
            self.form, self.backbone = form, Backbone()
            self.cls = nn.ModuleList([nn.Conv2d(8, 2 * (CLASSES + 1), 3, padding=1) for _ in range(2)])
            self.reg = nn.ModuleList([nn.Conv2d(8, 8, 3, padding=1) for _ in range(2)])
            priors = []
            for stride in (8, 16):
                side = (torch.arange(SIZE // stride) + 0.5) * stride / SIZE
                rows, across = torch.meshgrid(side, side, indexing="ij")
                for wide in (0.2, 0.4):
                    priors.append(
                        torch.stack([across, rows, torch.full_like(rows, wide), torch.full_like(rows, wide)], 2)
                    )
            halves = [torch.stack(priors[k : k + 2], 2).view(-1, 4) for k in (0, 2)]
            self.register_buffer("priors", torch.cat(halves)[None])

        def heads(self, x, heads, wide):
            found = []
            for head, f in zip(heads, self.backbone(x), strict=False):
                y = head(f).permute(0, 2, 3, 1).contiguous()
                found.append(y.view(y.shape[0], -1, wide))
            return torch.cat(found, 1)

        def logits(self, x):
            return self.heads(x, self.cls, CLASSES + 1)

        def corners(self, x):
            at, p = self.heads(x, self.reg, 4), self.priors
            boxes = torch.cat(
                [at[..., :2] * 0.1 * p[..., 2:] + p[..., :2], torch.exp(at[..., 2:] * 0.2) * p[..., 2:]], -1
            )
            return to_corners(boxes)

        def forward(self, x):
            return self.logits(x).softmax(2), self.heads(x, self.reg, 4) if self.form == "offsets" else self.corners(x)

    def ssd(form):
        net = lively(SSD(form), 4)
        corners = None if form == "offsets" else lambda x: net.corners(x) * SIZE
        return Detector(net, net.logits, lambda x: net.logits(x).softmax(2), corners, tuple(net.backbone.mixed[:2]))

    class DETR(nn.Module):
        """Seven queries look at the features of one stride; the last class is "no object"."""

        def __init__(self):
            super().__init__()
            self.backbone = nn.Sequential(conv(3, 8, 3, 4), conv(8, 16, 3, 2))
            self.project, self.queries = nn.Conv2d(16, 16, 1), nn.Parameter(torch.zeros(7, 16))
            self.place = nn.Parameter(torch.zeros(64, 16))
            self.attend, self.norm = nn.MultiheadAttention(16, 2, batch_first=True), nn.LayerNorm(16)
            self.mix, self.cls = (
                nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16)),
                nn.Linear(16, CLASSES + 1),
            )
            self.box = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))

        def forward(self, x):
            memory = self.project(self.backbone(x)).flatten(2).transpose(1, 2) + self.place
            queries = self.queries.expand(x.shape[0], -1, -1)
            queries = self.norm(queries + self.attend(queries, memory, memory, need_weights=False)[0])
            queries = queries + self.mix(queries)
            return self.cls(queries), self.box(queries).sigmoid()

    def detr(names):
        net = lively(DETR(), 5)
        link = (lambda x: net(x)[0].softmax(2)) if names else lambda x: net(x)[0]
        return Detector(
            net, lambda x: net(x)[0], link, lambda x: to_corners(net(x)[1]) * SIZE, (net.project,), names, CLASSES
        )  # fmt: skip

    return {
        "v8": lambda: anchor_free("decoded"),
        "v8 without names": lambda: anchor_free("decoded", names=False),
        "v8 raw": lambda: anchor_free("raw"),
        "v8 raw without names": lambda: anchor_free("raw", names=False),
        "v8 masks": lambda: anchor_free("masks"),
        "v8 nms": lambda: anchor_free("nms"),
        "v8 best": lambda: anchor_free("best"),
        "v11": lambda: anchor_free("decoded", depthwise=True),
        "v5": lambda: anchored("decoded"),
        "v5 without names": lambda: anchored("decoded", names=False),
        "v5 raw": lambda: anchored("raw"),
        "v5 raw without names": lambda: anchored("raw", names=False),
        "v5 flat": lambda: anchored("flat"),
        "v5 nms": lambda: anchored("nms"),
        "yolox": lambda: yolox("decoded"),
        "yolox raw": lambda: yolox("raw"),
        "ssd": lambda: ssd("corners"),
        "ssd offsets": lambda: ssd("offsets"),
        "detr": lambda: detr(True),
        "detr without names": lambda: detr(False),
    }
