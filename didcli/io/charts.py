"""Scores of runs as pictures that one can read. matplotlib is loaded when one is drawn."""

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from didcli.io.columns import shortened

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours of Okabe and Ito, https://jfly.uni-koeln.de/color/: colour-blind eyes tell them apart."""
PANELS_PER_ROW = 3
"""Most panels in a row; four panels are two rows of two."""
COLUMN_INCHES = 0.62
CHARACTER_INCHES = 0.045
"""What a character of a slanted label adds to the height of a panel."""
SPREAD = 0.3
"""Share of a column over which dots are spread, so that equal scores do not hide one another."""
CHARACTERS_PER_INCH = 11
"""Characters of a heading in an inch; fewer than there is room for, on average."""
MARGIN = 0.06
"""Share of the range of a panel that is left free above the highest dot."""
LONGEST_LABEL = 24
"""Most characters of a label; a longer one would take the room of the panels."""


@dataclass(frozen=True)
class Panel:
    """A column of dots for each method."""

    title: str
    columns: Mapping[str, Mapping[int, float]]
    """Columns by their labels: the value of each seed; a column may be empty."""


def draw_dots(panels: Sequence[Panel], heading: str) -> bytes:
    """The panels, each run a dot and the mean of a column a line, as a PNG.

    A seed stands at the same place in every column, so that the eye can follow it.
    """
    from matplotlib.figure import Figure  # not pyplot: that keeps figures, and picks a display

    down = math.ceil(len(panels) / PANELS_PER_ROW)
    across = math.ceil(len(panels) / down)
    methods = max(len(panel.columns) for panel in panels)
    width = across * max(2.6, 0.9 + COLUMN_INCHES * methods)
    longest = min(LONGEST_LABEL, max(len(label) for panel in panels for label in panel.columns))
    lines = _wrapped(heading, width)
    height = 0.2 * (1 + len(lines)) + down * (2.4 + CHARACTER_INCHES * longest)
    figure = Figure(figsize=(width, height), layout="constrained", dpi=130)
    figure.suptitle("\n".join(lines), fontsize=10, parse_math=False)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    for panel, axis in zip(panels, axes, strict=False):  # the last row may have room left
        places = _places([seed for column in panel.columns.values() for seed in column])
        for number, column in enumerate(panel.columns.values()):
            colour = COLOURS[number % len(COLOURS)]
            x = [number + places[seed] for seed in column]
            axis.scatter(x, list(column.values()), s=22, color=colour, alpha=0.75, linewidths=0)
            if column:
                mean = math.fsum(column.values()) / len(column)
                axis.hlines(mean, number - 0.32, number + 0.32, color=colour, linewidth=1.8)
        axis.set_title(panel.title, fontsize=10)
        labels = [shortened(label, LONGEST_LABEL) for label in panel.columns]
        axis.set_xticks(
            range(len(labels)),
            labels,
            rotation=40,
            ha="right",
            rotation_mode="anchor",
            parse_math=False,  # a label may have any characters, $ among them
        )
        axis.set_xlim(-0.6, len(labels) - 0.4)
        # From 0 on, so that a small difference does not look like a large one; and the margin above
        # is one of that range, where matplotlib's own would cut the highest dot.
        values = [value for column in panel.columns.values() for value in column.values()]
        lowest, highest = min([0.0, *values]), max([0.0, *values])
        axis.set_ylim(lowest, highest + MARGIN * (highest - lowest) or 1.0)
        axis.tick_params(labelsize=8, bottom=False)
        axis.grid(axis="y", color="0.9")
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _wrapped(heading: str, inches: float) -> list[str]:
    """The lines of a heading in the room that there is."""
    characters = int(inches * CHARACTERS_PER_INCH)
    return [part for line in heading.splitlines() for part in textwrap.wrap(line, characters)]


def _places(seeds: Sequence[int]) -> dict[int, float]:
    """Place of each seed across a column, from -SPREAD / 2 to SPREAD / 2."""
    different = sorted(set(seeds))
    step = SPREAD / max(len(different) - 1, 1)
    first = -step * (len(different) - 1) / 2
    return {seed: first + index * step for index, seed in enumerate(different)}
