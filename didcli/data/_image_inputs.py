"""Images as users have them: a folder of pictures, or a file with an array of them."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from didcli.data._labels import Labels, no_labels, read_csv, recoded
from didcli.errors import DataError
from didcli.io import arrays, image_files
from didcli.io.arrays import Expected

Pixels = NDArray[np.uint8]

IMAGE_KEYS = ("images", "imgs")
"""Names under which a file's images are looked for, before any other."""
LABEL_KEYS = ("factors", "factor_names", "factor_sizes")
FOLDER_LABELS = "factors.csv"

MOST_IMAGES = 2**28
LARGEST_IMAGE = 2**27
"""Most bytes of an image, as stored."""
MOST_FACTORS = 256

_HINT = (
    "A file of images has an array (N, H, W), (N, H, W, 1 or 3) or (N, 1 or 3, H, W) of uint8 from "
    "0 to 255, of booleans, or of floats from 0 to 1."
)


class ImageInput(Protocol):
    """Images in a fixed order, of which some may turn out to be unreadable."""

    path: Path
    total: int

    def state(self) -> str:
        """A text that changes whenever the images may have changed."""
        ...

    def images(self, image_shape: tuple[int, int, int]) -> Iterator[Pixels | None]:
        """Each image as (C, H, W), cropped about its centre and resized; None for unreadable ones.

        Raises DataError when the input as a whole cannot be read.
        """
        ...

    def label_of(self, position: int) -> str:
        """Name of the image at this position."""
        ...

    def labels(self) -> Labels:
        """Labels of all images."""
        ...


def open_input(path: Path) -> ImageInput:
    """Open a folder or file of images. Raises DataError when images cannot be read from `path`."""
    if path.is_dir():
        return Folder(path)
    if not path.is_file():
        raise DataError(
            f"there is no folder or file {path}",
            hint="Name a folder of images, or an .npz, .npy or .h5 file of them.",
        )
    if path.suffix.lower() not in READERS:
        raise DataError(
            f"{path} is not a file of images",
            hint=f"It may be one of {', '.join(READERS)}, or a folder of images.",
        )
    return ArrayFile(path)


