"""The BetaVAE score, Higgins et al. 2017, section 3, https://openreview.net/forum?id=Sy2fzU9gl"""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from didcli.metrics._solvers import around_linear_solvers
from didcli.scoring.protocol import EvaluationProtocol, Result, UndefinedError
from didcli.scoring.sampling import draw_factors, gather_in_chunks, require_complete_grid
from didcli.scoring.table import CodeTable

SCORES = ("beta_vae",)


def draw_pairs(
    table: CodeTable, rng: np.random.RandomState, points: int, batch: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw a factor for each point, and `batch` pairs of rows that agree in that factor.

    Returns the factors (points,) and the rows (points, 2, batch). Drawn in the reference's order:
    the factor, all first rows, all second rows.
    """
    shared = np.empty(points, dtype=np.int64)
    rows = np.empty((points, 2, batch), dtype=np.int64)
    for point in range(points):
        shared[point] = factor = rng.randint(len(table.factor_sizes))
        first = draw_factors(rng, table.factor_sizes, batch)
        second = draw_factors(rng, table.factor_sizes, batch)
        second[:, factor] = first[:, factor]
        rows[point] = table.rows(np.stack([first, second]))
    return shared, rows


def mean_differences(codes: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean absolute difference of each latent over the pairs of each point.

    codes: (N, D).  rows: (points, 2, batch).  Returns (points, D), accumulated in float32.
    """

    def differences(pairs: NDArray[np.float32]) -> NDArray[np.float32]:
        mean: NDArray[np.float32] = np.abs(pairs[:, 0] - pairs[:, 1]).mean(axis=1)
        return mean

    return gather_in_chunks(codes, rows, differences).astype(np.float64)


@around_linear_solvers
def score(table: CodeTable, rng: np.random.RandomState, protocol: EvaluationProtocol) -> Result:
    """How well a linear classifier tells from code differences which factor a set of pairs shares.

    Accuracy on the test points, in [0, 1], higher is better; guessing scores 1 / K. It is 1 as soon
    as each factor leaves a direction of the codes unchanged: rotated codes can reach it.
    """
    require_complete_grid(table)
    labels, rows = draw_pairs(table, rng, protocol.train_points, protocol.vote_batch)
    if (labels == labels[0]).all():
        name = table.factor_names[labels[0]]
        raise UndefinedError(
            f"the pairs of all {len(labels)} training points share {name!r}, and a classifier "
            "needs another factor to tell it from"
        )
    features = mean_differences(table.codes, rows)
    classifier = LogisticRegression().fit(features, labels)
    test_labels, rows = draw_pairs(table, rng, protocol.test_points, protocol.vote_batch)
    test_features = mean_differences(table.codes, rows)
    return Result(
        scores={"beta_vae": float(classifier.score(test_features, test_labels))},
        details={"train_accuracy": float(classifier.score(features, labels))},
    )
