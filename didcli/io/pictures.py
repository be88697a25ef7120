"""Pictures of many small images: labelled tables of them, PNG and GIF files.

Images come as arrays (..., C, H, W) uint8, 0..255, with C = 1 (grey) or 3 (RGB). Small ones are
enlarged by a whole factor without smoothing, so that every pixel of a model stays a pixel.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]

READABLE_SIDE = 96
"""Fewest pixels along the shorter side of an image: smaller images are enlarged."""
GAP = 4
"""Pixels between images, and between them and what is around them."""
LINE = 17
"""Pixels from one line of text to the next."""
FONT_SIZE = 14
PAPER = (255, 255, 255)
INK = (20, 20, 20)
FAINT = (195, 195, 195)


@dataclass(frozen=True)
class Block:
    """A table of images, a label to its left and, where given, a heading over each column."""

    label: str
    """Label of the table; may have several lines, or be empty."""
    images: Pixels
    """Images of the table, (rows, columns, C, H, W)."""
    headings: tuple[str, ...] = ()
    """One for each column, or none; each may have several lines."""


@dataclass(frozen=True)
class Layout:
    """Positions of everything on a sheet, in pixels from its top left corner."""

    scale: int
    """Factor by which images are enlarged."""
    gutter: int
    """Width of the column of labels."""
    cell: tuple[int, int]
    """(width, height) of a column and of a row of images, without the gap."""
    image: tuple[int, int]
    """(width, height) of an enlarged image, at most the cell."""
    tops: tuple[int, ...]
    """Top of each block."""
    size: tuple[int, int]
    """(width, height) of the sheet."""

    def corner(self, top: int, row: int, column: int) -> tuple[int, int]:
        """(x, y) of an image's top left pixel; `top` is where the block's images begin."""
        indent = (self.cell[0] - self.image[0]) // 2
        return (
            self.gutter + column * (self.cell[0] + GAP) + indent,
            top + row * (self.cell[1] + GAP),
        )


def layout(blocks: Sequence[Block]) -> Layout:
    """The geometry of a sheet of at least one block; images must all have the same size."""
    height, width = blocks[0].images.shape[-2:]
    scale = enlargement(height, width)
    image = (scale * width, scale * height)
    headings = [heading for block in blocks for heading in block.headings]
    cell = (max([image[0], *map(text_width, headings)]), image[1])
    label = max(text_width(block.label) for block in blocks)
    gutter = label + 3 * GAP if label else GAP
    tops = [GAP]
    for block in blocks:
        rows = block.images.shape[0]
        tops.append(tops[-1] + headings_height(block) + rows * (cell[1] + GAP))
    columns = max(block.images.shape[1] for block in blocks)
    size = (gutter + columns * (cell[0] + GAP), tops.pop())
    return Layout(scale, gutter, cell, image, tuple(tops), size)


def sheet(blocks: Sequence[Block]) -> Image.Image:
    """Blocks under one another as an RGB picture; `layout` says where everything is."""
    plan = layout(blocks)
    picture = Image.new("RGB", plan.size, PAPER)
    for top, block in zip(plan.tops, blocks, strict=True):
        _draw_block(picture, block, plan, top)
    return picture


def enlargement(height: int, width: int) -> int:
    """The whole factor that makes images readable; 1 for those that are."""
    return math.ceil(READABLE_SIDE / min(height, width, READABLE_SIDE))


def to_image(pixels: Pixels, scale: int = 1) -> Image.Image:
    """(C, H, W) -> a grey or RGB image, each pixel a square of `scale` x `scale`."""
    channels_last = np.moveaxis(pixels, 0, -1)
    image = Image.fromarray(channels_last[..., 0] if len(pixels) == 1 else channels_last)
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def strip(images: Pixels, scale: int = 1) -> Image.Image:
    """(B, C, H, W) -> the images side by side, GAP apart."""
    parts = [to_image(image, scale) for image in images]
    width, height = parts[0].size
    picture = Image.new(parts[0].mode, (len(parts) * (width + GAP) - GAP, height), "white")
    for index, part in enumerate(parts):
        picture.paste(part, (index * (width + GAP), 0))
    return picture


def draw_slider(picture: Image.Image, fraction: float, low: str, high: str) -> Image.Image:
    """The picture above a slider that is `fraction` (0..1) of the way from `low` to `high`."""
    extended = Image.new(picture.mode, (picture.width, picture.height + LINE + GAP), PAPER)
    extended.paste(picture, (0, 0))
    draw = ImageDraw.Draw(extended)
    middle = picture.height + LINE // 2
    left, right = text_width(low) + 4 * GAP, picture.width - text_width(high) - 4 * GAP
    draw.text((GAP, middle), low, INK, font=_font(), anchor="lm")
    draw.text((picture.width - GAP, middle), high, INK, font=_font(), anchor="rm")
    draw.line((left, middle, right, middle), FAINT, width=2)
    x, radius = left + fraction * (right - left), LINE // 3
    draw.ellipse((x - radius, middle - radius, x + radius, middle + radius), INK)
    return extended


def captioned(picture: Image.Image, text: str) -> Image.Image:
    """The picture above a text, in as many lines as it takes; as it is where there is no text."""
    lines = _wrapped(text, picture.width - 2 * GAP)
    if not lines:
        return picture
    height = picture.height + len(lines) * LINE + GAP
    extended = Image.new(picture.mode, (picture.width, height), PAPER)
    extended.paste(picture, (0, 0))
    _draw_lines(extended, "\n".join(lines), (GAP, picture.height), "la")
    return extended


def png_bytes(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def gif_bytes(frames: Sequence[Image.Image], frame_ms: int) -> bytes:
    """The frames as a GIF file that loops for ever; frame_ms: a multiple of 10, GIF's unit."""
    buffer = io.BytesIO()
    first, *others = frames
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=frame_ms, loop=0)
    return buffer.getvalue()


def headings_height(block: Block) -> int:
    """Pixels that a block's headings take; 0 without any."""
    lines = max((text.count("\n") + 1 for text in block.headings), default=0)
    return lines and GAP + lines * LINE


def text_width(text: str) -> int:
    """Pixels that the longest line of a text takes; 0 for an empty one."""
    return math.ceil(max((_font().getlength(line) for line in text.splitlines()), default=0))


def _draw_block(picture: Image.Image, block: Block, plan: Layout, top: int) -> None:
    first_image = top + headings_height(block)
    rows, columns = block.images.shape[:2]
    for column, heading in enumerate(block.headings):
        middle = plan.corner(top, 0, column)[0] + plan.image[0] // 2
        _draw_lines(picture, heading, (middle, top + GAP), "ma")
    label_height = LINE * (block.label.count("\n") + 1)
    # Against the first row, not the middle of the block: the eye then finds it with the headings.
    label_top = first_image + (plan.image[1] - label_height) // 2
    _draw_lines(picture, block.label, (plan.gutter - 2 * GAP, label_top), "ra")
    for row in range(rows):
        for column in range(columns):
            tile = to_image(block.images[row, column], plan.scale)
            picture.paste(tile, plan.corner(first_image, row, column))


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of whole words; only one that is longer by itself exceeds `width` pixels."""
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _draw_lines(picture: Image.Image, text: str, at: tuple[int, int], anchor: str) -> None:
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(text.splitlines()):
        draw.text((at[0], at[1] + number * LINE), line, INK, font=_font(), anchor=anchor)


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(FONT_SIZE)
