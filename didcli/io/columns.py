"""Tables for people: cells in columns of one width each."""

from collections.abc import Sequence

GAP = "  "


def widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Widths of the columns, in characters. rows: at least one, all with equally many cells."""
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def aligned(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """A line for each row; the first `left` columns, names, are set left, the others set right."""
    wide = widths(rows)
    return [GAP.join(_padded(row, wide, left)).rstrip() for row in rows]


def shortened(text: str, room: int) -> str:
    """The text in at most `room` characters, room >= 1: one that is too long gets an ellipsis in
    its middle, as texts that differ often do so at their ends."""
    if len(text) <= room:
        return text
    tail = (room - 1) // 2
    return f"{text[: room - 1 - tail]}…{text[len(text) - tail :]}"


def _padded(row: Sequence[str], wide: Sequence[int], left: int) -> list[str]:
    return [
        text.ljust(width) if column < left else text.rjust(width)
        for column, (text, width) in enumerate(zip(row, wide, strict=True))
    ]
