"""The runs that a comparison wants, and how far each of them is.

That is told from the files of a run alone, so that nothing is lost with the process that had it
made. A run that is done needs its settings and its scores alone: checkpoints may be deleted, to
keep or to pass on a comparison in a few kilobytes a run.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from didcli import config as settings
from didcli.config import RunConfig
from didcli.engine import run_settings
from didcli.engine.comparison_spec import Evaluation, Spec, folder_name
from didcli.engine.reports import FILE_NAME as REPORT_NAME
from didcli.engine.reports import has_checkpoint, read_report, steps_done, steps_scored
from didcli.errors import RunError, UsageError
from didcli.scoring.protocol import deciding

RUNS_FOLDER = "runs"
"""Folder of the runs within that of a comparison."""


@dataclass(frozen=True)
class Job:
    """One run that a comparison wants."""

    label: str
    folder: Path
    config: RunConfig
    evaluation: Evaluation

    @property
    def name(self) -> str:
        return f"{self.label}, seed {self.config.train.seed}"


class State(StrEnum):
    to_do = "to do"
    partial = "partial"
    trained = "trained"
    done = "done"


@dataclass(frozen=True)
class Standing:
    """How far a job is."""

    job: Job
    step: int
    """Steps of its checkpoint; without one, of its scores if they are what is asked for; else 0."""
    scores: Mapping[str, float | None] | None
    """Scores by the job's evaluation, of this very checkpoint, or of one that has been deleted;
    None where it is still to be done."""

    @property
    def steps_left(self) -> int:
        return self.job.config.train.steps - self.step

    @property
    def state(self) -> State:
        if self.steps_left:
            return State.partial if self.step else State.to_do
        return State.trained if self.scores is None else State.done


def spec_jobs(spec: Spec, out: Path) -> list[Job]:
    """Each entry with each seed. Seeds in turn: a comparison that is cut off has some of every
    method.
    """
    return [
        Job(
            label,
            out / RUNS_FOLDER / f"{folder_name(label)}-s{seed}",
            _with_train(config, seed=seed),
            spec.evaluation,
        )
        for seed in spec.seeds
        for label, config in spec.entries.items()
    ]


def place(job: Job, *, threads: Callable[[int], int], device: str | None) -> Job:
    """The job with the device asked for, and as many threads as `threads` makes of its own."""
    own = job.config.train
    placed = _with_train(job.config, threads=threads(own.threads), device=device or own.device)
    return dataclasses.replace(job, config=placed)


def check_unchanged(jobs: Sequence[Job]) -> None:
    """Raises UsageError where a folder holds a run of other settings, or one without a checkpoint
    that more is asked of, naming each."""
    changes = [line for job in jobs for line in _changes(job)]
    if changes:
        raise UsageError(
            "the specification asks for other runs than are there:\n"
            + "\n".join(f"  {line}" for line in changes),
            hint="Give the entry another label:, or the comparison another --out. A run without a "
            f"checkpoint is trained again once its {REPORT_NAME} is deleted.",
        )


def examine(jobs: Sequence[Job]) -> list[Standing]:
    """How far each job is."""
    return [_standing(job) for job in jobs]


def scores_of(job: Job) -> dict[str, float | None] | None:
    """Scores in `eval.json`, if it has all that is asked for, by the protocol asked for."""
    report = read_report(job.folder)
    if report is None:
        return None
    there, wanted = report["scores"], job.evaluation.scores
    if deciding(report["protocol"]) != job.evaluation.protocol or set(wanted) - set(there):
        return None
    return {key: there[key] for key in wanted}


def _with_train(config: RunConfig, **changes: Any) -> RunConfig:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **changes))


def _changes(job: Job) -> list[str]:
    """What the run in the job's folder would have to be other than it is; lines for people.

    A run that has neither a checkpoint nor scores yet can become any other. A damaged checkpoint is
    a matter for the run itself.
    """
    folder = job.folder
    step = _steps_done(folder)
    changes = (_other_settings(job) or _impossible_work(job, step)) if step else []
    return [f"{folder}: {change}" for change in changes]


def _other_settings(job: Job) -> list[str]:
    free = settings.SAME_RESULT | {"train.steps"}
    try:
        settings.check_resumable(run_settings.settings_of(job.folder), job.config, free)
    except UsageError as error:
        return [line.strip() for line in str(error).splitlines()[1:]]
    return []


def _impossible_work(job: Job, step: int) -> list[str]:
    """What a run after `step` steps cannot become any more."""
    steps = f"train.steps: {step} are done -> {job.config.train.steps}"
    if step > job.config.train.steps:
        return [steps]
    if has_checkpoint(job.folder):
        return []
    if step < job.config.train.steps:
        return [f"{steps}, and its checkpoint is gone"]
    return ["it lacks scores asked for, and its checkpoint is gone"] * (scores_of(job) is None)


def _standing(job: Job) -> Standing:
    wanted = job.config.train.steps
    step, scores = 0, None
    if has_checkpoint(job.folder):
        step = _steps_done(job.folder)
        scores = scores_of(job) if step == wanted else None
    elif steps_scored(job.folder) == wanted and (scores := scores_of(job)) is not None:
        step = wanted  # and without them there is nothing to score again, but the whole run to do
    return Standing(job, step, scores)


def _steps_done(folder: Path) -> int:
    """A damaged checkpoint counts as none: training says what is wrong with it."""
    try:
        return steps_done(folder)
    except RunError:
        return 0
