import pytest

from didcli.commands import _numbers
from didcli.errors import UsageError


@pytest.mark.parametrize(
    ("texts", "dims"),
    [
        ([], (0, 1, 2, 3, 4, 5)),
        (["3"], (3,)),
        (["0-2"], (0, 1, 2)),
        (["1, 5"], (1, 5)),
        (["5", "0-1", "1,5"], (5, 0, 1)),
        (["4-4"], (4,)),
    ],
)
def test_dimensions_are_read_in_order_and_once_each(texts, dims):
    assert _numbers.parse_dims(texts, 6) == dims


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("99", "there is no dimension 99"),
        ("4-6", "there is no dimension 6"),
        ("3-1", "the range 3-1 goes backwards"),
        ("x", "'x' is not a dimension"),
        ("-1", "'-1' is not a dimension"),
        ("", "'' is not a dimension"),
        ("1-", "'1-' is not a dimension"),
        ("²", "'²' is not a dimension"),
    ],
)
def test_a_wrong_dimension_is_named_and_the_hint_says_which_there_are(text, problem):
    with pytest.raises(UsageError, match=problem) as caught:
        _numbers.parse_dims([text], 6)
    assert "dimensions 0 to 5" in caught.value.hint


def test_ranges_and_rows_are_read():
    assert _numbers.parse_range("-2, 0.5") == (-2.0, 0.5)
    assert _numbers.parse_rows("0, 17,4") == (0, 17, 4)


@pytest.mark.parametrize("text", ["", "1", "1,2,3", "a,b", "1;2"])
def test_a_range_that_cannot_be_read_is_refused(text):
    with pytest.raises(UsageError, match="--range takes two numbers"):
        _numbers.parse_range(text)


@pytest.mark.parametrize("text", ["1,1", "2,1", "nan,1", "0,inf"])
def test_a_range_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="the range goes from") as caught:
        _numbers.parse_range(text)
    assert "--range -1,1" in caught.value.hint


@pytest.mark.parametrize("text", ["", "1,", "-1", "1.5", "0-4"])
def test_rows_that_cannot_be_read_are_refused(text):
    with pytest.raises(UsageError, match="--rows takes numbers"):
        _numbers.parse_rows(text)
