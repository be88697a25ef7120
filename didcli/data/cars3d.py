"""Cars3D: 183 models of cars from every side, 17,568 colour images.

Reed et al. 2015, https://papers.nips.cc/paper/5845-deep-visual-analogy-making. The published images
of 128 x 128 pixels are resized to 64 x 64 as disentanglement_lib does, which everybody follows:
https://github.com/google-research/disentanglement_lib/blob/master/disentanglement_lib/data/ground_truth/cars3d.py
"""

import io
import re
import struct
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from didcli.data._source import OnlyOfficial, check_choice
from didcli.data._stored import StoredImages
from didcli.errors import DataError
from didcli.interfaces import Dataset
from didcli.io import published, records
from didcli.io.file_rows import FileRows
from didcli.io.paths import data_dir as choose_folder
from didcli.io.remote import RemoteFile

FACTOR_NAMES = ("elevation", "azimuth", "object")
FACTOR_SIZES = (4, 24, 183)
IMAGE_SHAPE = (3, 64, 64)

ARCHIVE = RemoteFile(
    url="http://www.scottreed.info/files/nips2015-analogy-data.tar.gz",
    name="nips2015-analogy-data.tar.gz",
    size=None,
    sha256=None,
    md5="4e866a7919c1beedf53964e6f7a23686",
    git_blob_sha1=None,
    licence="licence not stated",
)
SOURCES = (ARCHIVE,)

_PUBLISHED_SIDE = 128
_MEMBER = re.compile(r"(?:.*/)?cars/[^/]+\.mat")
"""Names of the members with a car each; the archive has other data, too."""
_LARGEST_MEMBER = 2**26
"""Most bytes of a member, packed and unpacked; a car takes 5 MB, and 2 MB for masks."""
_MAT_HEADER = 128
"""Bytes before the first variable; the last two tell the byte order."""
_MAT_COMPRESSED = 15
"""The type of a variable that is packed by zlib."""
_HINT = "Fetch it: did download cars3d"


@dataclass(frozen=True)
class Config:
    source: OnlyOfficial = "auto"
    """There is only the official file."""


def load(
    source: OnlyOfficial = "auto",
    data_dir: Path | str | None = None,
    on_progress: records.OnProgress | None = None,
) -> Dataset:
    """The set, from the official archive in the data folder.

    The first time the images are resized into a file of 216 MB in that folder, which later calls
    map into memory.

    on_progress: called with images written and images in all, only when there are some to write.
    Raises DataError when the archive is absent or damaged, StorageError when there is no room.
    """
    check_choice("cars3d", "source", source, OnlyOfficial)
    return from_official(choose_folder(data_dir), ARCHIVE, on_progress)


def from_official(
    folder: Path,
    file: RemoteFile,
    on_progress: records.OnProgress | None = None,
    factor_sizes: tuple[int, int, int] = FACTOR_SIZES,
) -> StoredImages:
    """The set from the `file` in `folder`, checked against its digests.

    Raises DataError when it is not the published file, or holds something other than the set.
    """
    path = folder / file.name
    found = published.check(path, file, _HINT)
    content = records.Content(found.source, prod(factor_sizes), prod(IMAGE_SHAPE))
    target = folder / f"cars3d-{found.sha256[:12]}.pixels"
    pixels = records.ensure(
        target, content, lambda: archive_images(path, factor_sizes), on_progress
    )
    return StoredImages(
        "cars3d", found.source, FileRows(pixels).take, IMAGE_SHAPE, FACTOR_NAMES, factor_sizes
    )


