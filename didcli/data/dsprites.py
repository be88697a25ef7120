"""dSprites: every combination of five factors, 737,280 binary images of 64 x 64 pixels.

Matthey et al. 2017, https://github.com/google-deepmind/dsprites-dataset
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from didcli.data import _grid
from didcli.data._source import Source, fetch_again, official_file
from didcli.data._stored import StoredImages
from didcli.errors import DataError
from didcli.interfaces import Dataset
from didcli.io import published, records
from didcli.io.paths import data_dir as choose_folder
from didcli.io.paths import drawn_file
from didcli.io.remote import RemoteFile
from didcli.render import dsprites as renderer

if TYPE_CHECKING:
    from didcli.io.arrays import Expected

FACTOR_NAMES = renderer.FACTOR_NAMES
FACTOR_SIZES = renderer.FACTOR_SIZES

_PUBLISHED_AT = (
    "https://github.com/google-deepmind/dsprites-dataset/raw/"
    "fa310c66517cfc1939d77fe17c725154efc97127/"
)
_STEM = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64"
_LICENCE = "Apache-2.0, with the zlib notice of LOVE"

HDF5 = RemoteFile(
    url=f"{_PUBLISHED_AT}{_STEM}.hdf5",
    name=f"{_STEM}.hdf5",
    size=28_024_106,
    sha256="729fa22e884c9c500e1f17415d580746b4c5894fbbb780a1319bbcfa39a745bb",
    md5="b331c4447a651c44bf5e8ae09022e230",
    git_blob_sha1=None,
    licence=_LICENCE,
)
NPZ = RemoteFile(
    url=f"{_PUBLISHED_AT}{_STEM}.npz",
    name=f"{_STEM}.npz",
    size=None,
    sha256=None,
    md5="7da33b31b13a06f4b04a70402ce90c2e",
    git_blob_sha1="d98996d3f8ee1550e06b9d4ed78d0beb478910d5",
    licence=_LICENCE,
)
SOURCES = (HDF5, NPZ)
"""Published files with the same images: either is enough, and the first is preferred."""

RENDERED = (
    "the whole set drawn by this program, without a network: equal to 240 published frames, pixel "
    "by pixel, and with two white pixels more in all, of 128 million; 377 MB"
)

_FETCH_AGAIN = fetch_again("dsprites")


@dataclass(frozen=True)
class Config:
    source: Source = "auto"
    """The official file where it is present, else the rendered set; or one of the two."""


def load(
    source: Source = "auto",
    data_dir: Path | str | None = None,
    on_progress: records.OnProgress | None = None,
) -> Dataset:
    """The set, from the official file in the data folder or drawn by `didcli.render.dsprites`.

    The first time the images are packed into a file of 377 MB in that folder, which later calls
    map into memory.

    source: `auto` takes the official file where there is one.
    on_progress: called with images packed and images in all, only when there is packing to do.
    Raises DataError when the official file is asked for and absent, or when it is damaged: `auto`
    does not pass over it in silence. Raises StorageError when the images cannot be stored.
    """
    folder = choose_folder(data_dir)
    file = official_file("dsprites", source, folder, SOURCES)
    if file is None:
        return _rendered(folder, on_progress)
    return from_official(folder, file, on_progress)


def hdf5_images(
    path: Path, factor_sizes: tuple[int, ...] = FACTOR_SIZES
) -> Iterator[NDArray[np.uint8]]:
    """Bit-packed images of a file laid out as the official hdf5: (any number, 512) at a time.

    Raises DataError for anything else, even if only at the last image.
    """
    from didcli.io.arrays import hdf5_slabs

    return _images(path, hdf5_slabs, "latents/classes", factor_sizes)


def npz_images(
    path: Path, factor_sizes: tuple[int, ...] = FACTOR_SIZES
) -> Iterator[NDArray[np.uint8]]:
    """Bit-packed images like `hdf5_images`, of a file laid out as the official npz."""
    from didcli.io.arrays import npz_slabs

    # Its `metadata`, which is pickled, is not read: it is not needed and not to be trusted.
    return _images(path, npz_slabs, "latents_classes", factor_sizes)


def from_official(
    folder: Path,
    file: RemoteFile,
    on_progress: records.OnProgress | None = None,
    factor_sizes: tuple[int, ...] = FACTOR_SIZES,
) -> StoredImages:
    """The set from the hdf5 or npz `file` in `folder`, once it has passed `published.check`.

    Raises DataError when it is not the published file, or holds something other than the set.
    """
    sha256 = published.check(folder / file.name, file, _FETCH_AGAIN).sha256
    read = {".hdf5": hdf5_images, ".npz": npz_images}[Path(file.name).suffix]
    source = f"official sha256:{sha256}"
    packed = records.ensure(
        folder / f"dsprites-official-{sha256[:12]}.bits",
        records.Content(source, prod(factor_sizes), renderer.IMAGE_BYTES),
        lambda: read(folder / file.name, factor_sizes),
        on_progress,
    )
    return from_bits(packed, source, factor_sizes)


def from_bits(
    packed: NDArray[np.uint8], source: str, factor_sizes: tuple[int, ...] = FACTOR_SIZES
) -> StoredImages:
    """The set of bit-packed images, (N, 512), in the order of the factors, the last one fastest."""

    def read(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        # Not by `FileRows`: all of it may stay in memory, which saves a call for each image.
        pixels = np.unpackbits(packed.take(rows, axis=0))
        # 0 - 1 is 255 in uint8, and in place this is cheaper than a product.
        return np.negative(pixels, out=pixels)

    shape = (1, renderer.SIDE, renderer.SIDE)
    return StoredImages("dsprites", source, read, shape, FACTOR_NAMES, factor_sizes)


def _rendered(folder: Path, on_progress: records.OnProgress | None) -> StoredImages:
    source = f"rendered v{renderer.VERSION}"
    packed = records.ensure(
        folder / drawn_file("dsprites", source),
        records.Content(source, prod(FACTOR_SIZES), renderer.IMAGE_BYTES),
        renderer.blocks,
        on_progress,
    )
    return from_bits(packed, source)


def _images(
    path: Path,
    slabs: "Callable[[Path, Expected, str], Iterator[NDArray[Any]]]",
    classes_name: str,
    sizes: tuple[int, ...],
) -> Iterator[NDArray[np.uint8]]:
    """Bit-packed images, (any number, 512). slabs: reads arrays from a file of this kind."""
    from didcli.io.arrays import Expected

    count = prod(sizes)
    classes = Expected(classes_name, (count, 1 + len(sizes)), "<i8")
    images = Expected("imgs", (count, renderer.SIDE, renderer.SIDE), "|u1")
    _grid.check_order(
        path,
        slabs(path, classes, _FETCH_AGAIN),
        sizes,
        lambda digits: np.insert(digits, 0, 0, axis=1),  # the colour, which is always white
        _FETCH_AGAIN,
    )
    yield from _pack(path, slabs(path, images, _FETCH_AGAIN))


def _pack(path: Path, slabs: Iterable[NDArray[Any]]) -> Iterator[NDArray[np.uint8]]:
    """(n, 64, 64) of 0 and 1 -> (n, 512). Raises DataError for other values."""
    for slab in slabs:
        if slab.max() > 1:
            raise DataError(
                f"{path} has pixels of {slab.max()}, expected 0 and 1", hint=_FETCH_AGAIN
            )
        yield np.packbits(slab.reshape(len(slab), -1), axis=1)