class Folder:
    """Pictures in a folder and the folders in it, sorted by path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = image_files.find(path)
        self.total = len(self._files)

    def state(self) -> str:
        return "\n".join(_state(file) for file in self._files)

    def images(self, image_shape: tuple[int, int, int]) -> Iterator[Pixels | None]:
        for file in self._files:
            try:
                image = image_files.read_image(file, image_shape)
            except DataError:
                yield None
            else:
                yield image

    def label_of(self, position: int) -> str:
        return image_files.printable(self._files[position].relative_to(self.path))

    def labels(self) -> Labels:
        table = self.path / FOLDER_LABELS
        if not table.is_file():
            return no_labels(self.total)
        return read_csv(table, [self.label_of(position) for position in range(self.total)])


class ArrayFile:
    """An array in an npz, npy or HDF5 file."""

    def __init__(self, path: Path) -> None:
        """Raises DataError when the file declares no array of images."""
        self.path = path
        self._reader = READERS[path.suffix.lower()]
        self._names = self._reader.names(path, _HINT)
        name = _image_key(path, self._names)
        self._array = self._reader.declared(path, name, _HINT)
        self._layout = _layout(path, self._array)
        self.total = self._array.shape[0]

    def state(self) -> str:
        return _state(self.path)

    def images(self, image_shape: tuple[int, int, int]) -> Iterator[Pixels | None]:
        mode = "L" if image_shape[0] == 1 else "RGB"
        brightest = 0
        start = 0
        for slab in self._reader.slabs(self.path, self._array, _HINT):
            # A view. Images become bytes one by one: copies of a whole slab would add up.
            images = slab.reshape(len(slab), *self._layout.shape)
            if not self._layout.channels_last:
                images = np.moveaxis(images, 1, -1)
            for row, image in enumerate(images, start):
                pixels = _to_bytes(self.path, image, row)
                brightest = max(brightest, int(pixels.max()))
                flat = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
                picture = Image.fromarray(np.ascontiguousarray(flat))
                yield image_files.fitted(picture.convert(mode), image_shape[1:])
            start += len(slab)
        if brightest <= 1:
            raise DataError(
                f"no pixel in {self.path} is brighter than 1 of 255",
                hint="If 1 means white, save the images as booleans or as floats.",
            )

    def label_of(self, position: int) -> str:
        return f"image {position}"

    def labels(self) -> Labels:
        if "factors" in self._names:
            return self._own_labels()
        table = self.path.with_suffix(".csv")
        return read_csv(table, self.total) if table.is_file() else no_labels(self.total)

    def _own_labels(self) -> Labels:
        declared = self._reader.declared(self.path, "factors", _HINT)
        whole = np.dtype(declared.dtype).kind in "biu"
        if len(declared.shape) != 2 or declared.shape[0] != self.total or not whole:
            raise _bad(
                self.path,
                f"expected factors of whole numbers ({self.total}, K), "
                f"got {declared.dtype} {declared.shape}",
            )
        if not 1 <= declared.shape[1] <= MOST_FACTORS:
            raise _bad(self.path, f"{declared.shape[1]:,} factors of each image")
        values = np.concatenate(list(self._reader.slabs(self.path, declared, _HINT)))
        names = None
        if "factor_names" in self._names:
            names = self._reader.texts(self.path, "factor_names", _HINT)
            if len(names) != values.shape[1]:
                raise _bad(self.path, f"{len(names)} factor_names for {values.shape[1]} factors")
        return recoded(values, names)


@dataclass(frozen=True)
class _Reader:
    """How files of one kind are read; see `didcli.io.arrays`."""

    names: Callable[[Path, str], list[str]]
    declared: Callable[[Path, str, str], Expected]
    slabs: Callable[[Path, Expected, str], Iterator[NDArray[Any]]]
    texts: Callable[[Path, str, str], list[str]]


_HDF5 = _Reader(arrays.hdf5_names, arrays.hdf5_declared, arrays.hdf5_slabs, arrays.hdf5_texts)
READERS = {
    ".npz": _Reader(arrays.npz_names, arrays.npz_declared, arrays.npz_slabs, arrays.npz_texts),
    # The one array of an npy file has no name, and there are no names of factors beside it.
    ".npy": _Reader(
        lambda _path, _hint: [IMAGE_KEYS[0]],
        arrays.npy_declared,
        arrays.npy_slabs,
        lambda _path, _name, _hint: [],
    ),
    ".h5": _HDF5,
    ".hdf5": _HDF5,
}


@dataclass(frozen=True)
class _Layout:
    """How an image lies in its array."""

    shape: tuple[int, int, int]
    """Shape of an image: (H, W, C), or (C, H, W)."""
    channels_last: bool


def _layout(path: Path, array: Expected) -> _Layout:
    """The layout of an array: where channels may be first or last, last. Raises DataError unless it
    can be an array of images."""
    count, *rest = array.shape or (0,)
    shape = (*rest, 1) if len(rest) == 2 else tuple(rest)
    fits = len(shape) == 3 and (shape[-1] in {1, 3} or shape[0] in {1, 3})
    dtype = np.dtype(array.dtype)
    if not (fits and 0 < array.row_bytes <= LARGEST_IMAGE and dtype.kind in "buf"):
        raise _bad(path, f"{array.name} is {dtype} {array.shape}")
    if dtype.kind == "u" and dtype.itemsize != 1:
        raise _bad(path, f"{array.name} is {dtype}")
    if not 2 <= count <= MOST_IMAGES:
        raise _bad(path, f"{array.name} has {count:,} images")
    first, second, third = shape
    return _Layout((first, second, third), channels_last=third in {1, 3})


def _image_key(path: Path, names: Sequence[str]) -> str:
    others = [name for name in names if name not in LABEL_KEYS]
    for key in IMAGE_KEYS:
        if key in others:
            return key
    if len(others) != 1:
        found = ", ".join(others[:5]) or "none"
        raise _bad(path, f"expected an array {IMAGE_KEYS[0]!r}, or only one; found {found}")
    return others[0]


def _to_bytes(path: Path, image: NDArray[Any], row: int) -> Pixels:
    """Booleans and floats in [0, 1] as 0..255. Raises DataError for other floats."""
    if image.dtype.kind == "u":
        return image
    if image.dtype.kind == "f" and not ((image >= 0) & (image <= 1)).all():
        low, high = image.min(), image.max()
        raise _bad(path, f"image {row} has values from {low:g} to {high:g}, not from 0 to 1")
    return np.rint(image * np.float32(255)).astype(np.uint8)


def _bad(path: Path, what: str) -> DataError:
    return DataError(f"{path} is not a file of images: {what}", hint=_HINT)


def _state(file: Path) -> str:
    status = file.stat()
    # The time of the last change of contents can be set at will; that of the last change at all,
    # which on Windows is that of creation, cannot.
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return json.dumps([image_files.printable(file), status.st_size, *times])
