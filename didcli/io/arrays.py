"""Read large arrays from HDF5, npz and npy files a slab at a time, trusting nothing they say.

What an array must be is known beforehand: shape and type are compared with what the file declares
before anything is allocated, nothing is unpickled, no link to another file is followed, and what
a file unpacks to is bounded by the array that was asked for. Where it is not known,
`hdf5_declared` and its like tell what a file declares, to be judged first.
"""

import math
import sys
import tarfile
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
"""Bytes that are held at a time, roughly."""
_LARGEST_SLAB = 2**28
_LARGEST_LIST = 2**20

# The filters within the HDF5 library itself; others are plug-ins: code from somewhere.
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


@dataclass(frozen=True)
class Expected:
    """The array that a file has to have."""

    name: str
    """Name of the array, such as `latents/classes` in HDF5, `latents_classes` in npz."""
    shape: tuple[int, ...]
    dtype: str
    """Type as numpy writes it with the byte order: `|u1`, `<i8`."""

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * np.dtype(self.dtype).itemsize

    @property
    def size(self) -> int:
        """Bytes of the whole array."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def check(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        if shape != self.shape or dtype != np.dtype(self.dtype):
            wanted = f"{np.dtype(self.dtype)} {self.shape}"
            raise ValueError(f"{self.name}: expected {wanted}, got {dtype} {shape}")


@dataclass(frozen=True)
class OpenFile:
    """An open file in the place of its path, which one that came through a pipe does not have."""

    file: IO[bytes]
    name: str
    """What errors call it."""

    def __str__(self) -> str:
        return self.name


Source = Path | OpenFile


def hdf5_names(path: Path, hint: str) -> list[str]:
    """The arrays at the root of the file, sorted; links and groups are left out."""
    with data_errors(path, hint), h5py.File(path, "r", locking=False) as file:
        own = [name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]
        return sorted(name for name in own if isinstance(file[name], h5py.Dataset))


def hdf5_declared(path: Path, name: str, hint: str) -> Expected:
    """What the file says the array is. Raises DataError when it has none of this name."""
    with data_errors(path, hint), h5py.File(path, "r", locking=False) as file:
        dataset = _own_dataset(file, name)
        return Expected(name, dataset.shape or (), dataset.dtype.str)


def hdf5_slabs(path: Path, expected: Expected, hint: str) -> Iterator[NDArray[Any]]:
    """The array in parts along its first axis, each chunk of the file unpacked once.

    Raises DataError, with `hint`, when the file is not HDF5, is damaged, or has another array.
    """
    with data_errors(path, hint), h5py.File(path, "r", locking=False) as file:
        dataset = _own_dataset(file, expected.name)
        expected.check(dataset.shape, dataset.dtype)
        _check_storage(dataset, expected)
        aligned = dataset.chunks[0] if dataset.chunks else 1
        rows = max(1, SLAB_BYTES // (expected.row_bytes * aligned)) * aligned
        if rows * expected.row_bytes > _LARGEST_SLAB:
            raise ValueError(f"{expected.name}: chunks of {dataset.chunks} are too large")
        for start in range(0, expected.shape[0], rows):
            yield dataset[start : start + rows]


def hdf5_texts(path: Path, name: str, hint: str) -> list[str]:
    """An array of a few texts, stored in either of HDF5's ways."""
    with data_errors(path, hint), h5py.File(path, "r", locking=False) as file:
        dataset = _own_dataset(file, name)
        declared = Expected(name, dataset.shape or (), dataset.dtype.str)
        if h5py.check_string_dtype(dataset.dtype) is None:
            raise ValueError(f"{name}: expected texts, got {dataset.dtype} {declared.shape}")
        _check_few(declared)
        _check_storage(dataset, declared)
        # Not by `asstr`, which would take what h5py calls ASCII at its word.
        return [bytes(text).decode("utf-8", "replace") for text in dataset[()]]


