"""Scores of many runs -> a table of methods: mean, spread, best, and difference to the first.

Everything here is a function of the scores alone.
"""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from didcli.io.columns import GAP, aligned, widths

RESAMPLES = 10_000
RESAMPLING_SEED = 0
CONFIDENCE = 0.95
FEWEST_PAIRS = 3
"""Pairs that an interval needs: two differences have three means to resample to, too few."""
MANY_PAIRS = 10
"""Pairs from which on an interval is shown without a warning."""
WIDTH = 100
"""Columns that the table for people takes at most, beside long labels."""


@dataclass(frozen=True)
class Scored:
    """A run and what it scored."""

    label: str
    """Name of the method, or of its settings, whose runs differ in seed alone."""
    seed: int
    path: str
    scores: Mapping[str, float | None]
    """Scores by name; None where one is not defined for the codes of the run."""


@dataclass(frozen=True)
class Difference:
    """The difference to the first method, over the seeds that both have."""

    pairs: int
    mean: float
    low: float | None
    high: float | None
    """The ends of the interval; None for fewer than `FEWEST_PAIRS` pairs."""


@dataclass(frozen=True)
class Summary:
    """One method by one score."""

    label: str
    score: str
    n: int
    """Runs that have the score."""
    mean: float | None
    sd: float | None
    """Standard deviation, with n - 1; None for fewer than two runs."""
    best: float | None
    difference: Difference | None
    """Difference to the first method; None for that one, and where no seed is common."""


@dataclass(frozen=True)
class Comparison:
    """Methods side by side."""

    labels: tuple[str, ...]
    """Methods in order; the first is the one that the others are compared with."""
    runs: tuple[Scored, ...]
    scores: tuple[str, ...]
    rows: tuple[Summary, ...]
    """Each label by each score, labels first."""
    notes: tuple[str, ...]
    """What a reader of the table should know, a sentence each."""
    data_source: str = ""
    """Source of the images: `rendered v1`, `official sha256:...`."""

    def count(self, label: str) -> int:
        return sum(run.label == label for run in self.runs)


def compare(
    labels: Sequence[str],
    runs: Sequence[Scored],
    scores: Sequence[str],
    wanted: Mapping[str, int] | None = None,
) -> Comparison:
    """Summarise the runs of each label, of which there may be none. labels, scores: not empty.

    wanted: how many runs of a label there should be; a note says of which there are fewer.
    """
    rows = [_summary(label, score, labels[0], runs) for label in labels for score in scores]
    notes = [
        *_notes_on_missing(wanted or {}, runs),
        *_notes_on_intervals(rows),
        *_notes_on_scores(rows, runs),
    ]
    return Comparison(tuple(labels), tuple(runs), tuple(scores), tuple(rows), tuple(notes))


def bootstrap_interval(
    differences: NDArray[np.float64], *, resamples: int = RESAMPLES, seed: int = RESAMPLING_SEED
) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean, at `CONFIDENCE`. Efron 1979.

    differences: (n,), n >= 1: one for each pair. Pairs are drawn with replacement, n at a time, and
    the interval holds the middle 95 % of the means. It never reaches beyond the smallest and the
    largest difference, so that it is too narrow for few pairs.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(differences), size=(resamples, len(differences)))
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(differences[drawn].mean(axis=1), [tail, 1.0 - tail])
    return float(low), float(high)


def by_seed(runs: Sequence[Scored], label: str, score: str) -> dict[int, float]:
    """The scores of the runs of one method that have it."""
    values = {run.seed: run.scores.get(score) for run in runs if run.label == label}
    return {seed: value for seed, value in values.items() if value is not None}


