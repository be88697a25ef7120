from dataclasses import replace

import numpy as np
import pytest
from code_tables import FEW, grid, ignorant, noisy, numbered, perfect, rotated, with_codes

from didcli.metrics import modularity
from didcli.scoring.protocol import UndefinedError


def score(table):
    return modularity.score(table, np.random.RandomState(0), FEW).scores


def loop_auc(scores, positive):
    """The share of pairs of a positive and a negative that are in order; ties count half."""
    pairs = [
        (a > b) + (a == b) / 2
        for a, is_a in zip(scores, positive, strict=True)
        for b, is_b in zip(scores, positive, strict=True)
        if is_a and not is_b
    ]
    return sum(pairs) / len(pairs)


def test_modularity_equals_the_formula_in_a_loop():
    information = np.random.default_rng(0).random((6, 4))
    expected = []
    for row in information.tolist():
        best = max(row)
        others = sum(entry**2 for entry in row) - best**2
        expected.append(1 - others / (best**2 * 3))
    assert modularity.modularity_per_latent(information) == pytest.approx(expected, abs=1e-12)


def test_modularity_of_one_of_equal_and_of_no_knowledge():
    information = np.array([[0, 2.0, 0], [1, 1, 1], [0, 0, 0]])
    assert modularity.modularity_per_latent(information).tolist() == [1, 0, 0]


def test_auc_equals_counting_pairs():
    rng = np.random.default_rng(0)
    probabilities = rng.integers(5, size=(60, 3)) / 5  # with ties
    labels = rng.integers(3, size=60)
    expected = np.mean([loop_auc(probabilities[:, k], labels == k) for k in range(3)])
    assert modularity.mean_auc(probabilities, labels) == pytest.approx(expected, abs=1e-12)


def test_a_class_absent_from_the_labels_has_no_curve():
    probabilities = np.random.default_rng(0).random((10, 3))
    labels = np.array([0, 2] * 5)
    expected = np.mean([loop_auc(probabilities[:, k], labels == k) for k in (0, 2)])
    assert modularity.mean_auc(probabilities, labels) == pytest.approx(expected)


@pytest.mark.parametrize("labels", [[1] * 10, []])
def test_a_class_that_is_alone_has_no_curve(labels):
    probabilities = np.random.default_rng(0).random((len(labels), 3))
    assert np.isnan(modularity.mean_auc(probabilities, np.array(labels, dtype=np.int64)))


@pytest.mark.parametrize(
    ("table", "protocol", "factor"),
    [
        # No label of a test point was seen in training; both test points have the same label.
        (numbered(), replace(FEW, disjoint=True), 0),
        (noisy(), replace(FEW, test_points=2), 1),
    ],
)
def test_without_two_known_classes_explicitness_alone_is_undefined(table, protocol, factor):
    result = modularity.score(table, np.random.RandomState(0), protocol)
    assert result.scores.keys() == {"modularity"}
    assert 0 < result.scores["modularity"] <= 1
    assert f"'factor {factor}' takes fewer than two" in result.undefined["explicitness"]
    assert np.flatnonzero(np.isnan(result.details["explicitness_per_factor"])) == [factor]


def test_perfect_codes():
    scores = score(perfect())
    assert scores["modularity"] == pytest.approx(1, abs=0.01)
    assert scores["explicitness"] > 0.85  # the middle values are not linearly separable


def test_rotated_codes_are_explicit_and_less_modular():
    scores = score(rotated())
    assert scores["explicitness"] > 0.85
    assert scores["modularity"] < score(perfect())["modularity"] - 0.1


def test_codes_that_know_nothing_guess():
    assert score(ignorant((8, 9, 10)))["explicitness"] == pytest.approx(0.5, abs=0.1)


def test_a_constant_latent_counts_zero_in_modularity_and_nothing_in_explicitness():
    constant = with_codes(noisy(), np.column_stack([noisy().codes, np.full(60, 0.25)]))
    with_it, without = score(constant), score(noisy())
    assert with_it["modularity"] == pytest.approx(without["modularity"] * 5 / 6)
    assert with_it["explicitness"] == pytest.approx(without["explicitness"], abs=1e-4)


def test_all_constant_is_undefined():
    with pytest.raises(UndefinedError, match="every latent is constant"):
        score(with_codes(noisy(), np.zeros((60, 3))))


def test_an_exactly_constant_column_is_not_divided_by_zero():
    codes = np.column_stack([grid()[:, 0], np.zeros(60)]).astype(np.float32)
    train, test = modularity.standardise(codes, codes)
    assert train.shape == test.shape == (60, 1)
    assert np.isfinite(train).all()
