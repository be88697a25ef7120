import numpy as np
import pytest
from code_tables import FEW, SIZES, grid, noisy

from didcli.errors import UsageError
from didcli.metrics import beta_vae, factor_vae
from didcli.scoring.protocol import EvaluationProtocol, UndefinedError
from didcli.scoring.sampling import (
    draw_points,
    draw_training,
    draw_training_and_test,
    gather_in_chunks,
)
from didcli.scoring.table import code_table


def reference_batches(rng, count, batch):
    """The reference's loop: batches, and in a batch one factor after the other."""
    batches = []
    while count > 0:
        size = min(count, batch)
        batches.append(np.stack([rng.randint(n, size=size) for n in SIZES], axis=1))
        count -= size
    return np.concatenate(batches)


def test_training_and_test_points_follow_the_reference_draw_for_draw():
    train, test = draw_training_and_test(noisy(), np.random.RandomState(3), FEW)
    rng = np.random.RandomState(3)
    assert (train.factors == reference_batches(rng, 600, 16)).all()
    assert (test.factors == reference_batches(rng, 300, 16)).all()


def test_codes_are_those_of_the_factors_drawn():
    table = noisy()
    points = draw_points(table, np.random.RandomState(0), 50, batch=16)
    for code, factors in zip(points.codes, points.factors, strict=True):
        (row,) = np.flatnonzero((table.factors == factors).all(axis=1))
        assert (code == table.codes[row]).all()


def test_pairs_agree_in_the_factor_and_are_drawn_in_the_reference_s_order():
    table = noisy()
    shared, rows = beta_vae.draw_pairs(table, np.random.RandomState(5), points=7, batch=8)
    rng = np.random.RandomState(5)
    for factor, (first, second) in zip(shared, rows, strict=True):
        assert factor == rng.randint(3)
        expected_first = reference_batches(rng, 8, 8)
        expected_second = reference_batches(rng, 8, 8)
        expected_second[:, factor] = expected_first[:, factor]
        assert (table.factors[first] == expected_first).all()
        assert (table.factors[second] == expected_second).all()


def test_groups_hold_their_factor_and_are_drawn_in_the_reference_s_order():
    table = noisy()
    fixed, rows = factor_vae.draw_groups(table, np.random.RandomState(5), votes=7, batch=8)
    rng = np.random.RandomState(5)
    for factor, group in zip(fixed, rows, strict=True):
        assert factor == rng.randint(3)
        expected = reference_batches(rng, 8, 8)
        expected[:, factor] = expected[0, factor]
        assert (table.factors[group] == expected).all()


def test_an_incomplete_grid_gives_its_rows_as_they_come():
    kept = grid()[:, 0] + grid()[:, 1] < 4  # correlates the factors
    table = code_table(noisy().codes[kept], grid()[kept], SIZES)
    points = draw_training(table, np.random.RandomState(0), FEW)
    assert (points.factors.sum(axis=1) - points.factors[:, 2] < 4).all()
    assert len(np.unique(points.rows)) > 0.9 * len(table)


def test_a_disjoint_split_shares_no_row():
    protocol = EvaluationProtocol(train_points=600, test_points=300, disjoint=True)
    train, test = draw_training_and_test(noisy(), np.random.RandomState(0), protocol)
    assert len(train.rows) == 600
    assert len(test.rows) == 300
    assert not set(train.rows) & set(test.rows)
    assert len(set(train.rows)) == pytest.approx(40, abs=1)


@pytest.mark.parametrize(
    ("train_points", "test_points", "empty"), [(10_000, 2, "test"), (2, 10_000, "training")]
)
def test_a_disjoint_split_that_leaves_no_row_for_a_part_is_refused(
    train_points, test_points, empty
):
    protocol = EvaluationProtocol(train_points=train_points, test_points=test_points, disjoint=True)
    with pytest.raises(UsageError, match=f"split of 60 rows, .* no row for the {empty}") as caught:
        draw_training_and_test(noisy(), np.random.RandomState(0), protocol)
    assert "--disjoint" in caught.value.hint


def test_a_factor_that_takes_one_value_in_the_sample_is_undefined():
    factors = np.zeros((500, 2), dtype=np.int64)
    factors[0, 0] = 1
    factors[:, 1] = np.arange(500) % 3
    table = code_table(np.random.default_rng(0).normal(size=(500, 2)), factors)
    few = EvaluationProtocol(train_points=10)
    with pytest.raises(UndefinedError, match="'factor 0' takes a single value among the 10"):
        draw_training(table, np.random.RandomState(0), few)


def test_chunks_do_not_change_what_is_gathered(monkeypatch):
    codes = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    rows = np.random.default_rng(1).integers(50, size=(20, 4))
    whole = gather_in_chunks(codes, rows, lambda part: part.sum(axis=1))
    monkeypatch.setattr("didcli.scoring.sampling.LARGEST_GATHER", 30)
    assert (gather_in_chunks(codes, rows, lambda part: part.sum(axis=1)) == whole).all()
