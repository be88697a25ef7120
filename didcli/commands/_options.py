"""Options and small ways of printing that several commands share."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

DEVICE_HELP = "auto, cpu, cuda, cuda:N or mps; auto is the best there is."
RUNS_DIR = Path("runs")

RunsDir = Annotated[Path, typer.Option(help="Folder of run folders.", envvar="DID_RUNS_DIR")]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder of datasets and caches.", envvar="DID_DATA_DIR")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but results and errors.")]


def say(text: str, quiet: bool = False) -> None:
    """A line for people, on stderr: stdout carries data."""
    if not quiet:
        typer.echo(text, err=True)


def say_notes(notes: Iterable[str], quiet: bool = False) -> None:
    """What there is to know about data or scores, a line each."""
    for note in notes:
        say(f"note: {note}", quiet)


def print_json(document: Mapping[str, Any]) -> None:
    """One object on stdout. Raises ValueError for NaN and infinity, which are not JSON."""
    typer.echo(json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False))


@contextmanager
def data_progress(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Yields a callback (done, total) that shows a dataset being made, from its first call on."""
    from didcli.io.progress import progress

    with ExitStack() as stack:
        update: Any = None

        def on_data(done: int, total: int) -> None:
            nonlocal update
            if update is None:
                update = stack.enter_context(
                    progress("Preparing the dataset, once", total=total, unit="images", quiet=quiet)
                )
            update(done)
            if done >= total:
                stack.close()

        yield on_data
