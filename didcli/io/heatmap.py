"""Matrices as pictures that one can read. matplotlib is loaded when one is drawn."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_CELLS_WITH_NUMBERS = 400
DARK = 0.6
"""Value above which numbers are written in white."""


@dataclass(frozen=True)
class Panel:
    """A matrix of values from 0 to 1."""

    title: str
    values: NDArray[np.float64]
    """Matrix, (rows, columns); NaN is left blank."""
    rows: Sequence[str]
    columns: Sequence[str]


def draw(panels: Sequence[Panel], heading: str) -> bytes:
    """The panels side by side, as a PNG."""
    from matplotlib.figure import Figure  # not pyplot: that keeps figures, and picks a display

    tallest = max(len(panel.rows) for panel in panels)
    width = sum(1.8 + 0.6 * len(panel.columns) for panel in panels)
    figure = Figure(figsize=(max(width, 5.0), 1.9 + 0.32 * tallest), layout="constrained", dpi=120)
    # Files and factors may have any name, $ in it.
    figure.suptitle(heading, fontsize=10, parse_math=False)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for panel, axis in zip(panels, axes, strict=True):
        image = axis.imshow(panel.values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axis.set_title(panel.title, fontsize=9)
        columns = range(len(panel.columns))
        axis.set_xticks(columns, panel.columns, rotation=35, ha="right", parse_math=False)
        axis.set_yticks(range(len(panel.rows)), panel.rows)
        axis.tick_params(labelsize=8, length=0)
        if panel.values.size <= MOST_CELLS_WITH_NUMBERS:
            for (row, column), value in np.ndenumerate(panel.values):
                if np.isfinite(value):
                    ink = "white" if value > DARK else "black"
                    text = f"{value:.2f}".removeprefix("0")
                    axis.text(column, row, text, ha="center", va="center", fontsize=7, color=ink)
    figure.colorbar(image, ax=axes, shrink=0.8).ax.tick_params(labelsize=8)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()
