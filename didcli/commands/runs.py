"""`did runs`: the runs there are, newest first."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from didcli.commands import _options as options

if TYPE_CHECKING:
    from didcli.engine.listing import Entry

HEADER = ("run", "method", "data", "seed", "step", "MIG", "DCI-D", "SAP", "age")
SCORES = ("mig", "dci_disentanglement", "sap")
"""Columns of the table; --json has every score."""
SHORTEST_NAME = 8
"""Characters, however narrow a terminal is."""


def runs(
    runs_dir: options.RunsDir = options.RUNS_DIR,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """List the runs there are, newest first, with their scores.

    \b
    did runs
    did runs --runs-dir ~/experiments --json | jq -r '.runs[] | select(.scores.mig > 0.3) | .path'

    Scores are those of the last `did eval`, and shown only while they belong to the checkpoint
    that the run has now, or had before it was deleted.
    """
    # To tell whose scores they are, every checkpoint that has some is read: seconds for gigabytes.
    options.say(f"did runs: reading {runs_dir} ...", quiet)
    from didcli.engine.listing import list_runs
    from didcli.io.columns import aligned

    entries = list_runs(runs_dir)
    if as_json:
        options.print_json({"schema": 1, "runs": [entry.to_dict() for entry in entries]})
        return
    if not entries:
        options.say(f"no runs under {runs_dir}; did train makes one", quiet)
        return
    rows = [HEADER, *map(_row, entries)]
    if sys.stdout.isatty():
        rows = _narrowed(rows, shutil.get_terminal_size().columns)
    for line in aligned(rows, left=3):
        typer.echo(line)


def _row(entry: "Entry") -> tuple[str, ...]:
    if entry.problem:
        return (entry.path.name, "damaged", *[""] * 6, _age(entry.age_seconds))
    return (
        *(entry.path.name, entry.method, entry.data, str(entry.seed)),
        f"{entry.step}/{entry.steps}",
        *(_score(entry.scores, name) for name in SCORES),
        _age(entry.age_seconds),
    )


def _narrowed(rows: Sequence[tuple[str, ...]], width: int) -> list[tuple[str, ...]]:
    """The rows with names cut in the middle, as far as it takes for a terminal of that width."""
    from didcli.io.columns import GAP, shortened, widths

    others = widths([row[1:] for row in rows])
    room = max(width - sum(others) - len(GAP) * len(others), SHORTEST_NAME)
    return [(shortened(name, room), *rest) for name, *rest in rows]


def _score(scores: Mapping[str, Any], name: str) -> str:
    value = scores.get(name)
    return "-" if value is None else f"{value:.3f}"


def _age(seconds: float) -> str:
    """Whole units of the largest that fits: `5 s`, `12 min`, `3 h`, `9 d`."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(seconds, 0) // 1:.0f} s"
