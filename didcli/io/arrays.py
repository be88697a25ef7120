"""Read large arrays from HDF5 and npz files a slab at a time, trusting nothing the files say.

What an array must be is known before: shape and type are compared with what the file declares
before anything is allocated, nothing is unpickled, no other file is followed to, and what a file
unpacks to is bounded by the array that was asked for.
"""

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from didcli.errors import DataError

SLAB_BYTES = 2**26
"""Roughly what is held at a time."""
_LARGEST_SLAB = 2**28

# The filters within the HDF5 library itself; others are plug-ins: code from somewhere.
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


@dataclass(frozen=True)
class Expected:
    """The array that a file has to have."""

    name: str
    """`latents/classes` in HDF5, `latents_classes` in npz."""
    shape: tuple[int, ...]
    dtype: str
    """As numpy writes it with the byte order: `|u1`, `<i8`."""

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * np.dtype(self.dtype).itemsize

    @property
    def size(self) -> int:
        """Bytes."""
        return self.shape[0] * self.row_bytes

    def check(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        if shape != self.shape or dtype != np.dtype(self.dtype):
            wanted = f"{np.dtype(self.dtype)} {self.shape}"
            raise ValueError(f"{self.name}: expected {wanted}, got {dtype} {shape}")


def hdf5_slabs(path: Path, expected: Expected, hint: str) -> Iterator[NDArray[Any]]:
    """The array in parts along its first axis, each chunk of the file unpacked once.

    Raises DataError, with `hint`, when the file is not HDF5, is damaged, or has another array.
    """
    with _data_errors(path, hint), h5py.File(path, "r", locking=False) as file:
        dataset = _own_dataset(file, expected.name)
        expected.check(dataset.shape, dataset.dtype)
        _check_storage(dataset, expected)
        aligned = dataset.chunks[0] if dataset.chunks else 1
        rows = max(1, SLAB_BYTES // (expected.row_bytes * aligned)) * aligned
        if rows * expected.row_bytes > _LARGEST_SLAB:
            raise ValueError(f"{expected.name}: chunks of {dataset.chunks} are too large")
        for start in range(0, expected.shape[0], rows):
            yield dataset[start : start + rows]


def npz_slabs(path: Path, expected: Expected, hint: str) -> Iterator[NDArray[Any]]:
    """The array in parts along its first axis, unpacked as a stream.

    Raises DataError, with `hint`, when the file is not an npz, is damaged, or has another array.
    """
    with (
        _data_errors(path, hint),
        zipfile.ZipFile(path) as archive,
        archive.open(_own_member(archive, expected.name)) as member,
    ):
        shape, fortran_order, dtype = _npy_header(member)
        expected.check(shape, dtype)
        if fortran_order:
            raise ValueError(f"{expected.name}: expected C order, got Fortran order")
        declared = archive.getinfo(f"{expected.name}.npy").file_size - member.tell()
        if declared != expected.size:
            raise ValueError(f"{expected.name}: expected {expected.size:,} bytes, got {declared:,}")
        rows = max(1, SLAB_BYTES // expected.row_bytes)
        for start in range(0, expected.shape[0], rows):
            wanted = min(rows, expected.shape[0] - start)
            # A last read that reaches the end also compares the checksum of the member.
            content = member.read(wanted * expected.row_bytes)
            if len(content) != wanted * expected.row_bytes:
                raise EOFError(f"{expected.name} ends early")
            yield np.frombuffer(content, expected.dtype).reshape(wanted, *expected.shape[1:])


def _own_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """The dataset at `name`, reached through the groups of this file, never by a link elsewhere."""
    node = file
    for part in name.split("/"):
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if link is None:
            raise KeyError(f"there is no {name}")
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{name} is a link")
        node = node[part]
    if not isinstance(node, h5py.Dataset):
        raise KeyError(f"{name} is not an array")
    return node


def _check_storage(dataset: h5py.Dataset, expected: Expected) -> None:
    """Raises ValueError when the bytes are in other files, or cannot be unpacked safely."""
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"{expected.name} is stored in other files")
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(i) for i in range(properties.get_nfilters())]
    foreign = [
        name.decode(errors="replace") for code, _, _, name in filters if code not in _FILTERS
    ]
    if foreign:
        raise ValueError(f"{expected.name} is packed by an unknown filter: {', '.join(foreign)}")
    if not dataset.chunks:
        return
    # Deflate packs at most 1032:1. The library unpacks all that a chunk has, however large, so a
    # chunk that takes more room packed than unpacked is not let near it.
    chunk_bytes = math.prod(dataset.chunks) * dataset.dtype.itemsize
    sizes: list[int] = []
    dataset.id.chunk_iter(lambda chunk: sizes.append(chunk.size))
    if max(sizes, default=0) > chunk_bytes + chunk_bytes // 100 + 64:
        raise ValueError(f"{expected.name} has a chunk larger than it can be")


def _own_member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    try:
        entry = archive.getinfo(f"{name}.npy")
    except KeyError:
        raise KeyError(f"there is no {name}") from None
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise ValueError(f"{name} is packed by an unknown method")
    return entry


def _npy_header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """(shape, whether in Fortran order, type); numpy bounds the length of what it evaluates."""
    version = np.lib.format.read_magic(member)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(member)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(member)
    raise ValueError(f"npy version {version} is not known")


@contextmanager
def _data_errors(path: Path, hint: str) -> Iterator[None]:
    """Say what h5py, zipfile, zlib and numpy raise on a bad file as one DataError."""
    try:
        yield
    except (
        OSError,
        EOFError,
        KeyError,
        ValueError,
        RuntimeError,  # h5py: errors of the library; zipfile: an encrypted member
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        reason = error.args[0] if isinstance(error, KeyError) else error
        raise DataError(f"{path} is not what it should be: {reason}", hint=hint) from error
