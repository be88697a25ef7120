"""Tables of codes whose scores are known, for the tests of metrics."""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from didcli.scoring.protocol import EvaluationProtocol
from didcli.scoring.table import CodeTable, code_table

SIZES = (4, 3, 5)
FEW = EvaluationProtocol(train_points=600, test_points=300, variance_points=600)
"""Enough points for tests, and little work."""


def grid(sizes: Sequence[int] = SIZES) -> NDArray[np.int64]:
    """Every combination of factors once, the last changing fastest: (N, K)."""
    return np.array(list(itertools.product(*map(range, sizes))))


def perfect(sizes: Sequence[int] = SIZES) -> CodeTable:
    """A latent for each factor, and nothing else."""
    factors = grid(sizes)
    return code_table(factors.astype(float), factors, sizes)


def noisy(sizes: Sequence[int] = SIZES, noise: float = 0.3, seed: int = 0) -> CodeTable:
    """A latent for each factor with noise on it, and two of noise only."""
    factors = grid(sizes)
    rng = np.random.default_rng(seed)
    centred = factors - factors.mean(axis=0)
    signal = centred + noise * rng.normal(size=factors.shape)
    return code_table(np.hstack([signal, rng.normal(size=(len(factors), 2))]), factors, sizes)


def rotated(sizes: Sequence[int] = SIZES) -> CodeTable:
    """All factors, equally wide, in every latent: a reflection about the diagonal."""
    factors = grid(sizes)
    scaled = (factors - factors.mean(axis=0)) / factors.std(axis=0)
    return code_table(scaled @ (np.eye(len(sizes)) - 2 / len(sizes)), factors, sizes)


def ignorant(sizes: Sequence[int] = SIZES, latents: int = 4, seed: int = 0) -> CodeTable:
    """Latents that know nothing of the factors."""
    factors = grid(sizes)
    codes = np.random.default_rng(seed).normal(size=(len(factors), latents))
    return code_table(codes, factors, sizes)


def numbered(rows: int = 60, seed: int = 0) -> CodeTable:
    """Latents that know nothing, of a factor that is another in every row and one of two values."""
    row = np.arange(rows)
    codes = np.random.default_rng(seed).normal(size=(rows, 3))
    return code_table(codes, np.stack([row, row % 2], axis=1))


def with_codes(table: CodeTable, codes: NDArray[np.floating]) -> CodeTable:
    """The same factors under other codes."""
    return code_table(codes, table.factors, table.factor_sizes)
