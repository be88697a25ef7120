"""Separated Attribute Predictability, Kumar et al. 2018, section 3,
https://openreview.net/forum?id=H1kG7GZAW
"""

import itertools

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import LinearSVC

from didcli.metrics._parallel import ordered_map
from didcli.metrics._solvers import around_classifiers
from didcli.scoring.protocol import EvaluationProtocol, Result
from didcli.scoring.sampling import Points, draw_training_and_test
from didcli.scoring.table import CodeTable

SCORES = ("sap",)

SMALLEST_VARIANCE = 1e-12
"""Variance up to which a latent or factor predicts nothing."""


def gaps(predictability: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D, K) how well each latent predicts each factor -> (K,) best minus second best."""
    second, best = np.sort(predictability, axis=0)[-2:]
    gap: NDArray[np.float64] = best - second
    return gap


@around_classifiers
def accuracies(train: Points, test: Points, threads: int = 1) -> NDArray[np.float64]:
    """Test accuracy of a linear classifier that sees one latent and predicts one factor: (D, K).

    One-vs-rest LinearSVC with C = 0.01 and balanced classes, as in the reference. Solved in the
    primal, which is deterministic; scikit-learn before 1.5 would choose the dual, which is not.
    """

    def accuracy(cell: tuple[int, int]) -> float:
        latent, factor = cell
        classifier = LinearSVC(C=0.01, class_weight="balanced", dual=False)
        classifier.fit(train.codes[:, [latent]], train.factors[:, factor])
        predicted = classifier.predict(test.codes[:, [latent]])
        return float(np.mean(predicted == test.factors[:, factor]))

    shape = train.codes.shape[1], train.factors.shape[1]
    cells = itertools.product(range(shape[0]), range(shape[1]))
    return np.array(ordered_map(accuracy, cells, threads)).reshape(shape)


def squared_correlations(
    codes: NDArray[np.floating], factors: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(N, D) and (N, K) -> (D, K) Cov^2 / (Var Var), in [0, 1]; 0 where a variance is <= 1e-12."""
    x = codes.astype(np.float64)
    y = factors.astype(np.float64)
    x -= x.mean(axis=0)
    y -= y.mean(axis=0)
    unbiased = len(x) - 1
    covariance = x.T @ y / unbiased
    x_variance = (x**2).sum(axis=0) / unbiased
    y_variance = (y**2).sum(axis=0) / unbiased
    usable = np.minimum.outer(x_variance, y_variance) > SMALLEST_VARIANCE
    both = np.where(usable, np.multiply.outer(x_variance, y_variance), 1.0)
    return np.where(usable, covariance**2 / both, 0.0)


def score(table: CodeTable, rng: np.random.RandomState, protocol: EvaluationProtocol) -> Result:
    """The mean gap over factors between the two latents that predict a factor best.

    `protocol.sap` is `discrete` (test accuracy of a linear classifier, what the literature on
    dSprites reports) or `continuous` (squared correlation on the training points). The two
    conventions are different scales. In [0, 1], higher is better; 0 where every factor has two
    equally good latents, or none.
    """
    train, test = draw_training_and_test(table, rng, protocol)
    if protocol.sap == "continuous":
        predictability = squared_correlations(train.codes, train.factors)
    else:
        predictability = accuracies(train, test, protocol.threads)
    per_factor = gaps(predictability)
    return Result(
        scores={"sap": float(per_factor.mean())},
        details={
            "convention": protocol.sap,
            "predictability": predictability,
            "gap_per_factor": per_factor,
        },
    )
