"""Disentanglement, Completeness, Informativeness, Eastwood & Williams 2018, section 2,
https://openreview.net/forum?id=By-7dz-AZ
"""

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from didcli.metrics._parallel import ordered_map
from didcli.metrics._solvers import around_classifiers
from didcli.scoring.protocol import DciBackend, EvaluationProtocol, Result
from didcli.scoring.sampling import Points, draw_training_and_test
from didcli.scoring.table import CodeTable

SCORES = ("dci_disentanglement", "dci_completeness", "dci_informativeness")

SMOOTHING = 1e-11
"""Added to every importance, so that a latent nobody uses has the entropy of a uniform one."""

Fits = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""Importances (D, K), accuracy on the training points (K,), and on the test points (K,)."""


def specialisation(importance: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much each row is concentrated on one column.

        1 - H_K(row + 1e-11), the row scaled to sum 1, entropy in base K

    importance: (D, K), not negative, K >= 2.  Returns (D,), each in [0, 1]: 1 for a single entry,
    0 for K equal ones. For importances by latent and factor it is the disentanglement of each
    latent; for their transpose, the completeness of each factor.
    """
    smoothed = importance + SMOOTHING
    share = smoothed / smoothed.sum(axis=1, keepdims=True)
    entropy = -(share * np.log(share)).sum(axis=1)
    per_row: NDArray[np.float64] = 1.0 - entropy / np.log(importance.shape[1])
    return per_row


def weighted_specialisation(importance: NDArray[np.float64]) -> float:
    """The mean of `specialisation` weighted by each row's share of all importance, in [0, 1]."""
    weights = importance.sum(axis=1)
    if weights.sum() == 0:  # no tree split anywhere: the latents carry nothing
        weights = np.ones_like(weights)
    return float(np.average(specialisation(importance), weights=weights))


@around_classifiers
def fit_sklearn(train: Points, test: Points, seed: int, threads: int) -> Fits:
    """Fit one GradientBoostingClassifier for each factor to all latents: the reference's own."""
    from sklearn.ensemble import GradientBoostingClassifier

    stopped = threading.Event()

    def fit(factor: int) -> tuple[NDArray[np.float64], float, float]:
        model = GradientBoostingClassifier(random_state=seed + factor)
        # The monitor is asked after each stage: Ctrl-C need not wait for minutes of them.
        model.fit(train.codes, train.factors[:, factor], monitor=lambda *_stage: stopped.is_set())
        return (
            model.feature_importances_,
            float(model.score(train.codes, train.factors[:, factor])),
            float(model.score(test.codes, test.factors[:, factor])),
        )

    fitted = ordered_map(fit, range(train.factors.shape[1]), threads, on_stop=stopped.set)
    importances, on_train, on_test = zip(*fitted, strict=True)
    return np.stack(importances, axis=1), np.array(on_train), np.array(on_test)


def fit_exact(train: Points, test: Points, seed: int, threads: int) -> Fits:
    """Fit the same trees as `fit_sklearn`, by `_boosting`."""
    from didcli.metrics._boosting import fit_all

    fits = fit_all(train.codes, train.factors, test.codes, seed=seed, threads=threads)
    return (
        np.stack([fit.importance for fit in fits], axis=1),
        _accuracies([fit.train_labels for fit in fits], train.factors),
        _accuracies([fit.test_labels for fit in fits], test.factors),
    )


def _accuracies(
    predicted: list[NDArray[np.int64]], factors: NDArray[np.int64]
) -> NDArray[np.float64]:
    return np.array([np.mean(p == y) for p, y in zip(predicted, factors.T, strict=True)])


def score(table: CodeTable, rng: np.random.RandomState, protocol: EvaluationProtocol) -> Result:
    """How boosted trees that predict each factor from all latents use the latents.

    Disentanglement: whether a latent matters to one factor only. Completeness: whether a factor
    is predicted from one latent only. Both are weighted by importance. Informativeness: accuracy on
    the test points, mean over factors. All in [0, 1], higher is better.

    Trees break ties between equally good splits at random, here from a seed. The reference has no
    seed for it, so its own scores differ from call to call in the third or fourth decimal.
    """
    train, test = draw_training_and_test(table, rng, protocol)
    seed = int(rng.randint(2**31 - 1))
    fit, notes = _backend(protocol.dci_backend)
    importance, on_train, on_test = fit(train, test, seed, protocol.threads)
    return Result(
        scores={
            "dci_disentanglement": weighted_specialisation(importance),
            "dci_completeness": weighted_specialisation(importance.T),
            "dci_informativeness": float(on_test.mean()),
        },
        details={
            "importance": importance,
            "disentanglement_per_latent": specialisation(importance),
            "completeness_per_factor": specialisation(importance.T),
            "train_accuracy": float(on_train.mean()),
            "train_accuracy_per_factor": on_train,
            "test_accuracy_per_factor": on_test,
        },
        notes=notes,
    )


def _backend(
    name: DciBackend,
) -> tuple[Callable[[Points, Points, int, int], Fits], tuple[str, ...]]:
    if name == "sklearn":
        return fit_sklearn, ()
    try:
        import numba  # noqa: F401  (asked for here, because it lags behind Python and numpy)
    except ImportError as error:
        slower = (
            f"numba cannot be loaded ({error}): scikit-learn grew the trees, the same but slower"
        )
        return fit_sklearn, (slower,)
    return fit_exact, ()
