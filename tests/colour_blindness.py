"""Colours as people with colour-blindness see them, in closed form.

Viénot, Brettel & Mollon, Digital video colourmaps for checking the legibility of displays by dichromats (1999): linear
RGB to the responses of the cones, of which the missing one is put together from the others, and back.
"""

import numpy as np

_CONES = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
SEEN_BY = {
    "all cones": np.eye(3),
    "deuteranopes": np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]]),
    "protanopes": np.array([[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]]),
}
"""What becomes of (L, M, S), by who sees it."""

# From linear sRGB to XYZ (IEC 61966-2-1), over the white point D65.
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = np.array([0.9505, 1.0, 1.089])


def linear(colours):
    """(..., 3) sRGB in 0..1 as linear RGB."""
    colours = np.asarray(colours, np.float64)
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def seen(colours, by):
    """(..., 3) sRGB in 0..1 as CIELAB (L*, a*, b*) of what somebody sees."""
    simulated = np.linalg.inv(_CONES) @ SEEN_BY[by] @ _CONES
    xyz = (np.clip(linear(colours) @ simulated.T, 0, 1) @ _XYZ.T) / _WHITE
    part = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = np.moveaxis(part, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def apart(one, other, by):
    """How far two colours are apart to somebody: Euclidean in CIELAB (CIE 1976), where 2.3 is just noticeable."""
    return float(np.linalg.norm(seen(one, by) - seen(other, by)))
