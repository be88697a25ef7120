import builtins
import dataclasses
import itertools
import math
import signal
import threading
import time

import numpy as np
import pytest
from code_tables import FEW, grid, ignorant, noisy, perfect, rotated, with_codes
from sklearn.ensemble import GradientBoostingClassifier

from didcli.metrics import dci

SKLEARN = dataclasses.replace(FEW, dci_backend="sklearn")


def score(table, protocol=FEW):
    return dci.score(table, np.random.RandomState(0), protocol).scores


def loop_specialisation(row):
    """1 - entropy in base K, from the formula, in Python's floats."""
    smoothed = [entry + 1e-11 for entry in row]
    shares = [entry / math.fsum(smoothed) for entry in smoothed]
    return 1 + math.fsum(share * math.log(share, len(row)) for share in shares)


def test_specialisation_equals_the_formula_in_a_loop():
    importance = np.random.default_rng(0).dirichlet([0.5] * 4, size=6)
    expected = [loop_specialisation(row) for row in importance.tolist()]
    assert dci.specialisation(importance) == pytest.approx(expected, abs=1e-12)


def test_specialisation_of_one_entry_is_one_and_of_equal_ones_zero():
    assert dci.specialisation(np.array([[0, 3.0, 0], [2, 2, 2], [0, 0, 0]])) == pytest.approx(
        [1, 0, 0], abs=1e-8
    )


def test_rows_weigh_by_their_importance():
    importance = np.array([[3.0, 0], [0.5, 0.5]])
    assert dci.weighted_specialisation(importance) == pytest.approx(0.75)
    assert dci.weighted_specialisation(np.zeros((2, 2))) == pytest.approx(0.0)


def test_perfect_codes_score_one():
    assert score(perfect()) == pytest.approx(
        {"dci_disentanglement": 1, "dci_completeness": 1, "dci_informativeness": 1}, abs=0.01
    )


def test_a_factor_spread_over_two_latents_is_disentangled_but_not_complete():
    factors = grid((4, 9))
    codes = np.column_stack([factors[:, 0], factors[:, 1] // 3, factors[:, 1] % 3])
    scores = score(with_codes(perfect((4, 9)), codes))
    assert scores["dci_disentanglement"] == pytest.approx(1, abs=0.01)
    assert scores["dci_completeness"] < 0.8


def test_rotated_codes_are_informative_but_not_disentangled():
    scores = score(rotated())
    assert scores["dci_disentanglement"] < 0.5
    assert scores["dci_informativeness"] > 0.9


def test_codes_that_know_nothing_score_nearly_nothing():
    table = ignorant((6, 5, 8))
    scores = score(table, dataclasses.replace(FEW, disjoint=True))
    assert scores["dci_disentanglement"] < 0.1
    assert scores["dci_informativeness"] < 0.25


def test_constant_codes_carry_nothing():
    scores = score(with_codes(perfect(), np.zeros((60, 3))))
    assert scores["dci_disentanglement"] == pytest.approx(0, abs=1e-9)
    assert scores["dci_completeness"] == pytest.approx(0, abs=1e-9)


def test_both_backends_give_the_same_scores():
    assert score(noisy()) == pytest.approx(score(noisy(), SKLEARN), abs=1e-9)


def test_threads_do_not_change_the_scores():
    assert score(noisy(), dataclasses.replace(FEW, threads=3)) == score(noisy())


def test_ctrl_c_ends_scikit_learn_s_trees_early(monkeypatch):
    stages = itertools.count()

    def interrupted_once(*arguments, **named):
        stage = next(stages)
        time.sleep(0.05)
        if stage % 20 == 0:  # again if need be: one that meets a thread lying down does not wake it
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return fit_stage(*arguments, **named)

    fit_stage = GradientBoostingClassifier._fit_stage
    monkeypatch.setattr(GradientBoostingClassifier, "_fit_stage", interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        score(noisy(), dataclasses.replace(SKLEARN, threads=2))
    assert next(stages) < 100  # of 300


def test_without_numba_scikit_learn_steps_in_and_says_so(monkeypatch):
    real_import = builtins.__import__

    def without_numba(name, *rest):
        if name == "numba":
            raise ImportError("Numba needs NumPy 2.4 or less")
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_numba)
    result = dci.score(noisy((2, 3)), np.random.RandomState(0), FEW)
    assert "Numba needs NumPy 2.4 or less" in result.notes[0]


def test_details_are_of_latents_and_of_factors():
    factors = grid((4, 9))
    codes = np.column_stack([factors[:, 0], factors[:, 1] // 3, factors[:, 1] % 3])
    table = with_codes(perfect((4, 9)), codes)
    details = dci.score(table, np.random.RandomState(0), FEW).details
    assert details["disentanglement_per_latent"] == pytest.approx([1, 1, 1], abs=0.02)
    of_one, of_two = details["completeness_per_factor"]
    assert of_one > 0.98
    assert of_two < 0.8


def test_accuracies_are_of_points_learned_from_and_of_others():
    apart = dataclasses.replace(FEW, disjoint=True)
    details = dci.score(ignorant((6, 5, 8)), np.random.RandomState(0), apart).details
    assert details["train_accuracy"] > 0.8
    assert details["train_accuracy"] == pytest.approx(details["train_accuracy_per_factor"].mean())
    assert details["test_accuracy_per_factor"].max() < 0.35
