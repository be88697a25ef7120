"""How this process takes memory from the system."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt, from malloc.h."""
LARGEST_KEPT = 2**30
"""Bytes. Larger arrays, such as a whole dataset, still go back to the system when freed."""
LARGEST_OF_OLDER = 32 * 2**20
"""Bytes. What older versions of glibc take at most, of which more is refused."""


def keep_freed_memory() -> bool:
    """Have arrays that are freed stay with this process, for the next ones of their size.

    A layer's output is tens of MB, freed and taken again at every step. Blocks of that size glibc
    returns to the system each time and has handed back as new pages, which the system must zero: a
    fifth of the time of training the classic networks, and up to two fifths of encoding with them.
    Returns whether it was done: other C libraries have no such parameters.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    if not (mallopt(MMAP_THRESHOLD, LARGEST_KEPT) or mallopt(MMAP_THRESHOLD, LARGEST_OF_OLDER)):
        # Trimming alone would do harm: with either set, glibc no more raises the other by itself.
        return False
    return bool(mallopt(TRIM_THRESHOLD, LARGEST_KEPT))
