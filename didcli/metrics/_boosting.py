"""Gradient-boosted trees for classification: scikit-learn's, ten times as fast and more.

`GradientBoostingClassifier()` sorts the points of every node by every feature, in each of up to
thousands of trees. The points do not change, so here they are sorted once, and a node's order is
its parent's, split in two. The trees are those of scikit-learn 1.9 with `random_state=seed`, split
by split; other versions break ties otherwise. Friedman 2001, https://doi.org/10.1214/aos/1013203451
"""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from didcli.metrics._parallel import ordered_map

STAGES = 100
LEARNING_RATE = 0.1


@dataclass(frozen=True)
class Fit:
    """A classifier of one factor, as far as DCI needs it."""

    importance: NDArray[np.float64]
    """(D,) share of each feature in the reduction of squared error over all trees; sums to 1, or
    all 0 where no tree split."""
    train_labels: NDArray[np.int64]
    """(N,) labels predicted for the training points."""
    test_labels: NDArray[np.int64]
    """(M,) labels predicted for the test points."""


def fit_all(
    codes: NDArray[np.float32],
    factors: NDArray[np.int64],
    test_codes: NDArray[np.float32],
    *,
    seed: int,
    threads: int = 1,
) -> list[Fit]:
    """One classifier for each column of factors, which sees all columns of codes.

    codes: (N, D).  factors: (N, K), each column of two values or more.  test_codes: (M, D).
    100 stages of trees of depth 3 at learning rate 0.1 on the log loss. Factors, and within a
    factor the trees of a stage, share the threads; the result does not depend on their number.
    """
    shared = _Shared(
        codes=np.ascontiguousarray(codes.T),
        order=np.argsort(codes.T, axis=1, kind="stable").astype(np.uint32),
        test_codes=np.ascontiguousarray(test_codes.T),
        reciprocals=1 / np.maximum(np.arange(len(codes) + 1), 1),
    )
    columns = range(factors.shape[1])
    if threads <= 1:
        return [_fit(shared, factors[:, k], seed + k, _run_here, 1) for k in columns]
    with ThreadPoolExecutor(threads) as growers:

        def run(task: Callable[[int], None], parts: int) -> None:
            for future in [growers.submit(task, part) for part in range(parts)]:
                future.result()

        # A factor waits for its trees at the end of each stage: it needs a thread to wait in, which
        # must not be one of those that grow trees. Without growers its next stage raises, so that
        # Ctrl-C need not wait for all of them.
        return ordered_map(
            lambda k: _fit(shared, factors[:, k], seed + k, run, threads),
            columns,
            len(columns),
            on_stop=functools.partial(growers.shutdown, wait=False, cancel_futures=True),
        )


@dataclass(frozen=True)
class _Shared:
    """What the classifiers of all factors have in common. Rows are features, for the kernels."""

    codes: NDArray[np.float32]
    order: NDArray[np.uint32]
    test_codes: NDArray[np.float32]
    reciprocals: NDArray[np.float64]


Run = Callable[[Callable[[int], None], int], None]
"""Call a task for each part 0 .. n - 1 and wait for all."""


def _run_here(task: Callable[[int], None], parts: int) -> None:
    for part in range(parts):
        task(part)


def _fit(shared: _Shared, labels: NDArray[np.int64], seed: int, run: Run, threads: int) -> Fit:
    """Boost one factor. labels: (N,)."""
    from scipy.special import logit

    from didcli.metrics import _trees  # numba takes half a second to import

    classes, labels = np.unique(labels, return_inverse=True)
    two_classes = len(classes) == 2
    members = labels == np.arange(len(classes))[:, None]
    prior = members.mean(axis=1)
    if two_classes:  # one tree a stage, for the second class
        members = members[1:]
        # scikit-learn's own: the quotient's logarithm differs in the last bit, which decides ties.
        start = logit(prior[1:])
        newton_scale = 1.0
    else:
        start = np.log(prior / np.exp(np.log(prior).mean()))
        newton_scale = (len(classes) - 1) / len(classes)  # Friedman's, kept by scikit-learn
    trees, points = members.shape
    seeds = np.random.RandomState(seed).randint(0, 2**31 - 1, size=(STAGES, trees))
    raw = np.repeat(start[:, None], points, axis=1)
    test_raw = np.repeat(start[:, None], shared.test_codes.shape[1], axis=1)
    exponentials, total = np.empty_like(raw), np.empty(points)
    importance = np.zeros((trees, len(shared.codes)))
    parts = min(threads, trees)
    work = np.empty((parts, _trees.DEPTH - 1, *shared.order.shape), dtype=np.uint32)
    cuts = np.linspace(0, points, threads + 1).astype(int)

    def softmax(part: int) -> None:
        _trees.softmax_terms(raw, cuts[part], cuts[part + 1], exponentials, total)

    def grow(stage: int, part: int) -> None:
        for k in range(part, trees, parts):
            if two_classes:
                residual = _trees.binary_residuals(raw[k], members[k])
            else:
                residual = members[k] - exponentials[k] / total
            _trees.add_tree(
                shared.codes,
                shared.order,
                work[part],
                shared.reciprocals,
                residual,
                members[k],
                seeds[stage, k],
                newton_scale,
                LEARNING_RATE,
                raw[k],
                shared.test_codes,
                test_raw[k],
                importance[k],
            )

    for stage in range(STAGES):
        if not two_classes:
            run(softmax, threads)
        run(functools.partial(grow, stage), parts)

    by_feature = importance.sum(axis=0)
    whole = by_feature.sum()
    return Fit(
        importance=by_feature / whole if whole > 0 else by_feature,
        train_labels=classes[_decide(raw)],
        test_labels=classes[_decide(test_raw)],
    )


def _decide(raw: NDArray[np.float64]) -> NDArray[np.int64]:
    """(trees, n) raw predictions -> (n,) class numbers."""
    decided: NDArray[np.int64] = raw.argmax(axis=0) if len(raw) > 1 else (raw[0] >= 0).astype(int)
    return decided
