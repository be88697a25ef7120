"""The compiled trees against scikit-learn's, split by split."""

import itertools
import signal
import threading
import time

import numpy as np
import pytest
import sklearn
from sklearn.ensemble import GradientBoostingClassifier

from didcli.metrics import _trees
from didcli.metrics._boosting import fit_all

SAME_TIES = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 9)
"""Older versions choose otherwise between equally good splits."""


def sample(classes, seed=0, rows=400):
    """Two latents that know of the class, two of noise, one constant; many rows come twice."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=rows)
    codes = np.column_stack(
        [
            labels / classes + 0.2 * rng.normal(size=rows),
            -labels / classes + 0.4 * rng.normal(size=rows),
            rng.normal(size=(rows, 2)),
            np.full(rows, 0.3),
        ]
    ).astype(np.float32)
    drawn = rng.integers(rows, size=2 * rows)
    return codes[drawn], labels[drawn]


@pytest.mark.skipif(not SAME_TIES, reason="scikit-learn before 1.9 breaks ties otherwise")
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_trees_are_scikit_learn_s(classes):
    codes, labels = sample(classes)
    fit = fit_all(codes[:500], labels[:500, None], codes[500:], seed=4)[0]
    expected = GradientBoostingClassifier(random_state=4).fit(codes[:500], labels[:500])
    assert fit.importance == pytest.approx(expected.feature_importances_, abs=1e-9)
    assert (fit.train_labels == expected.predict(codes[:500])).all()
    assert (fit.test_labels == expected.predict(codes[500:])).all()


@pytest.mark.skipif(not SAME_TIES, reason="scikit-learn before 1.9 breaks ties otherwise")
@pytest.mark.parametrize("seed", range(4))
def test_trees_of_two_classes_that_codes_do_not_know_are_scikit_learn_s(seed):
    """Noise leaves many equally good splits, which the last bit of a residual decides between."""
    rng = np.random.default_rng(seed)
    codes, labels = rng.normal(size=(150, 5)).astype(np.float32), rng.integers(2, size=150)
    fit = fit_all(codes, labels[:, None], codes, seed=seed)[0]
    expected = GradientBoostingClassifier(random_state=seed).fit(codes, labels)
    assert fit.importance == pytest.approx(expected.feature_importances_, abs=1e-9)


@pytest.mark.parametrize("classes", [2, 4])
def test_trees_agree_with_any_scikit_learn_on_average(classes):
    codes, labels = sample(classes, seed=1, rows=200)
    seeds = range(4)
    ours = [fit_all(codes, labels[:, None], codes, seed=s)[0].importance for s in seeds]
    theirs = [
        GradientBoostingClassifier(random_state=s).fit(codes, labels).feature_importances_
        for s in seeds
    ]
    assert np.mean(ours, axis=0) == pytest.approx(np.mean(theirs, axis=0), abs=0.02)


def test_labels_need_not_be_numbered_from_zero():
    codes, labels = sample(3)
    plain = fit_all(codes, labels[:, None], codes, seed=0)[0]
    odd = fit_all(codes, 10 * labels[:, None] + 5, codes, seed=0)[0]
    assert (odd.importance == plain.importance).all()
    assert (odd.test_labels == 10 * plain.test_labels + 5).all()


def test_equal_latents_share_the_importance():
    codes, labels = sample(3)
    twins = np.column_stack([codes[:, 0], codes[:, 0], codes[:, 2]])
    fits = [fit_all(twins, labels[:, None], twins, seed=s)[0].importance for s in range(8)]
    first, second, _ = np.mean(fits, axis=0)
    assert first == pytest.approx(second, rel=0.15)


def test_constant_codes_make_no_split():
    labels = np.arange(90) % 3
    fit = fit_all(
        np.zeros((90, 2), np.float32), labels[:, None], np.zeros((5, 2), np.float32), seed=0
    )[0]
    assert (fit.importance == 0).all()
    assert len(set(fit.test_labels)) == 1


def test_threads_change_nothing():
    codes, labels = sample(5)
    factors = np.column_stack([labels, labels % 2, labels // 2])
    alone = fit_all(codes, factors, codes, seed=2, threads=1)
    together = fit_all(codes, factors, codes, seed=2, threads=4)
    for a, b in zip(alone, together, strict=True):
        assert (a.importance == b.importance).all()
        assert (a.test_labels == b.test_labels).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_ends_it_within_a_stage(monkeypatch, threads):
    codes, labels = sample(4)
    trees = itertools.count()

    def interrupted_once(*arguments):
        tree = next(trees)
        time.sleep(0.02)
        if tree % 20 == 0:  # again if need be: one that meets a thread lying down does not wake it
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        add_tree(*arguments)

    add_tree = _trees.add_tree
    monkeypatch.setattr(_trees, "add_tree", interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        fit_all(codes, np.column_stack([labels, labels // 2]), codes, seed=0, threads=threads)
    stage = 4 + 1  # trees: one a class of the first factor, one for the two of the second
    assert next(trees) <= 10 * stage  # of 100: the signal may take a few to arrive


def test_numpy_s_way_of_adding_up_is_followed():
    for count in (1, 7, 8, 100, 128, 129, 1000, 4097):
        terms = np.random.default_rng(count).normal(size=count)
        assert _trees._pairwise_sum(terms) == terms.sum()


def test_kernels_compile_where_no_cache_can_be_written(monkeypatch):
    real = _trees.numba.njit

    def no_place(**options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(_trees.numba, "njit", no_place)
    assert _trees.compiled(lambda x: x + 1)(1) == 2
