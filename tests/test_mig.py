import math

import numpy as np
import pytest
from code_tables import FEW, SIZES, grid, ignorant, noisy, perfect, with_codes
from test_information import loop_information

from didcli.metrics import mig
from didcli.scoring.information import discretise
from didcli.scoring.sampling import draw_training


def score(table, seed=0):
    return mig.score(table, np.random.RandomState(seed), FEW).scores["mig"]


def test_it_equals_the_formula_in_a_loop():
    table = noisy()
    points = draw_training(table, np.random.RandomState(0), FEW)
    bins = discretise(points.codes, 20)
    gaps = []
    for k in range(points.factors.shape[1]):
        factor = points.factors[:, k].tolist()
        known = sorted(loop_information(bins[:, d].tolist(), factor) for d in range(bins.shape[1]))
        gaps.append((known[-1] - known[-2]) / loop_information(factor, factor))
    assert score(table) == pytest.approx(math.fsum(gaps) / len(gaps), abs=1e-12)


def test_one_latent_for_each_factor_scores_nearly_one():
    # The sample correlates the factors a little, so the second best knows a little.
    assert score(perfect()) == pytest.approx(1.0, abs=0.03)


def test_a_factor_that_two_latents_copy_has_no_gap():
    codes = np.hstack([grid(), grid()]).astype(float)
    assert score(with_codes(perfect(), codes)) == 0.0


def test_codes_that_know_nothing_score_nearly_nothing():
    assert score(ignorant((6, 5, 8))) < 0.06


def test_constant_codes_score_zero():
    assert score(with_codes(perfect(), np.full((60, 3), 0.3))) == 0.0


def test_order_and_scale_of_codes_do_not_matter():
    table = noisy()
    other = with_codes(table, 8 * table.codes[:, ::-1])
    assert score(other) == pytest.approx(score(table), abs=1e-12)


def test_details_say_which_latent_knows_which_factor():
    details = mig.score(noisy(), np.random.RandomState(0), FEW).details
    assert details["mutual_information"].shape == (5, 3)
    assert details["mutual_information"].argmax(axis=0).tolist() == [0, 1, 2]
    assert details["factor_entropy"] == pytest.approx(np.log(SIZES), abs=0.02)
