"""A plot of the image regions that excite filters most, in the photos that they are from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from numpy.typing import NDArray

from onnxviz.arguments import typed
from onnxviz.errors import InputError, SelectionError
from onnxviz.messages import refuse_unheeded
from onnxviz.plots.lettering import rounded, shortened, width_of
from onnxviz.plots.mosaic import area_mean
from onnxviz.plots.options import one_layer
from onnxviz.plots.page import INK, MARGIN, PixelImage, page, write

# Pixels: across all regions, of one side, above each, between columns, between a region and its photo, and filters.
_ACROSS, LARGEST, _SMALLEST = 1080, 112, 48
_HEADER, _GAP, _NEAR, _BETWEEN = 15, 6, 5, 14
_SYNTHETIC = 224
_TALLEST = 30_000
# A frame is not smaller than this, or it could not be seen; where a unit sees more than the photo, a ring is in its
# centre.
_LEAST_FRAME, _RING = 7, 5


class HasPatchPictures(Protocol):
    """The pictures of top patches."""

    @property
    def crops(self) -> NDArray[Any]:
        """(filters, N, H, W, 3) uint8."""

    @property
    def photos(self) -> Mapping[int, NDArray[Any]]:
        """By sample, (H, W, 3) uint8."""


class HasPatches(Protocol):
    """What `plot_patches` needs of top patches."""

    @property
    def layer(self) -> str:
        """Title."""

    @property
    def values(self) -> NDArray[Any]:
        """(C, N), the activations."""

    @property
    def samples(self) -> NDArray[Any]:
        """(C, N), the sample that each is in."""

    @property
    def size(self) -> tuple[int, ...]:
        """How many pixels a unit sees."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the images."""

    def pictures(self, channels: Sequence[int] | None = None, longest: int = 0) -> HasPatchPictures:
        """The regions and the photos that they are from."""

    def excited(self, channel: int, rank: int) -> bool:
        """Whether a region is one."""

    def framed(self, channel: int, rank: int) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of what the unit sees, as shares of the photo."""


class HasFilterPictures(Protocol):
    """What `plot_patches` needs of synthetic inputs."""

    def by_filter(self, layer: str) -> Mapping[int, tuple[NDArray[Any], float]]:
        """Of a layer's filters, by number: (picture (H, W, C) in 0..1, activation)."""


@dataclass(frozen=True)
class _Layout:
    """Where the pictures of a filter lie, in pixels.

    Attributes:
        count: regions of a filter.
        crop: (height, width) of a region.
        photo: (height, width) that the largest photo takes; (0, 0) where photos are not shown.
        synthetic: side of a synthetic input; 0 where there is none.
    """

    count: int
    crop: tuple[int, int]
    photo: tuple[int, int]
    synthetic: int

    @property
    def column(self) -> int:
        """Width of a region and its photo."""
        return max(self.crop[1], self.photo[1])

    @property
    def left(self) -> int:
        """Where the first region begins."""
        return self.synthetic + 2 * _GAP if self.synthetic else 0

    @property
    def width(self) -> int:
        """Of all."""
        return self.left + self.count * (self.column + _GAP) - _GAP

    @property
    def band(self) -> int:
        """Height of a filter, below its header."""
        real = self.crop[0] + (_NEAR + self.photo[0] if self.photo[0] else 0)
        return max(real, self.synthetic)

    def top(self, row: int) -> int:
        """Where a filter's pictures begin."""
        return row * (_HEADER + self.band + _BETWEEN) + _HEADER

    def height(self, rows: int) -> int:
        """Of so many filters."""
        return self.top(rows - 1) + self.band