def archive_images(
    path: Path, factor_sizes: tuple[int, int, int] = FACTOR_SIZES
) -> Iterator[NDArray[np.uint8]]:
    """Images of an archive laid out as the official one: (any number, 12288), channels first.

    Cars are numbered in the order of their file names. All are held at once, 216 MB, because the
    archive goes car by car, and the set view by view. Raises DataError for another archive.
    """
    elevations, azimuths, objects = factor_sizes
    cars: dict[str, NDArray[np.uint8]] = {}
    for name, content in _members(path):
        if len(cars) == objects:
            raise DataError(f"{path} has more than {objects} cars", hint=_HINT)
        cars[name] = _car(f"{path}: {name}", content, elevations, azimuths)
    if len(cars) != objects:
        raise DataError(f"{path} has {len(cars)} cars, expected {objects}", hint=_HINT)
    ordered = [cars[name] for name in sorted(cars)]
    for view in np.ndindex(elevations, azimuths):
        yield np.stack([car[view] for car in ordered])


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each car, as the archive is unpacked from front to back."""
    from didcli.io.arrays import data_errors

    with data_errors(path, _HINT), tarfile.open(path, "r|gz") as archive:
        for member in archive:
            if not (member.isfile() and _MEMBER.fullmatch(member.name)):
                continue
            if member.size > _LARGEST_MEMBER:
                raise ValueError(f"{member.name} has {member.size:,} bytes, too many for a car")
            file = archive.extractfile(member)
            if file is not None:
                yield member.name, file.read()


def _car(name: str, content: bytes, elevations: int, azimuths: int) -> NDArray[np.uint8]:
    """A car from all sides: (elevations, azimuths, 12288)."""
    side = _PUBLISHED_SIDE
    views = _matrix(name, content, (side, side, 3, azimuths, elevations))
    pixels = np.empty((elevations, azimuths, prod(IMAGE_SHAPE)), np.uint8)
    for elevation, azimuth in np.ndindex(elevations, azimuths):
        image = Image.fromarray(np.ascontiguousarray(views[..., azimuth, elevation]))
        small = image.resize(IMAGE_SHAPE[1:], Image.Resampling.LANCZOS)
        pixels[elevation, azimuth] = np.asarray(small).transpose(2, 0, 1).reshape(-1)
    return pixels


def _matrix(name: str, content: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The variable `im` of a .mat file, once its declared shape and type have been checked.

    It is no MATLAB object: those, like functions, are what loadmat is not safe for.
    """
    from scipy.io import loadmat, whosmat

    try:
        content = _unpacked(content)
        declared = [rest for variable, *rest in whosmat(io.BytesIO(content)) if variable == "im"]
        if declared != [[shape, "uint8"]]:
            raise ValueError(f"expected im of {shape} uint8, got {declared}")
        matrix: NDArray[Any] = loadmat(io.BytesIO(content), variable_names=["im"])["im"]
    except Exception as error:  # scipy raises whatever it stumbles over in a damaged file
        raise DataError(f"{name} is not what it should be: {error}", hint=_HINT) from error
    return matrix


def _unpacked(content: bytes) -> bytes:
    """A .mat file with its variables unpacked, as far as they have the size of a car.

    scipy makes room for as many bytes as a part of a variable claims to have, and unpacks as many
    as there are: a small file could fill the memory. So both are checked first.
    Format: https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[_MAT_HEADER - 2 : _MAT_HEADER])
    if order is None:
        raise ValueError("expected a .mat file of version 5")
    parts = [content[:_MAT_HEADER]]
    left = _LARGEST_MEMBER
    position = _MAT_HEADER
    while position < len(content):
        kind, length = struct.unpack_from(f"{order}II", content, position)
        variable = content[position : position + 8 + length]
        position += len(variable)
        if kind == _MAT_COMPRESSED:
            unpacker = zlib.decompressobj()
            variable = unpacker.decompress(variable[8:], left)
            if not unpacker.eof:
                raise ValueError("a variable is cut short, or too large for a car")
        left -= len(variable)
        if left <= 0:
            raise ValueError("its variables are too large for a car")
        _check_parts(variable, order)
        parts.append(variable)
    return b"".join(parts)


def _check_parts(variable: bytes, order: str) -> None:
    """Raises ValueError where a part of a variable claims more bytes than are left."""
    position = 8
    while position < len(variable):
        kind, length = struct.unpack_from(f"{order}II", variable, position)
        if kind >> 16:  # up to 4 bytes, which lie in the tag itself
            length = 0
        position += 8 + length
        if position > len(variable):
            raise ValueError("a variable claims more bytes than it has")
        position += -length % 8
