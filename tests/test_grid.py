import itertools

import numpy as np
import pytest

from didcli.data import _grid


@pytest.mark.parametrize("sizes", [(3,), (2, 3, 4), (1, 5, 1, 2)])
def test_factors_count_up_the_last_one_fastest(sizes):
    every = [list(digits) for digits in itertools.product(*map(range, sizes))]
    assert _grid.factors(sizes).tolist() == every
    assert _grid.factors(sizes, 1, 3).tolist() == every[1:3]
    assert _grid.factors(sizes).dtype == np.int64
    with pytest.raises(ValueError, match="out of bounds"):
        _grid.factors(sizes, 1, len(every) + 1)


def test_good_rows_come_back_as_int64():
    rows = _grid.checked_rows(np.array([3, 0], dtype=np.uint16), 4)
    assert rows.tolist() == [3, 0]
    assert rows.dtype == np.int64
