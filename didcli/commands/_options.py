"""Options and small ways of printing that several commands share."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import didcli
from didcli.io.paths import ENVIRONMENT_VARIABLE

if TYPE_CHECKING:
    from didcli.io.records import OnProgress

DEVICE_HELP = "auto, cpu, cuda, cuda:N or mps; auto is the best there is."
THREADS_HELP = "CPU threads; 0 is one per core. On a busy machine 1 is faster."
RUNS_DIR = Path("runs")
LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "numba")
"""Libraries that decide what comes out; --verbose names them."""


def _say_versions(context: typer.Context, asked: bool) -> None:
    if not asked or context.resilient_parsing:  # the shell asks for completions
        return
    import platform
    from importlib.metadata import version

    libraries = [f"{name} {version(name)}" for name in LIBRARIES]
    python = f"Python {platform.python_version()}"
    say(", ".join([f"did {didcli.__version__}", python, *libraries, platform.platform()]))


RunsDir = Annotated[Path, typer.Option(help="Folder of run folders.", envvar="DID_RUNS_DIR")]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder of datasets and caches.", envvar=ENVIRONMENT_VARIABLE)
]
Threads = Annotated[int, typer.Option(min=0, max=10_000, help=THREADS_HELP)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but results and errors.")]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        callback=_say_versions,
        expose_value=False,
        help="Say first which versions of what are at work.",
    ),
]
Debug = Annotated[  # didcli.cli reads it from sys.argv: anything may fail earlier
    bool,
    typer.Option("--debug", expose_value=False, help="Show the traceback of an error."),
]


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
def data_progress(quiet: bool) -> "Iterator[OnProgress]":
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
