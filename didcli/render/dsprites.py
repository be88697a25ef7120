"""dSprites drawn again: white squares, ellipses and hearts on black, 64 x 64 pixels, one bit each.

The published set (Matthey et al. 2017, https://github.com/google-deepmind/dsprites-dataset) was
drawn by LOVE, a 2D engine: polygons, filled by OpenGL. What follows was found by fitting outlines
to frames of the animation published with it, read as samples in the frame of the sprite: first
curves with free parameters, then the round numbers and the numbers of vertices that leave no
sample on the wrong side. All 240 frames then agree to the pixel, and the white pixels of the whole
set number 128,328,864, where the published mean of .042494423521889584 says 128,328,862.
"""

from collections.abc import Iterator
from math import prod

import numpy as np
from numpy.typing import NDArray

VERSION = 1
"""Goes up whenever a pixel changes: runs record it, and caches are keyed by it."""

FACTOR_NAMES = ("shape", "scale", "orientation", "pos_x", "pos_y")
FACTOR_SIZES = (3, 6, 40, 32, 32)
"""Images are numbered in this order, pos_y fastest."""

SHAPES = ("square", "ellipse", "heart")
SCALES = np.linspace(0.5, 1.0, FACTOR_SIZES[1])
ORIENTATIONS = np.linspace(0.0, 2 * np.pi, FACTOR_SIZES[2])
"""Radians, anticlockwise as seen. The last is the first again: the published set has both."""
CENTRES = 15.5 + np.linspace(0.0, 32.0, FACTOR_SIZES[3])
"""Centres of the sprite, in pixels from the centre of pixel 0; in x and in y, which points down."""

SIDE = 64
"""Height and width of an image, in pixels."""
IMAGE_BYTES = SIDE * SIDE // 8
"""Bytes of a bit-packed image: rows from the top, pixels from the left, highest bit first."""
POSES = prod(FACTOR_SIZES[:3])
"""Combinations of shape, scale and orientation."""
POSE_IMAGES = prod(FACTOR_SIZES[3:])
"""Positions of a pose: consecutive images of the set."""

# Half the side of the square at scale 1, in pixels; the other outlines are measured by it too.
_UNIT = 9.6
_ELLIPSE_VERTICES = 100
_ELLIPSE_STRETCH = 1.33  # not 4/3, which the frames exclude
_HEART_VERTICES = 150

# Graphics processors round vertices to this fraction of a pixel before they fill a polygon.
_SUBPIXELS = 256

# Entry c has the bits of the pixels from column c to the right edge, as they lie in memory.
_FROM_COLUMN = np.array([2 ** (SIDE - c) - 1 for c in range(SIDE + 1)], dtype=">u8").view("=u8")


def blocks() -> Iterator[NDArray[np.uint8]]:
    """The whole set in order: `POSES` blocks of `block`."""
    for pose in range(POSES):
        yield block(pose)


def block(pose: int) -> NDArray[np.uint8]:
    """All positions of the pose-th combination of shape, scale and orientation.

    pose: 0..719. Returns (1024, 512), bit-packed images.
    """
    shape, scale, orientation = (int(i) for i in np.unravel_index(pose, FACTOR_SIZES[:3]))
    vertices = _turned(SCALES[scale] * outline(SHAPES[shape]), ORIENTATIONS[orientation])
    return _fill(vertices).view(np.uint8).reshape(POSE_IMAGES, IMAGE_BYTES)


def outline(shape: str) -> NDArray[np.float64]:
    """The polygon of one of `SHAPES` at scale 1 and orientation 0.

    Returns (V, 2), x and y of the vertices in pixels from the centre of the sprite, y down.
    """
    if shape == "square":
        return _UNIT * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    if shape == "ellipse":
        t = _angles(_ELLIPSE_VERTICES)
        return _UNIT * np.stack([_ELLIPSE_STRETCH * np.cos(t), np.sin(t) / _ELLIPSE_STRETCH], 1)
    # The curve with sin^3 t of https://mathworld.wolfram.com/HeartCurve.html, its x / 16 and
    # y / 14.5, moved up by .15.
    t = _angles(_HEART_VERTICES)
    height = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return _UNIT * np.stack([np.sin(t) ** 3, -height / 14.5 - 0.15], 1)


def _angles(vertices: int) -> NDArray[np.float64]:
    return np.linspace(0.0, 2 * np.pi, vertices, endpoint=False)


def _turned(points: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """(V, 2) turned anticlockwise, as seen with y pointing down, by `angle` radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    turned: NDArray[np.float64] = points @ np.array([[cos, -sin], [sin, cos]])
    return turned


def _fill(vertices: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Fill a polygon at every position; a pixel is white when its centre is inside.

    vertices: (V, 2), in pixels from the centre of the sprite. Returns (pos_x, pos_y, row): the
    pixels of a row as the bits of a number, in the order of memory.
    """
    # Whole numbers of subpixels from here on, so that no centre is misjudged by rounding.
    x, y = np.rint(_SUBPIXELS * (vertices.T[:, np.newaxis] + CENTRES[:, np.newaxis])).astype(
        np.int64
    )  # each (position, V)

    # The edges that cross the line through the centres of a row. A vertex on the line counts as
    # below it: were it above, the set would miss the published count by 76 pixels, not by 2.
    line_y = _SUBPIXELS * np.arange(SIDE)
    above = y[:, np.newaxis, :] < line_y[:, np.newaxis]  # (pos_y, row, V)
    position, row, edge = np.nonzero(above != np.roll(above, -1, axis=2))
    end = (edge + 1) % len(vertices)

    # The first column at or right of the crossing, for every pos_x: (pos_x, crossing). The
    # crossing is at x + fall * run / rise; columns come at multiples of _SUBPIXELS.
    rise = y[position, end] - y[position, edge]
    fall = line_y[row] - y[position, edge]
    run = x[:, end] - x[:, edge]
    column = -((x[:, edge] * rise + fall * run) // (-_SUBPIXELS * rise))
    masks = _FROM_COLUMN[np.clip(column, 0, SIDE)]

    # A crossing turns over every pixel to its right. Crossings of a line follow each other.
    line = position * SIDE + row
    first = np.flatnonzero(np.diff(line, prepend=-1))
    rows = np.zeros((len(x), len(y) * SIDE), dtype=np.uint64)
    rows[:, line[first]] = np.bitwise_xor.reduceat(masks, first, axis=1)
    return rows
