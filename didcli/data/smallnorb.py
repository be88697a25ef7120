"""SmallNORB: photographs of 50 toys, 48,600 grey images.

LeCun et al. 2004, https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/. The left image of each stereo
pair, 96 x 96 pixels, is resized to 64 x 64 as disentanglement_lib does, which everybody follows:
https://github.com/google-research/disentanglement_lib/blob/master/disentanglement_lib/data/ground_truth/norb.py

There are 10 toys of each category, and 9 x 18 x 6 images of each toy: five toys are in the training
files and five in the test files, so only together do they hold every combination. A toy's number
says nothing beyond its category, and disentanglement_lib does not count it among the factors; but
without it there are ten images for each combination, and metrics that change one factor while the
others stay need exactly one. So it is one of ours, unless `instance` is `hidden`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from didcli.data import _grid
from didcli.data._source import OnlyOfficial, check_choice
from didcli.data._stored import StoredImages
from didcli.errors import DataError
from didcli.interfaces import Dataset
from didcli.io import norb, published, records
from didcli.io.file_rows import FileRows
from didcli.io.paths import data_dir as choose_folder
from didcli.io.remote import RemoteFile

Instance = Literal["factor", "hidden"]

FACTOR_NAMES = ("category", "instance", "elevation", "azimuth", "lighting")
FACTOR_SIZES = (5, 10, 9, 18, 6)
IMAGE_SHAPE = (1, 64, 64)

_PUBLISHED_AT = "https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/"
_TRAINING = "smallnorb-5x46789x9x18x6x2x96x96-training"
_TEST = "smallnorb-5x01235x9x18x6x2x96x96-testing"


def _remote_file(stem: str, what: str, size: int, sha256: str) -> RemoteFile:
    # Digests as TensorFlow Datasets lists them: tensorflow_datasets/url_checksums/smallnorb.txt.
    name = f"{stem}-{what}.mat.gz"
    return RemoteFile(
        url=f"{_PUBLISHED_AT}{name}",
        name=name,
        size=size,
        sha256=sha256,
        md5=None,
        git_blob_sha1=None,
        licence="research only",
    )


FILES = (
    _remote_file(
        *(_TRAINING, "dat", 131_896_188),
        "5ffd6272a07d32695ee1082a26a41a93a37aab8c28da047f8c34ed348d214873",
    ),
    _remote_file(
        *(_TRAINING, "cat", 348),
        "2784e542c1922060691090952b6cd6278879a216c90f81476f0f00256d42cdaa",
    ),
    _remote_file(
        *(_TRAINING, "info", 71_052),
        "de7eb932ebe7a4ee16217fead60660d0eb3d23632c2f4d1c51f88c501c17bf32",
    ),
    _remote_file(
        *(_TEST, "dat", 130_799_817),
        "cf7104eed3e51174d2f65b66d1e5878b9da233b886f161b0d88f4510ba2c7474",
    ),
    _remote_file(
        *(_TEST, "cat", 347),
        "ecaf6d5bb8c3bc5eab9cf0258f6d2198dd474e016e374836fc097f2e5ff509ff",
    ),
    _remote_file(
        *(_TEST, "info", 10_428),
        "16adf314226327ee006d1a44db8cfef52773c06c829951d5653a9f6f310248a2",
    ),
)
"""Images, categories and the other factors: of the training set, then of the test set."""
SOURCES = (FILES,)

_PUBLISHED_SIDE = 96
_PART_IMAGES = 2048
_HINT = "Fetch it: did download smallnorb"


@dataclass(frozen=True)
class Config:
    source: OnlyOfficial = "auto"
    """There are only the official files."""
    instance: Instance = "factor"
    """Whether the number of the toy is a factor. `hidden` is as in disentanglement_lib; metrics
    that intervene are not defined then."""


def load(
    source: OnlyOfficial = "auto",
    instance: Instance = "factor",
    data_dir: Path | str | None = None,
    on_progress: records.OnProgress | None = None,
) -> Dataset:
    """The set, from the six official files in the data folder.

    The first time the images are resized into a file of 199 MB in that folder, which later calls
    map into memory.

    on_progress: called with images written and images in all, only when there are some to write.
    Raises DataError when a file is absent or damaged, StorageError when there is no room.
    """
    check_choice("smallnorb", "source", source, OnlyOfficial)
    check_choice("smallnorb", "instance", instance, Instance)
    return from_official(choose_folder(data_dir), FILES, instance, on_progress)


def from_official(
    folder: Path,
    files: tuple[RemoteFile, ...],
    instance: Instance = "factor",
    on_progress: records.OnProgress | None = None,
    factor_sizes: tuple[int, ...] = FACTOR_SIZES,
) -> StoredImages:
    """The set from the six `files` in `folder`, in the order of `FILES`, checked by their digests.

    Its source names one digest: the SHA-256 of the six, each a line. Raises DataError when a file
    is not the published one, or they hold something other than the set.
    """
    found = [published.check(folder / file.name, file, _HINT) for file in files]
    listing = "".join(f"{each.sha256}\n" for each in found)
    sha256 = hashlib.sha256(listing.encode()).hexdigest()
    source = f"official sha256:{sha256}"
    paths = [folder / file.name for file in files]
    pixels = records.ensure(
        folder / f"smallnorb-{sha256[:12]}.pixels",
        records.Content(source, prod(factor_sizes), prod(IMAGE_SHAPE)),
        lambda: images(paths, factor_sizes),
        on_progress,
    )
    shown = [k for k, name in enumerate(FACTOR_NAMES) if instance == "factor" or name != "instance"]
    return StoredImages(
        "smallnorb",
        source,
        FileRows(pixels).take,
        IMAGE_SHAPE,
        tuple(FACTOR_NAMES[k] for k in shown),
        tuple(factor_sizes[k] for k in shown),
        factors=lambda: _grid.factors(factor_sizes)[:, shown],
        count=len(pixels),
    )


def images(
    paths: list[Path], factor_sizes: tuple[int, ...] = FACTOR_SIZES
) -> Iterator[NDArray[np.uint8]]:
    """Left images of files laid out as the six official ones: (any number, 4096).

    They come in the order of their factors, the last one fastest, for which all are held at once,
    199 MB. Raises DataError for other files, or a combination that is missing.
    """
    count = prod(factor_sizes)
    pixels = np.empty((count, prod(IMAGE_SHAPE)), np.uint8)
    filled = np.zeros(count, dtype=bool)
    for dat, cat, info in (paths[:3], paths[3:]):
        rows = _rows(cat, info, factor_sizes)
        start = 0
        for slab in norb.slabs(dat, (len(rows), 2, _PUBLISHED_SIDE, _PUBLISHED_SIDE), "|u1", _HINT):
            for image, row in zip(slab[:, 0], rows[start : start + len(slab)], strict=True):
                pixels[row] = _resized(image)
            start += len(slab)
        filled[rows] = True
    if not filled.all():
        missing = _grid.factors(factor_sizes)[np.flatnonzero(~filled)[0]].tolist()
        raise DataError(f"{paths[0].parent} has no image of the toy {missing}", hint=_HINT)
    for start in range(0, count, _PART_IMAGES):
        yield pixels[start : start + _PART_IMAGES]


def _rows(cat: Path, info: Path, sizes: tuple[int, ...]) -> NDArray[np.int64]:
    """The row of the set for each image of a file, by its factors."""
    count = prod(sizes) // 2
    categories = np.concatenate(list(norb.slabs(cat, (count,), "<i4", _HINT)))
    others = np.concatenate(list(norb.slabs(info, (count, 4), "<i4", _HINT)))
    factors = np.column_stack((categories, others)).astype(np.int64)
    factors[:, FACTOR_NAMES.index("azimuth")] //= 2  # published as 0, 2, 4, ..., in tens of degrees
    if (factors < 0).any() or (factors >= sizes).any():
        raise DataError(f"{cat} and {info.name} have factors beyond {sizes}", hint=_HINT)
    rows: NDArray[np.int64] = np.ravel_multi_index(tuple(factors.T), sizes)
    return rows


def _resized(image: NDArray[Any]) -> NDArray[np.uint8]:
    """(96, 96) -> (4096,)."""
    small = Image.fromarray(image).resize(IMAGE_SHAPE[1:], Image.Resampling.LANCZOS)
    return np.asarray(small).reshape(-1)
