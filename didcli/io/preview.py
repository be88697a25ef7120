"""Small pictures in a terminal: half blocks, two pixels to a character."""

from collections.abc import Iterable, Mapping
from typing import Literal, TextIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Colours = Literal["24-bit", "256"]

TILE = 12
"""Columns, each a pixel, that an image takes; a square one takes half as many lines."""
GAP_GREY = 80
"""Grey value, 0..255, of the line between two images, which may be all black."""
UPPER_HALF = "\N{UPPER HALF BLOCK}"
RESET = "\x1b[0m"


def colours(stream: TextIO, environment: Mapping[str, str]) -> Colours | None:
    """What a picture written to `stream` may use; None where it should not be written.

    That is: no terminal, a set NO_COLOR (https://no-color.org), TERM=dumb, fewer than 256 colours,
    or an encoding without the block character.
    """
    term = environment.get("TERM", "")
    if not stream.isatty() or environment.get("NO_COLOR") or term in {"", "dumb"}:
        return None
    try:
        UPPER_HALF.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return None
    if environment.get("COLORTERM") in {"truecolor", "24bit"} or term.endswith("-direct"):
        return "24-bit"
    return "256" if "256color" in term else None


def evenly_chosen(count: int, most: int) -> list[int]:
    """At most `most` of 0 .. count - 1, evenly spread, both ends among them unless most is 1."""
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))


def lines(images: Iterable[Pixels], columns: int, kind: Colours) -> list[str]:
    """Images side by side, as lines of text of at most `columns` characters.

    images: (C, H, W) uint8, as many as `fitting(columns)` at most; shrunk to TILE pixels in width.
    """
    tiles = [_shrunk(image) for image in images]
    gap = np.full((len(tiles[0]), 1, 3), GAP_GREY, dtype=np.uint8)
    spaced = [part for tile in tiles for part in (tile, gap)][:-1]
    return half_blocks(np.concatenate(spaced, axis=1)[:, :columns], kind)


def fitting(columns: int) -> int:
    """How many images `lines` puts side by side in so many columns; at least 1."""
    return max((columns + 1) // (TILE + 1), 1)


def half_blocks(pixels: Pixels, kind: Colours) -> list[str]:
    """(H, W, 3), H even -> H / 2 lines of W characters: foreground above, background below."""
    return [
        "".join(
            f"\x1b[38;{_colour(above, kind)};48;{_colour(below, kind)}m{UPPER_HALF}"
            for above, below in zip(upper, lower, strict=True)
        )
        + RESET
        for upper, lower in zip(pixels[0::2].tolist(), pixels[1::2].tolist(), strict=True)
    ]


def _shrunk(image: Pixels) -> Pixels:
    """(C, H, W) -> (TILE or so, TILE, 3): the mean of the pixels that each one stands for."""
    height = 2 * max(round(TILE * image.shape[1] / image.shape[2] / 2), 1)
    rgb = np.broadcast_to(np.moveaxis(image, 0, -1), (*image.shape[1:], 3))
    small = Image.fromarray(np.ascontiguousarray(rgb)).resize((TILE, height), Image.Resampling.BOX)
    return np.asarray(small)


def _colour(rgb: list[int], kind: Colours) -> str:
    """The parameters of a terminal colour, after 38 or 48."""
    red, green, blue = rgb
    if kind == "24-bit":
        return f"2;{red};{green};{blue}"
    if red == green == blue and 4 <= red <= 243:
        return f"5;{min(232 + round((red - 8) / 10), 255)}"  # greys 8, 18, ... 238
    # The colour cube: 6 x 6 x 6 at these six levels.
    levels = np.array([0, 95, 135, 175, 215, 255])
    r, g, b = (int(np.abs(levels - channel).argmin()) for channel in rgb)
    return f"5;{16 + 36 * r + 6 * g + b}"
