"""`did traverse`: run and dimensions -> images along them, in a PNG, GIF or HTML file."""

import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from didcli.commands import _numbers, _output
from didcli.commands import _options as options
from didcli.errors import DataError, UsageError

if TYPE_CHECKING:
    from didcli.engine.runs import Run
    from didcli.engine.traverse import Anchors, Traversal

ANCHORS = 3


class PictureFormat(StrEnum):
    """What the result is written as; also the suffix of its file."""

    png = "png"
    gif = "gif"
    html = "html"


class Origin(StrEnum):
    """Where anchors come from."""

    data = "data"
    prior = "prior"


STEPS = {PictureFormat.png: 9, PictureFormat.gif: 21, PictureFormat.html: 21}
"""Values per dimension: what fits the width of a screen; what makes a smooth motion."""


def traverse(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="RUN", help="Run folder. Without it, the latest under --runs-dir."),
    ] = None,
    dim: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIMS", help="Dimensions: 3, 0-4 or 1,5; may be repeated. Without it, all."
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="File, or - for stdout. By default in the run folder."),
    ] = None,
    file_format: Annotated[
        PictureFormat | None,
        typer.Option("--format", help="By default what the suffix of -o says, else png."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=2, max=500, help="Values per dimension. [default: 9; gif and html: 21]"),
    ] = None,
    limits: Annotated[
        str | None,
        typer.Option(
            "--range", metavar="LOW,HIGH", help="Of the values. By default the method's range."
        ),
    ] = None,
    origin: Annotated[
        Origin | None,
        typer.Option(
            "--from",
            help="Start from real images, or from codes drawn over the method's range. By default "
            "data, where the dataset is at hand.",
        ),
    ] = None,
    anchors: Annotated[
        int | None,
        typer.Option(
            min=1, max=100, help=f"Starting points, one to a row of images. [default: {ANCHORS}]"
        ),
    ] = None,
    rows: Annotated[
        str | None, typer.Option(help="Start from these images of the dataset: 0,17,4.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Fixes the starting points drawn.")] = 0,
    preview: Annotated[
        bool | None,
        typer.Option(
            "--preview/--no-preview",
            help="Show a small picture on stderr. By default where it is a colour terminal.",
        ),
    ] = None,
    threads: options.Threads = 0,
    device: Annotated[str, typer.Option(help=options.DEVICE_HELP)] = "auto",
    runs_dir: options.RunsDir = options.RUNS_DIR,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Draw what each dimension does; print the path of the picture.

    \b
    did traverse                                all dimensions of the latest run, a PNG
    did traverse runs/x --dim 3 --dim 0-1 -o moving.gif
    did traverse -o page.html                   one page, a slider a dimension
    did traverse --rows 0,17 --range -2,2 -o - | display

    After did eval, each dimension is labelled with the factor it knows most about and the share
    of that factor's entropy that it knows (0 to 1).
    """
    chosen_format = _choose_format(file_format, output)
    if rows is not None and (origin is Origin.prior or anchors is not None):
        raise UsageError(
            "--rows chooses images, and how many", hint="Leave out --anchors and --from prior."
        )
    if output is not None:
        _output.check(output, binary=chosen_format is not PictureFormat.html, as_json=as_json)
    options.say("did traverse: getting ready ...", quiet)  # importing torch takes seconds

    from didcli.engine import run_folder, runs, traversal_files
    from didcli.engine import traverse as engine
    from didcli.engine.device import use_threads

    use_threads(threads)
    row_numbers = _numbers.parse_rows(rows) if rows is not None else None
    bounds = _numbers.parse_range(limits) if limits is not None else None
    folder = run_folder.find_run(run, runs_dir)
    opened = runs.open_run(folder, device)
    options.say(f"run {folder}, step {opened.step}, {opened.device}", quiet)
    dims = _numbers.parse_dims(dim or [], opened.latent_dim)
    values = engine.evenly_spaced(
        *(bounds or opened.code_range), steps if steps is not None else STEPS[chosen_format]
    )
    if output is None:
        output = str(folder / traversal_files.file_name(dims, opened.latent_dim, chosen_format))
        _output.check(output, binary=True)

    start = _find_anchors(
        opened, origin, row_numbers, anchors or ANCHORS, seed, data_dir=data_dir, quiet=quiet
    )
    known = engine.read_knowledge(folder, opened.digest, opened.latent_dim)
    labels = [engine.label(each, known) for each in dims]
    traversal = engine.traverse(opened, dims, values, start.codes)
    picture = traversal_files.render(
        traversal, labels, chosen_format, title=engine.title_of(opened)
    )
    _output.write(output, [picture])

    if preview or (preview is None and not quiet):
        _show_preview(traversal, labels, forced=bool(preview))
    if as_json:
        options.print_json(
            {
                "schema": 1,
                "run": str(folder),
                "step": opened.step,
                "data_source": opened.source,
                "output": output,
                "format": chosen_format,
                "dims": list(dims),
                "labels": labels,
                "values": [round(float(value), 6) for value in values],
                "anchors": {
                    "from": "data" if start.rows else "prior",
                    "rows": start.rows,
                    "codes": start.codes.tolist(),
                },
            }
        )
    elif output != _output.STDOUT:
        typer.echo(output)


def _choose_format(asked: PictureFormat | None, output: str | None) -> PictureFormat:
    """`asked`, else what the suffix of the file says. Raises UsageError for another suffix."""
    if asked is not None or output in {None, _output.STDOUT}:
        return asked or PictureFormat.png
    suffix = Path(str(output)).suffix.lower().removeprefix(".")
    if suffix not in [*PictureFormat]:
        raise UsageError(
            f"cannot tell from its name what to write to {output}",
            hint="Name a .png, .gif or .html file, or pass --format.",
        )
    return PictureFormat(suffix)


def _find_anchors(
    run: "Run",
    origin: Origin | None,
    rows: tuple[int, ...] | None,
    count: int,
    seed: int,
    *,
    data_dir: Path | None,
    quiet: bool,
) -> "Anchors":
    """Real images, unless others are asked for, or nothing is and the dataset is not there."""
    from didcli.engine import traverse as engine

    if origin is Origin.prior:
        return engine.prior_anchors(run, count, seed)
    try:
        with options.data_progress(quiet) as on_data:
            dataset = run.dataset(data_dir, on_data)
    except DataError as error:
        if origin is Origin.data or rows is not None:
            raise
        options.say(f"no real images to start from ({error}): starting from random codes", quiet)
        return engine.prior_anchors(run, count, seed)
    options.say_notes(dataset.notes, quiet)
    return engine.data_anchors(run, dataset, rows or engine.random_rows(count, len(dataset), seed))


def _show_preview(traversal: "Traversal", labels: Sequence[str], *, forced: bool) -> None:
    """The first row of each dimension, as many as fit the terminal, on stderr."""
    from didcli.io import preview

    kind = preview.colours(sys.stderr, os.environ) or ("256" if forced else None)
    if kind is None:
        return
    columns, height = _terminal_size()
    shown = preview.evenly_chosen(len(traversal.values), preview.fitting(columns))
    left = height - 2  # for the command and the prompt
    for number, (text, images) in enumerate(zip(labels, traversal.images, strict=True)):
        lines = preview.lines(images[0, shown], columns, kind)
        left -= len(lines) + 1
        if number and left < 1:
            options.say(f"and {len(labels) - number} more in the picture")
            return
        typer.echo("\n".join([text[:columns], *lines]), err=True, color=True)


def _terminal_size() -> tuple[int, int]:
    """(columns, lines) of the terminal that stderr is; stdout may well be a pipe."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except OSError:
        return 80, 24
    return size.columns or 80, size.lines or 24  # 0 where nobody has told the terminal its size
