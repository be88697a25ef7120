"""3DShapes: every combination of six factors, 480,000 colour images of 64 x 64 pixels.

Burgess and Kim 2018, https://github.com/google-deepmind/3d-shapes
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from didcli.data import _grid
from didcli.data._source import Source, fetch_again, official_file
from didcli.data._stored import StoredImages, channels_first
from didcli.interfaces import Dataset
from didcli.io import published, records
from didcli.io.file_rows import FileRows
from didcli.io.paths import data_dir as choose_folder
from didcli.io.paths import drawn_file
from didcli.io.remote import RemoteFile
from didcli.render import shapes3d as renderer

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

RENDERED = (
    "the whole set drawn by this program, without a network: the same factors, and images that "
    "differ from the 25 published ones it was fitted to by 4 of 255 on average; 51 MB"
)

IMAGE_SHAPE = (3, renderer.SIDE, renderer.SIDE)

_FETCH_AGAIN = fetch_again("shapes3d")


@dataclass(frozen=True)
class Config:
    source: Source = "auto"
    """The official file where it is present, else the rendered set; or one of the two."""


def load(
    source: Source = "auto",
    data_dir: Path | str | None = None,
    on_progress: records.OnProgress | None = None,
) -> Dataset:
    """The set, from the official file in the data folder or drawn by `didcli.render.shapes3d`.

    The first time a file is made in that folder, which later calls map into memory: 5.9 GB of
    pixels for the official set, 51 MB from which any image is composed for the rendered one.

    source: `auto` takes the official file where there is one.
    on_progress: called with images prepared and images in all, only when there are some to prepare.
    Raises DataError when the official file is asked for and absent, or when it is damaged: `auto`
    does not pass over it in silence. Raises StorageError when the images cannot be stored.
    """
    folder = choose_folder(data_dir)
    file = official_file("shapes3d", source, folder, SOURCES)
    if file is None:
        return _rendered(folder, on_progress)
    return from_official(folder, file, on_progress)


def hdf5_images(
    path: Path, factor_sizes: tuple[int, ...] = FACTOR_SIZES
) -> Iterator[NDArray[np.uint8]]:
    """Images of a file laid out as the official one: (any number, 12288), channels first.

    Raises DataError for anything else, even if only at the last image.
    """
    from didcli.io.arrays import Expected, hdf5_slabs

    count = prod(factor_sizes)
    labels = Expected("labels", (count, len(factor_sizes)), "<f8")
    images = Expected("images", (count, renderer.SIDE, renderer.SIDE, 3), "|u1")
    order = hdf5_slabs(path, labels, _FETCH_AGAIN)
    _grid.check_order(path, order, factor_sizes, _labels, _FETCH_AGAIN)
    yield from channels_first(hdf5_slabs(path, images, _FETCH_AGAIN))


def from_official(
    folder: Path,
    file: RemoteFile,
    on_progress: records.OnProgress | None = None,
    factor_sizes: tuple[int, ...] = FACTOR_SIZES,
) -> StoredImages:
    """The set from the `file` in `folder`, once it has passed `published.check`.

    Raises DataError when it is not the published file, or holds something other than the set.
    """
    path = folder / file.name
    sha256 = published.check(path, file, _FETCH_AGAIN).sha256
    source = f"official sha256:{sha256}"
    pixels = records.ensure(
        folder / f"shapes3d-official-{sha256[:12]}.pixels",
        records.Content(source, prod(factor_sizes), prod(IMAGE_SHAPE)),
        lambda: hdf5_images(path, factor_sizes),
        on_progress,
    )
    return StoredImages(
        "shapes3d", source, FileRows(pixels).take, IMAGE_SHAPE, FACTOR_NAMES, factor_sizes
    )


def _rendered(folder: Path, on_progress: records.OnProgress | None) -> StoredImages:
    def on_poses(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(done * renderer.POSE_IMAGES, total * renderer.POSE_IMAGES)

    source = f"rendered v{renderer.VERSION}"
    table = records.ensure(
        folder / drawn_file("shapes3d", source),
        records.Content(source, renderer.POSES, renderer.POSE_BYTES),
        renderer.blocks,
        on_poses,
    )
    read = partial(renderer.compose, table)
    return StoredImages("shapes3d", source, read, IMAGE_SHAPE, FACTOR_NAMES, FACTOR_SIZES)


def _labels(digits: NDArray[np.int64]) -> NDArray[np.float64]:
    """Labels, (B, 6), that the official file gives to images with these factors."""
    return np.stack(
        [values[digits[:, column]] for column, values in enumerate(FACTOR_VALUES)], axis=1
    )
