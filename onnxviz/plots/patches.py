"""A plot of the image regions that excite filters most."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from onnxviz.arguments import typed
from onnxviz.messages import refuse_unheeded
from onnxviz.plots.lettering import rounded
from onnxviz.plots.options import one_layer
from onnxviz.plots.sheet import Sheet, draw


class HasCrops(Protocol):
    """What `plot_patches` needs of top patches."""

    @property
    def layer(self) -> str:
        """Title."""

    @property
    def values(self) -> NDArray[Any]:
        """(C, N), the activations."""

    @property
    def size(self) -> tuple[int, ...]:
        """How many pixels a unit sees."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the images."""

    def crops(self, channels: Sequence[int] | None = None) -> NDArray[Any]:
        """(filters, N, H, W, 3) uint8."""

    def excited(self, channel: int, rank: int) -> bool:
        """Whether a region is one."""


@typed
def plot_patches(
    patches: HasCrops | Mapping[str, HasCrops],
    *,
    layer: str | None = None,
    filters: Sequence[int] | None = None,
    first: int = 16,
    title: str | None = None,
    crops: NDArray[Any] | None = None,
    subtitle: str | None = None,
) -> Figure:
    """Returns a figure of the image regions that excite filters most: one row a filter, the best on the left.

    Args:
        patches: What `onnxviz.top_patches` gives, for a layer or by layer.
        layer: Which layer; None where there is one.
        filters: Which filters, in this order; None: the first `first`.
        first: How many filters to show where `filters` is None.
        title: First line; None: the layer's name.
        crops: The regions of these filters, where they were cut already.
        subtitle: Words put behind the facts that the second line states.

    Returns:
        Figure: `figure.axes[0].images[0]` is the mosaic. Over each region stands its activation.

    Raises:
        SelectionError: A layer or filter that is not there, or none is named of several layers.
        InputError: An image is gone.
        UnheededOptionError: A layer is named, of patches of one layer.
    """
    if isinstance(patches, Mapping):
        patches = one_layer(patches, layer, "patches")[1]
    else:
        refuse_unheeded({"layer": layer}, "these are patches of one layer")
    total, most = patches.values.shape
    chosen = list(range(min(first, total))) if filters is None else list(filters)
    crops = patches.crops(chosen) if crops is None else crops
    # Each image gives one region: with few images, what is left of the row would be empty for every filter.
    count = max(1, min(most, len(patches.labels)))
    crops = crops[:, :count]
    height, width = crops.shape[2:4]
    labels = [
        rounded(float(patches.values[channel, rank])) if patches.excited(channel, rank) else "none"
        for channel in chosen
        for rank in range(count)
    ]
    pictures = (np.ma.MaskedArray((crop / 255).astype(np.float32)) for row in crops for crop in row)
    seen = "×".join(map(str, patches.size))
    facts = [
        f"the {count} regions that excite each filter most",
        f"{len(patches.labels)} images, one region of each",
        f"rows: {len(chosen)} of {total} filters",
        f"a unit sees {seen} pixels",
        "over each region: its activation",
        *([subtitle] if subtitle else []),
    ]
    side = max(48, min(112, 1200 // count))
    sheet = Sheet(
        pictures=pictures,
        shape=(height, width),
        columns=count,
        marks=[""] * len(labels),
        row_labels=[str(channel) for channel in chosen],
        tile_labels=labels,
        largest=(side, side),
        facts=facts,
        rgb=True,
    )
    return draw(sheet, title, patches.layer)
