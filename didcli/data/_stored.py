"""Sets whose images lie in the data folder, ready to be gathered."""

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from didcli.data import _grid

PART_IMAGES = 1024
"""Images converted at a time: 12 MiB of 64 x 64 in colour."""


class StoredImages:
    """A `didcli.interfaces.Dataset` of images that a function reads from a mapped file."""

    def __init__(
        self,
        name: str,
        source: str,
        read: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
        image_shape: tuple[int, int, int],
        factor_names: tuple[str, ...],
        factor_sizes: tuple[int, ...],
        *,
        factors: Callable[[], NDArray[np.int64]] | None = None,
        count: int | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        """
        read: rows (B,), all of them in the set -> (B, C H W), which may be written to; for pixels
            that are stored as they are, `FileRows(pixels).take`.
        factors: makes (N, K) values counted from 0; without it the set is a complete grid, in the
            order of its factors, the last one fastest.
        count: N; without it, the number of combinations of factors.
        notes: what a user should know: files left out, a source that cannot be verified.
        """
        self.name = name
        self.source = source
        self.image_shape = image_shape
        self.factor_names = factor_names
        self.factor_sizes = factor_sizes
        self.notes = notes
        self._read = read
        self._make_factors = factors
        self._count = prod(factor_sizes) if count is None else count

    @cached_property
    def factors(self) -> NDArray[np.int64]:
        """(N, K) values of the factors, each counted from 0. Read-only, made when asked."""
        table = self._make_factors() if self._make_factors else _grid.factors(self.factor_sizes)
        table.setflags(write=False)
        return table

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Images of these rows: (B,), 0..N-1 -> (B, C, H, W), 0..255.

        Raises TypeError for rows that are not a vector of whole numbers, IndexError for rows other
        than 0..N-1; negative ones do not count from the end.
        """
        return self._read(_grid.checked_rows(rows, len(self))).reshape(-1, *self.image_shape)

    def __len__(self) -> int:
        return self._count


def channels_first(slabs: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """(any number, H, W, C) -> (up to `PART_IMAGES`, C H W): a slab may be too large to copy."""
    for slab in slabs:
        for start in range(0, len(slab), PART_IMAGES):
            part = slab[start : start + PART_IMAGES]
            yield part.transpose(0, 3, 1, 2).reshape(len(part), -1)
