"""Compare methods over seeds: have the runs that are missing made, and collect the scores of all.

A run of a comparison is a run folder like any other, `runs/<label>-s<seed>/` under the folder of
the comparison.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from didcli import config as settings
from didcli.engine import run_folder, training_log
from didcli.engine.comparison_jobs import RUNS_FOLDER, Job, Standing, State, scores_of
from didcli.engine.comparison_table import Comparison, Scored, compare
from didcli.engine.executors import Execute, Task, TaskWatcher
from didcli.engine.reports import read_report
from didcli.errors import RunConflictError, RunError, StorageError
from didcli.io.atomic import is_temporary, write_text
from didcli.io.paths import expanded
from didcli.scoring.protocol import score_name

SPEC_NAME = "spec.yaml"
RUNS_NAME = "runs.txt"
"""File of a comparison of runs that exist: their paths, one a line."""

TRAINING_SHARE = 0.9
"""Of the time that a run takes; the rest is its scoring. Rough, and for progress alone."""


@dataclass(frozen=True)
class Failure:
    job: Job
    problem: str
    """What went wrong, in one line."""

    @property
    def log(self) -> Path:
        return self.job.folder / run_folder.JOB_LOG_NAME

    def to_dict(self) -> dict[str, Any]:
        return {
            "label": self.job.label,
            "seed": self.job.config.train.seed,
            "path": str(self.job.folder),
            "problem": self.problem,
        }


def check_place(out: Path, name: str, folders: Collection[Path] = ()) -> None:
    """Raises RunConflictError where `out` holds what tables would replace: other files, or another
    comparison.

    name: SPEC_NAME or RUNS_NAME. folders: of the runs wanted, where `out` is to hold them.
    """
    try:
        found = {file.name for file in out.iterdir() if not is_temporary(file.name)}
        others = sorted(run.name for run in (out / RUNS_FOLDER).glob("*/"))
    except FileNotFoundError:
        return
    except OSError as error:
        raise _cannot_make(out, error) from error
    found -= {run_folder.LOCK_NAME}
    # A file of that name may be anyone's, unless it lies beside what a comparison makes.
    begun = name == RUNS_NAME or RUNS_FOLDER in found
    if found and not (name in found and (begun or found == {name})):
        raise RunConflictError(
            f"{out} holds other files, and no {name} of such a comparison",
            hint="Choose a new folder for --out.",
        )
    if folders and others and not {folder.name for folder in folders} & set(others):
        raise RunConflictError(
            f"{out} holds another comparison: {', '.join(others[:3])}, ...",
            hint="Choose a new folder for --out.",
        )


@contextmanager
def claimed(out: Path, name: str, text: str, folders: Collection[Path] = ()) -> Iterator[None]:
    """Hold the folder of a comparison, and keep there, by SPEC_NAME or RUNS_NAME, what it is of.

    Raises RunConflictError when it is in use, or as `check_place` does.
    """
    check_place(out, name, folders)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_make(out, error) from error
    with run_folder.locked(out):
        write_text(out / name, text)
        yield


def run(
    standings: Sequence[Standing],
    execute: Execute,
    watcher: TaskWatcher,
    data_dir: Path | None = None,
) -> list[Failure]:
    """Have done what is not, until all has been tried or the watcher stops it; what failed."""
    wanted = [standing for standing in standings if standing.state is not State.done]
    tasks = [_task(standing, data_dir) for standing in wanted]
    jobs = {task.folder: each.job for task, each in zip(tasks, wanted, strict=True)}
    failures: list[Failure] = []

    def on_end(task: Task, problem: str | None) -> None:
        if problem is None and scores_of(jobs[task.folder]) is None:
            problem = "its scores could not be kept in its folder"
        if problem is not None:
            failures.append(Failure(jobs[task.folder], problem))
        watcher.on_end(task, problem)

    ready = []
    for task, standing in zip(tasks, wanted, strict=True):
        try:
            if standing.steps_left:
                _begin(standing.job)
            ready.append(task)
        except StorageError as error:
            on_end(task, str(error))
    execute(ready, dataclasses.replace(watcher, on_end=on_end))
    return failures


def runs_worth(standings: Sequence[Standing]) -> Callable[[Sequence[Task]], float]:
    """A function that tells how many whole runs the work is worth that tasks under way have done.

    Told from their logs; what a run costs beside its steps counts as TRAINING_SHARE says.
    """
    wanted = {each.job.folder.resolve(): each.job.config.train.steps for each in standings}

    def worth(running: Sequence[Task]) -> float:
        shares = (training_log.step_reached(each.folder) / wanted[each.folder] for each in running)
        return TRAINING_SHARE * sum(min(share, 1.0) for share in shares)

    return worth


def collect(standings: Sequence[Standing]) -> Comparison:
    """The scores of the runs that have them. Raises RunError when they are of different images."""
    scored = [(standing.job, standing.scores) for standing in standings if standing.scores]
    reports = {job.folder: read_report(job.folder) or {} for job, _ in scored}
    facts = {folder: report.get("run", {}) for folder, report in reports.items()}
    sources = {str(each.get("data_source", "")): folder for folder, each in facts.items()}
    if len(sources) > 1:
        raise RunError(
            "the runs are on different images: "
            + ", ".join(f"{source} ({folder})" for source, folder in sources.items()),
            hint="Train those of one kind again, with data.source=official or rendered.",
        )
    evaluation = standings[0].job.evaluation
    comparison = compare(
        list(dict.fromkeys(standing.job.label for standing in standings)),
        [
            Scored(job.label, job.config.train.seed, str(job.folder), scores)
            for job, scores in scored
        ],
        evaluation.scores,
        wanted=Counter(standing.job.label for standing in standings),
    )
    notes = [
        *dict.fromkeys(str(note) for each in facts.values() for note in each.get("data_notes", [])),
        *_note_on_versions([report.get("versions", {}) for report in reports.values()]),
        *_note_on_sap(evaluation.scores, evaluation.protocol),
    ]
    return dataclasses.replace(
        comparison, notes=(*notes, *comparison.notes), data_source="".join(sources)
    )


def _note_on_versions(versions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Note on libraries that scored some runs in one version, and some in another."""
    keys = dict.fromkeys(key for each in versions for key in each)
    differing = [key for key in keys if len({str(each.get(key)) for each in versions}) > 1]
    if not differing:
        return []
    return [f"the runs were scored by different versions of {', '.join(differing)}"]


def _note_on_sap(scores: Collection[str], protocol: Mapping[str, Any]) -> list[str]:
    if "sap" not in scores:
        return []
    means = {"discrete": "the accuracy of a linear SVM", "continuous": "squared correlation"}
    return [f"{score_name('sap', protocol)} is {means[protocol['sap']]}"]


def _task(standing: Standing, data_dir: Path | None) -> Task:
    job = standing.job
    # Absolute: a machine of a cluster works in another folder.
    folder = job.folder.resolve()
    common = ["--device", job.config.train.device, "--threads", str(job.config.train.threads)]
    if data_dir is not None:
        common += ["--data-dir", str(expanded(data_dir).resolve())]
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
        raise _cannot_make(job.folder, error) from error
    write_text(job.folder / settings.CONFIG_NAME, job.config.to_yaml())


def _cannot_make(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot make the folder {folder}: {error.strerror}", hint="Choose another --out."
    )
