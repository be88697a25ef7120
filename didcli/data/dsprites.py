"""dSprites: every combination of five factors, 737,280 binary images of 64 x 64 pixels.

Matthey et al. 2017, https://github.com/google-deepmind/dsprites-dataset
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from didcli.data import _grid
from didcli.errors import DataError, UsageError
from didcli.interfaces import Dataset
from didcli.io import published, records
from didcli.io.paths import data_dir as choose_folder
from didcli.io.remote import RemoteFile
from didcli.render import dsprites as renderer

Source = Literal["auto", "official", "rendered"]

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

_DRAW = "Or draw it: --source rendered, which is --set data.source=rendered for did train."
_FETCH_AGAIN = f"Fetch it again: did download dsprites --force. {_DRAW}"


@dataclass(frozen=True)
class Config:
    source: Source = "auto"
    """The official file where it is present, else the rendered set; or one of the two."""


class DSprites:
    """A `didcli.interfaces.Dataset` of bit-packed images, one for each combination of factors."""

    name = "dsprites"
    image_shape = (1, renderer.SIDE, renderer.SIDE)
    factor_names: tuple[str, ...] = FACTOR_NAMES

    def __init__(
        self,
        packed: NDArray[np.uint8],
        source: str,
        factor_sizes: tuple[int, ...] = FACTOR_SIZES,
    ) -> None:
        """packed: (N, 512), in the order of the factors, the last one fastest."""
        self._packed = packed
        self.source = source
        self.factor_sizes = factor_sizes

    @cached_property
    def factors(self) -> NDArray[np.int64]:
        """(N, 5) values of the factors, each counted from 0. Read-only, 28 MiB, made when asked."""
        factors = _grid.factors(self.factor_sizes)
        factors.setflags(write=False)
        return factors

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """rows: (B,), 0..N-1 -> (B, 1, 64, 64), values 0 and 255.

        Raises TypeError for rows that are not a vector of whole numbers, IndexError for others
        than 0..N-1; negative ones do not count from the end.
        """
        pixels = np.unpackbits(self._packed.take(_grid.checked_rows(rows, len(self)), axis=0))
        # 0 - 1 is 255 in uint8, and in place this is cheaper than a product.
        return np.negative(pixels, out=pixels).reshape(-1, *self.image_shape)

    def __len__(self) -> int:
        return len(self._packed)


def load(
    source: Source = "auto",
    data_dir: Path | None = None,
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
    if source not in {"auto", "official", "rendered"}:
        raise UsageError(
            f"no {source!r} among the sources of dsprites",
            hint="Choose from: auto, official, rendered.",
        )
    folder = choose_folder(data_dir)
    official = [file for file in SOURCES if (folder / file.name).is_file()]
    if source == "rendered" or (source == "auto" and not official):
        return _rendered(folder, on_progress)
    if not official:
        raise DataError(
            f"no official dSprites file in {folder}",
            hint=f"Fetch it: did download dsprites. {_DRAW}",
        )
    return from_official(folder, official[0], on_progress)


def hdf5_images(
    path: Path, factor_sizes: tuple[int, ...] = FACTOR_SIZES
) -> Iterator[NDArray[np.uint8]]:
    """Bit-packed images of a file laid out as the official hdf5: (any number, 512) at a time.

    Raises DataError for anything else, be it at the last image.
    """
    from didcli.io.arrays import Expected, hdf5_slabs

    count = prod(factor_sizes)
    classes = Expected("latents/classes", (count, 1 + len(factor_sizes)), "<i8")
    images = Expected("imgs", (count, renderer.SIDE, renderer.SIDE), "|u1")
    _check_order(path, hdf5_slabs(path, classes, _FETCH_AGAIN), factor_sizes)
    yield from _pack(path, hdf5_slabs(path, images, _FETCH_AGAIN))


def npz_images(
    path: Path, factor_sizes: tuple[int, ...] = FACTOR_SIZES
) -> Iterator[NDArray[np.uint8]]:
    """As `hdf5_images`, of a file laid out as the official npz."""
    from didcli.io.arrays import Expected, npz_slabs

    # Its `metadata`, which is pickled, is not read: it is not needed and not to be trusted.
    count = prod(factor_sizes)
    classes = Expected("latents_classes", (count, 1 + len(factor_sizes)), "<i8")
    images = Expected("imgs", (count, renderer.SIDE, renderer.SIDE), "|u1")
    _check_order(path, npz_slabs(path, classes, _FETCH_AGAIN), factor_sizes)
    yield from _pack(path, npz_slabs(path, images, _FETCH_AGAIN))


def from_official(
    folder: Path,
    file: RemoteFile,
    on_progress: records.OnProgress | None = None,
    factor_sizes: tuple[int, ...] = FACTOR_SIZES,
) -> DSprites:
    """The set from the hdf5 or npz `file` in `folder`, checked against its digests each time.

    Raises DataError when it is not the published file, or has something else than the set.
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
    return DSprites(packed, source, factor_sizes)


def _rendered(folder: Path, on_progress: records.OnProgress | None) -> DSprites:
    source = f"rendered v{renderer.VERSION}"
    packed = records.ensure(
        folder / f"dsprites-rendered-v{renderer.VERSION}.bits",
        records.Content(source, prod(FACTOR_SIZES), renderer.IMAGE_BYTES),
        renderer.blocks,
        on_progress,
    )
    return DSprites(packed, source)


def _check_order(path: Path, slabs: Iterable[NDArray[Any]], sizes: tuple[int, ...]) -> None:
    """Raises DataError unless the classes, colour first, are those that the row numbers imply."""
    start = 0
    for slab in slabs:
        expected = _grid.factors((1, *sizes), start, start + len(slab))
        wrong = np.flatnonzero((slab != expected).any(axis=1))
        if wrong.size:
            first = wrong[0]
            raise DataError(
                f"{path} is not in the order of its factors: expected row {start + first} to have "
                f"{expected[first].tolist()}, got {slab[first].tolist()}",
                hint=_FETCH_AGAIN,
            )
        start += len(slab)


def _pack(path: Path, slabs: Iterable[NDArray[Any]]) -> Iterator[NDArray[np.uint8]]:
    """(n, 64, 64) of 0 and 1 -> (n, 512). Raises DataError for other values."""
    for slab in slabs:
        if slab.max() > 1:
            raise DataError(
                f"{path} has pixels of {slab.max()}, expected 0 and 1", hint=_FETCH_AGAIN
            )
        yield np.packbits(slab.reshape(len(slab), -1), axis=1)
