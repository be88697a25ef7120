"""What a comparison leaves in its folder: tables, a picture of all scores, traversals."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from didcli.engine import comparison_table as tables
from didcli.engine import runs, traversal_files, traverse
from didcli.engine.compare import Failure
from didcli.engine.comparison_jobs import Job
from didcli.engine.comparison_spec import folder_name
from didcli.engine.comparison_table import Comparison
from didcli.engine.reports import has_checkpoint
from didcli.errors import DataError
from didcli.interfaces import Dataset
from didcli.io.atomic import write_bytes, write_text
from didcli.io.charts import Panel, draw_dots

SCHEMA = 1
TRAVERSAL_STEPS = 9
ANCHORS = 2
"""Images that each traversal starts from, the same for every method."""


def document(
    comparison: Comparison, jobs: Sequence[Job], failures: Sequence[Failure]
) -> dict[str, Any]:
    """The object that `did compare --json` prints and `results.json` holds."""
    evaluation = jobs[0].evaluation
    return {
        "schema": SCHEMA,
        **tables.to_plain(comparison),
        "median_runs": {
            label: middle.path if (middle := _median_run(comparison, label)) else None
            for label in comparison.labels
        },
        "settings": {job.label: _settings(job) for job in jobs},
        "metrics": list(evaluation.metrics),
        "protocol": evaluation.protocol,
        "interval": {
            "kind": "paired percentile bootstrap of the mean difference to the first method",
            "confidence": tables.CONFIDENCE,
            "resamples": tables.RESAMPLES,
            "seed": tables.RESAMPLING_SEED,
        },
        "failed": [failure.to_dict() for failure in failures],
    }


def write_tables(out: Path, comparison: Comparison, results: dict[str, Any]) -> None:
    """`table.md`, `table.csv`, `results.json` and `scores.png`."""
    write_text(out / "table.md", tables.to_markdown(comparison))
    write_text(out / "table.csv", tables.to_csv(comparison))
    write_text(out / "results.json", json.dumps(results, indent=1, allow_nan=False) + "\n")
    write_bytes(out / "scores.png", picture(comparison))


def picture(comparison: Comparison) -> bytes:
    """A PNG with a panel for each score: each method a column, each run a dot."""
    panels = [
        Panel(
            score,
            {label: tables.by_seed(comparison.runs, label, score) for label in comparison.labels},
        )
        for score in comparison.scores
    ]
    heading = "Each run a dot, a seed at the same place; the line is the mean"
    if comparison.data_source:
        heading += f"\nimages: {comparison.data_source}"
    return draw_dots(panels, heading)


def write_traversals(
    out: Path, comparison: Comparison, device: str, data_dir: Path | None = None
) -> str | None:
    """`traversals/<label>.png`: what each dimension of the median run of each method does.

    The median is that by the first score. Returns which could not be drawn, and why: the images to
    start from are not at hand, or a checkpoint has been deleted. A picture that is there already is
    then kept; those of methods that are not compared any more are deleted.
    """
    folder = out / "traversals"
    folder.mkdir(exist_ok=True)
    wanted = {f"{folder_name(label)}.png" for label in comparison.labels}
    for picture_of_another in {*folder.glob("*.png")} - {folder / name for name in wanted}:
        picture_of_another.unlink()
    dataset: Dataset | None = None
    without = []
    for label in comparison.labels:
        middle = _median_run(comparison, label)
        if middle is None:
            continue
        if not has_checkpoint(Path(middle.path)):
            without.append(middle.path)
            continue
        run = runs.open_run(Path(middle.path), device)
        try:
            dataset = dataset or run.dataset(data_dir)
        except DataError as error:
            return f"traversals were not drawn: {error}"
        write_bytes(folder / f"{folder_name(label)}.png", _traversal(run, dataset))
    if not without:
        return None
    return f"traversals were not drawn of runs without a checkpoint: {', '.join(without)}"


def _median_run(comparison: Comparison, label: str) -> tables.Scored | None:
    return tables.median_run(comparison.runs, label, comparison.scores[0])


def _traversal(run: runs.Run, dataset: Dataset) -> bytes:
    dims = range(run.latent_dim)
    known = traverse.read_knowledge(run.path, run.digest, run.latent_dim)
    anchors = traverse.data_anchors(run, dataset, traverse.random_rows(ANCHORS, len(dataset), 0))
    values = traverse.evenly_spaced(*run.code_range, TRAVERSAL_STEPS)
    moved = traverse.traverse(run, dims, values, anchors.codes)
    labels = [traverse.label(dim, known) for dim in dims]
    return traversal_files.to_png(moved, labels, traverse.title_of(run))


def _settings(job: Job) -> dict[str, Any]:
    """What the runs of a method have in common."""
    sections = job.config.to_dict()
    del sections["train"]["seed"]
    return sections
