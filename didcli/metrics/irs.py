"""Interventional Robustness Score, Suter et al. 2019, section 4, https://arxiv.org/abs/1811.00007"""

import numpy as np
from numpy.typing import NDArray

from didcli.scoring.guards import constant_latents
from didcli.scoring.information import discretise
from didcli.scoring.protocol import EvaluationProtocol, Result, UndefinedError
from didcli.scoring.sampling import draw_training, require_complete_grid
from didcli.scoring.table import CodeTable

SCORES = ("irs",)

QUANTILE = 0.99
"""Quantile of the deviations in a group. The paper has the maximum, which one outlier decides."""


def robustness(
    codes: NDArray[np.floating], groups: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How little each latent strays while a factor stays in its group and all others change.

        1 - mean over groups g of k of Q99 |z - mean of z in g| / max |z - mean of z|

    codes: (N, D), no column constant.  groups: (N, K) group numbers.
    Returns the matrix (D, K), at most 1, which is reached where the factor determines the latent;
    and the largest deviation of each latent (D,).
    """
    z = codes.astype(np.float64)
    largest = np.abs(z - z.mean(axis=0)).max(axis=0)
    matrix = np.empty((z.shape[1], groups.shape[1]))
    for k, column in enumerate(groups.T):
        members = [z[column == group] for group in np.unique(column)]
        stray = [np.quantile(np.abs(m - m.mean(axis=0)), QUANTILE, axis=0) for m in members]
        matrix[:, k] = 1.0 - np.mean(stray, axis=0) / largest
    return matrix, largest


def score(table: CodeTable, rng: np.random.RandomState, protocol: EvaluationProtocol) -> Result:
    """Mean robustness of the latents under their best factors, weighted by largest deviation.

    In [0, 1], higher is better. Factors of more than 20 values are put into 20 groups of equal
    width, as codes are. Constant latents have weight 0; the reference divides by that zero.
    Scores far above 0 are usual for codes that know nothing: compare with `--shuffled`.
    """
    require_complete_grid(table)
    points = draw_training(table, rng, protocol)
    varying = np.flatnonzero(~constant_latents(points.codes))
    if not len(varying):
        raise UndefinedError("every latent is constant among the training points")
    matrix, largest = robustness(
        points.codes[:, varying], discretise(points.factors.astype(np.float64), protocol.bins)
    )
    best = matrix.max(axis=1)
    shape = table.codes.shape[1], points.factors.shape[1]
    every = np.full(shape, np.nan)
    every[varying] = matrix
    return Result(
        scores={"irs": float(np.average(best, weights=largest))},
        details={"robustness": every, "active_latents": varying},
    )