@typed
def plot_patches(
    patches: HasPatches | Mapping[str, HasPatches],
    *,
    layer: str | None = None,
    filters: Sequence[int] | None = None,
    first: int | None = None,
    synthetic: HasFilterPictures | None = None,
    title: str | None = None,
    pictures: HasPatchPictures | None = None,
    subtitle: str | None = None,
) -> Figure:
    """Returns a figure of the image regions that excite filters most, one filter a row, the best on the left.

    Below each region is the photo that it is from, with a frame around what the unit sees; where a unit sees the whole
    photo, there are the photos alone, with a ring where the centre of its field is.

    Args:
        patches: What `onnxviz.top_patches` gives, for a layer or by layer.
        layer: Which layer; None where there is one.
        filters: Which filters, in this order; None: those of `synthetic`, or the first `first`.
        first: How many filters to show where nothing says which; None: 16.
        synthetic: What `onnxviz.maximize` gives for filters of the layer: each stands before the regions.
        title: First line; None: the layer's name.
        pictures: What `TopPatches.pictures` gives for these filters, where the photos were read already.
        subtitle: Words put behind the facts that the second line states.

    Returns:
        Figure: `figure.axes[0].images[0]` holds all pictures, (H, W, 4) uint8, with nothing between them. Over each
            region stands its activation, over a synthetic input the mean activation that it was made for. The frames
            are `figure.axes[0].patches`, two for each photo.

    Raises:
        SelectionError: A layer or filter that is not there, or none is named of several layers; or there are no
            synthetic inputs of the layer.
        InputError: An image is gone, or the filters do not fit one figure.
        UnheededOptionError: A layer is named, of patches of one layer; or `first` where it is said which are shown.
    """
    if isinstance(patches, Mapping):
        patches = one_layer(patches, layer, "patches")[1]
    else:
        refuse_unheeded({"layer": layer}, "these are patches of one layer")
    made = synthetic.by_filter(patches.layer) if synthetic is not None else {}
    if synthetic is not None and not made:
        raise SelectionError(f"no synthetic input is of a filter of '{patches.layer}'; maximize it, or leave them out")
    if filters is not None or made:
        refuse_unheeded({"first": first}, "{filters} says which are shown" if filters is not None else
                        "those with a synthetic input are shown")  # fmt: skip
    total, most = patches.values.shape
    chosen = [*(filters if filters is not None else made or range(min(first or 16, total)))]
    # Each image gives one region: with few images, what is left of the row would be empty for every filter.
    count = max(1, min(most, len(patches.labels)))
    side = max(_SMALLEST, min(LARGEST, _ACROSS // count))
    pictures = patches.pictures(chosen, LARGEST) if pictures is None else pictures
    crops = pictures.crops[:, :count]
    regions = [(row, filter_, rank) for row, filter_ in enumerate(chosen) for rank in range(count)]
    excited = [place for place in regions if patches.excited(*place[1:])]
    frames = {place: patches.framed(*place[1:]) for place in excited}
    within = any(not _holds_all(frame) for frame in frames.values())
    tiles = {place: _fitted(crops[place[0], place[2]], side) for place in regions}
    photos = {sample: _fitted(photo, side) for sample, photo in pictures.photos.items()} if within else {}
    sizes = [photo.shape[:2] for photo in photos.values()]
    room = (max(size[0] for size in sizes), max(size[1] for size in sizes)) if sizes else (0, 0)
    crop: Any = tiles[regions[0]].shape[:2]
    real = crop[0] + (_NEAR + room[0] if within else 0)
    layout = _Layout(count, crop, room, min(_SYNTHETIC, max(real, LARGEST)) if made else 0)
    if layout.height(len(chosen)) > _TALLEST:
        raise InputError(f"{len(chosen)} filters do not fit one figure of patches; choose fewer")
    seen = "×".join(map(str, patches.size))
    facts = [
        f"the {count} regions that excite each filter most",
        f"{len(patches.labels)} images, one region of each",
        f"rows: {len(chosen)} of {total} filters",
        f"a unit sees {seen} pixels",
        "over each region: its activation",
        "below it: its photo, what the unit sees framed" if within else "a ring: the centre of what the unit sees",
        *(["left: the synthetic input, with the mean of its map"] if made else []),
        *([subtitle] if subtitle else []),
    ]
    names = [str(filter_) for filter_ in chosen]
    figure, axes = page(
        (layout.height(len(chosen)), layout.width),
        title or patches.layer,
        facts,
        left=MARGIN + max(width_of(name, 8, bold=True) for name in names) + 8,
        above=0,
        below=0,
        right=MARGIN,
    )
    canvas = np.zeros((layout.height(len(chosen)), layout.width, 4), np.uint8)
    for row, (filter_, name) in enumerate(zip(chosen, names, strict=True)):
        top = layout.top(row)
        write(axes, -8, top + 9, name, 8, INK, ha="right", weight="bold")
        if filter_ in made:
            image, activation = made[filter_]
            _lay(canvas, _fitted(_colours(image), layout.synthetic), top, 0)
            write(axes, 0, top - 4, shortened(f"mean {rounded(activation)}", 7, layout.synthetic), 7)
    for place in regions:
        row, filter_, rank = place
        top, left = layout.top(row), layout.left + rank * (layout.column + _GAP)
        _lay(canvas, tiles[place], top, left)
        said = rounded(float(patches.values[filter_, rank])) if place in frames else "none"
        write(axes, left, top - 4, shortened(said, 7, layout.column + _GAP), 7)
        if place in frames and within:
            photo = photos[int(patches.samples[filter_, rank])]
            _lay(canvas, photo, top + crop[0] + _NEAR, left)
            _mark(axes, frames[place], photo.shape[:2], top + crop[0] + _NEAR, left)
        elif place in frames:
            _mark(axes, frames[place], crop, top, left)
    shown = PixelImage(
        axes, extent=(0, layout.width, canvas.shape[0], 0), interpolation="none", origin="upper", zorder=0
    )
    shown.set(data=canvas)
    axes.add_image(shown)
    return figure


def _holds_all(frame: tuple[float, float, float, float]) -> bool:
    left, top, right, bottom = frame
    return left <= 0 and top <= 0 and right >= 1 and bottom >= 1


def _fitted(picture: NDArray[Any], side: int) -> NDArray[Any]:
    """A picture (H, W, 3) uint8 whose longer side has about `side` pixels: reduced, or each pixel repeated."""
    longest = max(picture.shape[:2])
    if longest > side:
        height, width = (max(1, round(length * side / longest)) for length in picture.shape[:2])
        return np.asarray(area_mean(np.ma.MaskedArray(picture), height, width).filled(0), np.uint8)
    zoom = round(side / longest)
    return picture.repeat(zoom, axis=0).repeat(zoom, axis=1)


def _colours(image: NDArray[Any]) -> NDArray[Any]:
    """A synthetic input (H, W, C) in 0..1 as (H, W, 3) uint8: of three or four channels the first are its colours."""
    if image.ndim != 3:
        raise InputError(f"a synthetic input of shape {image.shape} is no picture to stand beside photos")
    shown = image[..., :3] if image.shape[2] in (3, 4) else image[..., :1].repeat(3, axis=2)
    pixels: NDArray[Any] = np.rint(np.clip(shown, 0, 1) * 255).astype(np.uint8)
    return pixels


def _lay(canvas: NDArray[Any], picture: NDArray[Any], top: int, left: int) -> None:
    height, width = picture.shape[:2]
    canvas[top : top + height, left : left + width, :3] = picture
    canvas[top : top + height, left : left + width, 3] = 255


def _mark(axes: Axes, frame: tuple[float, float, float, float], size: tuple[int, ...], top: int, left: int) -> None:
    """Marks on a photo what a unit sees: by a frame, or, where that is all of it, by a ring in its centre."""
    height, width = size
    across = (left + frame[0] * width, left + frame[2] * width)
    down = (top + frame[1] * height, top + frame[3] * height)
    for colour, thick in (("black", 2.6), ("white", 1.2)):
        style: dict[str, Any] = {"fill": False, "edgecolor": colour, "linewidth": thick, "clip_on": False}
        if _holds_all(frame):
            x, y = (_inside(sum(ends) / 2, start + 4, start + room - 4) for ends, start, room in (
                (across, left, width), (down, top, height)
            ))  # fmt: skip
            axes.add_patch(Circle((x, y), _RING, **style))
            continue
        (x0, x1), (y0, y1) = (
            _span(ends, start, start + room) for ends, start, room in ((across, left, width), (down, top, height))
        )
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, **style))


def _inside(place: float, low: float, high: float) -> float:
    return min(max(place, low), max(high, low))


def _span(ends: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    """The part of a span between two limits, large enough to be seen."""
    first, last = (_inside(end, low, high) for end in ends)
    lacking = max(0.0, _LEAST_FRAME - (last - first)) / 2
    return max(first - lacking, low + 1), min(last + lacking, high - 1)
