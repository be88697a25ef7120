import numpy as np
import pytest
from code_tables import SIZES, grid

from didcli.errors import DataError
from didcli.scoring.table import code_table

FACTORS = grid()
CODES = np.random.default_rng(0).normal(size=(len(FACTORS), 3))


def test_rows_are_found_in_any_order_of_the_grid():
    order = np.random.default_rng(1).permutation(60)
    table = code_table(CODES[order], FACTORS[order], SIZES)
    wanted = np.array([[3, 2, 4], [0, 1, 0]])
    assert (table.factors[table.rows(wanted)] == wanted).all()


@pytest.mark.parametrize("absent", [[0, 3, 0], [4, 0, 0], [0, 1, -1]])
def test_a_combination_that_does_not_exist_has_no_row(absent):
    with pytest.raises(ValueError, match="invalid entry in coordinates"):
        code_table(CODES, FACTORS, SIZES).rows(np.array([FACTORS[0], absent]))


def test_values_are_renumbered_when_no_sizes_are_given():
    table = code_table(CODES, FACTORS * 2 + 7)
    assert table.factor_sizes == SIZES
    assert (table.factors == FACTORS).all()
    assert table.is_complete_grid


def test_a_missing_and_a_repeated_row_are_no_grid():
    assert not code_table(CODES[1:], FACTORS[1:], SIZES).is_complete_grid
    repeated = np.r_[0, 0, 2:60]
    assert not code_table(CODES[repeated], FACTORS[repeated], SIZES).is_complete_grid


def test_sizes_whose_product_overflows_are_no_grid():
    assert not code_table(CODES, FACTORS, (2**40, 2**40, 2**40)).is_complete_grid


def test_whole_floats_and_booleans_are_numbers():
    table = code_table(CODES, FACTORS.astype(np.float16), [4.0, 3.0, 5.0])
    assert (table.factors == FACTORS).all()
    assert table.factor_sizes == SIZES
    assert code_table(CODES, FACTORS > 1).factor_sizes == (2, 2, 2)


def test_a_factor_of_one_value_is_left_out_and_named():
    factors = np.insert(FACTORS, 1, 0, axis=1)
    table = code_table(CODES, factors, (4, 1, 3, 5), ("shape", "colour", "size", "angle"))
    assert table.factor_names == ("shape", "size", "angle")
    assert table.dropped_factors == ("colour",)
    assert table.is_complete_grid


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
def test_codes_that_are_not_finite_in_float32_are_refused(bad):
    codes = CODES.copy()
    codes[17, 2] = bad
    with pytest.raises(DataError, match="1 codes are not finite in float32, the first in row 17"):
        code_table(codes, FACTORS)


@pytest.mark.parametrize(
    ("codes", "factors", "sizes", "message"),
    [
        (CODES[:, :1], FACTORS, None, "a single latent"),
        (CODES[:, 0], FACTORS, None, "not \\(rows, latents\\)"),
        (CODES.astype(complex), FACTORS, None, "not real numbers"),
        (CODES.astype(str), FACTORS, None, "not real numbers"),
        (CODES, FACTORS[:, :1], None, "disentanglement needs two"),
        (CODES, FACTORS[1:], None, "not \\(60, factors\\)"),
        (CODES, FACTORS + 0.5, None, "not whole numbers"),
        (CODES, FACTORS.astype(str), None, "not whole numbers"),
        (CODES, np.where(FACTORS, FACTORS, np.nan), None, "not whole numbers"),
        (CODES, FACTORS * 2.0**63, None, "not whole numbers of 64 bits"),
        (CODES, np.where(FACTORS, np.inf, 0), None, "not whole numbers of 64 bits"),
        (CODES, FACTORS.astype(np.uint64) << 62, None, "not whole numbers of 64 bits"),
        (CODES, FACTORS, (4, 3, "5"), "factor sizes of type .* are not whole numbers"),
        (CODES, FACTORS, (4, 3, np.nan), "factor sizes of type float64 are not whole numbers"),
        (CODES, FACTORS, (4, 3, 5.5), "factor sizes of type float64 are not whole numbers"),
        (CODES, FACTORS << 40, [2**43] * 3, "values up to 3,298,534,883,328, where 16,383 is"),
        (CODES, FACTORS, (4, 3), "2 factor sizes for 3 factors"),
        (CODES, FACTORS, (4, 2, 5), "factor 1 has 2 values but holds numbers from 0 to 2"),
        (CODES, FACTORS - 1, SIZES, "from -1"),
    ],
)
def test_what_is_no_table_is_refused(codes, factors, sizes, message):
    with pytest.raises(DataError, match=message):
        code_table(codes, factors, sizes)
