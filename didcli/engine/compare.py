"""Compare methods over seeds: see which runs are missing, have them made, and read their scores.

A run of a comparison is a run folder like any other, `runs/<label>-s<seed>/` under the folder of
the comparison. How far it is, is told from its files alone, so that nothing is lost with the
process that had it made. A run that is done needs its settings and its scores alone: checkpoints
may be deleted, to keep or to pass on a comparison in a few kilobytes a run.
"""

import dataclasses
import json
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from didcli import config as settings
from didcli.config import RunConfig
from didcli.engine import checkpoint as checkpoints
from didcli.engine import runs, timing
from didcli.engine.comparison_spec import Evaluation, Spec, folder_name
from didcli.engine.comparison_table import Comparison, Scored, compare
from didcli.engine.executors import Execute, Task, Watcher
from didcli.engine.reports import FILE_NAME as REPORT_NAME
from didcli.engine.reports import has_checkpoint, read_report, steps_scored
from didcli.errors import DidError, RunConflictError, RunError, StorageError, UsageError
from didcli.io.atomic import write_text
from didcli.metrics._protocol import deciding

SPEC_NAME = "spec.yaml"
RUNS_NAME = "runs.txt"
"""Of a comparison of runs that exist: their paths, one a line."""


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
    """Of its checkpoint; without one, of its scores if they are what is asked for; else 0."""
    scores: Mapping[str, float | None] | None
    """Those of the job's evaluation, of this very checkpoint, or of one that has been deleted; None
    where it is still to be done."""

    @property
    def steps_left(self) -> int:
        return self.job.config.train.steps - self.step

    @property
    def state(self) -> State:
        if self.steps_left:
            return State.partial if self.step else State.to_do
        return State.trained if self.scores is None else State.done


@dataclass(frozen=True)
class Failure:
    job: Job
    problem: str
    """What went wrong, in one line."""

    @property
    def log(self) -> Path:
        return self.job.folder / runs.JOB_LOG_NAME

    def to_dict(self) -> dict[str, Any]:
        return {
            "label": self.job.label,
            "seed": self.job.config.train.seed,
            "path": str(self.job.folder),
            "problem": self.problem,
        }


def spec_jobs(spec: Spec, out: Path) -> list[Job]:
    """Each entry with each seed. Seeds in turn: a comparison that is cut off has some of every
    method.
    """
    return [
        Job(
            label,
            out / "runs" / f"{folder_name(label)}-s{seed}",
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


@contextmanager
def claimed(out: Path, name: str, text: str) -> Iterator[None]:
    """Hold the folder of a comparison, and keep there, by SPEC_NAME or RUNS_NAME, what it is of.

    Raises RunConflictError when it is in use, or holds other files and no comparison of that kind:
    tables would replace whatever has their names.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        found = {file.name for file in out.iterdir()} - {runs.LOCK_NAME}
    except OSError as error:
        raise StorageError(
            f"cannot make the folder {out}: {error.strerror}", hint="Choose another --out."
        ) from error
    if found and name not in found:
        raise RunConflictError(
            f"{out} holds other files, and no {name} of such a comparison",
            hint="Choose a new folder for --out.",
        )
    with runs.locked(out):
        write_text(out / name, text)
        yield


def run(
    standings: Sequence[Standing],
    execute: Execute,
    watcher: Watcher,
    data_dir: Path | None = None,
) -> list[Failure]:
    """Have done what is not, until all has been tried or the watcher stops it; what failed."""
    wanted = [standing for standing in standings if standing.state is not State.done]
    tasks = [_task(standing, data_dir) for standing in wanted]
    jobs = {task.folder: each.job for task, each in zip(tasks, wanted, strict=True)}
    failures: list[Failure] = []

    def on_end(task: Task, problem: str | None) -> None:
        if problem is None and _scores(jobs[task.folder]) is None:
            problem = "its scores could not be kept in its folder"
        if problem is not None:
            failures.append(Failure(jobs[task.folder], problem))
        watcher.on_end(task, problem)

    for standing in wanted:
        if standing.steps_left:
            _begin(standing.job)
    execute(tasks, dataclasses.replace(watcher, on_end=on_end))
    return failures


def collect(standings: Sequence[Standing]) -> Comparison:
    """The scores of the runs that have them. Raises RunError when they are of different images."""
    scored = [(standing.job, standing.scores) for standing in standings if standing.scores]
    facts = {job.folder: _facts(job.folder) for job, _ in scored}
    sources = {str(each.get("data_source")): folder for folder, each in facts.items()}
    if len(sources) > 1:
        raise RunError(
            "the runs are on different images: "
            + ", ".join(f"{source} ({folder})" for source, folder in sources.items()),
            hint="Train those of one kind again, with data.source=official or rendered.",
        )
    comparison = compare(
        list(dict.fromkeys(standing.job.label for standing in standings)),
        [
            Scored(job.label, job.config.train.seed, str(job.folder), scores)
            for job, scores in scored
        ],
        standings[0].job.evaluation.scores,
        wanted=Counter(standing.job.label for standing in standings),
    )
    of_data = dict.fromkeys(str(note) for each in facts.values() for note in each["data_notes"])
    return dataclasses.replace(comparison, notes=(*of_data, *comparison.notes))


def seconds_per_step(
    standings: Sequence[Standing],
    data_dir: Path | None = None,
    *,
    on_timing: Callable[[str], None] = lambda _label: None,
    on_failure: Callable[[str, DidError], None] = lambda _label, _error: None,
    on_data: Callable[[int, int], None] | None = None,
) -> dict[str, float | None]:
    """By label: what the logs of its runs say or, before there are any, what a few steps take now.

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
    """Of training, one job after the other; None where a job is left whose speed is not known."""
    total = 0.0
    for standing in standings:
        speed = speeds[standing.job.label]
        if standing.steps_left and speed is None:
            return None
        total += standing.steps_left * (speed or 0.0)
    return total


def _with_train(config: RunConfig, **changes: Any) -> RunConfig:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **changes))


