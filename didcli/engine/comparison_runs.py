"""Compare runs that exist: which of them differ in nothing but their seed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from didcli import registry
from didcli.config import CONFIG_NAME, REPETITION, RunConfig, build, load_file
from didcli.engine import checkpoint as checkpoints
from didcli.engine.compare import Job, without_threads
from didcli.engine.comparison_spec import EvalOptions, Evaluation
from didcli.engine.reports import has_checkpoint, read_report, steps_scored
from didcli.errors import RunError, UsageError

MOST_SETTINGS = 3
"""In a label."""


def existing_jobs(folders: Sequence[Path]) -> list[Job]:
    """The runs as jobs that are trained, to be scored as those are that have scores already.

    Raises RunError for a folder without a run, and UsageError for runs on different data, runs
    that differ in nothing, and scores by different protocols.
    """
    configs = [_as_it_is(folder) for folder in folders]
    flat = [config.flat() for config in configs]
    _check_data(folders, flat)
    labels = label_runs(flat)
    _check_different(folders, labels, [config.train.seed for config in configs])
    evaluation = common_evaluation(
        {folder: report for folder in folders if (report := read_report(folder)) is not None}
    )
    return [
        Job(label, folder, config, evaluation)
        for label, folder, config in zip(labels, folders, configs, strict=True)
    ]


def label_runs(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The same label for runs that differ in seed alone, and another one for others.

    It is the method, and the settings in which the runs of that method differ: `beta_vae beta=4`;
    a number instead, in order of appearance, where these are too many to read: `beta_vae #2`.
    settings: of each run, by keys such as `method.beta`; `method.name` among them.
    """
    labels = []
    for own in settings:
        same = [each for each in settings if each["method.name"] == own["method.name"]]
        kinds = [_without_seed(each) for each in same]
        differing = [
            f"{key.partition('.')[2]}={value}"
            for key, value in _without_seed(own).items()
            if any(kind.get(key) != value for kind in kinds)
        ]
        if len(differing) > MOST_SETTINGS:
            different = [kind for index, kind in enumerate(kinds) if kind not in kinds[:index]]
            differing = [f"#{different.index(_without_seed(own)) + 1}"]
        labels.append(" ".join([own["method.name"], *differing]))
    return labels


def common_evaluation(reports: Mapping[Path, Mapping[str, Any]]) -> Evaluation:
    """The metrics that all reports have, by their protocol; without a report, that of `did eval`.

    reports: by run folder, as `eval.json` has them. Raises UsageError where protocols differ, and
    where no metric is common to all.
    """
    names = registry.names("metrics")
    if not reports:
        return Evaluation(tuple(names), EvalOptions())
    common = set.intersection(*(set(report["scores"]) for report in reports.values()))
    metrics = [name for name in names if set(registry.load("metrics", name).SCORES) <= common]
    protocols = {folder: without_threads(each["protocol"]) for folder, each in reports.items()}
    first, protocol = next(iter(protocols.items()))
    known = {key: protocol[key] for key in EvalOptions.model_fields if key in protocol}
    evaluation = Evaluation(tuple(metrics), EvalOptions.model_validate(known))
    for folder, other in protocols.items():
        differing = sorted(
            key
            for key in evaluation.protocol.keys() | other.keys()
            if evaluation.protocol.get(key) != other.get(key)
        )
        if differing:
            raise UsageError(
                f"{folder} and {first} were not scored in one way: {', '.join(differing)}",
                hint=f"Score it again: did eval {folder}",
            )
    if not metrics:
        raise UsageError(
            "no metric has scored all of these runs",
            hint="Score them alike: did eval RUN --metrics mig,dci,sap",
        )
    return evaluation


def _as_it_is(folder: Path) -> RunConfig:
    """Its settings, with the steps it has done in the place of those it was meant to do."""
    if has_checkpoint(folder):
        described = checkpoints.describe(folder / checkpoints.FILE_NAME)
        settings, step = described["config"], described["step"]
    elif step := steps_scored(folder):
        try:
            settings = build([load_file(folder / CONFIG_NAME)]).to_dict()
        except UsageError as error:
            raise RunError(
                f"the settings of {folder} cannot be used: {error}",
                hint="Leave this run out, or train it again.",
            ) from error
    else:
        raise RunError(
            f"{folder} holds no trained run", hint="did runs lists those that there are."
        )
    config = build([settings])
    return replace(config, train=replace(config.train, steps=step))


def _without_seed(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in REPETITION}


def _check_data(folders: Sequence[Path], flat: Sequence[Mapping[str, Any]]) -> None:
    names = {each["data.name"]: folder for folder, each in zip(folders, flat, strict=True)}
    if len(names) > 1:
        raise UsageError(
            "the runs are on different data: "
            + ", ".join(f"{name} ({folder})" for name, folder in names.items()),
            hint="Compare runs on one dataset.",
        )


def _check_different(folders: Sequence[Path], labels: Sequence[str], seeds: Sequence[int]) -> None:
    """Runs are paired by seed, and a run that counts twice would look like agreement."""
    found: dict[tuple[str, int], Path] = {}
    for folder, label, seed in zip(folders, labels, seeds, strict=True):
        if (label, seed) in found:
            raise UsageError(
                f"{found[label, seed]} and {folder} have the same settings and the same seed",
                hint="Name one of them.",
            )
        found[label, seed] = folder
