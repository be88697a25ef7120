"""Sets whose images lie in the data folder as records of pixels, ready to be gathered."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from didcli.data import _grid
from didcli.io.mapped import Mapped


class StoredImages:
    """A `didcli.interfaces.Dataset` of pixels in a mapped file."""

    def __init__(
        self,
        name: str,
        source: str,
        pixels: NDArray[np.uint8],
        image_shape: tuple[int, int, int],
        factor_names: tuple[str, ...],
        factor_sizes: tuple[int, ...],
        *,
        factors: Callable[[], NDArray[np.int64]] | None = None,
        rows: NDArray[np.int64] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        """
        pixels: (M, C H W).
        factors: makes (N, K) values counted from 0; without it the set is a complete grid, in the
            order of its factors, the last one fastest.
        rows: (N,) which of the pixels are images of the set; without it, all.
        notes: what a user should know: files left out, a source that cannot be verified.
        """
        self.name = name
        self.source = source
        self.image_shape = image_shape
        self.factor_names = factor_names
        self.factor_sizes = factor_sizes
        self.notes = notes
        self._pixels = Mapped(pixels)
        self._make_factors = factors
        self._rows = rows

    @cached_property
    def factors(self) -> NDArray[np.int64]:
        """(N, K) values of the factors, each counted from 0. Read-only, made when asked."""
        table = self._make_factors() if self._make_factors else _grid.factors(self.factor_sizes)
        table.setflags(write=False)
        return table

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """rows: (B,), 0..N-1 -> (B, C, H, W), 0..255.

        Raises TypeError for rows that are not a vector of whole numbers, IndexError for others
        than 0..N-1; negative ones do not count from the end.
        """
        wanted = _grid.checked_rows(rows, len(self))
        taken = self._pixels.take(wanted if self._rows is None else self._rows[wanted])
        return taken.reshape(-1, *self.image_shape)

    def __len__(self) -> int:
        return len(self._pixels) if self._rows is None else len(self._rows)
