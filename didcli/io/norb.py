"""Matrices of the NORB datasets: a magic number for the type, the sizes, then the elements.

All numbers are little-endian; there are at least three sizes, whatever the dimensions.
https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/ has the format. The files are gzipped.
"""

import gzip
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from didcli.io.arrays import SLAB_BYTES, data_errors

MAGIC = {0x1E3D4C55: "|u1", 0x1E3D4C54: "<i4", 0x1E3D4C51: "<f4", 0x1E3D4C53: "<f8"}
"""The type of each magic number, as numpy writes it."""
_MOST_DIMENSIONS = 8


def slabs(path: Path, shape: tuple[int, ...], dtype: str, hint: str) -> Iterator[NDArray[Any]]:
    """The matrix in parts along its first axis, unpacked as a stream.

    Raises DataError, with `hint`, when the file is not gzipped, is damaged, or has another matrix;
    before anything is allocated for it.
    """
    with data_errors(path, hint), gzip.open(path) as file:
        declared = _header(file)
        if declared != (shape, dtype):
            raise ValueError(f"expected {dtype} {shape}, got {declared[1]} {declared[0]}")
        row_bytes = math.prod(shape[1:]) * np.dtype(dtype).itemsize
        rows = max(1, SLAB_BYTES // row_bytes)
        for start in range(0, shape[0], rows):
            wanted = min(rows, shape[0] - start)
            content = _read(file, wanted * row_bytes)
            yield np.frombuffer(content, dtype).reshape(wanted, *shape[1:])
        if file.read(1):
            raise ValueError("there are bytes after the matrix")


def _header(file: gzip.GzipFile) -> tuple[tuple[int, ...], str]:
    """The shape and type that the file declares."""
    magic, dimensions = struct.unpack("<Ii", _read(file, 8))
    if magic not in MAGIC or not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise ValueError(f"no matrix begins with {magic:#x} and {dimensions} dimensions")
    stored = max(3, dimensions)
    sizes = struct.unpack(f"<{stored}i", _read(file, 4 * stored))
    return sizes[:dimensions], MAGIC[magic]


def _read(file: gzip.GzipFile, count: int) -> bytes:
    content = file.read(count)
    if len(content) != count:
        raise EOFError(f"it ends {count - len(content):,} bytes early")
    return content
