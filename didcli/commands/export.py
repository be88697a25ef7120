"""`did export`: networks as ONNX or pt2, codes as npz, csv or jsonl, a run as a folder to share."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from didcli.commands import _options as options
from didcli.commands import _output
from didcli.errors import StorageError, UsageError

if TYPE_CHECKING:
    from didcli.engine.export_codes import CodeSource
    from didcli.engine.export_model import ModelFormat, Part
    from didcli.engine.runs import Run


class What(StrEnum):
    """What there is to export."""

    encoder = "encoder"
    generator = "generator"
    codes = "codes"
    all = "all"
    run = "run"


class ExportFormat(StrEnum):
    """What it is written as; also the suffix of its file."""

    pt2 = "pt2"
    onnx = "onnx"
    npz = "npz"
    csv = "csv"
    jsonl = "jsonl"


FORMATS = {
    What.encoder: (ExportFormat.pt2, ExportFormat.onnx),
    What.generator: (ExportFormat.pt2, ExportFormat.onnx),
    What.codes: (ExportFormat.npz, ExportFormat.csv, ExportFormat.jsonl),
}
"""What each thing can be written as, the default first: pt2 needs nothing but torch."""
TEXT = (ExportFormat.csv, ExportFormat.jsonl)


@dataclass(frozen=True)
class ExportJob:
    """One thing to export."""

    what: What
    format: ExportFormat
    output: str | None
    """A path, `-`, or None for the usual name in the run folder."""


def export(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="RUN", help="Run folder. Without it, the latest under --runs-dir."),
    ] = None,
    what: Annotated[
        What | None,
        typer.Option(
            help="By default all of encoder, generator and codes; with --images, codes. run: a run "
            "folder with encoder and generator alone, scores and a model card."
        ),
    ] = None,
    file_format: Annotated[
        ExportFormat | None,
        typer.Option(
            "--format",
            help="Models: pt2 (torch.export) or onnx; codes: npz, csv or jsonl. By default what "
            "the suffix of -o says, else pt2 and npz.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="File, or - for stdout; a folder for all. By default in the run folder. For run a "
            "new folder, which must be given.",
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Codes of the images in this folder, instead of the run's dataset."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first N rows of codes.")
    ] = None,
    threads: options.Threads = 0,
    device: Annotated[str, typer.Option(help=options.DEVICE_HELP)] = "auto",
    runs_dir: options.RunsDir = options.RUNS_DIR,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write encoder, generator or codes to files for other programs.

    \b
    did export                                        all, into the folder of the latest run
    did export runs/x --what encoder -o encoder.onnx
    did export --what codes --format jsonl -o - | jq .
    did export --what codes --images photos -o photos.csv
    did export runs/x --what run -o shared            small, for did eval and did traverse

    Encoder: images (B, C, H, W) float32 in [0, 1] -> codes (B, D). Generator: codes -> images.
    Either is read back and compared with the run before it is written; so is a run, afterwards.
    """
    if what is What.run:
        given = {"--format": file_format, "--images": images, "--limit": limit}
        _release(run, _new_folder(output, given), threads, device, runs_dir, as_json, quiet)
        return
    given_for_codes = {"with_images": images is not None, "with_limit": limit is not None}
    jobs = plan(what, file_format, output, **given_for_codes)
    if output is not None and len(jobs) > 1:
        _make_folder(Path(output))
    for job in jobs:
        if job.output is not None:
            _output.check(job.output, binary=job.format not in TEXT, as_json=as_json)
    options.say("did export: getting ready ...", quiet)  # importing torch takes seconds

    from didcli.engine.export_model import check_onnx_packages

    if any(job.format is ExportFormat.onnx for job in jobs):
        check_onnx_packages()
    folder, opened = _open(run, threads, device, runs_dir, quiet)
    files: list[dict[str, Any]] = []
    for job in jobs:
        path = job.output or str(folder / f"{job.what}.{job.format}")
        _output.check(path, binary=job.format not in TEXT)
        if job.what is What.codes:
            facts = _export_codes(opened, job, path, images, limit, data_dir, quiet)
        else:
            facts = _export_model(opened, job, path, quiet)
        files.append({"what": job.what, "format": job.format, "path": path, **facts})
    if as_json:
        options.print_json({"schema": 1, "run": str(folder), "step": opened.step, "files": files})
        return
    for file in files:
        if file["path"] != _output.STDOUT:
            typer.echo(file["path"])


def _open(
    run: Path | None, threads: int, device: str, runs_dir: Path, quiet: bool
) -> "tuple[Path, Run]":
    """The run that is meant, and its folder, named on stderr."""
    from didcli.engine import run_folder, runs
    from didcli.engine.device import use_threads

    use_threads(threads)
    folder = run_folder.find_run(run, runs_dir)
    opened = runs.open_run(folder, device)
    options.say(f"run {folder}, step {opened.step}, {opened.device}", quiet)
    return folder, opened


