import numpy as np
import pytest
from code_tables import FEW, SIZES, grid, ignorant, noisy, perfect, with_codes

from didcli.metrics import factor_vae
from didcli.scoring.protocol import UndefinedError
from didcli.scoring.sampling import draw_points
from didcli.scoring.table import code_table


def result(table):
    return factor_vae.score(table, np.random.RandomState(0), FEW)


def score(table):
    return result(table).scores["factor_vae"]


def test_votes_and_score_equal_a_loop():
    table = noisy()
    rng = np.random.RandomState(0)
    variances = draw_points(table, rng, 600, None).codes.var(axis=0, ddof=1)
    votes = {}
    for stage, count in (("train", 600), ("test", 300)):
        votes[stage] = np.zeros((5, 3), dtype=int)
        for _ in range(count):
            (factor,), (rows,) = factor_vae.draw_groups(table, rng, votes=1, batch=64)
            within = table.codes[rows].var(axis=0, ddof=1)
            votes[stage][np.argmin(within / variances), factor] += 1
    right = sum(votes["test"][d, votes["train"][d].argmax()] for d in range(5))

    found = result(table)
    assert (found.details["votes"] == votes["train"]).all()
    assert found.scores["factor_vae"] == right / 300


def test_perfect_codes_score_one():
    assert score(perfect()) == 1.0


def test_codes_that_know_nothing_score_like_a_guess():
    assert score(ignorant((8, 9, 10))) == pytest.approx(1 / 3, abs=0.15)


def test_a_constant_latent_takes_no_part_and_is_named():
    codes = np.column_stack([np.full(60, 0.3), perfect().codes])
    found = result(with_codes(perfect(), codes))
    assert found.scores["factor_vae"] == 1.0
    assert found.details["active_latents"].tolist() == [1, 2, 3]
    assert (found.details["votes"][0] == 0).all()
    assert found.notes == ("latents 0 have a standard deviation below 0.05 and took no part",)


def test_without_an_active_latent_the_score_is_zero_and_it_is_said():
    found = result(with_codes(perfect(), 1e-3 * perfect().codes))
    assert found.scores["factor_vae"] == 0.0
    assert found.notes == ("every latent has a standard deviation below 0.05 and took no part",)


def test_scale_of_active_latents_does_not_matter():
    table = noisy()
    scaled = with_codes(table, table.codes * np.array([2, 4, 8, 16, 32]))
    assert score(scaled) == score(table)


def test_it_refuses_a_table_that_is_no_complete_grid():
    table = code_table(noisy().codes[1:], grid()[1:], SIZES)
    with pytest.raises(UndefinedError, match="intervenes"):
        score(table)


@pytest.mark.parametrize(("sd", "active"), [(0.1, [0, 1, 2]), (0.04, [])])
def test_latents_are_pruned_by_their_standard_deviation(sd, active):
    codes = perfect().codes / perfect().codes.std(axis=0)
    details = result(with_codes(perfect(), sd * codes)).details
    assert details["active_latents"].tolist() == active
    assert details["latent_std"] == pytest.approx([sd] * 3, rel=0.1)


def test_the_training_accuracy_is_that_of_the_training_votes():
    details = result(noisy(noise=1.0)).details
    votes = details["votes"]
    assert details["train_accuracy"] == votes.max(axis=1).sum() / votes.sum()
