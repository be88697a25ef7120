import numpy as np
import pytest
from code_tables import FEW, SIZES, grid, ignorant, noisy, perfect, with_codes

from didcli.metrics import irs
from didcli.scoring.protocol import UndefinedError
from didcli.scoring.sampling import draw_training
from didcli.scoring.table import code_table


def result(table):
    return irs.score(table, np.random.RandomState(0), FEW)


def loop_quantile(values, q):
    """Linear interpolation between order statistics."""
    ordered = sorted(values)
    place = q * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def test_robustness_equals_the_formula_in_a_loop():
    codes, groups = noisy().codes.astype(float), grid()
    matrix, largest = irs.robustness(codes, groups)
    for d in range(codes.shape[1]):
        z = codes[:, d].tolist()
        centre = sum(z) / len(z)
        widest = max(abs(value - centre) for value in z)
        assert largest[d] == pytest.approx(widest, abs=1e-12)
        for k in range(groups.shape[1]):
            stray = []
            for group in range(SIZES[k]):
                members = [v for v, g in zip(z, groups[:, k], strict=True) if g == group]
                mean = sum(members) / len(members)
                stray.append(loop_quantile([abs(v - mean) for v in members], 0.99))
            assert matrix[d, k] == pytest.approx(1 - np.mean(stray) / widest, abs=1e-12)


def test_perfect_codes_score_one():
    assert result(perfect()).scores["irs"] == pytest.approx(1.0)


def test_codes_that_know_nothing_score_little():
    # Not 0: the largest deviation of normal codes is well above the 99th percentile of a group.
    assert result(ignorant((8, 9, 10))).scores["irs"] < 0.4


def test_a_constant_latent_has_no_weight():
    codes = np.column_stack([perfect().codes, np.full(60, 0.3)])
    found = result(with_codes(perfect(), codes))
    assert found.scores["irs"] == pytest.approx(1.0)
    assert found.details["active_latents"].tolist() == [0, 1, 2]
    assert np.isnan(found.details["robustness"][3]).all()


def test_factors_of_many_values_are_put_into_twenty_groups():
    factors = grid((40, 2))
    table = code_table(factors.astype(float), factors, (40, 2))
    # Two neighbouring values share a group, half a step from their mean; the range is 39 steps.
    assert result(table).details["robustness"][0, 0] == pytest.approx(1 - 0.5 / 19.5, abs=0.01)


def test_all_constant_is_undefined():
    with pytest.raises(UndefinedError, match="every latent is constant"):
        result(with_codes(perfect(), np.zeros((60, 3))))


def test_it_refuses_a_table_that_is_no_complete_grid():
    with pytest.raises(UndefinedError, match="intervenes"):
        result(code_table(noisy().codes[1:], grid()[1:], SIZES))


def test_latents_are_weighed_by_their_largest_deviation():
    codes = np.column_stack([20.0 * grid()[:, 0], ignorant().codes[:, 0]])
    table = with_codes(perfect(), codes)
    found = result(table)
    drawn = draw_training(table, np.random.RandomState(0), FEW).codes.astype(float)
    weight = np.abs(drawn - drawn.mean(axis=0)).max(axis=0)
    best = found.details["robustness"].max(axis=1)
    assert abs(best[0] - best[1]) > 0.2
    assert found.scores["irs"] == pytest.approx((best * weight).sum() / weight.sum())
