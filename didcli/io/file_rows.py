"""Gather from an array in a file, of any size, in little resident memory."""

import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from didcli.errors import StorageError


class FileRows:
    """Takes rows of an array, (N, bytes), that is mapped from a file, without touching the map.

    The pages of a map that a process touches stay in its resident memory, until a set of many
    gigabytes is there as a whole; and Linux maps up to 2 MiB around each. Reading the rows costs
    no more time, leaves the pages to the system's cache, and makes a file that was cut short
    meanwhile an error, not a signal.
    """

    def __init__(self, rows: NDArray[np.uint8]) -> None:
        """rows: as `didcli.io.records` returns them; an array that is not mapped works as well."""
        self._rows = rows
        source = _memmap_of(rows)
        self._file: int | None = None
        # On Windows, where there is no reading at a position, rows are taken from the map.
        if source is not None and source.filename is not None and hasattr(os, "preadv"):
            self._path = Path(source.filename)
            self._start = source.offset
            self._file = os.open(self._path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._file)

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(B,) of 0..N-1 -> (B, bytes), a copy. Raises StorageError when the file has got shorter.

        May be called by several threads, or processes after a fork, at the same time.
        """
        if self._file is None:
            return self._rows.take(indices, axis=0)
        size = self._rows.shape[1]
        taken = np.empty((len(indices), size), np.uint8)
        for row, index in zip(taken, indices.tolist(), strict=True):
            if os.preadv(self._file, [row.data], self._start + index * size) != size:
                raise StorageError(
                    f"{self._path} has become shorter while it was read",
                    hint="It is made again when the same command is started again.",
                )
        return taken

    def __len__(self) -> int:
        return len(self._rows)


def _memmap_of(array: NDArray[np.uint8]) -> "np.memmap[Any, Any] | None":
    """The whole map that an array is a plain view of; None where there is none."""
    owner: Any = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    same = (owner.ctypes.data, owner.shape, owner.strides) == (
        *(array.ctypes.data, array.shape, array.strides),
    )
    return owner if isinstance(owner, np.memmap) and same else None
