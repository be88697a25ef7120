import math
from collections import Counter

import numpy as np
import pytest

from didcli.scoring.information import discretise, entropy, mutual_information


def loop_information(a, b):
    """From the formula, in Python's floats."""
    n, both, first, second = len(a), Counter(zip(a, b, strict=True)), Counter(a), Counter(b)
    return sum(
        count / n * math.log(count * n / (first[x] * second[y])) for (x, y), count in both.items()
    )


@pytest.mark.parametrize("seed", range(5))
def test_mutual_information_equals_the_loop(seed):
    rng = np.random.default_rng(seed)
    a = rng.integers(7, size=400)
    b = (a + rng.integers(4, size=400)) % 7
    expected = loop_information(a.tolist(), b.tolist())
    assert mutual_information(a, b) == pytest.approx(expected, abs=1e-12)
    assert mutual_information(b, a) == pytest.approx(expected, abs=1e-12)


def test_entropy_of_a_fair_choice_is_its_logarithm():
    assert entropy(np.repeat(np.arange(8), 3)) == pytest.approx(math.log(8))


def test_a_constant_shares_exactly_nothing():
    labels = np.random.default_rng(0).integers(5, size=100)
    assert mutual_information(np.zeros(100, dtype=np.int64), labels) == 0.0
    assert entropy(np.full(100, 3)) == 0.0


def test_bins_are_those_of_the_reference():
    codes = np.random.default_rng(0).normal(size=(5000, 4)).astype(np.float32)
    for column, binned in zip(codes.T, discretise(codes, 20).T, strict=True):
        expected = np.digitize(column, np.histogram(column, 20)[1][:-1]) - 1
        assert (binned == expected).all()
        assert binned.min() == 0
        assert binned.max() == 19


def test_a_constant_column_is_one_bin():
    assert len(np.unique(discretise(np.full((50, 1), 0.3, np.float32), 20))) == 1


def test_a_column_too_narrow_for_float32_bins_is_still_binned():
    column = np.nextafter(np.float32(1), np.float32(2), dtype=np.float32) * np.ones(9, np.float32)
    column[::2] = 1
    binned = discretise(column[:, None], 20)[:, 0]
    assert binned.tolist() == [0, 19] * 4 + [0]
