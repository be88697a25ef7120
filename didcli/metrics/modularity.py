"""Modularity and explicitness, Ridgeway & Mozer 2018, section 3,
https://arxiv.org/abs/1802.05312
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from didcli.metrics._parallel import ordered_map
from didcli.metrics._solvers import around_linear_solvers
from didcli.scoring.information import discretise, information_matrix
from didcli.scoring.protocol import EvaluationProtocol, Result, UndefinedError
from didcli.scoring.sampling import draw_training_and_test
from didcli.scoring.table import CodeTable

SCORES = ("modularity", "explicitness")

NEEDS_BASELINE = True
"""Modularity looks at proportions only, so a latent of faint noise counts like any other."""


def modularity_per_latent(information: NDArray[np.float64]) -> NDArray[np.float64]:
    """How close each latent is to knowing of one factor only.

        1 - sum over j != best of I[d, j]^2 / (I[d, best]^2 (K - 1))

    information: (D, K) mutual information in nats, K >= 2.  Returns (D,), each in [0, 1]: 1 where
    one factor has it all, 0 where all have the same, and 0 for a latent that knows nothing.
    """
    squared = information**2
    best = squared.max(axis=1)
    others = squared.sum(axis=1) - best
    spread = others / np.where(best > 0, best * (information.shape[1] - 1), 1.0)
    return np.where(best > 0, 1.0 - spread, 0.0)


def standardise(
    train: NDArray[np.float32], test: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Standardise both by mean and standard deviation of the training codes, in float32.

    Latents whose deviation is 0 are left out; the reference divides by it. Rounding gives most
    constant latents a deviation above 0: they stay, as in the reference, as one more intercept.
    """
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    usable = np.flatnonzero(deviation)
    scaled = (
        np.take((part - mean) / np.where(deviation > 0, deviation, 1), usable, axis=1)
        for part in (train, test)
    )
    return next(scaled), next(scaled)


def mean_auc(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Area under the ROC curve of each class against the rest, averaged over classes, in [0, 1].

    probabilities: (n, K), column k for class k.  labels: (n,), of 0 .. K - 1.  A class that is
    absent from `labels` has no curve and is left out. NaN where `labels` has fewer than two
    classes: there is no rest to tell one from.
    """
    present = np.unique(labels)
    if len(present) < 2:
        return float("nan")
    return float(np.mean([roc_auc_score(labels == k, probabilities[:, k]) for k in present]))


@around_linear_solvers
def score(table: CodeTable, rng: np.random.RandomState, protocol: EvaluationProtocol) -> Result:
    """Modularity: whether a latent knows of one factor only, mean over latents. Explicitness:
    whether a linear classifier reads each factor from the codes, mean AUC over classes and factors.

    Both in [0, 1], higher is better. Explicitness is measured on the test points; guessing scores
    0.5. It is not defined where the test points show fewer than two known classes of a factor.
    Modularity takes noise for knowledge: codes that know nothing score .6 to .7, and a near-dead
    latent among good ones counts as much as they do.
    """
    train, test = draw_training_and_test(table, rng, protocol)
    information = information_matrix(discretise(train.codes, protocol.bins), train.factors)
    per_latent = modularity_per_latent(information)

    codes, test_codes = standardise(train.codes, test.codes)
    if not codes.shape[1]:
        raise UndefinedError("every latent is constant among the training points")

    def auc(factor: int) -> tuple[float, float]:
        labels, test_labels = train.factors[:, factor], test.factors[:, factor]
        classes, numbered = np.unique(labels, return_inverse=True)
        classifier = LogisticRegression().fit(codes, numbered)
        seen = np.isin(test_labels, classes)
        return (
            mean_auc(classifier.predict_proba(codes), numbered),
            mean_auc(
                classifier.predict_proba(test_codes)[seen],
                np.searchsorted(classes, test_labels[seen]),
            ),
        )

    aucs = np.array(ordered_map(auc, range(train.factors.shape[1]), protocol.threads))
    scores, undefined = {"modularity": float(per_latent.mean())}, {}
    if (lacking := np.isnan(aucs[:, 1])).any():
        name = table.factor_names[int(np.argmax(lacking))]
        undefined["explicitness"] = (
            f"among the {len(test.rows):,} test points {name!r} takes fewer than two of the values "
            "that it has among the training points"
        )
    else:
        scores["explicitness"] = float(aucs[:, 1].mean())
    return Result(
        scores=scores,
        details={
            "mutual_information": information,
            "modularity_per_latent": per_latent,
            "explicitness_per_factor": aucs[:, 1],
            "train_explicitness": float(aucs[:, 0].mean()),
        },
        undefined=undefined,
    )
