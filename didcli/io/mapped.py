"""Gather from a memory-mapped array of any size in little resident memory."""

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESIDENT_BYTES = 2**26
"""After as much has been read, pages are let go of."""
_FAULT_BYTES = 2**16
"""Linux maps up to so many bytes around each one that is touched."""


class Mapped:
    """Takes rows of a mapped array, (N, bytes), and keeps few of its pages in this process.

    The pages that a process touches stay in its resident memory, until a set of many gigabytes is
    there as a whole. They are given back from time to time: the system keeps them, as long as it
    has room, in its cache of files, from where they come back in microseconds.
    """

    def __init__(self, rows: NDArray[np.uint8]) -> None:
        """rows: as `didcli.io.records` returns them; an array that is not mapped works as well."""
        self._rows = rows
        self._map = _map_of(rows)
        self._touched = 0

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(B,) -> (B, bytes), a copy."""
        taken = self._rows.take(indices, axis=0)
        self._touched += taken.nbytes + len(taken) * _FAULT_BYTES
        if self._touched > RESIDENT_BYTES and self._map is not None:
            self._map.madvise(mmap.MADV_DONTNEED)
            self._touched = 0
        return taken

    def __len__(self) -> int:
        return len(self._rows)


def _map_of(array: NDArray[np.uint8]) -> mmap.mmap | None:
    """The map that an array is a view of; None where there is none, or it cannot be advised."""
    owner: Any = array
    while owner is not None and not isinstance(owner, mmap.mmap):
        owner = getattr(owner, "base", None)
    return owner if hasattr(mmap, "MADV_DONTNEED") else None