def median_run(runs: Sequence[Scored], label: str, score: str) -> Scored | None:
    """The run in the middle, the lower one of two; None where no run of the label has the score."""
    having = [run for run in runs if run.label == label and run.scores.get(score) is not None]
    having.sort(key=lambda run: (run.scores[score], run.seed))
    return having[(len(having) - 1) // 2] if having else None


def to_text(comparison: Comparison) -> str:
    """Mean, sd and best, then the differences, for people: blocks of at most `WIDTH` columns."""
    return "\n\n".join(
        "\n".join([title, *aligned(block)])
        for title, table in _tables(comparison)
        for block in _split(table)
    )


def to_markdown(comparison: Comparison) -> str:
    """The tables of `to_text`, each whole, where the images are from, and the notes."""
    parts = []
    for title, (header, *body) in _tables(comparison):
        rule = f"| --- |{' ---: |' * (len(header) - 1)}"
        parts.append("\n".join([_markdown(header), rule, *map(_markdown, body), "", title + "."]))
    remarks = [f"images: {comparison.data_source}"] if comparison.data_source else []
    if remarks := [*remarks, *comparison.notes]:
        parts.append("\n".join(f"- {remark}" for remark in remarks))
    return "\n\n".join(parts) + "\n"


def to_csv(comparison: Comparison) -> str:
    """A line for each method and score; empty fields where there is no number."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        ["method", "score", "n", "mean", "sd", "best", "difference", "low", "high", "pairs"]
    )
    for row in comparison.rows:
        to = row.difference
        differs = (to.mean, to.low, to.high, to.pairs) if to else (None, None, None, None)
        writer.writerow([row.label, row.score, row.n, row.mean, row.sd, row.best, *differs])
    return file.getvalue()


def to_plain(comparison: Comparison) -> dict[str, Any]:
    """The comparison, for JSON."""
    return {
        "first": comparison.labels[0],
        "methods": list(comparison.labels),
        "scores": list(comparison.scores),
        "data_source": comparison.data_source,
        "summary": [asdict(row) for row in comparison.rows],
        "runs": [asdict(run) for run in comparison.runs],
        "notes": list(comparison.notes),
    }


def _notes_on_missing(wanted: Mapping[str, int], runs: Sequence[Scored]) -> list[str]:
    there = Counter(run.label for run in runs)
    return [
        f"{count - there[label]} of the {count} runs of {label} failed or are not done; "
        "its row is of the others"
        for label, count in wanted.items()
        if there[label] < count
    ]


def _notes_on_intervals(rows: Sequence[Summary]) -> list[str]:
    differences = [row.difference for row in rows if row.difference is not None]
    few = [each.pairs for each in differences if each.low is None]
    enough = [each.pairs for each in differences if each.low is not None]
    notes = []
    if few:
        notes.append(f"there is no interval for fewer than {FEWEST_PAIRS} pairs of runs")
    if enough and min(enough) < MANY_PAIRS:
        notes.append(
            f"an interval from few pairs (here {min(enough)}) is too narrow: the bootstrap never "
            "reaches beyond the smallest and the largest difference"
        )
    return notes


def _notes_on_scores(rows: Sequence[Summary], runs: Sequence[Scored]) -> list[str]:
    counts = Counter(run.label for run in runs)
    return [
        f"{row.score} is not defined for {counts[row.label] - row.n} of the {counts[row.label]} "
        f"runs of {row.label}; its mean is over the others"
        for row in rows
        if row.n < counts[row.label]
    ]


def _summary(label: str, score: str, first: str, runs: Sequence[Scored]) -> Summary:
    found = by_seed(runs, label, score)
    values = np.array(list(found.values()))
    return Summary(
        label,
        score,
        n=len(values),
        mean=float(values.mean()) if len(values) else None,
        sd=float(values.std(ddof=1)) if len(values) > 1 else None,
        best=float(values.max()) if len(values) else None,
        difference=None if label == first else _difference(found, by_seed(runs, first, score)),
    )


def _difference(own: Mapping[int, float], first: Mapping[int, float]) -> Difference | None:
    seeds = sorted(own.keys() & first.keys())
    if not seeds:
        return None
    differences = np.array([own[seed] - first[seed] for seed in seeds])
    enough = len(seeds) >= FEWEST_PAIRS
    low, high = bootstrap_interval(differences) if enough else (None, None)
    return Difference(len(seeds), float(differences.mean()), low, high)


Table = list[list[str]]
"""Rows of cells, the first a header; the first column is the method."""


def _tables(comparison: Comparison) -> list[tuple[str, Table]]:
    """(title, table) of the scores, and of the differences where there are two methods."""
    first, *others = comparison.labels
    rows = {
        label: [row for row in comparison.rows if row.label == label] for label in (first, *others)
    }
    header = ["method", "n", *comparison.scores]
    scores = [
        [label, str(comparison.count(label)), *map(_score_cell, of_label)]
        for label, of_label in rows.items()
    ]
    tables = [("Mean ± sd (best) of n runs", [header, *scores])]
    if others:
        differences = [
            [label, str(most), *(_difference_cell(row, most) for row in rows[label])]
            for label in others
            for most in [_most_pairs(rows[label])]
        ]
        title = f"Mean difference to {first} [{CONFIDENCE:.0%} interval], n pairs of equal seed"
        tables.append((title, [header, *differences]))
    return tables


def _most_pairs(rows: Sequence[Summary]) -> int:
    return max(row.difference.pairs if row.difference else 0 for row in rows)


def _score_cell(row: Summary) -> str:
    if row.mean is None:
        return "-"
    spread = "" if row.sd is None else f" ± {row.sd:.3f}"
    return f"{row.mean:.3f}{spread} ({row.best:.3f})"


def _difference_cell(row: Summary, most: int) -> str:
    """A difference, with the number of pairs where it is not that of the row."""
    if row.difference is None:
        return "-"
    low, high = row.difference.low, row.difference.high
    interval = "" if low is None else f" [{low:+.3f}, {high:+.3f}]"
    pairs = row.difference.pairs
    fewer = f" (n = {pairs})" if pairs < most else ""
    return f"{row.difference.mean:+.3f}{interval}{fewer}"


def _split(table: Table) -> list[Table]:
    """Tables of at most `WIDTH` columns, or one score each, all with the columns method and n."""
    wide = widths(table)
    fixed = sum(wide[:2]) + len(GAP)
    blocks: list[list[int]] = [[]]
    room = WIDTH - fixed
    for column, width in enumerate(wide[2:], start=2):
        if blocks[-1] and width + len(GAP) > room:
            blocks.append([])
            room = WIDTH - fixed
        blocks[-1].append(column)
        room -= width + len(GAP)
    return [[[*row[:2], *(row[column] for column in block)] for row in table] for block in blocks]


def _markdown(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
