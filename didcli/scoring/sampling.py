"""Draw points from a table, in the order in which disentanglement_lib draws them.

The reference gives each metric a fresh `numpy.random.RandomState(seed)` and takes every factor of a
batch from it before the next one. On a complete grid the same draws name the same rows, so scores
can be compared digit by digit. Locatello et al. 2019, https://arxiv.org/abs/1811.12359
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from didcli.errors import UsageError
from didcli.scoring.protocol import EvaluationProtocol, UndefinedError
from didcli.scoring.table import CodeTable

Number = TypeVar("Number", bound=np.generic)

LARGEST_GATHER = 2**22
"""Codes gathered at a time: 16 MiB, which a processor's cache nearly holds."""


@dataclass(frozen=True)
class Points:
    """A sample of a table, drawn with replacement."""

    rows: NDArray[np.int64]
    """(n,) rows of the table that the points come from."""
    codes: NDArray[np.float32]
    """(n, D) codes of the points."""
    factors: NDArray[np.int64]
    """(n, K) factors of the points."""


def draw_factors(rng: np.random.RandomState, sizes: Sequence[int], count: int) -> NDArray[np.int64]:
    """(count, K) independent uniform factors, one factor after the other."""
    factors = np.empty((count, len(sizes)), dtype=np.int64)
    for k, size in enumerate(sizes):
        factors[:, k] = rng.randint(size, size=count)
    return factors


def draw_points(
    table: CodeTable, rng: np.random.RandomState, count: int, batch: int | None
) -> Points:
    """`count` points, i.i.d. with replacement.

    batch: points that the reference draws at once; None: all of them.
    Without a complete grid the rows themselves are drawn, each as likely as any other.
    """
    if table.is_complete_grid:
        step = batch or count
        factors = [
            draw_factors(rng, table.factor_sizes, min(step, count - start))
            for start in range(0, count, step)
        ]
        rows = table.rows(np.concatenate(factors))
    else:
        rows = rng.randint(len(table), size=count)
    return _gather(table, rows)


def draw_training(
    table: CodeTable, rng: np.random.RandomState, protocol: EvaluationProtocol
) -> Points:
    """The training points alone, as a metric without a test draws them."""
    points = draw_points(table, rng, protocol.train_points, protocol.sample_batch)
    _check_every_factor_varies(table, points)
    return points


def draw_training_and_test(
    table: CodeTable, rng: np.random.RandomState, protocol: EvaluationProtocol
) -> tuple[Points, Points]:
    """Training points, then test points.

    With `protocol.disjoint` the table is first cut in two at random, in proportion to the numbers
    of points, and each part is drawn from with replacement. Raises UsageError where one of them
    has no row.
    """
    if protocol.disjoint:
        total = protocol.train_points + protocol.test_points
        cut = round(len(table) * protocol.train_points / total)
        if not 0 < cut < len(table):
            raise UsageError(
                f"a disjoint split of {len(table):,} rows, {protocol.train_points:,} training to "
                f"{protocol.test_points:,} test points, leaves no row for the "
                f"{'test' if cut else 'training'} points",
                hint="Ask for numbers of points closer to each other, or leave out --disjoint.",
            )
        shuffled = rng.permutation(len(table))
        train, test = (
            _gather(table, part[rng.randint(len(part), size=count)])
            for part, count in (
                (shuffled[:cut], protocol.train_points),
                (shuffled[cut:], protocol.test_points),
            )
        )
    else:
        train = draw_points(table, rng, protocol.train_points, protocol.sample_batch)
        test = draw_points(table, rng, protocol.test_points, protocol.sample_batch)
    _check_every_factor_varies(table, train)
    return train, test


def require_complete_grid(table: CodeTable) -> None:
    """Raises UndefinedError where one factor cannot be changed while the others stay."""
    if not table.is_complete_grid:
        combinations = " x ".join(str(size) for size in table.factor_sizes)
        raise UndefinedError(
            "it intervenes on single factors, which needs each combination of factors exactly "
            f"once ({combinations} rows); this table of {len(table)} rows is not such a grid"
        )


def gather_in_chunks(
    codes: NDArray[np.float32],
    rows: NDArray[np.int64],
    reduce: Callable[[NDArray[np.float32]], NDArray[Number]],
) -> NDArray[Number]:
    """`reduce(codes[rows])`, a part of the rows at a time so that wide codes fit into memory.

    codes: (N, D).  rows: (n, ...).  reduce: (m, ..., D) -> (m, ...) for any m.
    """
    size = rows[0].size * codes.shape[1]
    step = max(1, LARGEST_GATHER // size)
    return np.concatenate(
        [reduce(codes[rows[start : start + step]]) for start in range(0, len(rows), step)]
    )


def _gather(table: CodeTable, rows: NDArray[np.int64]) -> Points:
    return Points(rows=rows, codes=table.codes[rows], factors=table.factors[rows])


def _check_every_factor_varies(table: CodeTable, points: Points) -> None:
    constant = points.factors.min(axis=0) == points.factors.max(axis=0)
    if constant.any():
        name = table.factor_names[int(np.argmax(constant))]
        raise UndefinedError(
            f"{name!r} takes a single value among the {len(points.rows)} training points"
        )
