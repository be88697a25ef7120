"""Sets that have one image for each combination of factors, the last factor fastest."""

from math import prod

import numpy as np
from numpy.typing import NDArray


def factors(sizes: tuple[int, ...], start: int = 0, stop: int | None = None) -> NDArray[np.int64]:
    """Factors of the rows from `start` up to `stop`, else the end: numbers in mixed radix.

    sizes: K numbers of values. Returns (stop - start, K), each column counted from 0.
    """
    rows = np.arange(start, prod(sizes) if stop is None else stop, dtype=np.int64)
    digits = np.empty((len(rows), len(sizes)), dtype=np.int64)
    for column in reversed(range(len(sizes))):
        rows, digits[:, column] = np.divmod(rows, sizes[column])
    return digits


def checked_rows(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """`rows` as an array, (B,), after a look at each.

    Raises TypeError for rows that are not a vector of whole numbers, IndexError for others than
    0..count-1; negative ones do not count from the end.
    """
    rows = np.asarray(rows)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise TypeError(f"expected rows (B,) of integers, got {rows.shape} of {rows.dtype}")
    if rows.size and (rows.min() < 0 or rows.max() >= count):
        wrong = rows[(rows < 0) | (rows >= count)][0]
        raise IndexError(f"row {wrong} is not within 0..{count - 1}")
    return rows.astype(np.int64, copy=False)
