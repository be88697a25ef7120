"""InfoModularity, InfoExplicitness, InfoCompactness, Hsu et al. 2023, section 4,
https://arxiv.org/abs/2305.18378
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from didcli.metrics._parallel import ordered_map
from didcli.metrics._solvers import around_linear_solvers
from didcli.scoring.guards import active_latents
from didcli.scoring.information import entropy
from didcli.scoring.protocol import EvaluationProtocol, Result, UndefinedError
from didcli.scoring.table import CodeTable

SCORES = ("infom", "infoe", "infoc")

JITTER = 1e-10
"""Noise added to codes, relative to their mean magnitude, so that no two distances are equal."""


def concentration(shares: NDArray[np.float64]) -> float:
    """How much of each row lies in its largest entry, from 0 for equal entries to 1 for only one.

        ( mean over rows of max / sum  -  1 / K ) / (1 - 1 / K)

    shares: (n, K), not negative, K >= 2. A row of zeros counts as K equal entries.
    """
    total = shares.sum(axis=1)
    equal = 1 / shares.shape[1]
    largest = np.where(total > 0, shares.max(axis=1) / np.where(total > 0, total, 1.0), equal)
    return float((largest.mean() - equal) / (1 - equal))


def neighbour_information(
    x: NDArray[np.float64], labels: NDArray[np.int64], neighbours: int
) -> float:
    """I[x; label] of a continuous x and discrete labels, in nats, not below 0. Ross 2014,
    https://doi.org/10.1371/journal.pone.0087357

        psi(N) + mean psi(k) - mean psi(N_label) - mean psi(m)

    where m counts the points, of any label, that are nearer than the k-th nearest of the same
    label, the point itself included. A label of N <= k points takes k = N - 1; one of a single
    point is left out.

    x: (N,), no two values equal.  labels: (N,).  The estimator of scikit-learn's
    `mutual_info_classif`, for one feature: neighbours on a line are neighbours in sorted order.
    (For labels of about 2 k points or fewer scikit-learn's distances are rounded, and it counts
    the k-th neighbour in or out by chance.)
    """
    _, labels, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    kept = sizes[labels] > 1
    x, labels = x[kept], labels[kept]
    if not len(x):
        return 0.0
    radius, used = np.empty(len(x)), np.empty(len(x), dtype=np.int64)
    for label in np.flatnonzero(sizes > 1):
        members = np.flatnonzero(labels == label)
        k = min(neighbours, len(members) - 1)
        order = members[np.argsort(x[members])]
        radius[order] = np.nextafter(_distance_to_neighbour(x[order], k), 0)
        used[order] = k
    within = _count_within(x, radius)
    information = (
        digamma(len(x))
        + digamma(used).mean()
        - digamma(sizes[labels]).mean()
        - digamma(within).mean()
    )
    return max(0.0, float(information))


def _distance_to_neighbour(ordered: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Ascending (n,) -> (n,) distance of each to its k-th nearest other, 1 <= k < n.

    The k nearest and the point itself are k + 1 neighbours in the order, and of the windows of
    that many which contain the point they are the one with the nearest far end.
    """
    nearest = np.full(len(ordered), np.inf)
    for before in range(k + 1):
        # The window starts `before` places ahead of the point and ends k - before behind it.
        inside = slice(before, len(ordered) - (k - before))
        x = ordered[inside]
        start = ordered[: len(x)]
        end = ordered[k:]
        nearest[inside] = np.minimum(nearest[inside], np.maximum(x - start, end - x))
    return nearest


def _count_within(x: NDArray[np.float64], radius: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n,) and (n,) -> how many of x lie within the radius of each, itself included.

    `x + radius` is rounded, often onto the very neighbour that the radius just excludes. So the
    bounds found from it are moved until the differences themselves are on the right side.
    """
    ordered = np.concatenate([[-np.inf], np.sort(x), [np.inf]])

    def furthest(bound: NDArray[np.int64], outward: int) -> NDArray[np.int64]:
        while (near := np.abs(ordered[bound + outward] - x) <= radius).any():
            bound = bound + outward * near
        while (far := np.abs(ordered[bound] - x) > radius).any():
            bound = bound - outward * far
        return bound

    first = furthest(np.searchsorted(ordered, x - radius), -1)
    last = furthest(np.searchsorted(ordered, x + radius, "right") - 1, 1)
    return last - first + 1


def explicitness(codes: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The share of what there is to know of a factor that a linear classifier knows from the codes.

        (H0 - H) / H0, H the log loss of a classifier with codes, H0 of one without, log K

    codes: (N, D), standardised.  labels: (N,), all of 0 .. K - 1.  At most 1; below 0 where class
    weights make the classifier worse than none. Measured on the points it is fitted to, without
    regularisation, classes balanced; 100 iterations, whether they suffice or not.
    """
    # An infinite C rather than `penalty=None`, which scikit-learn 1.8 deprecates.
    classifier = LogisticRegression(C=np.inf, class_weight="balanced", max_iter=100)
    loss = log_loss(labels, classifier.fit(codes, labels).predict_proba(codes))
    without = np.log(labels.max() + 1)
    return float((without - loss) / without)


@around_linear_solvers
def score(table: CodeTable, rng: np.random.RandomState, protocol: EvaluationProtocol) -> Result:
    """InfoM: whether a latent knows of one factor only. InfoC: whether one latent only knows of a
    factor. InfoE: how much of the factors a linear classifier reads from the codes.

    M and C weigh nearest-neighbour mutual information, as a share of the factor's entropy, over the
    active latents: those whose range is above a twentieth of the widest one's. E takes all latents.
    All rows are used, or, if they are more than `protocol.information_points`, a draw of so many
    without replacement. M and C in [0, 1], E at most 1, higher is better.
    """
    rows = np.arange(len(table))
    if len(rows) > protocol.information_points:
        rows = np.sort(rng.choice(len(rows), protocol.information_points, replace=False))
    codes, factors = table.codes[rows], table.factors[rows]
    active = active_latents(codes)
    if active.sum() < 2:
        raise UndefinedError(f"{active.sum()} latent is active, and compactness compares two")
    labels = [np.unique(column, return_inverse=True)[1].reshape(-1) for column in factors.T]
    if any(column.max() == 0 for column in labels):
        raise UndefinedError(f"a factor takes a single value among the {len(rows)} points")

    scaled = StandardScaler().fit_transform(codes)
    noise = JITTER * np.maximum(1, np.abs(scaled).mean(axis=0)) * rng.standard_normal(codes.shape)
    information = np.array(
        ordered_map(
            lambda x: [neighbour_information(x, y, protocol.neighbours) for y in labels],
            (scaled.astype(np.float64) + noise).T,
            protocol.threads,
        )
    )
    known = information / np.array([entropy(column) for column in labels])
    read = ordered_map(lambda y: explicitness(scaled, y), labels, protocol.threads)
    return Result(
        scores={
            "infom": concentration(known[active]),
            "infoe": float(np.mean(read)),
            "infoc": concentration(known[active].T),
        },
        details={
            "normalised_information": known,
            "explicitness_per_factor": read,
            "active_latents": np.flatnonzero(active),
            "points": len(rows),
        },
    )
