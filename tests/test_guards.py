"""What makes scores mislead, in numbers; what is said of it is tested in test_evaluate.py."""

from dataclasses import replace

import pytest
from code_tables import FEW, perfect

from didcli.scoring import guards


def test_overlap_is_the_chance_that_a_row_is_among_the_training_points():
    """Two training points out of four rows: a row is missed by both with (3/4)^2."""
    few = replace(FEW, train_points=2, test_points=7)
    assert guards.overlap(perfect((2, 2)), few) == pytest.approx(1 - (3 / 4) ** 2)
    assert guards.overlap(perfect((2, 2)), replace(few, disjoint=True)) == 0.0
