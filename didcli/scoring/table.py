"""A table of codes and of the factors behind them: all that a metric ever reads."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from didcli.errors import DataError

MOST_VALUES = 2**14
"""Most values of a factor: metrics make tables of them, a row for each value of one factor and a
column for each of another."""


@dataclass(frozen=True)
class CodeTable:
    """N rows of D codes and K factors. `code_table` builds and checks one."""

    codes: NDArray[np.float32]
    """(N, D) codes, finite, D >= 2."""
    factors: NDArray[np.int64]
    """(N, K) factors, each column counted from 0, K >= 2."""
    factor_sizes: tuple[int, ...]
    """Number of values of each factor, all above 1."""
    factor_names: tuple[str, ...]
    dropped_factors: tuple[str, ...]
    """Names of the factors left out because they take one value."""
    row_of_rank: NDArray[np.int64] | None
    """Row of each combination of factors on a complete grid, by its rank in mixed radix with the
    last factor fastest. None where a combination is missing or comes twice."""

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def is_complete_grid(self) -> bool:
        return self.row_of_rank is not None

    def rows(self, factors: NDArray[np.int64]) -> NDArray[np.int64]:
        """(..., K) factors -> (...) rows that hold them. For complete grids only.

        Raises ValueError for factors that are not in 0 .. size - 1.
        """
        if self.row_of_rank is None:
            raise ValueError("only a complete grid has a row for every combination of factors")
        return self.row_of_rank[_rank(factors, self.factor_sizes)]


def code_table(
    codes: ArrayLike,
    factors: ArrayLike,
    factor_sizes: Sequence[int] | None = None,
    factor_names: Sequence[str] | None = None,
) -> CodeTable:
    """Check codes (N, D) and factors (N, K) and make a table of them.

    codes: finite numbers; kept as float32, the precision of the reference.
    factors: whole numbers. Without `factor_sizes` the values that occur are renumbered from 0, so
    that 1, 2, 4 become 0, 1, 2; with it they must lie in 0 .. size - 1 already.
    Raises DataError for anything that no metric could make sense of.
    """
    checked_codes = _checked_codes(np.asarray(codes))
    whole = _checked_factors(np.asarray(factors), rows=len(checked_codes))
    if factor_sizes is None:
        renumbered = [np.unique(column, return_inverse=True) for column in whole.T]
        sizes = tuple(len(values) for values, _ in renumbered)
        whole = np.stack([ranks.reshape(-1) for _, ranks in renumbered], axis=1).astype(np.int64)
    else:
        sizes = _checked_sizes(factor_sizes, whole)
    names = _checked_names(factor_names, count=len(sizes))

    varies = whole.min(axis=0) < whole.max(axis=0)
    if varies.sum() < 2:
        raise DataError(
            f"{varies.sum()} of the {len(sizes)} factors takes more than one value; "
            "disentanglement needs two",
            hint="Evaluate on data in which at least two factors vary.",
        )
    kept = np.flatnonzero(varies)
    for k in kept:
        if (highest := whole[:, k].max()) >= MOST_VALUES:
            raise DataError(
                f"{names[k]!r} has values up to {highest:,}, where {MOST_VALUES - 1:,} is the most",
                hint="Leave out factors that number the rows, and group the values of others.",
            )
    whole = np.ascontiguousarray(whole[:, kept])
    kept_sizes = tuple(sizes[k] for k in kept)
    return CodeTable(
        codes=checked_codes,
        factors=whole,
        factor_sizes=kept_sizes,
        factor_names=tuple(names[k] for k in kept),
        dropped_factors=tuple(names[k] for k in np.flatnonzero(~varies)),
        row_of_rank=_rows_by_rank(whole, kept_sizes),
    )


def _rank(factors: NDArray[np.int64], sizes: Sequence[int]) -> NDArray[np.intp]:
    """(..., K) factors -> (...) number of the combination, the last factor changing fastest."""
    rank: NDArray[np.intp] = np.ravel_multi_index(tuple(np.moveaxis(factors, -1, 0)), sizes)
    return rank


def _rows_by_rank(factors: NDArray[np.int64], sizes: Sequence[int]) -> NDArray[np.int64] | None:
    """The row of each combination, or None unless each one comes exactly once."""
    # Python's integers, because the product of hostile sizes overflows 64 bits.
    combinations = 1
    for size in sizes:
        combinations *= int(size)
    if combinations != len(factors):
        return None
    rank = _rank(factors, sizes)
    rows = np.full(combinations, -1, dtype=np.int64)
    rows[rank] = np.arange(combinations)
    return None if (rows < 0).any() else rows


def _checked_codes(codes: NDArray[np.generic]) -> NDArray[np.float32]:
    if codes.ndim != 2 or len(codes) < 2:
        raise DataError(
            f"codes have shape {codes.shape}, not (rows, latents) with at least two rows",
            hint="Flatten the codes to one row for each image.",
        )
    if codes.shape[1] < 2:
        raise DataError(
            "there is a single latent, so the best and the second best cannot be compared",
            hint="Evaluate codes of at least two dimensions.",
        )
    if not (np.issubdtype(codes.dtype, np.floating) or np.issubdtype(codes.dtype, np.integer)):
        raise DataError(
            f"codes are of type {codes.dtype}, not real numbers", hint="Save them as float32."
        )
    with np.errstate(over="ignore"):  # what overflows is reported as not finite, just below
        as_float = np.ascontiguousarray(codes, dtype=np.float32)
    finite = np.isfinite(as_float)
    if not finite.all():
        row, latent = np.argwhere(~finite)[0]
        raise DataError(
            f"{finite.size - int(finite.sum())} codes are not finite in float32, "
            f"the first in row {row}, latent {latent}",
            hint="The model diverged, or the codes are damaged: encode them again.",
        )
    return as_float


def _checked_factors(factors: NDArray[np.generic], rows: int) -> NDArray[np.int64]:
    if factors.ndim != 2 or len(factors) != rows:
        raise DataError(
            f"factors have shape {factors.shape}, not ({rows}, factors)",
            hint="Give one row of factors for each row of codes.",
        )
    return _whole(factors, "factors")


def _whole(values: NDArray[np.generic], what: str) -> NDArray[np.int64]:
    """The values as int64. Raises DataError unless they are booleans, integers or whole floats."""
    whole = None
    if values.dtype.kind in "biuf":
        # The range is checked first: a conversion turns NaN, and what is beyond, into any number.
        # It is checked in Python's numbers, because 2^63 is beyond float16.
        low, high = values.min(initial=0).item(), values.max(initial=0).item()
        if low >= -(2**63) and high < 2**63:
            whole = values.astype(np.int64)
    if whole is None or (whole != values).any():
        raise DataError(
            f"{what} of type {values.dtype} are not whole numbers of 64 bits",
            hint="Number the values of each factor: numpy.unique(column, return_inverse=True)[1].",
        )
    return whole


def _checked_sizes(sizes: Sequence[int], factors: NDArray[np.int64]) -> tuple[int, ...]:
    whole = tuple(_whole(np.asarray(sizes), "factor sizes").tolist())
    if len(whole) != factors.shape[1]:
        raise DataError(
            f"{len(whole)} factor sizes for {factors.shape[1]} factors",
            hint="Give one size for each column of factors.",
        )
    for k, (size, low, high) in enumerate(
        zip(whole, factors.min(axis=0), factors.max(axis=0), strict=True)
    ):
        if low < 0 or high >= size:
            raise DataError(
                f"factor {k} has {size} values but holds numbers from {low} to {high}",
                hint="Count the values of a factor from 0, or leave factor_sizes out.",
            )
    return whole


def _checked_names(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    if names is None:
        return tuple(f"factor {k}" for k in range(count))
    if len(names) != count:
        raise DataError(
            f"{len(names)} factor names for {count} factors",
            hint="Give one name for each column of factors.",
        )
    return tuple(str(name) for name in names)
