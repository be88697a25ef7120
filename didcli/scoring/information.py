"""Discrete information measures, in nats, and the bins that make a code discrete."""

import numpy as np
from numpy.typing import NDArray


def discretise(codes: NDArray[np.floating], bins: int) -> NDArray[np.int64]:
    """(N, D) -> (N, D) bin numbers 0 .. bins - 1, equal widths between each column's extremes.

    The edges are `numpy.histogram`'s, in the precision of the codes, because the reference takes
    them from there: edges from another formula differ in the last digit, and points change bins.
    A constant column lies in one bin.
    """
    binned = np.empty(codes.shape, dtype=np.int64)
    for d, column in enumerate(codes.T):
        binned[:, d] = np.digitize(column, _lower_edges(column, bins)) - 1
    return binned


def _lower_edges(column: NDArray[np.floating], bins: int) -> NDArray[np.floating]:
    try:
        edges = np.histogram_bin_edges(column, bins)
    except ValueError:
        # Fewer than `bins` floats lie between the extremes: the reference stops here.
        edges = np.histogram_bin_edges(column.astype(np.float64), bins)
    return edges[:-1]


def mutual_information(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """I[a; b] of two label vectors (N,), counted from 0. Plug-in estimate, no bias correction.

        sum over i, j of n_ij / N log( N n_ij / (n_i n_j) )

    In [0, log of the smaller number of labels]; exactly 0 where a vector is constant.
    """
    shape = int(a.max()) + 1, int(b.max()) + 1
    joint = np.bincount(a * shape[1] + b, minlength=shape[0] * shape[1]).reshape(shape)
    independent = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    seen = joint > 0
    count = joint[seen].astype(np.float64)
    terms = count * np.log(len(a) * count / independent[seen])
    return max(0.0, float(terms.sum() / len(a)))


def entropy(labels: NDArray[np.int64]) -> float:
    """H[labels] of a label vector (N,), in [0, log of the number of labels]."""
    return mutual_information(labels, labels)


def information_matrix(
    binned: NDArray[np.int64], factors: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(N, D) bins and (N, K) factors -> (D, K) mutual information."""
    return np.array([[mutual_information(a, b) for b in factors.T] for a in binned.T])
