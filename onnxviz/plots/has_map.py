"""A drawable explanation: the map and the words that plots need of it."""

from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray


class HasMap(Protocol):
    """What `plot_explanation` needs of an explanation."""

    @property
    def map(self) -> NDArray[Any]:
        """(H, W), or (parts…, H, W) of several pictures."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What each of several maps is of; none for a single one."""

    @property
    def signed(self) -> bool:
        """Whether negative values count against the class."""

    @property
    def of_pixels(self) -> bool:
        """Whether single pixels stand out so far that the range is cut at a percentile."""

    @property
    def title(self) -> str:
        """First line."""

    @property
    def method(self) -> str:
        """Written over the map."""

    @property
    def facts(self) -> list[str]:
        """Second line."""

    @property
    def answer(self) -> list[str]:
        """What is said of the class, besides its name, and of its score."""

    @property
    def way(self) -> str:
        """The method, with its layer and its options."""

    @property
    def common(self) -> list[str]:
        """What is said whatever the class and the method."""

    @property
    def sample(self) -> str:
        """The input's label."""

    @property
    def region(self) -> NDArray[Any] | None:
        """(rows, columns) booleans over the photo: what part of it the score is of; None where that is all of it."""

    @property
    def outlines(self) -> Sequence[tuple[tuple[float, float, float, float], str]]:
        """Boxes to draw: (left, top, right, bottom) as shares of the photo, and a label."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Notes below."""

    def upsampled(self, size: tuple[int, ...] | None = None) -> NDArray[Any]:
        """The map at another size."""

    @property
    def source(self) -> str:
        """What the pictures are: `photo`, or `input` of an array."""

    @property
    def one_photo(self) -> bool:
        """Whether all maps are of one picture."""

    @property
    def given(self) -> NDArray[Any]:
        """What the model was given, (C, parts…, spatial…)."""

    def behind(self, bands: Sequence[int] | None = None) -> str:
        """Which channels the pictures show, "" where that goes without saying."""

    def photos(
        self, longest: int = ..., bands: Sequence[int] | None = None, slices: Sequence[int] | None = None
    ) -> list[NDArray[Any]]:
        """The picture behind each map, or the one behind all, or slices of a volume, (H, W, 3) uint8."""
