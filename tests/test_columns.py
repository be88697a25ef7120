from didcli.io.columns import aligned, widths

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
