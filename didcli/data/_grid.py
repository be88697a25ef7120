"""Sets that have one image for each combination of factors, the last factor fastest."""

from collections.abc import Callable, Iterable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from didcli.errors import DataError


def factors(sizes: tuple[int, ...], start: int = 0, stop: int | None = None) -> NDArray[np.int64]:
    """Factors of the rows from `start` up to `stop`, or to the end.

    sizes: K numbers of values. Returns (stop - start, K), each column counted from 0.
    Raises ValueError for rows beyond the end.
    """
    rows = np.arange(start, prod(sizes) if stop is None else stop)
    return np.stack(np.unravel_index(rows, sizes), axis=-1).astype(np.int64, copy=False)


def checked_rows(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """`rows` as an array, (B,), after a check of each.

    Raises TypeError for rows that are not a vector of whole numbers, IndexError for rows other than
    0..count-1; negative ones do not count from the end.
    """
    rows = np.asarray(rows)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise TypeError(f"expected rows (B,) of integers, got {rows.shape} of {rows.dtype}")
    if rows.size and (rows.min() < 0 or rows.max() >= count):
        wrong = rows[(rows < 0) | (rows >= count)][0]
        raise IndexError(f"row {wrong} is not within 0..{count - 1}")
    return rows.astype(np.int64, copy=False)


def check_order(
    path: Path,
    slabs: Iterable[NDArray[Any]],
    sizes: tuple[int, ...],
    label: Callable[[NDArray[np.int64]], NDArray[Any]],
    hint: str,
) -> None:
    """Raises DataError unless the labels in the file at `path` are those that row numbers imply.

    slabs: the labels in the file, (any number, L) at a time.
    label: factors (B, K), each counted from 0 -> the labels that the file should have, (B, L).
    """
    start = 0
    for slab in slabs:
        expected = label(factors(sizes, start, start + len(slab)))
        # Written as `not close`, so that NaN is wrong too.
        wrong = np.flatnonzero(~np.isclose(slab, expected, rtol=0, atol=1e-6).all(axis=1))
        if wrong.size:
            first = wrong[0]
            raise DataError(
                f"{path} is not in the order of its factors: expected row {start + first} to have "
                f"labels {expected[first].tolist()}, got {slab[first].tolist()}",
                hint=hint,
            )
        start += len(slab)
