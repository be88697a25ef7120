"""Compare runs that exist: which of them differ in nothing but their seed."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from didcli import registry
from didcli.config import REPETITION, RunConfig
from didcli.engine import run_settings
from didcli.engine.comparison_jobs import Job
from didcli.engine.comparison_spec import EvalOptions, Evaluation
from didcli.engine.reports import FILE_NAME as REPORT_NAME
from didcli.engine.reports import read_report, steps_done
from didcli.errors import RunError, UsageError
from didcli.scoring.protocol import deciding

MOST_SETTINGS = 3
LONGEST = 40
"""Settings, and their characters, in a label."""


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
    kinds: dict[str, list[dict[str, Any]]] = {}
    """Different settings of the runs of each method, in order."""
    for own in map(_without_seed, settings):
        of_method = kinds.setdefault(own["method.name"], [])
        if own not in of_method:
            of_method.append(own)
    return [_label(own, kinds[own["method.name"]]) for own in map(_without_seed, settings)]


def _label(own: Mapping[str, Any], kinds: Sequence[Mapping[str, Any]]) -> str:
    differing = [
        f"{key.partition('.')[2]}={value}"
        for key, value in own.items()
        if any(kind.get(key) != value for kind in kinds)
    ]
    told = " ".join(differing)
    if len(differing) > MOST_SETTINGS or len(told) > LONGEST:
        told = f"#{kinds.index(own) + 1}"
    return f"{own['method.name']} {told}".rstrip()


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
    protocols = {folder: deciding(each["protocol"]) for folder, each in reports.items()}
    first, protocol = next(iter(protocols.items()))
    evaluation = Evaluation(tuple(metrics), _options_of(first, protocol))
    if differing := _differing(evaluation.protocol, protocol):
        raise UsageError(
            f"{first} was scored by another version of did: {', '.join(differing)}",
            hint="Score all runs again: " + " ".join(["did eval RUN", *evaluation.flags()]),
        )
    for folder, other in protocols.items():
        if differing := _differing(protocol, other):
            raise UsageError(
                f"{folder} and {first} were not scored in one way: {', '.join(differing)}",
                hint="Score it likewise: "
                + shlex.join(["did", "eval", str(folder), *evaluation.flags()]),
            )
    if not metrics:
        raise UsageError(
            "no metric has scored all of these runs",
            hint="Score them alike: did eval RUN --metrics mig,dci,sap",
        )
    return evaluation


def _options_of(folder: Path, protocol: Mapping[str, Any]) -> EvalOptions:
    known = {key: protocol[key] for key in EvalOptions.model_fields if key in protocol}
    try:
        return EvalOptions.model_validate(known)
    except ValidationError as error:
        keys = sorted({str(problem["loc"][0]) for problem in error.errors()})
        raise RunError(
            f"{folder / REPORT_NAME} is damaged: protocol, {', '.join(keys)}",
            hint=f"Score it again: did eval {folder}",
        ) from error


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


def _as_it_is(folder: Path) -> RunConfig:
    """Its settings, with the steps it has done in the place of those it was meant to do.

    Raises RunError for a folder without a run, or with a damaged one.
    """
    step = steps_done(folder)
    if not step:
        raise RunError(
            f"{folder} holds no trained run", hint="did runs lists those that there are."
        )
    config = run_settings.settings_of(folder)
    # Not the device it was trained on, which another machine may lack.
    return replace(config, train=replace(config.train, steps=step, device="auto"))


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
