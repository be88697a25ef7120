"""What a comparison has before it: how far each run is, and how long the rest takes."""

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from didcli.engine import timing, training_log
from didcli.engine.comparison_jobs import Standing
from didcli.errors import DidError
from didcli.io.columns import aligned
from didcli.io.progress import duration
from didcli.io.records import OnProgress

Speeds = Mapping[str, float | None]
"""Seconds per step, by label; None where they are not known."""


def seconds_per_step(
    standings: Sequence[Standing],
    data_dir: Path | None = None,
    *,
    on_timing: Callable[[str], None] = lambda _label: None,
    on_failure: Callable[[str, DidError], None] = lambda _label, _error: None,
    on_data: OnProgress | None = None,
) -> Speeds:
    """Seconds by label: what the logs of its runs say or, without any, what a few steps take now.

    None where a few steps fail, and for finished runs without a log. on_timing: called with each
    label that is going to be timed; on_failure: with one that cannot be, and why.
    """
    by_label: dict[str, list[Standing]] = {}
    for standing in standings:
        by_label.setdefault(standing.job.label, []).append(standing)
    speeds: dict[str, float | None] = {}
    for label, same in by_label.items():
        config = same[0].job.config
        speeds[label] = _median(
            seconds
            for standing in same
            for seconds in _logged(standing.job.folder, config.train.batch_size)
        )
        if speeds[label] is None and any(standing.steps_left for standing in same):
            on_timing(label)
            try:
                speeds[label] = timing.seconds_per_step(config, data_dir, on_data)
            except DidError as error:
                on_failure(label, error)
    return speeds


def seconds_left(standings: Sequence[Standing], speeds: Mapping[str, float | None]) -> float | None:
    """Seconds of training left, job after job; None where one is left whose speed is not known."""
    total = 0.0
    for standing in standings:
        speed = speeds[standing.job.label]
        if standing.steps_left and speed is None:
            return None
        total += standing.steps_left * (speed or 0.0)
    return total


def to_plain(standings: Sequence[Standing], speeds: Speeds) -> dict[str, Any]:
    """The plan, for JSON."""
    return {
        "jobs": [_as_plain(standing, speeds) for standing in standings],
        "training_seconds_left": seconds_left(standings, speeds),
    }


def to_text(standings: Sequence[Standing], speeds: Speeds, at_a_time: int | None) -> str:
    """A table of the runs, and a line on all of them: `6 runs: 2 done, 1 partial, 3 to do; about 2
    h 5 min of training, 2 at a time, and scoring`.

    at_a_time: None is as many as there is room for, which nobody knows beforehand.
    """
    return "\n".join([*_table(standings, speeds), "", _prospect(standings, speeds, at_a_time)])


def _as_plain(standing: Standing, speeds: Speeds) -> dict[str, Any]:
    job = standing.job
    return {
        "label": job.label,
        "seed": job.config.train.seed,
        "path": str(job.folder),
        "state": standing.state.value,
        "step": standing.step,
        "steps": job.config.train.steps,
        "seconds_per_step": speeds[job.label],
    }


def _table(standings: Sequence[Standing], speeds: Speeds) -> list[str]:
    rows = [("method", "state", "seed", "step", "s/step", "left")]
    for standing in standings:
        job, speed = standing.job, speeds[standing.job.label]
        rows.append(
            (
                *(job.label, standing.state.value, str(job.config.train.seed)),
                f"{standing.step}/{job.config.train.steps}",
                "-" if speed is None else f"{speed:.3f}",
                "-" if speed is None else duration(standing.steps_left * speed),
            )
        )
    return aligned(rows, left=2)


def _prospect(standings: Sequence[Standing], speeds: Speeds, at_a_time: int | None) -> str:
    counts = Counter(standing.state for standing in standings)
    parts = ", ".join(f"{count} {state}" for state, count in counts.items())
    if not any(standing.steps_left for standing in standings):
        return f"{len(standings)} runs: {parts}"
    seconds = seconds_left(standings, speeds)
    took = "an unknown time" if seconds is None else f"about {duration(seconds / (at_a_time or 1))}"
    how = f", {at_a_time} at a time" if at_a_time else " if it were one at a time"
    return f"{len(standings)} runs: {parts}; {took} of training{how}, and scoring"


def _logged(folder: Path, batch_size: int) -> list[float]:
    """Seconds per step of each line of the run's log that tells a speed, in order."""
    speeds = [line.get("images_per_second") for line in training_log.lines(folder)]
    return [batch_size / speed for speed in speeds if speed]


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.median(found) if found else None
