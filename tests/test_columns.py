from didcli.io.columns import aligned, shortened, widths

ROWS = [("run", "seed", "MIG"), ("a-long-name", "0", "0.25"), ("b", "11", "-")]


def test_names_stand_to_the_left_and_numbers_to_the_right():
    assert aligned(ROWS) == [
        "run          seed   MIG",
        "a-long-name     0  0.25",
        "b              11     -",
    ]
    assert widths(ROWS) == [11, 4, 4]


def test_lines_have_no_blanks_at_their_end():
    assert aligned([("a", "b"), ("c", "")], left=2) == ["a  b", "c"]


def test_long_texts_keep_both_ends():
    assert shortened("abcdefgh", 8) == "abcdefgh"
    assert shortened("abcdefgh", 7) == "abc…fgh"
    assert shortened("abcdefgh", 4) == "ab…h"
    assert shortened("abcdefgh", 1) == "…"