def _new_folder(output: str | None, given: Mapping[str, object]) -> Path:
    hint = "did export RUN --what run -o NEW_FOLDER"
    senseless = [option for option, value in given.items() if value is not None]
    if senseless:
        raise UsageError(f"{', '.join(senseless)}: not for --what run", hint=hint)
    if output is None or output == _output.STDOUT:
        raise UsageError("a run is exported as a folder", hint=hint)
    return Path(output)


def _release(
    run: Path | None,
    folder: Path,
    threads: int,
    device: str,
    runs_dir: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    options.say("did export: getting ready ...", quiet)

    from didcli.engine.release import release

    source, opened = _open(run, threads, device, runs_dir, quiet)
    size = release(opened, folder)
    options.say(f"read back, it computes the same; {size / 1e6:.1f} MB of weights", quiet)
    if as_json:
        files = [{"what": "run", "format": "safetensors", "path": str(folder), "bytes": size}]
        options.print_json({"schema": 1, "run": str(source), "step": opened.step, "files": files})
        return
    typer.echo(folder)


def plan(
    what: What | None,
    file_format: ExportFormat | None,
    output: str | None,
    *,
    with_images: bool,
    with_limit: bool = False,
) -> list[ExportJob]:
    """What to write, as what, and where to. Raises UsageError for options that contradict."""
    what = what or (What.codes if with_images else What.all)
    if with_images and what is not What.codes:
        raise UsageError("--images is for codes", hint="Say --what codes, or leave out --images.")
    suffix = Path(output or "").suffix.lower().removeprefix(".")
    named = ExportFormat(suffix) if suffix in [*ExportFormat] else None
    if with_limit and what not in {What.codes, What.all}:
        raise UsageError("--limit is for codes", hint="Say --what codes, or leave out --limit.")
    if suffix and named is None and file_format is None and what is not What.all:
        raise UsageError(
            f"-o {output} names no format of {what}",
            hint=f"Name a file .{' or .'.join(FORMATS[what])}, or give --format.",
        )
    if what is not What.all:
        chosen = file_format or named or FORMATS[what][0]
        if chosen not in FORMATS[what]:
            raise UsageError(
                f"{what} cannot be written as {chosen}",
                hint=f"--format takes {' or '.join(FORMATS[what])} for it.",
            )
        return [ExportJob(what, chosen, output)]
    if output == _output.STDOUT or named is not None:
        raise UsageError(
            f"all makes three files, and -o {output} is one",
            hint="Choose one with --what, or give -o a folder.",
        )
    return [
        ExportJob(
            each,
            chosen := file_format if file_format in formats else formats[0],
            None if output is None else str(Path(output) / f"{each}.{chosen}"),
        )
        for each, formats in FORMATS.items()
    ]


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot make the folder {path}: {error.strerror}", hint="Choose another -o."
        ) from error


def _export_model(run: "Run", job: ExportJob, path: str, quiet: bool) -> dict[str, Any]:
    """Write a network; what there is to say about the file."""
    from didcli.engine.export_model import export_model

    part, file_format = cast("Part", job.what.value), cast("ModelFormat", job.format.value)
    options.say(f"exporting the {job.what} to {job.format} ...", quiet)
    model = export_model(run, part, file_format)
    _output.write(path, [model.content])
    options.say(
        f"{job.what}: read back, it differs from the run by at most {model.max_difference:.2g}",
        quiet,
    )
    return {"bytes": len(model.content), "max_difference": model.max_difference}


def _export_codes(
    run: "Run",
    job: ExportJob,
    path: str,
    images: Path | None,
    limit: int | None,
    data_dir: Path | None,
    quiet: bool,
) -> dict[str, Any]:
    """Write a table of codes; what there is to say about the file."""
    from didcli.engine import export_codes as engine
    from didcli.io.progress import progress

    skipped: list[str] = []

    def on_skip(name: str, why: str) -> None:
        skipped.append(name)
        options.say(f"skipped {name}: {why}", quiet)

    if images is not None:
        source = engine.folder_codes(run, images, limit, on_skip)
    else:
        # To stdout, the first rows should not wait for the last image.
        streaming = path == _output.STDOUT and job.format in TEXT
        source = _dataset_source(run, limit, data_dir, keep=not streaming, quiet=quiet)
    options.say_notes(source.notes, quiet)
    write = engine.CODE_WRITERS[job.format]
    # Rows that appear on the terminal show how far it is, and a bar would be drawn into them.
    shown = path == _output.STDOUT and sys.stdout.isatty()
    with progress("Encoding", total=source.total, unit="images", quiet=quiet or shown) as update:
        _output.write(path, write(source, update))
    if skipped:
        # Even when quiet: whoever reads the table must know that it is not complete.
        options.say(f"skipped {len(skipped)} of {source.total} files that could not be read")
    return {
        "rows": source.total - len(skipped),
        "skipped": skipped,
        "notes": list(source.notes),
    }


def _dataset_source(
    run: "Run", limit: int | None, data_dir: Path | None, *, keep: bool, quiet: bool
) -> "CodeSource":
    from didcli.engine import export_codes as engine

    with options.data_progress(quiet) as on_data:
        dataset = run.dataset(data_dir, on_data)
    return engine.dataset_codes(run, dataset, limit, keep=keep)
