"""3DShapes drawn again: one object in a room, 64 x 64 pixels in colour, by casting rays.

The published set (Burgess and Kim 2018, https://github.com/google-deepmind/3d-shapes) was drawn
by MuJoCo. The scene of `_shapes3d_scene` was found by fitting it to the animation and the figure
that were published with the set.

An image is the sum of what floor, walls, object and sky contribute to it. What a material
contributes to a channel depends on the pose and on how much of the channel is in the material's
colour: with hues of tenths of a turn, one of six levels. So a table of these contributions, of 480
poses, holds all 480,000 images, and `compose` reads any of them out of it in microseconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np
from numpy.typing import NDArray

from didcli.render._shapes3d_scene import FLOOR, OBJECT, SKY, WALL, View, view

VERSION = 1
"""Goes up whenever a pixel changes: runs record it, and caches are keyed by it."""

FACTOR_NAMES = ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation")
FACTOR_SIZES = (10, 10, 10, 8, 4, 15)
"""Images are numbered in this order, orientation fastest."""

HUES = np.linspace(0.0, 1.0, 10, endpoint=False)
"""Hues of floor, walls and object, in turns; saturation and value are 1."""
SCALES = np.linspace(0.75, 1.25, FACTOR_SIZES[3])
SHAPES = ("cube", "cylinder", "sphere", "capsule")
ORIENTATIONS = np.linspace(-30.0, 30.0, FACTOR_SIZES[5])
"""Degrees by which the camera has turned about the object, anticlockwise as seen from above."""

SIDE = 64
"""Height and width of an image, in pixels."""
POSES = prod(FACTOR_SIZES[3:])
"""Combinations of scale, shape and orientation: consecutive images, orientation fastest."""
POSE_IMAGES = prod(FACTOR_SIZES[:3])
"""Images of a pose: one for each combination of colours."""

LEVELS = np.linspace(0.0, 1.0, 6)
"""All the values that the red, green or blue of a hue can have."""
HUE_LEVELS = np.array(
    [
        *([5, 0, 0], [5, 3, 0], [4, 5, 0], [1, 5, 0], [0, 5, 2]),
        *([0, 5, 5], [0, 2, 5], [1, 0, 5], [4, 0, 5], [5, 0, 3]),
    ]
)
"""(10, 3): which of the levels the red, green and blue of each hue have."""

_SKY = np.array([153, 226, 249], dtype=np.float32) / 255

# The originals were drawn at three times this size, one sample a pixel, and reduced by Lanczos'
# filter: edges in the animation come in thirds of a pixel and have its halos.
_SUBPIXELS = 3
_LOBES = 3

# Tables count in this fraction of a grey value, so that a sum is rounded once.
_STEPS = 32


@dataclass(frozen=True)
class _Part:
    """The share of one material in a pose of the table: (planes, rows of the image, columns)."""

    material: int
    planes: int
    rows: slice
    """Rows of the image that the material can touch."""
    values: slice
    """Range of the part among the numbers of the pose."""


def _layout() -> tuple[_Part, ...]:
    """Parts, one after the other: a plane for each level, or, for the sky, for each channel."""
    planes = {FLOOR: len(LEVELS), WALL: len(LEVELS), OBJECT: len(LEVELS), SKY: 3}
    rows = {FLOOR: slice(34, 64), WALL: slice(10, 48), OBJECT: slice(4, 62), SKY: slice(0, 25)}
    sizes = [planes[each] * SIDE * (rows[each].stop - rows[each].start) for each in planes]
    bounds = pairwise(np.cumsum([0, *sizes]).tolist())
    return tuple(
        _Part(each, planes[each], rows[each], slice(*bound))
        for each, bound in zip(planes, bounds, strict=True)
    )


_PARTS = _layout()
_POSE_VALUES = _PARTS[-1].values.stop
POSE_BYTES = 2 * _POSE_VALUES
"""Bytes of a pose in a table: little-endian numbers of 16 bits."""


def blocks() -> Iterator[NDArray[np.uint8]]:
    """The table of all poses in order: `POSES` blocks of (1, POSE_BYTES)."""
    for number in range(POSES):
        yield pose(number)[np.newaxis]


def pose(number: int) -> NDArray[np.uint8]:
    """Draw all that images of a pose are composed of. number: 0..479. Returns (POSE_BYTES,)."""
    scale, shape, orientation = (int(i) for i in np.unravel_index(number, FACTOR_SIZES[3:]))
    seen = view(SHAPES[shape], SCALES[scale], ORIENTATIONS[orientation], SIDE * _SUBPIXELS)
    values = np.empty(_POSE_VALUES, dtype="<i2")
    for part in _PARTS:
        reduced = _reduced(_planes(seen, part.material))[:, part.rows]
        values[part.values] = np.rint(255 * _STEPS * reduced).ravel()
    return values.view(np.uint8)


def compose(table: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Images of the set. table: (480, POSE_BYTES), rows: (B,), 0..479999 -> (B, 3, 64, 64)."""
    poses = rows % POSES
    hues = np.stack(np.unravel_index(rows // POSES, FACTOR_SIZES[:3]), axis=1)
    values = table.view("<i2")
    sums = np.full((len(poses), 3, SIDE * SIDE), _STEPS // 2, dtype=np.int16)
    for part in _PARTS:
        pixels = slice(SIDE * part.rows.start, SIDE * part.rows.stop)
        planes = values[:, part.values].reshape(len(table), part.planes, pixels.stop - pixels.start)
        wanted = np.arange(3) if part.material == SKY else HUE_LEVELS[hues[:, part.material]]
        sums[..., pixels] += planes[poses[:, np.newaxis], wanted]
    sums //= _STEPS
    # The filter's halos reach beyond black and white.
    return sums.clip(0, 255, out=sums).astype(np.uint8).reshape(-1, 3, SIDE, SIDE)


def _planes(seen: View, material: int) -> NDArray[np.float32]:
    """(planes, H, W), 0..1: light from one material at each level, or from the sky in each channel.

    OpenGL cuts off light above 1 before anything else happens to it.
    """
    here = (seen.material == material).astype(np.float32)
    if material == SKY:
        sky: NDArray[np.float32] = _SKY[:, np.newaxis, np.newaxis] * here
        return sky
    shade, gloss = seen.shade.astype(np.float32), seen.gloss.astype(np.float32)
    light = LEVELS.astype(np.float32)[:, np.newaxis, np.newaxis] * shade + gloss
    np.minimum(light, 1.0, out=light)
    light *= here
    return light


def _reduced(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C, 192, 192) -> (C, 64, 64), by Lanczos' filter along both axes."""
    return _reduced_rows(_reduced_rows(planes).swapaxes(1, 2)).swapaxes(1, 2)


def _reduced_rows(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C, H, 192) -> (C, H, 64)."""
    margin = (len(_TAPS) - _SUBPIXELS) // 2
    padded = np.pad(planes, [(0, 0), (0, 0), (margin, margin)])
    # Sums of strided views, not products of matrices: those would be so small that the threads of
    # BLAS wait for each other, on a busy machine nearly all the time.
    reduced = np.zeros((*planes.shape[:2], SIDE), dtype=np.float32)
    for first, weights in enumerate(_TAPS):
        reduced += weights * padded[..., first : first + _SUBPIXELS * SIDE : _SUBPIXELS]
    return reduced


def _taps() -> NDArray[np.float32]:
    """(17, 64): for each pixel, the weights of the subpixels about it, from left to right.

    The window reaches three pixels to each side; where that is beyond the border of the image, the
    others weigh more.
    """
    reach = _LOBES * _SUBPIXELS - 1
    offset = np.arange(-reach, reach + 1)[:, np.newaxis] / _SUBPIXELS
    position = np.arange(SIDE) + 0.5 + offset
    weights = np.sinc(offset) * np.sinc(offset / _LOBES) * ((position > 0) & (position < SIDE))
    return np.asarray(weights / weights.sum(axis=0), dtype=np.float32)


_TAPS = _taps()
