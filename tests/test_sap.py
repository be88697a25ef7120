import dataclasses

import numpy as np
import pytest
from code_tables import FEW, grid, ignorant, noisy, perfect, with_codes
from sklearn.svm import LinearSVC

from didcli.metrics import sap
from didcli.scoring.sampling import draw_training_and_test

CONTINUOUS = dataclasses.replace(FEW, sap="continuous")


def score(table, protocol=FEW):
    return sap.score(table, np.random.RandomState(0), protocol).scores["sap"]


def test_it_equals_classifiers_trained_one_by_one():
    table = noisy()
    train, test = draw_training_and_test(table, np.random.RandomState(0), FEW)
    gaps = []
    for k in range(3):
        accuracies = []
        for d in range(5):
            classifier = LinearSVC(C=0.01, class_weight="balanced", dual=False)
            classifier.fit(train.codes[:, d : d + 1], train.factors[:, k])
            predicted = classifier.predict(test.codes[:, d : d + 1])
            accuracies.append(np.mean(predicted == test.factors[:, k]))
        second, best = sorted(accuracies)[-2:]
        gaps.append(best - second)
    assert score(table) == pytest.approx(np.mean(gaps), abs=1e-12)


def test_continuous_equals_the_squared_correlation_of_numpy():
    table = noisy()
    train, _ = draw_training_and_test(table, np.random.RandomState(0), FEW)
    gaps = []
    for k in range(3):
        known = [np.corrcoef(train.codes[:, d], train.factors[:, k])[0, 1] ** 2 for d in range(5)]
        second, best = sorted(known)[-2:]
        gaps.append(best - second)
    assert score(table, CONTINUOUS) == pytest.approx(np.mean(gaps), abs=1e-6)


def test_continuous_perfect_codes_score_nearly_one():
    assert score(perfect(), CONTINUOUS) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("protocol", [FEW, CONTINUOUS], ids=lambda p: p.sap)
def test_two_equal_latents_leave_no_gap(protocol):
    codes = np.hstack([grid(), grid()]).astype(float)
    assert score(with_codes(perfect(), codes), protocol) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("protocol", [FEW, CONTINUOUS], ids=lambda p: p.sap)
def test_codes_that_know_nothing_score_nearly_nothing(protocol):
    assert score(ignorant((6, 5, 8)), protocol) < 0.07


def test_a_constant_latent_correlates_with_nothing():
    codes = np.column_stack([np.full(60, 0.3, np.float32), np.arange(60)])
    known = sap.squared_correlations(codes, grid())
    assert (known[0] == 0).all()
    assert (known[1] > 0).any()


def test_the_convention_is_reported():
    assert sap.score(noisy(), np.random.RandomState(0), CONTINUOUS).details["convention"] == (
        "continuous"
    )


def test_threads_do_not_change_the_score():
    assert score(noisy(), dataclasses.replace(FEW, threads=3)) == score(noisy())
