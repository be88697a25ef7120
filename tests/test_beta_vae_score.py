from dataclasses import replace

import numpy as np
import pytest
from code_tables import FEW, SIZES, grid, ignorant, noisy, perfect, rotated, with_codes

from didcli.metrics import beta_vae
from didcli.scoring.protocol import UndefinedError
from didcli.scoring.table import code_table


def score(table):
    return beta_vae.score(table, np.random.RandomState(0), FEW).scores["beta_vae"]


def test_features_equal_the_mean_difference_in_a_loop():
    table = noisy()
    _, rows = beta_vae.draw_pairs(table, np.random.RandomState(0), points=5, batch=16)
    features = beta_vae.mean_differences(table.codes, rows)
    for feature, (first, second) in zip(features, rows, strict=True):
        differences = [
            np.abs(table.codes[a].astype(float) - table.codes[b].astype(float))
            for a, b in zip(first, second, strict=True)
        ]
        assert feature == pytest.approx(np.mean(differences, axis=0), abs=1e-6)


def test_perfect_and_rotated_codes_score_one():
    assert score(perfect()) == pytest.approx(1.0, abs=0.01)
    assert score(rotated()) > 0.9


def test_codes_that_know_nothing_score_like_a_guess():
    # On a grid this small chance correlations are real; on a larger one they average out.
    assert score(ignorant((8, 9, 10))) == pytest.approx(1 / 3, abs=0.15)


def test_constant_codes_score_like_a_guess():
    assert score(with_codes(perfect(), np.zeros((60, 3)))) == pytest.approx(1 / 3, abs=0.1)


def test_training_points_that_all_share_one_factor_are_no_ground_for_a_score():
    protocol = replace(FEW, train_points=2)

    def shared(seed):
        rng = np.random.RandomState(seed)
        return beta_vae.draw_pairs(noisy(), rng, protocol.train_points, protocol.vote_batch)[0]

    seed = next(seed for seed in range(20) if np.ptp(shared(seed)) == 0)
    with pytest.raises(UndefinedError, match="all 2 training points share 'factor"):
        beta_vae.score(noisy(), np.random.RandomState(seed), protocol)


def test_it_refuses_a_table_that_is_no_complete_grid():
    table = code_table(noisy().codes[1:], grid()[1:], SIZES)
    with pytest.raises(UndefinedError, match=r"\(4 x 3 x 5 rows\); this table of 59 rows"):
        score(table)


def test_it_is_measured_on_points_that_were_not_learned_from():
    few = replace(FEW, train_points=40, vote_batch=2)
    table = ignorant((8, 9, 10), latents=60)
    found = beta_vae.score(table, np.random.RandomState(0), few)
    assert found.details["train_accuracy"] > 0.9
    assert found.scores["beta_vae"] < 0.5
