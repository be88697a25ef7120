"""MPI3D: a robot's arm holds an object; every combination of seven factors, 1,036,800 images.

Gondal et al. 2019, https://arxiv.org/abs/1906.03292. It comes in three kinds: drawn simply, drawn
realistically, and photographed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from didcli.data._source import OnlyOfficial, check_choice
from didcli.data._stored import StoredImages, channels_first
from didcli.interfaces import Dataset
from didcli.io import published, records
from didcli.io.file_rows import FileRows
from didcli.io.paths import data_dir as choose_folder
from didcli.io.remote import RemoteFile

Kind = Literal["toy", "realistic", "real"]

FACTOR_NAMES = (
    *("object_color", "object_shape", "object_size", "camera_height", "background_color"),
    *("horizontal_axis", "vertical_axis"),
)
FACTOR_SIZES = (6, 6, 2, 3, 3, 40, 40)

IMAGE_SHAPE = (3, 64, 64)


def _remote_file(kind: str, md5: str) -> RemoteFile:
    # The digests that are known were taken of older copies than the one at this address.
    name = f"mpi3d_{kind}.npz"
    return RemoteFile(
        url=f"https://huggingface.co/datasets/waleedgondal/mpi3d/resolve/main/{name}",
        name=name,
        size=None,
        sha256=None,
        md5=md5,
        git_blob_sha1=None,
        licence="CC BY 4.0",
        digests_of_older_copy=True,
    )


KINDS: tuple[Kind, ...] = ("toy", "realistic", "real")
SOURCES = (
    _remote_file("toy", "55889cb7c7dfc655d6e0277beee88868"),
    _remote_file("realistic", "59a6225b88b635365f70c91b3e52f70f"),
    _remote_file("real", "0f33f609918fb5c97996692f91129802"),
)
"""The file of each kind, in the order of `KINDS`."""


@dataclass(frozen=True)
class Config:
    kind: Kind = "toy"
    """Drawn simply, drawn realistically, or photographed."""
    source: OnlyOfficial = "auto"
    """There is only the official file."""


def load(
    kind: Kind = "toy",
    source: OnlyOfficial = "auto",
    data_dir: Path | str | None = None,
    on_progress: records.OnProgress | None = None,
) -> Dataset:
    """The set, from the official file of that kind in the data folder.

    The first time the images are unpacked into a file of 12.7 GB in that folder, which later calls
    map into memory.

    on_progress: called with images unpacked and images in all, only when there are some to unpack.
    Raises DataError when the file is absent or damaged, StorageError when the images do not fit.
    """
    check_choice("mpi3d", "kind", kind, Kind)
    check_choice("mpi3d", "source", source, OnlyOfficial)
    folder = choose_folder(data_dir)
    return from_official(folder, SOURCES[KINDS.index(kind)], kind, on_progress)


def from_official(
    folder: Path,
    file: RemoteFile,
    kind: Kind,
    on_progress: records.OnProgress | None = None,
    factor_sizes: tuple[int, ...] = FACTOR_SIZES,
) -> StoredImages:
    """The set from the `file` in `folder`, checked against its digests.

    A file with other digests is accepted, since those known are of an older copy: its layout is
    checked all the same, its `source` calls it unverified, and its `notes` name both digests.
    Raises DataError when it holds something other than the set.
    """
    path = folder / file.name
    hint = f"Fetch it: did download mpi3d --kind {kind}" + " --force" * path.exists()
    found = published.check(path, file, hint)
    content = records.Content(found.source, prod(factor_sizes), prod(IMAGE_SHAPE))
    target = folder / f"mpi3d-{kind}-{found.sha256[:12]}.pixels"
    pixels = records.ensure(
        target, content, lambda: npz_images(path, hint, factor_sizes), on_progress
    )
    notes = () if found.note is None else (found.note,)
    return StoredImages(
        f"mpi3d_{kind}",
        found.source,
        FileRows(pixels).take,
        IMAGE_SHAPE,
        FACTOR_NAMES,
        factor_sizes,
        notes=notes,
    )


def npz_images(
    path: Path, hint: str, factor_sizes: tuple[int, ...] = FACTOR_SIZES
) -> Iterator[NDArray[np.uint8]]:
    """Images of a file laid out as the official ones: (any number, 12288), channels first.

    Raises DataError, with `hint`, for anything else, even if only at the last image.
    """
    from didcli.io.arrays import Expected, npz_slabs

    channels, height, width = IMAGE_SHAPE
    images = Expected("images", (prod(factor_sizes), height, width, channels), "|u1")
    return channels_first(npz_slabs(path, images, hint))
