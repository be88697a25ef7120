"""`did compare`: a specification, or runs that exist -> a table of methods over seeds."""

from collections.abc import Sequence
from contextlib import nullcontext
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from didcli import text_input
from didcli.commands import _options as options
from didcli.commands._signals import Stop, graceful_stop
from didcli.errors import DidError, RunError, UsageError
from didcli.io.cores import choose_threads

if TYPE_CHECKING:
    from didcli.engine.compare import Failure
    from didcli.engine.comparison_jobs import Job, Standing
    from didcli.engine.executors import Execute, Task

COMPARISONS = Path("comparisons")
"""Folder in which comparisons of specifications are made by default."""
NAMES_SHOWN = 3
"""Jobs under way that a line of progress names."""


class Executor(StrEnum):
    local = "local"
    ray = "ray"


def compare(
    targets: Annotated[
        list[Path],
        typer.Argument(
            metavar="SPEC|RUN",
            help="A YAML file that names methods, seeds and metrics (- is stdin); or two run "
            "folders or more.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the comparison: its runs, tables and pictures. "
            "[default: comparisons/SPEC; of existing runs, none is written]"
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what is done and what would run, and how long.")
    ] = False,
    executor: Annotated[
        Executor, typer.Option(help="This machine, or a Ray cluster (pip install 'didcli[ray]').")
    ] = Executor.local,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Runs at a time. [default: 1; ray: as many as there is room for]"),
    ] = None,
    threads_per_job: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="CPU threads of a run. By default what SPEC says, else the cores shared by --jobs "
            "(ray: 1).",
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help=options.DEVICE_HELP + " By default what SPEC says.")
    ] = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train and score methods over seeds, and compare them.

    \b
    did compare spec.yaml --dry-run      what it would take
    did compare spec.yaml --jobs 2       again after a stop: goes on
    did compare spec.yaml --executor ray
    did compare runs/a runs/b runs/c     runs that exist, by method and settings

    Does what is missing, goes on after failures, and writes table.md, table.csv, results.json,
    scores.png and traversals/ into --out. The table has mean, sd (n - 1) and best of each score,
    and the mean difference to the first method with a paired bootstrap interval. A run that is done
    needs its config.yaml and eval.json alone: checkpoints may be deleted, or left behind.

    SPEC lists entries, each a preset or a method, and what is common to all. An entry with
    `sweep: {method.beta: [1, 4, 16]}` stands for one entry for each value.

    Ctrl-C, SIGTERM and SIGHUP save every run under way (130, 143, 129). Where runs failed, the
    table is of the others, and the exit code 4.
    """
    spec_file = _spec_among(targets)
    if spec_file is not None and out is None:
        if not spec_file.is_file():  # stdin, or a pipe
            raise UsageError("a specification without a name needs a folder", hint="Give --out.")
        out = COMPARISONS / spec_file.stem
    options.say("did compare: getting ready ...", quiet)  # importing torch takes seconds

    from didcli.engine import compare as engine
    from didcli.engine import comparison_jobs as runs_wanted
    from didcli.engine.comparison_runs import existing_jobs
    from didcli.engine.comparison_spec import read_spec

    if spec_file is not None and out is not None:
        spec = read_spec(spec_file)
        wanted = runs_wanted.spec_jobs(spec, out)
        kept: tuple[Any, ...] = (engine.SPEC_NAME, spec.text, [job.folder for job in wanted])
    else:
        wanted = existing_jobs(targets)
        kept = (engine.RUNS_NAME, "".join(f"{target}\n" for target in targets))
    threads = partial(_threads, threads_per_job, jobs or 1, executor)
    wanted = [runs_wanted.place(job, threads=threads, device=device) for job in wanted]
    runs_wanted.check_unchanged(wanted)
    standings = runs_wanted.examine(wanted)
    execute = _executor(executor, standings, jobs, device)
    if dry_run:
        if out is not None:
            engine.check_place(out, kept[0], *kept[2:])
        at_a_time = jobs if executor is Executor.ray else jobs or 1
        _show_plan(standings, at_a_time, data_dir, as_json, quiet)
        return
    with nullcontext() if out is None else engine.claimed(out, *kept):
        with graceful_stop() as stop:
            # Anew: another comparison may have been at work here until now.
            failures = _run(runs_wanted.examine(wanted), execute, stop, data_dir, quiet)
        if stop.requested():
            options.say("stopped, saved; the same command goes on", quiet)
            stop.leave()
        # Pictures are drawn on this machine, which may have less than those of a cluster.
        here = device if device and executor is Executor.local else "auto"
        _report(wanted, failures, out, here, data_dir, as_json, quiet)
    if failures:
        raise RunError(
            f"{len(failures)} of {len(wanted)} runs failed:\n"
            + "\n".join(f"  {each.job.name}: {each.problem} ({each.log})" for each in failures),
            hint="The logs say more. The same command tries them again, and no others.",
        )


def _spec_among(targets: Sequence[Path]) -> Path | None:
    """The one target, if it is a file or a stream; None for run folders."""
    first, *others = targets
    if others:
        if specs := [str(target) for target in targets if target.is_file()]:
            raise UsageError(
                f"a specification is compared alone, got {specs[0]} among {len(targets)}",
                hint="Name one YAML file, or run folders.",
            )
        return None
    if first.is_dir():
        own = first / "spec.yaml"
        instead = f"did compare {own} --out {first}" if own.is_file() else "did runs lists runs."
        raise UsageError(
            f"{first} is one folder; two runs or more can be compared, or what a file asks for",
            hint=instead,
        )
    if str(first) != text_input.STDIN and not first.exists():
        raise UsageError(
            f"there is no {first}", hint="examples/specs/ has specifications; did runs lists runs."
        )
    return first


def _threads(asked: int | None, jobs: int, executor: Executor, own: int) -> int:
    """CPU threads of a run whose settings say `own`; 0 says nothing."""
    shared = 1 if executor is Executor.ray else choose_threads(0, jobs)
    return asked or own or shared


def _executor(
    executor: Executor,
    standings: "Sequence[Standing]",
    at_a_time: int | None,
    device: str | None,
) -> "Execute":
    from didcli.engine import executors
    from didcli.engine.comparison_jobs import State
    from didcli.engine.device import choose_device

    # What is done needs no device: it may have been trained on another machine.
    trains = [each.job.config.train for each in standings if each.state is not State.done]
    devices = {train.device for train in trains}
    if executor is Executor.local:
        for name in devices | ({device} if device else set()):
            choose_device(name)  # an absent one is an error at once, not of every run
        return partial(executors.run_locally, jobs=at_a_time or 1)
    executors.import_ray()  # an error before anything is written
    return partial(
        executors.run_on_ray,
        jobs=at_a_time,
        cpus=max((train.threads for train in trains), default=1),
        gpus=None if "auto" in devices else int(any(name.startswith("cuda") for name in devices)),
    )


def _run(
    standings: "Sequence[Standing]",
    execute: "Execute",
    stop: Stop,
    data_dir: Path | None,
    quiet: bool,
) -> "list[Failure]":
    from didcli.engine import compare as engine
    from didcli.engine.comparison_jobs import State
    from didcli.engine.executors import TaskWatcher
    from didcli.io.progress import progress

    ready = sum(standing.state is State.done for standing in standings)
    if ready == len(standings):
        return []
    ended = ready
    options.say(f"{len(standings)} runs, {ready} of them done", quiet)
    worth = engine.runs_worth(standings)
    with progress(
        "Comparing", total=len(standings), unit="runs", with_rate=False, quiet=quiet
    ) as update:

        def on_wait(running: "Sequence[Task]") -> None:
            names = [task.name for task in running[:NAMES_SHOWN]]
            names += ["..."] * (len(running) > NAMES_SHOWN)
            update(ended + worth(running), note="; ".join(names))

        def on_end(task: "Task", problem: str | None) -> None:
            nonlocal ended
            ended += 1
            if problem is not None:
                options.say(f"warning: {task.name} failed: {problem}", quiet)

        watcher = TaskWatcher(on_wait=on_wait, on_end=on_end, should_stop=stop.requested)
        return engine.run(standings, execute, watcher, data_dir)


def _report(
    jobs: "Sequence[Job]",
    failures: "Sequence[Failure]",
    out: Path | None,
    device: str,
    data_dir: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    from didcli.engine import comparison_report, comparison_table
    from didcli.engine.compare import collect
    from didcli.engine.comparison_jobs import examine

    comparison = collect(examine(jobs))
    results = comparison_report.document(comparison, jobs, failures)
    if out is not None:
        comparison_report.write_tables(out, comparison, results)
        missing = comparison_report.write_traversals(out, comparison, device, data_dir)
        if missing is not None:
            options.say(f"note: {missing}", quiet)
        options.say(f"tables and pictures are in {out}", quiet)
    options.say_notes(comparison.notes, quiet)
    if as_json:
        options.print_json(results)
    else:
        typer.echo(comparison_table.to_text(comparison))


def _show_plan(
    standings: "Sequence[Standing]",
    at_a_time: int | None,
    data_dir: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Every run as it stands, and how long the rest of the training takes."""
    from didcli.engine import comparison_plan as plan

    def on_timing(label: str) -> None:
        options.say(f"timing a few steps of {label} ...", quiet)

    def on_failure(label: str, error: DidError) -> None:
        options.say(f"warning: {label} cannot be timed: {error}\nhint: {error.hint}", quiet)

    with options.data_progress(quiet) as on_data:
        speeds = plan.seconds_per_step(
            standings, data_dir, on_timing=on_timing, on_failure=on_failure, on_data=on_data
        )
    if as_json:
        options.print_json({"schema": 1, **plan.to_plain(standings, speeds)})
    else:
        typer.echo(plan.to_text(standings, speeds, at_a_time))
