"""3DShapes: every combination of six factors, 480,000 colour images of 64 x 64 pixels.

Burgess and Kim 2018, https://github.com/google-deepmind/3d-shapes
"""

import mmap
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from didcli.data._grid import checked_rows, factors
from didcli.errors import DataError, StorageError, UsageError
from didcli.interfaces import Dataset
from didcli.io import published, records
from didcli.io.paths import ENVIRONMENT_VARIABLE
from didcli.io.paths import data_dir as choose_folder
from didcli.io.remote import RemoteFile
from didcli.render import shapes3d as renderer

Source = Literal["auto", "official", "rendered"]

FACTOR_NAMES = renderer.FACTOR_NAMES
FACTOR_SIZES = renderer.FACTOR_SIZES
FACTOR_VALUES = (
    *(renderer.HUES, renderer.HUES, renderer.HUES),
    *(renderer.SCALES, np.arange(len(renderer.SHAPES)), renderer.ORIENTATIONS),
)
"""What the official labels say for each value of each factor."""

HDF5 = RemoteFile(
    url="https://storage.googleapis.com/3d-shapes/3dshapes.h5",
    name="3dshapes.h5",
    size=267_573_662,
    sha256="0a0f6ed98baff276a50f3a081a7434d788da63cb135a98189b2a5b5769be1785",
    md5="099a2078d58cec4daad0702c55d06868",
    git_blob_sha1=None,
    licence="Apache-2.0",
)
SOURCES = (HDF5,)

_DRAW = "Or draw it: --source rendered, which is --set data.source=rendered for did train."
_FETCH_AGAIN = f"Fetch it again: did download shapes3d --force. {_DRAW}"

_IMAGE_BYTES = 3 * renderer.SIDE**2
_PART_IMAGES = 1024
"""Converted at a time: 12 MiB."""
_RESIDENT_IMAGES = 4096
"""Read before their memory is given back: with what the system reads along, some 300 MB."""


@dataclass(frozen=True)
class Config:
    source: Source = "auto"
    """The official file where it is present, else the rendered set; or one of the two."""


class Shapes3D:
    """A `didcli.interfaces.Dataset`, one image for each combination of factors."""

    name = "shapes3d"
    image_shape = (3, renderer.SIDE, renderer.SIDE)
    factor_names: tuple[str, ...] = FACTOR_NAMES

    def __init__(
        self,
        read: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
        source: str,
        factor_sizes: tuple[int, ...] = FACTOR_SIZES,
    ) -> None:
        """read: rows (B,), all of them good -> images (B, 3, 64, 64)."""
        self._read = read
        self.source = source
        self.factor_sizes = factor_sizes

    @cached_property
    def factors(self) -> NDArray[np.int64]:
        """(N, 6) values of the factors, each counted from 0. Read-only, 22 MiB, made when asked."""
        table = factors(self.factor_sizes)
        table.setflags(write=False)
        return table

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """rows: (B,), 0..N-1 -> (B, 3, 64, 64), 0..255.

        Raises TypeError for rows that are not a vector of whole numbers, IndexError for others
        than 0..N-1; negative ones do not count from the end.
        """
        return self._read(checked_rows(rows, len(self)))

    def __len__(self) -> int:
        return prod(self.factor_sizes)


def load(
    source: Source = "auto",
    data_dir: Path | None = None,
    on_progress: records.OnProgress | None = None,
) -> Dataset:
    """The set, from the official file in the data folder or drawn by `didcli.render.shapes3d`.

    The first time a file is made in that folder, which later calls map into memory: of the
    official set 5.9 GB of pixels, of the rendered one 51 MB from which any image is composed.

    source: `auto` takes the official file where there is one.
    on_progress: called with images prepared and images in all, only when there are some to prepare.
    Raises DataError when the official file is asked for and absent, or when it is damaged: `auto`
    does not pass over it in silence. Raises StorageError when the images cannot be stored.
    """
    if source not in {"auto", "official", "rendered"}:
        raise UsageError(
            f"no {source!r} among the sources of shapes3d",
            hint="Choose from: auto, official, rendered.",
        )
    folder = choose_folder(data_dir)
    here = (folder / HDF5.name).is_file()
    if source == "rendered" or (source == "auto" and not here):
        return _rendered(folder, on_progress)
    if not here:
        raise DataError(
            f"no official 3DShapes file in {folder}",
            hint=f"Fetch it: did download shapes3d. {_DRAW}",
        )
    return from_official(folder, HDF5, on_progress)


