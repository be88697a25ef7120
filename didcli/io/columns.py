"""Tables for people: cells in columns of one width each."""

from collections.abc import Sequence

GAP = "  "


def widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Of the columns. rows: at least one, all with as many cells."""
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def aligned(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """A line for each row: the first `left` columns, names, to the left, numbers to the right."""
    wide = widths(rows)
    return [GAP.join(_padded(row, wide, left)).rstrip() for row in rows]


def shortened(text: str, room: int) -> str:
    """At most `room` characters, room >= 1: what is too long has an ellipsis in its middle, as
    texts that differ often do so at their ends."""
    if len(text) <= room:
        return text
    tail = (room - 1) // 2
    return f"{text[: room - 1 - tail]}…{text[len(text) - tail :]}"


def _padded(row: Sequence[str], wide: Sequence[int], left: int) -> list[str]:
    return [
        text.ljust(width) if column < left else text.rjust(width)
        for column, (text, width) in enumerate(zip(row, wide, strict=True))
    ]
