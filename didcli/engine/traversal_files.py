"""A traversal as a file: PNG, GIF, or an HTML page with a slider for each dimension."""

import zlib
from collections.abc import Sequence

import numpy as np

from didcli.engine.traverse import Traversal
from didcli.io import page, pictures

GIF_PERIOD_MS = 3000
"""Time that an animation takes, there and back."""
GIF_FRAME_MS = (40, 300)
"""Shortest and longest frame: viewers slow down what is faster, and what is slower stutters."""
LONGEST_NAME = 100
"""Characters that the dimensions take in the name of a file."""


def file_name(dims: Sequence[int], latent_dim: int, suffix: str) -> str:
    """`traverse.png` for all dimensions, else `traverse-dim3.png` or `traverse-dim0-1-5.png`. Where
    that is longer than a file's name may be, it has the number of dimensions and a checksum.

    Not `traversal.png`, which is the picture that training refreshes.
    """
    if list(dims) == list(range(latent_dim)):
        return f"traverse.{suffix}"
    named = "-".join(map(str, dims))
    if len(named) > LONGEST_NAME:
        named = f"-{len(dims)}-{zlib.crc32(named.encode())}"
    return f"traverse-dim{named}.{suffix}"


def render(traversal: Traversal, labels: Sequence[str], suffix: str, *, title: str) -> bytes:
    """The file named `.suffix`: png, gif or html.

    labels: one for each dimension. title: what the pictures are of; written beneath them.
    """
    if suffix == "html":
        return to_html(traversal, labels, title)
    to_picture = to_gif if suffix == "gif" else to_png
    return to_picture(traversal, labels, title)


def to_png(traversal: Traversal, labels: Sequence[str], title: str) -> bytes:
    """A block a dimension: a row an anchor, a column a value, which stands above it."""
    headings = tuple(f"{value:.3g}" for value in traversal.values)
    blocks = [
        pictures.Block(_folded(text), images, headings)
        for text, images in zip(labels, traversal.images, strict=True)
    ]
    return pictures.png_bytes(pictures.captioned(pictures.sheet(blocks), title))


def to_gif(traversal: Traversal, labels: Sequence[str], title: str) -> bytes:
    """Dimensions side by side, a row an anchor, all moving from the lowest value up and back."""
    headings = tuple(_folded(text) for text in labels)
    low, high = (f"{traversal.values[end]:.3g}" for end in (0, -1))
    last = len(traversal.values) - 1
    order = there_and_back(last + 1)
    frames = []
    for step in order:
        images = np.moveaxis(traversal.images[:, :, step], 0, 1)
        table = pictures.sheet([pictures.Block("", images, headings)])
        moving = pictures.draw_slider(table, step / last, low, high)
        frames.append(pictures.captioned(moving, title))
    return pictures.gif_bytes(frames, frame_ms(len(order)))


def to_html(traversal: Traversal, labels: Sequence[str], title: str) -> bytes:
    """One page with nothing outside it: a slider for each dimension, an image strip a value."""
    height, width = traversal.images.shape[-2:]
    scale = pictures.enlargement(height, width)
    dimensions = [
        page.Slider(
            label=text,
            values=tuple(f"{value:.3g}" for value in traversal.values),
            images=tuple(
                pictures.png_bytes(pictures.strip(images[:, step], scale))
                for step in range(len(traversal.values))
            ),
        )
        for text, images in zip(labels, traversal.images, strict=True)
    ]
    return page.sliders(title, dimensions).encode()


def there_and_back(count: int) -> list[int]:
    """0 .. count - 1 and back again, the two ends once each, so that a loop does not stop there."""
    return [*range(count), *range(count - 2, 0, -1)]


def frame_ms(frames: int) -> int:
    """How long to show each frame, in ms: a multiple of 10, which is GIF's unit."""
    shortest, longest = GIF_FRAME_MS
    return min(max(10 * round(GIF_PERIOD_MS / frames / 10), shortest), longest)


def _folded(text: str) -> str:
    """A label in two lines, to take less room beside or above images."""
    return text.replace(": ", "\n", 1)