def hdf5_images(
    path: Path, factor_sizes: tuple[int, ...] = FACTOR_SIZES
) -> Iterator[NDArray[np.uint8]]:
    """Images of a file laid out as the official one: (any number, 12288), channels first.

    Raises DataError for anything else, be it at the last image.
    """
    from didcli.io.arrays import Expected, hdf5_slabs

    _check_order(path, factor_sizes)
    images = Expected("images", (prod(factor_sizes), renderer.SIDE, renderer.SIDE, 3), "|u1")
    for slab in hdf5_slabs(path, images, _FETCH_AGAIN):
        # A slab of the official file has 15,000 images: it is not copied as a whole.
        for start in range(0, len(slab), _PART_IMAGES):
            part = slab[start : start + _PART_IMAGES]
            yield part.transpose(0, 3, 1, 2).reshape(len(part), _IMAGE_BYTES)


def from_official(
    folder: Path,
    file: RemoteFile,
    on_progress: records.OnProgress | None = None,
    factor_sizes: tuple[int, ...] = FACTOR_SIZES,
) -> Shapes3D:
    """The set from the `file` in `folder`, checked against its digests each time.

    Raises DataError when it is not the published file, or has something else than the set.
    """
    path = folder / file.name
    sha256 = published.check(path, file, _FETCH_AGAIN).sha256
    source = f"official sha256:{sha256}"
    content = records.Content(source, prod(factor_sizes), _IMAGE_BYTES)
    target = folder / f"shapes3d-official-{sha256[:12]}.pixels"

    def parts() -> Iterator[NDArray[np.uint8]]:
        _check_space(target, content.size)
        return hdf5_images(path, factor_sizes)

    pixels = records.ensure(target, content, parts, on_progress)
    return Shapes3D(_Mapped(pixels), source, factor_sizes)


class _Mapped:
    """Reads images out of a mapped file without holding on to more and more of its pages.

    Pages once read count as memory of the process until the system runs short: in the end all of
    5.9 GB. Given back, they stay in the cache of the system, and the next read finds them there.
    """

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        """pixels: (N, 12288), mapped from a file."""
        self._pixels = pixels
        self._mapping = _mapping(pixels)
        self._read_since = 0

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        images = self._pixels.take(rows, axis=0).reshape(-1, *Shapes3D.image_shape)
        self._read_since += len(rows)
        if self._mapping is not None and self._read_since >= _RESIDENT_IMAGES:
            self._mapping.madvise(mmap.MADV_DONTNEED)
            self._read_since = 0
        return images


def _mapping(array: NDArray[np.uint8]) -> mmap.mmap | None:
    """The mapping that an array is a view of; None where the system takes no advice on it."""
    owner: object = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    advisable = hasattr(mmap, "MADV_DONTNEED")  # not on Windows
    return owner if advisable and isinstance(owner, mmap.mmap) else None


def _rendered(folder: Path, on_progress: records.OnProgress | None) -> Shapes3D:
    def on_poses(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(done * renderer.POSE_IMAGES, total * renderer.POSE_IMAGES)

    source = f"rendered v{renderer.VERSION}"
    table = records.ensure(
        folder / f"shapes3d-rendered-v{renderer.VERSION}.bits",
        records.Content(source, renderer.POSES, renderer.POSE_BYTES),
        renderer.blocks,
        on_poses,
    )
    return Shapes3D(partial(renderer.compose, table), source)


def _check_order(path: Path, sizes: tuple[int, ...]) -> None:
    """Raises DataError unless the labels are those that the row numbers imply."""
    from didcli.io.arrays import Expected, hdf5_slabs

    labels = Expected("labels", (prod(sizes), len(sizes)), "<f8")
    start = 0
    for slab in hdf5_slabs(path, labels, _FETCH_AGAIN):
        digits = factors(sizes, start, start + len(slab))
        expected = np.stack(
            [values[digits[:, column]] for column, values in enumerate(FACTOR_VALUES)], axis=1
        )
        # As `not close`, so that NaN is wrong too.
        wrong = np.flatnonzero(~np.isclose(slab, expected, rtol=0, atol=1e-6).all(axis=1))
        if wrong.size:
            first = wrong[0]
            raise DataError(
                f"{path} is not in the order of its factors: expected row {start + first} to have "
                f"labels {expected[first].tolist()}, got {slab[first].tolist()}",
                hint=_FETCH_AGAIN,
            )
        start += len(slab)


def _check_space(target: Path, size: int) -> None:
    """Raises StorageError where `size` bytes do not fit: better now than minutes later."""
    free = shutil.disk_usage(target.parent).free
    if free < size:
        raise StorageError(
            f"the images of 3DShapes take {size:,} bytes in {target.parent}, "
            f"where {free:,} are free",
            hint=f"Choose another folder: --data-dir DIR, or the variable {ENVIRONMENT_VARIABLE}. "
            f"{_DRAW}",
        )
