"""`did train`: options -> settings -> the training loop; prints the run folder on stdout."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from didcli import registry
from didcli.commands import _options as options
from didcli.commands._tensorboard import event_files
from didcli.commands._training import TrainingView, shown_training
from didcli.errors import UsageError

if TYPE_CHECKING:
    from didcli.config import RunConfig
    from didcli.engine.train import TrainWatcher

ARRAY_SUFFIXES = (".npz", ".npy", ".h5", ".hdf5")
"""Suffixes of files that --data takes, be they there or not."""


def train(
    preset: Annotated[
        str | None,
        typer.Option(
            help=f"Settings to start from: {', '.join(registry.presets())}. "
            "Without one: that of the method and the data, the quick one if there is one, else the "
            f"first; {registry.DEFAULT_PRESET} where nothing is asked for."
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="YAML file of settings, such as a run's config.yaml (- is stdin). One that names "
            "its method stands in for the preset."
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One setting: method.latent_dim=8"),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help=f"One of: {', '.join(registry.names('methods'))}. Presets of others than did have "
            "their authors' hundreds of thousands of steps: --steps asks for fewer."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            help=f"One of: {', '.join(registry.names('data'))}; or your own images: a folder, or "
            "an .npz, .npy or .h5 file.",
        ),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Of your own images: 32, 64 or 128. [default: 64]")
    ] = None,
    strict: Annotated[
        bool | None,
        typer.Option("--strict", help="Refuse your own images if any cannot be read."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps in all.")] = None,
    seed: Annotated[int | None, typer.Option(help="Fixes weights, batches and noise.")] = None,
    device: Annotated[str | None, typer.Option(help=options.DEVICE_HELP)] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, fp32 or bf16; auto is bf16 where it is fast.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help=options.THREADS_HELP)] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder. Without it, a new one under --runs-dir.")
    ] = None,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    data_dir: options.DataDir = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on from the checkpoint of --out, or of the latest run."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the run that --out holds.")
    ] = False,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            help="Write event files into the run folder, too, for tensorboard --logdir runs.",
        ),
    ] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a model and write a run folder.

    \b
    did train                                   DiD on dSprites, minutes on two CPU cores
    did train --preset did-dsprites --seed 3    the full budget
    did train --data ~/faces --image-size 64    on images of your own
    did train --set method.lambda_o=0.5 --seed 1 --out runs/half
    did train --resume                          go on with the latest run
    torchrun --nproc-per-node 4 -m didcli train     one run by four processes or GPUs
    did traverse "$(did train)" --dim 3

    Flags win over --set, --set over --config, --config over the preset. Ctrl-C, SIGTERM and SIGHUP
    save a checkpoint first; --resume then ends with the very bytes of a run that was not stopped.
    """
    if resume and force:
        raise UsageError("--resume and --force contradict each other", hint="Give one of them.")
    if force and out is None:
        raise UsageError(
            "--force replaces the run that --out holds, and there is no --out",
            hint="Pass --out DIR, or leave out --force: a new folder is made.",
        )
    # Importing torch takes seconds. Of processes that torchrun starts, the first speaks for all.
    options.say("did train: getting ready ...", quiet or os.environ.get("RANK", "0") != "0")

    from didcli.engine import processes, run_folder
    from didcli.engine import train as engine

    with processes.joined():
        quiet = quiet or not processes.is_first()
        if resume and out is None:
            out = run_folder.latest_started(runs_dir)
        flags = _flags(
            method={"name": method},
            data={**_dataset(data), "image_size": image_size, "strict": strict},
            train={
                "steps": steps,
                "seed": seed,
                "device": device,
                "precision": precision,
                "threads": threads,
            },
        )
        resolved = _resolve(preset, config, assignments or [], flags, out if resume else None)
        with (
            _folder(out, resolved, runs_dir) as folder,
            shown_training(resolved.train.steps, quiet=quiet) as view,
            _watched(view, folder, tensorboard) as watcher,
        ):
            options.say(f"run folder {folder}", quiet)
            outcome = engine.run(
                resolved,
                folder,
                resume=resume,
                force=force,
                data_dir=data_dir,
                watcher=watcher,
            )
        if not outcome.finished:
            again = f"go on with did train --resume --out {folder}"
            options.say(f"stopped at step {outcome.step}, saved; {again}", quiet)
            view.stop.leave()
        if processes.is_first():
            _print(folder, outcome.step, resolved, as_json)


@contextmanager
def _watched(view: TrainingView, folder: Path, tensorboard: bool) -> Iterator["TrainWatcher"]:
    """The view's watcher; the first process writes event files, too, where they are wanted."""
    from didcli.engine import processes

    watcher = view.watcher()
    if tensorboard and processes.is_first():
        with event_files(watcher, folder) as recording:
            yield recording
    else:
        yield watcher


@contextmanager
def _folder(out: Path | None, config: "RunConfig", runs_dir: Path) -> Iterator[Path]:
    """`out`, or a new folder, the same for every process; removed if it stays unused."""
    from didcli.engine import processes, run_folder

    anew = out is None and processes.is_first()
    made = run_folder.new_folder(config, runs_dir) if anew else None
    folder = Path(processes.from_first(str(out or made)))
    try:
        yield folder
    finally:
        if made is not None:
            run_folder.remove_unused(made)


def _resolve(
    preset: str | None,
    file: Path | None,
    assignments: list[str],
    flags: dict[str, Any],
    resumed: Path | None,
) -> "RunConfig":
    """The settings asked for; on resuming, those of the run, changed by what was asked for.

    Whether the run's checkpoint can go on under them is for the engine to say.
    """
    from didcli import config as settings
    from didcli.engine import processes, run_settings

    of_file = None
    if file is not None:
        # Of several processes the first one reads it: stdin is there but once.
        text = settings.read_text(file) if processes.is_first() else ""
        of_file = settings.parse_file(processes.from_first(text), file)
    former = None if resumed is None else run_settings.read_settings(resumed)
    return settings.resolve(preset, of_file, assignments, flags, base=former)


def _dataset(text: str | None) -> dict[str, str | None]:
    """What --data says: the name of a dataset, else a path of images."""
    if text is None or text in registry.names("data"):
        return {"name": text}
    looks_like_path = "/" in text or os.sep in text or text.lower().endswith(ARRAY_SUFFIXES)
    if looks_like_path or Path(text).exists():
        return {"name": "images", "path": text}
    return {"name": text}  # refused where names are checked, with the nearest one


def _flags(**sections: dict[str, Any]) -> dict[str, Any]:
    """Only what was given: an option that was not says nothing."""
    given = {
        section: {key: value for key, value in values.items() if value is not None}
        for section, values in sections.items()
    }
    return {section: values for section, values in given.items() if values}


def _print(folder: Path, step: int, config: "RunConfig", as_json: bool) -> None:
    if as_json:
        options.print_json(
            {"schema": 1, "run": str(folder), "step": step, "config": config.to_dict()}
        )
    else:
        typer.echo(folder)
