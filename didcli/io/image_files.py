"""Find pictures in a folder and read them: any kind of file that people have, however broken."""

import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from didcli.errors import DataError

Pixels = NDArray[np.uint8]

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are read. Not all that Pillow knows: some, such as EPS, run other programs."""
SUFFIXES = (
    *(".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm"),
    *(".tif", ".tiff", ".webp"),
)

_DAMAGE = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, SyntaxError),
    *(TypeError, ValueError, struct.error),
)
"""What Pillow raises on damaged files: whatever its decoders stumble over."""


def find(folder: Path) -> list[Path]:
    """Files with an image's suffix, at any depth, sorted; hidden ones left out.

    Links to folders are followed, but each folder is entered once: a link to a folder that it lies
    in is no trap. Raises DataError when there are no images, or a folder cannot be looked into.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}", hint="Name a folder of images.")
    found: list[Path] = []
    entered: set[tuple[int, int]] = set()
    for root, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        status = Path(root).stat()
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        # In order, so that of two ways to a folder the same one is taken every time.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(root, name) for name in names if _is_image(root, name)]
    if not found:
        raise DataError(f"no images in {folder}", hint=f"It looks for {', '.join(SUFFIXES)}.")
    return sorted(found)


def printable(path: Path) -> str:
    """The path with forward slashes, and bytes that are no UTF-8 (Linux allows them) as `\\xff`."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def read_image(path: Path, image_shape: tuple[int, int, int]) -> Pixels:
    """A file as (C, H, W) of the shape asked for: grey or RGB, upright, as `fitted` makes it.

    Transparent parts are black. Raises DataError when the file is not an image that can be read.
    """
    channels, height, width = image_shape
    try:
        with _quiet_pillow(), Image.open(path, formats=FORMATS) as file:
            # A large photograph is decoded at a half, a quarter or an eighth, as JPEG allows.
            file.draft(None, (2 * width, 2 * height))
            upright = ImageOps.exif_transpose(_eight_bits(file))
            flat = _over_black(upright).convert("L" if channels == 1 else "RGB")
    except _DAMAGE as error:
        raise DataError(f"not an image: {error}", hint=f"Open {path} in a viewer.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"too large an image: {error}", hint=f"Make {path} smaller.") from error
    return fitted(flat, (height, width))


def fitted(image: Image.Image, size: tuple[int, int]) -> Pixels:
    """A grey or RGB image as (C, height, width): cropped about its centre, resized.

    BOX averages: images of a model are small, and it was not trained on edges that ring.
    """
    height, width = size
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), method=Image.Resampling.BOX)
    pixels = np.asarray(image, dtype=np.uint8).reshape(height, width, -1)
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))


def _refuse(error: OSError) -> None:
    raise DataError(
        f"cannot look into {error.filename}: {error.strerror}", hint="See who may read it."
    ) from error


def _is_image(root: str, name: str) -> bool:
    path = Path(root, name)
    return path.suffix.lower() in SUFFIXES and not name.startswith(".") and path.is_file()


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Silence Pillow's remarks on files that it reads all the same; raise an error where it only
    warns of an image that would unpack to gigabytes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits, which Pillow would clip; other images as they are."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image) // 257).clip(0, 255).astype(np.uint8))


def _over_black(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    layered = image.convert("RGBA")
    black = Image.new("RGBA", layered.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, layered)
