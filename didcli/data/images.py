"""The user's own images: a folder of pictures, or an npz, npy or HDF5 file with an array of them.

Each is cropped about its centre to a square and resized by averaging areas; pictures are turned
upright, and their transparent parts are black. This is done once: the pixels are kept in the data
folder, under a key that changes with the input and with the settings that decide them.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from didcli.data._source import check_choice
from didcli.data._stored import StoredImages
from didcli.errors import DataError, UsageError
from didcli.interfaces import Dataset
from didcli.io import once, records
from didcli.io.file_rows import FileRows
from didcli.io.paths import data_dir as choose_folder
from didcli.io.paths import expanded

if TYPE_CHECKING:
    from didcli.data._image_inputs import ImageInput

Size = Literal[32, 64, 128]
Colour = Literal["auto", "grey", "rgb"]
Image = NDArray[np.uint8]
"""One image, (C, H, W), 0..255."""

ABOUT = (
    "your own: did train --data PATH, a folder of pictures or an npz, npy or HDF5 file; nothing is "
    "fetched, size and licence are yours, and factors are known if you give them"
)
"""Text about this kind of set for `did download --list`."""
VERSION = 1
"""Version of the conversion: raised when the same input gives other pixels."""
NAMED = 10
"""Most unreadable images that are named; more are counted."""
_PART_IMAGES = 256


@dataclass(frozen=True)
class Config:
    path: str = ""
    """Folder or file; kept as an absolute path, so that a run finds it from anywhere."""
    image_size: Size = 64
    """Side of the square images, in pixels."""
    strict: bool = False
    """Whether to refuse a folder with images that cannot be read; they are left out otherwise."""
    colour: Colour = "auto"
    """auto is grey where every image is, else rgb."""

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path: say where the images are: did train --data PATH")
        try:
            object.__setattr__(self, "path", str(expanded(self.path).absolute()))
        except UsageError as error:
            raise ValueError(f"path: {error}") from None


@dataclass(frozen=True)
class _Index:
    """What the conversion found out; kept beside the pixels."""

    image_shape: tuple[int, int, int]
    total: int
    unreadable: tuple[int, ...]
    """Positions, in the order of the input, of images that are blank among the pixels."""
    sha256: str
    """SHA-256 of the image shape and the pixels."""

    @property
    def content(self) -> records.Content:
        return _content(self.image_shape, self.total)

    def readable(self) -> NDArray[np.int64]:
        return np.delete(np.arange(self.total), np.array(self.unreadable, dtype=np.int64))


class _ColourError(Exception):
    """An image among those that were taken for grey has colours."""


def load(
    path: str,
    image_size: Size = 64,
    strict: bool = False,
    colour: Colour = "auto",
    data_dir: Path | str | None = None,
    on_progress: records.OnProgress | None = None,
) -> Dataset:
    """The images at `path`, with the factors that lie with them, if any.

    on_progress: called with images converted and images in all, only when there are some to
        convert.
    Raises DataError when fewer than two images can be read, or (strict) when one cannot.
    """
    check_choice("images", "size", image_size, Size)
    check_choice("images", "colour", colour, Colour)
    from didcli.data._image_inputs import open_input

    given = open_input(expanded(path).absolute())
    labels = given.labels()  # before the work: they may be wrong
    index, pixels = _converted(given, image_size, colour, choose_folder(data_dir), on_progress)
    note = _unreadable(given, index)
    if note is not None and strict:
        raise DataError(note, hint="Mend or remove them, or leave out --strict (data.strict).")
    if index.total - len(index.unreadable) < 2:
        raise DataError(
            note or f"there is one image in {given.path}", hint="Training takes two or more."
        )
    readable = index.readable()
    known = labels.of(readable)
    stored = FileRows(pixels)
    return StoredImages(
        given.path.name,
        f"images sha256:{index.sha256[:12]}",
        lambda rows: stored.take(readable[rows]),
        index.image_shape,
        known.names,
        known.sizes,
        factors=lambda: known.values,
        count=len(readable),
        notes=() if note is None else (f"{note}; left out",),
    )


def _converted(
    given: "ImageInput",
    size: int,
    colour: Colour,
    folder: Path,
    on_progress: records.OnProgress | None,
) -> tuple[_Index, NDArray[np.uint8]]:
    """The index and the pixels, from the data folder if they are there already.

    The index is written last: where there is one, the pixels it tells of have been written.
    """
    about = json.dumps([VERSION, str(given.path), size, colour, given.state()])
    key = hashlib.sha256(about.encode()).hexdigest()[:12]
    target = folder / f"images-{key}.pixels"

    def read(path: Path) -> tuple[_Index, NDArray[np.uint8]] | None:
        index = _read_index(path)
        pixels = None if index is None else records.read(target, index.content)
        return None if index is None or pixels is None else (index, pixels)

    def write(file: BinaryIO) -> None:
        index = _convert(given, size, colour, target, on_progress)
        file.write(json.dumps(asdict(index)).encode() + b"\n")

    return once.ensure(folder / f"images-{key}.json", read, write)


def _convert(
    given: "ImageInput",
    size: int,
    colour: Colour,
    target: Path,
    on_progress: records.OnProgress | None,
) -> _Index:
    """Write the pixels to `target`; return what there is to know of them.

    Whether all images are grey is known only once all have been seen. So they are taken for grey
    until one proves not to be, which in most sets of colour images is the first.
    """

    def write(images: Iterator[Image | None], shape: tuple[int, int, int]) -> _Index:
        return _write(images, shape, given.total, target, on_progress)

    grey, rgb = (1, size, size), (3, size, size)
    if colour == "grey":
        return write(given.images(grey), grey)
    if colour == "auto":
        with suppress(_ColourError):
            return write(_all_grey(given.images(rgb)), grey)
    return write(given.images(rgb), rgb)


def _write(
    images: Iterator[Image | None],
    image_shape: tuple[int, int, int],
    total: int,
    target: Path,
    on_progress: records.OnProgress | None,
) -> _Index:
    unreadable: list[int] = []
    digest = hashlib.sha256(repr(image_shape).encode())

    def parts() -> Iterator[NDArray[np.uint8]]:
        for part in _parts(images, prod(image_shape), unreadable):
            digest.update(part.data)
            yield part

    # Pixels without an index: it is not known which of them are blank.
    target.unlink(missing_ok=True)
    records.ensure(target, _content(image_shape, total), parts, on_progress)
    return _Index(image_shape, total, tuple(unreadable), digest.hexdigest())


def _parts(
    images: Iterator[Image | None], size: int, unreadable: list[int]
) -> Iterator[NDArray[np.uint8]]:
    """Images as (up to `_PART_IMAGES`, size); None becomes blank, and is noted in `unreadable`."""
    blank = np.zeros(size, np.uint8)
    waiting: list[Image] = []
    for position, image in enumerate(images):
        if image is None:
            unreadable.append(position)
        waiting.append(blank if image is None else image.reshape(size))
        if len(waiting) == _PART_IMAGES:
            yield np.stack(waiting)
            waiting.clear()
    if waiting:
        yield np.stack(waiting)


def _all_grey(images: Iterator[Image | None]) -> Iterator[Image | None]:
    """(3, H, W) -> (1, H, W). Raises _ColourError at the first that is not grey."""
    for image in images:
        if image is not None and (image != image[:1]).any():
            raise _ColourError
        yield None if image is None else image[:1]


def _read_index(path: Path) -> _Index | None:
    """The index in this file; None where there is none, or it is damaged."""
    try:
        fields = json.loads(path.read_text("utf-8"))
        channels, height, width = fields["image_shape"]
        unreadable = tuple(fields["unreadable"])
        return _Index((channels, height, width), fields["total"], unreadable, fields["sha256"])
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def _content(image_shape: tuple[int, int, int], total: int) -> records.Content:
    return records.Content(f"images v{VERSION}", total, prod(image_shape))


def _unreadable(given: "ImageInput", index: _Index) -> str | None:
    """`2 of 7 images in photos cannot be read: a.png, b.png`; None where all can."""
    if not index.unreadable:
        return None
    names = [given.label_of(position) for position in index.unreadable[:NAMED]]
    more = len(index.unreadable) - len(names)
    return (
        f"{len(index.unreadable)} of {index.total} images in {given.path} cannot be read: "
        + ", ".join(names)
        + (f" and {more} more" if more else "")
    )
