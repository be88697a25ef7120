"""Factors that a user has for images of their own: whole numbers, re-coded to count from 0."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from didcli.errors import DataError

FILE_COLUMN = "file"
"""Column of a CSV beside a folder of images: the path of each image in the folder."""

_HINT = (
    "A CSV of factors has a header, and below it one row of whole numbers for each image; beside a "
    f"folder, a column {FILE_COLUMN!r} says which image."
)


@dataclass(frozen=True)
class Labels:
    """What is known of each image; nothing where there are no names."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    """Number of values of each factor that occur."""
    values: NDArray[np.int64]
    """(N, K) values of the factors, each column counted from 0."""

    def of(self, rows: NDArray[np.int64]) -> "Labels":
        """Labels of some of the images; `sizes` still count values that no longer occur."""
        return Labels(self.names, self.sizes, self.values[rows])


def no_labels(count: int) -> Labels:
    return Labels((), (), np.empty((count, 0), np.int64))


def recoded(values: NDArray[Any], names: Sequence[str] | None = None) -> Labels:
    """Number the values of each factor: 1, 2, 4 become 0, 1, 2.

    values: (N, K) whole numbers. names: K of them, else `factor 0`, `factor 1` and so on.
    """
    columns = [np.unique(column, return_inverse=True) for column in values.T]
    return Labels(
        tuple(names) if names else tuple(f"factor {k}" for k in range(values.shape[1])),
        tuple(len(distinct) for distinct, _ in columns),
        np.stack([ranks.reshape(-1) for _, ranks in columns], axis=1).astype(np.int64),
    )


def read_csv(path: Path, files: Sequence[str] | int) -> Labels:
    """Labels in a CSV: of these files, by its column `file`, or of a number of images, in order.

    Rows about other files are ignored. Raises DataError when an image has no row or two, or a value
    is not a whole number.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # -sig: Excel writes a mark
            return _parsed(csv.reader(file, strict=True), files)
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror}", hint="See who may read it."
        ) from error
    except (ValueError, OverflowError, csv.Error) as error:
        raise DataError(f"{path} is no table of factors: {error}", hint=_HINT) from error


def _parsed(lines: Iterator[list[str]], files: Sequence[str] | int) -> Labels:
    header = [name.strip() for name in next(lines, [])]
    by_order = isinstance(files, int)
    if len(set(header)) != len(header):
        raise ValueError("two columns have the same name")
    if not by_order and FILE_COLUMN not in header:
        raise ValueError(f"it has no column {FILE_COLUMN!r}")
    key = None if by_order else header.index(FILE_COLUMN)
    names = [name for column, name in enumerate(header) if column != key]
    if not names:
        raise ValueError("it has no column of factors")

    images: Sequence[str | int] = range(files) if isinstance(files, int) else files
    row_of = {image: row for row, image in enumerate(images)}
    values = np.zeros((len(images), len(names)), np.int64)
    labelled = np.zeros(len(images), dtype=bool)
    for number, line in enumerate(line for line in lines if line):
        if len(line) != len(header):
            raise ValueError(f"row {number} has {len(line)} columns, the header {len(header)}")
        image = number if key is None else line[key]
        row = row_of.get(image)
        if row is None:
            if by_order:
                raise ValueError(f"it has more rows than there are images, {files}")
            continue
        if labelled[row]:
            raise ValueError(f"it has two rows for {image}")
        values[row] = [int(text) for column, text in enumerate(line) if column != key]
        labelled[row] = True
    if not labelled.all():
        missing = np.flatnonzero(~labelled)
        raise ValueError(f"{len(missing)} images have no row, the first is {images[missing[0]]}")
    return recoded(values, names)
