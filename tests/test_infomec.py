import dataclasses

import numpy as np
import pytest
from code_tables import FEW, ignorant, noisy, perfect, rotated, with_codes
from scipy.special import digamma
from sklearn.feature_selection import mutual_info_classif

from didcli.metrics import infomec
from didcli.scoring.protocol import UndefinedError


def result(table, protocol=FEW):
    return infomec.score(table, np.random.RandomState(0), protocol)


def loop_information(x, labels, neighbours):
    """Ross 2014, point by point."""
    terms = []
    kept = [i for i in range(len(x)) if list(labels).count(labels[i]) > 1]
    for i in kept:
        same = sorted(abs(x[j] - x[i]) for j in kept if labels[j] == labels[i] and j != i)
        k = min(neighbours, len(same))
        nearer = sum(abs(x[j] - x[i]) < same[k - 1] for j in kept)  # itself among them
        terms.append(digamma(k) - digamma(len(same) + 1) - digamma(nearer))
    return max(0.0, digamma(len(kept)) + np.mean(terms))


@pytest.mark.parametrize(("rows", "classes", "neighbours"), [(80, 3, 10), (60, 12, 10), (50, 2, 1)])
def test_information_equals_the_formula_in_a_loop(rows, classes, neighbours):
    rng = np.random.default_rng(rows)
    labels = rng.integers(classes, size=rows)
    labels[0] = classes  # a label of a single point
    x = labels + rng.normal(size=rows)
    expected = loop_information(x, labels, neighbours)
    found = infomec.neighbour_information(x, labels, neighbours)
    assert found == pytest.approx(expected, abs=1e-12)


def test_information_equals_scikit_learn_s():
    rng = np.random.default_rng(0)
    labels = rng.integers(5, size=800)
    x = labels / 5 + 0.3 * rng.normal(size=800)
    expected = mutual_info_classif(x[:, None], labels, n_neighbors=10, random_state=0)[0]
    scaled = x / x.std()
    assert infomec.neighbour_information(scaled, labels, 10) == pytest.approx(expected, abs=1e-6)


def test_concentration_of_one_entry_is_one_and_of_equal_ones_zero():
    assert infomec.concentration(np.array([[0, 2.0, 0], [1, 0, 0]])) == pytest.approx(1)
    assert infomec.concentration(np.array([[1.0, 1, 1], [0, 0, 0]])) == pytest.approx(0)


def test_explicitness_of_separable_and_of_random_codes():
    labels = np.arange(90) % 3
    rng = np.random.default_rng(0)
    assert infomec.explicitness(np.eye(3, dtype=np.float32)[labels], labels) > 0.99
    assert infomec.explicitness(rng.normal(size=(90, 2)).astype(np.float32), labels) < 0.1


def test_a_common_value_explains_nothing():
    """Codes of noise tell nothing of a factor, however often it takes one of its two values."""
    labels = (np.arange(2000) % 10 == 0).astype(np.int64)
    codes = np.random.default_rng(0).normal(size=(2000, 3)).astype(np.float32)
    assert infomec.explicitness(codes, labels) == pytest.approx(0.0, abs=0.02)


def test_good_codes_score_high():
    scores = result(noisy((4, 6, 8), noise=0.05)).scores
    assert scores["infom"] > 0.6  # its two latents of noise are active
    assert scores["infoc"] > 0.9
    assert scores["infoe"] > 0.5


def test_rotated_codes_are_explicit_only():
    scores = result(rotated((4, 6, 8))).scores
    assert scores["infoe"] > 0.5
    assert scores["infom"] < 0.6
    assert scores["infoc"] < 0.6


def test_codes_that_know_nothing_are_not_explicit():
    assert result(ignorant((6, 8, 9))).scores["infoe"] < 0.05


def test_near_dead_latents_take_no_part():
    table = noisy((4, 6, 8), noise=0.05)
    codes = table.codes.copy()
    codes[:, 3:] *= 0.01
    found = result(with_codes(table, codes))
    assert found.details["active_latents"].tolist() == [0, 1, 2]
    assert found.scores["infom"] > 0.9


def test_order_and_common_scale_do_not_matter():
    table = noisy((4, 6, 8))
    scaled = with_codes(table, 16 * table.codes[:, ::-1])
    assert result(scaled).scores == pytest.approx(result(table).scores, abs=1e-3)


def test_more_rows_than_asked_for_are_sampled_without_replacement():
    few = dataclasses.replace(FEW, information_points=50)
    assert result(noisy((4, 6, 8)), few).details["points"] == 50
    assert result(noisy()).details["points"] == 60


def test_one_active_latent_is_undefined():
    codes = np.column_stack([perfect().codes[:, 0], np.zeros((60, 2))])
    with pytest.raises(UndefinedError, match="1 latent is active"):
        result(with_codes(perfect(), codes))


def test_scores_are_of_the_latents_in_use():
    codes = np.column_stack([noisy().codes, 1e-3 * ignorant().codes[:, :1]])
    found = result(with_codes(noisy(), codes))
    active = [0, 1, 2, 3, 4]
    assert found.details["active_latents"].tolist() == active
    known = found.details["normalised_information"]
    of_latents = [max(row) / sum(row) if sum(row) else 1 / 3 for row in known[active].tolist()]
    of_factors = [max(column) / sum(column) for column in known[active].T.tolist()]
    assert found.scores["infom"] == pytest.approx((np.mean(of_latents) - 1 / 3) / (1 - 1 / 3))
    assert found.scores["infoc"] == pytest.approx((np.mean(of_factors) - 1 / 5) / (1 - 1 / 5))


def test_information_is_normalised_by_the_entropy_of_the_factor():
    """A latent that determines its factor knows all of it, however many values it has."""
    known = result(noisy((6, 5, 8), noise=0.02)).details["normalised_information"]
    assert known.diagonal()[:3] == pytest.approx([1, 1, 1], abs=0.05)