def npz_names(source: Source, hint: str) -> list[str]:
    """The arrays in the file, sorted."""
    with data_errors(source, hint), _archive(source) as archive:
        return sorted(n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy"))


def npz_declared(source: Source, name: str, hint: str) -> Expected:
    """What the npz says the array is. Raises DataError when it has none of this name."""
    with data_errors(source, hint), _own_member(source, name) as (member, _):
        shape, _, dtype = _npy_header(member)
        return Expected(name, shape, dtype.str)


def npz_slabs(source: Source, expected: Expected, hint: str) -> Iterator[NDArray[Any]]:
    """The array in parts along its first axis, unpacked as a stream.

    Raises DataError, with `hint`, when the file is not an npz, is damaged, or has another array.
    """
    with data_errors(source, hint), _own_member(source, expected.name) as (member, size):
        yield from _npy_slabs(member, size, expected)


def npz_array(source: Source, name: str, most_bytes: int, hint: str) -> NDArray[Any]:
    """All of an array of numbers whose shape is not known beforehand, in C or in Fortran order.

    Raises DataError also when it is empty, or has more than `most_bytes`.
    """
    with data_errors(source, hint), _own_member(source, name) as (member, size):
        shape, fortran_order, dtype = _npy_header(member)
        stored = Expected(name, shape[::-1] if fortran_order else shape, dtype.str)
        if dtype.kind not in "biuf" or not shape or not 0 < stored.size <= most_bytes:
            raise ValueError(
                f"{name}: expected real numbers in {most_bytes:,} bytes at most, "
                f"got {dtype} {shape}"
            )
        # Joined when all has come: what a file only claims to have takes no memory.
        values = np.concatenate(list(_slabs(member, size, stored)))
        return values.T if fortran_order else values


def npz_texts(source: Source, name: str, hint: str) -> list[str]:
    """An array of a few texts."""
    declared = npz_declared(source, name, hint)
    with data_errors(source, hint):
        if np.dtype(declared.dtype).kind not in "SU":
            raise ValueError(f"{name}: expected texts, got {declared.dtype} {declared.shape}")
        _check_few(declared)
        texts = np.concatenate(list(npz_slabs(source, declared, hint)))
        if texts.dtype.kind == "U":
            if texts.view(f"{texts.dtype.byteorder}u4").max() > sys.maxunicode:
                raise ValueError(f"{name}: there is no character of such a number")
            texts = np.char.encode(texts, "utf-8", "replace")
        return [str(text) for text in np.char.decode(texts, "utf-8", "replace")]


def npy_declared(path: Path, name: str, hint: str) -> Expected:
    """What the npy says its array is. name: what to call the array, which has none in the file."""
    with data_errors(path, hint), path.open("rb") as file:
        shape, _, dtype = _npy_header(file)
        return Expected(name, shape, dtype.str)


def npy_slabs(path: Path, expected: Expected, hint: str) -> Iterator[NDArray[Any]]:
    """The single array of an npy in parts along its first axis. Raises DataError, with `hint`, when
    the file is not an npy, is damaged, or has another array."""
    with data_errors(path, hint), path.open("rb") as file:
        yield from _npy_slabs(file, path.stat().st_size, expected)


def _npy_slabs(file: IO[bytes], size: int, expected: Expected) -> Iterator[NDArray[Any]]:
    """The array in parts. size: bytes that the file is said to have."""
    shape, fortran_order, dtype = _npy_header(file)
    expected.check(shape, dtype)
    if fortran_order:
        raise ValueError(f"{expected.name}: expected C order, got Fortran order")
    yield from _slabs(file, size, expected)


def _slabs(file: IO[bytes], size: int, expected: Expected) -> Iterator[NDArray[Any]]:
    """What comes after the header of an array in C order, in parts."""
    declared = size - file.tell()
    if declared != expected.size:
        raise ValueError(f"{expected.name}: expected {expected.size:,} bytes, got {declared:,}")
    rows = max(1, SLAB_BYTES // max(1, expected.row_bytes))
    for start in range(0, expected.shape[0], rows):
        wanted = min(rows, expected.shape[0] - start)
        # A last read that reaches the end also compares the checksum of an npz's member.
        content = file.read(wanted * expected.row_bytes)
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


def _check_few(declared: Expected) -> None:
    """Raises ValueError for anything but a short list."""
    if len(declared.shape) != 1 or not 0 < declared.size <= _LARGEST_LIST:
        raise ValueError(f"{declared.name}: expected a short list, got shape {declared.shape}")


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


def _archive(source: Source) -> zipfile.ZipFile:
    return zipfile.ZipFile(source.file if isinstance(source, OpenFile) else source)


@contextmanager
def _own_member(source: Source, name: str) -> Iterator[tuple[IO[bytes], int]]:
    """The member of an npz that has this array, and the bytes that it is said to have."""
    with _archive(source) as archive:
        try:
            entry = archive.getinfo(f"{name}.npy")
        except KeyError:
            raise KeyError(f"there is no {name}") from None
        if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise ValueError(f"{name} is packed by an unknown method")
        with archive.open(entry) as member:
            yield member, entry.file_size


def _npy_header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """(shape, whether in Fortran order, type); numpy bounds the length of what it evaluates."""
    version = np.lib.format.read_magic(member)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"npy version {version} is not known")
    try:
        return readers[version](member)
    except Exception as error:
        # The header is a literal of Python: numpy lets out whatever its tokens, its syntax or the
        # types in it lead to, TokenError, IndexError and TypeError among them.
        raise ValueError(f"a header that cannot be read: {error}") from error


@contextmanager
def data_errors(source: Source, hint: str) -> Iterator[None]:
    """Turn what h5py, zipfile, tarfile, zlib and numpy raise on a bad file into one DataError."""
    try:
        yield
    except (
        OSError,
        EOFError,
        KeyError,
        ValueError,
        RuntimeError,  # h5py: errors of the library; zipfile: an encrypted member
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        reason = error.args[0] if isinstance(error, KeyError) else error
        raise DataError(f"{source} is not what it should be: {reason}", hint=hint) from error
