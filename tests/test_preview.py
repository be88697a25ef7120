import io
import re

import numpy as np
import pytest

from didcli.io import preview


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class OldTerminal(Terminal):
    encoding = "ascii"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "24-bit"),
        ({"TERM": "xterm-direct"}, "24-bit"),
        ({"TERM": "xterm-256color"}, "256"),
        ({"TERM": "screen-256color", "NO_COLOR": ""}, "256"),  # empty counts as unset
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": "1"}, None),
        ({"TERM": "dumb", "COLORTERM": "truecolor"}, None),
        ({"TERM": "vt100"}, None),
        ({}, None),
    ],
)
def test_colours_are_used_where_the_terminal_has_them(environment, expected):
    assert preview.colours(Terminal(), environment) == expected


def test_no_picture_goes_to_a_file_or_to_an_encoding_without_blocks():
    environment = {"TERM": "xterm-256color"}
    assert preview.colours(io.StringIO(), environment) is None
    assert preview.colours(OldTerminal(), environment) is None


def test_half_blocks_put_one_row_above_the_other_in_each_line():
    pixels = np.array([[[1, 2, 3]], [[4, 5, 6]], [[7, 8, 9]], [[10, 11, 12]]], np.uint8)
    assert preview.half_blocks(pixels, "24-bit") == [
        "\x1b[38;2;1;2;3;48;2;4;5;6m▀\x1b[0m",
        "\x1b[38;2;7;8;9;48;2;10;11;12m▀\x1b[0m",
    ]


@pytest.mark.parametrize(
    ("rgb", "index"),
    [
        ((0, 0, 0), 16),
        ((255, 255, 255), 231),
        ((8, 8, 8), 232),
        ((128, 128, 128), 244),
        ((238, 238, 238), 255),
        ((243, 243, 243), 255),
        ((255, 0, 0), 196),
        ((95, 135, 175), 67),
    ],
)
def test_256_colours_are_the_nearest_of_the_cube_and_of_the_greys(rgb, index):
    pixels = np.array([[rgb], [rgb]], np.uint8)
    assert preview.half_blocks(pixels, "256") == [f"\x1b[38;5;{index};48;5;{index}m▀\x1b[0m"]


@pytest.mark.parametrize("columns", [20, 80, 200])
@pytest.mark.parametrize("channels", [1, 3])
def test_lines_never_exceed_the_terminal_and_use_most_of_it(columns, channels):
    count = preview.fitting(columns)
    images = np.full((count, channels, 64, 64), 255, np.uint8)
    lines = preview.lines(images, columns, "24-bit")
    lengths = {len(re.sub(r"\x1b\[[\d;]*m", "", line)) for line in lines}
    assert len(lines) == preview.TILE // 2
    assert columns - preview.TILE <= max(lengths) <= columns
    assert len(lengths) == 1


def test_a_terminal_narrower_than_an_image_gets_a_part_of_it():
    lines = preview.lines(np.zeros((preview.fitting(5), 1, 64, 64), np.uint8), 5, "256")
    assert {line.count("▀") for line in lines} == {5}


def test_shrinking_averages_the_pixels():
    checkers = (np.indices((48, 48)).sum(axis=0) % 2 * 255).astype(np.uint8)[np.newaxis]
    (line, *_) = preview.lines([checkers], 80, "24-bit")
    assert set(re.findall(r"38;2;(\d+);", line)) <= {"127", "128"}


@pytest.mark.parametrize(
    ("count", "most", "chosen"),
    [
        (9, 9, list(range(9))),
        (9, 3, [0, 4, 8]),
        (9, 20, list(range(9))),
        (9, 1, [0]),
        (2, 5, [0, 1]),
    ],
)
def test_columns_are_chosen_evenly_with_both_ends(count, most, chosen):
    assert preview.evenly_chosen(count, most) == chosen