def _changes(job: Job) -> list[str]:
    """What the run in the job's folder would have to be other than it is; lines for people.

    A run that has neither a checkpoint nor scores yet can become any other. A damaged checkpoint is
    a matter for the run itself.
    """
    folder = job.folder
    step = _step(folder) if has_checkpoint(folder) else steps_scored(folder)
    changes = (_other_settings(job) or _impossible_work(job, step)) if step else []
    return [f"{folder}: {change}" for change in changes]


def _other_settings(job: Job) -> list[str]:
    free = settings.SAME_RESULT | {"train.steps"}
    try:
        settings.check_resumable(runs.settings_of(job.folder), job.config, free)
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
    return ["it lacks scores asked for, and its checkpoint is gone"] * (_scores(job) is None)


def _standing(job: Job) -> Standing:
    step, wanted = _step(job.folder), job.config.train.steps
    scores = None
    if has_checkpoint(job.folder):
        scores = _scores(job) if step == wanted else None
    elif steps_scored(job.folder) == wanted and (scores := _scores(job)) is not None:
        step = wanted  # and without them there is nothing to score again, but the whole run to do
    return Standing(job, step, scores)


def _facts(folder: Path) -> dict[str, Any]:
    """What the scores of a run say of it, and of the images it was scored on."""
    report = read_report(folder) or {}
    return {"data_notes": [], **report.get("run", {})}


def _step(folder: Path) -> int:
    """Of the checkpoint. A damaged one counts as none: training says what is wrong with it."""
    try:
        return int(checkpoints.describe(folder / checkpoints.FILE_NAME)["step"])
    except (RunError, KeyError, TypeError, ValueError):
        return 0


def _scores(job: Job) -> dict[str, float | None] | None:
    """Those of `eval.json`, if it has all that is asked for, by the protocol asked for."""
    report = read_report(job.folder)
    if report is None:
        return None
    there, wanted = report["scores"], job.evaluation.scores
    if deciding(report["protocol"]) != job.evaluation.protocol or set(wanted) - set(there):
        return None
    return {key: there[key] for key in wanted}


def _task(standing: Standing, data_dir: Path | None) -> Task:
    job = standing.job
    # Absolute: a machine of a cluster works in another folder.
    folder = job.folder.resolve()
    common = ["--device", job.config.train.device, "--threads", str(job.config.train.threads)]
    if data_dir is not None:
        common += ["--data-dir", str(data_dir.expanduser().resolve())]
    settings_file = str(folder / settings.CONFIG_NAME)
    training = ["train", "--config", settings_file, "--out", str(folder), "--resume"]
    scoring = ["eval", str(folder), *job.evaluation.flags()]
    commands = [training, scoring] if standing.steps_left else [scoring]
    return Task(job.name, folder, tuple((*command, *common) for command in commands))


def _begin(job: Job) -> None:
    """Make the run folder, with the settings that `did train --resume` starts or goes on with."""
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot make the run folder {job.folder}: {error.strerror}",
            hint="Choose another --out.",
        ) from error
    write_text(job.folder / settings.CONFIG_NAME, job.config.to_yaml())


def _logged(folder: Path, batch_size: int) -> list[float]:
    """Seconds per step of each line of the run's log, in order; lines cut short are left out."""
    seconds = []
    try:
        lines = (folder / runs.LOG_NAME).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            seconds.append(batch_size / json.loads(line)["images_per_second"])
        except (ValueError, KeyError, TypeError, ZeroDivisionError):
            continue
    return seconds


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.median(found) if found else None
