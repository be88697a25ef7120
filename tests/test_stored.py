import itertools

import numpy as np
import pytest

from didcli.data import _stored
from didcli.data._stored import StoredImages, channels_first

SIZES = (3, 4, 2)
SHAPE = (3, 2, 5)
PIXELS = np.random.default_rng(0).integers(256, size=(24, 30), dtype=np.uint8)


def read(rows):
    return PIXELS.take(rows, axis=0)


@pytest.fixture
def grid():
    return StoredImages("tiny", "a test", read, SHAPE, ("a", "b", "c"), SIZES)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_rows_come_in_the_order_asked_for(grid, dtype):
    rows = np.array([5, 0, 23, 5], dtype=dtype)
    np.testing.assert_array_equal(grid.images(rows), PIXELS[rows].reshape(4, *SHAPE))
    assert grid.images(rows[:0]).shape == (0, *SHAPE)


@pytest.mark.parametrize("row", [-1, 24, 10**12])
def test_rows_outside_the_set_are_named(grid, row):
    with pytest.raises(IndexError, match=rf"row {row} is not within 0\.\.23"):
        grid.images(np.array([0, row]))


@pytest.mark.parametrize(
    "rows", [np.array([1.0]), np.array([True]), np.array(["1"]), np.array(1), np.zeros((2, 2), int)]
)
def test_rows_that_are_not_a_vector_of_integers_are_refused(grid, rows):
    with pytest.raises(TypeError, match="expected rows"):
        grid.images(rows)


def test_a_set_is_a_complete_grid_unless_told(grid):
    assert len(grid) == 24
    every = [list(digits) for digits in itertools.product(*map(range, SIZES))]
    assert grid.factors.tolist() == every
    some = StoredImages(
        "some", "a test", read, SHAPE, ("a",), (3,), factors=lambda: np.array([[2], [0]]), count=2
    )
    assert len(some) == 2
    assert some.factors.tolist() == [[2], [0]]
    with pytest.raises(IndexError, match=r"row 2 is not within 0\.\.1"):
        some.images(np.array([2]))


def test_factors_are_shared_and_cannot_be_written_to(grid):
    assert grid.factors is grid.factors
    with pytest.raises(ValueError, match="read-only"):
        grid.factors[0, 0] = 1


def test_slabs_become_channels_first_in_small_parts(monkeypatch):
    monkeypatch.setattr(_stored, "PART_IMAGES", 5)
    images = np.random.default_rng(1).integers(256, size=(12, 2, 5, 3), dtype=np.uint8)
    parts = list(channels_first([images[:7], images[7:]]))
    assert [len(part) for part in parts] == [5, 2, 5]
    expected = images.transpose(0, 3, 1, 2).reshape(12, 30)
    np.testing.assert_array_equal(np.concatenate(parts), expected)
