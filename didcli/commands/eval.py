"""`did eval`: score a run, or codes from anywhere, and print a table or JSON."""

import io
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from didcli import registry
from didcli.commands import _options as options
from didcli.errors import DataError, UsageError

if TYPE_CHECKING:
    from didcli.metrics._table import CodeTable

ALL = "all"


class Sap(StrEnum):
    """The conventions that `didcli.metrics._protocol` explains; that module is loaded later."""

    discrete = "discrete"
    continuous = "continuous"


class DciBackend(StrEnum):
    exact = "exact"
    sklearn = "sklearn"


def evaluate(
    run: Annotated[
        Path | None, typer.Argument(help="Run folder. Without it, the latest under --runs-dir.")
    ] = None,
    codes: Annotated[
        str | None,
        typer.Option(help="Score this npz (codes, factors, factor_sizes) instead; - is stdin."),
    ] = None,
    metrics: Annotated[
        str, typer.Option(help=f"all, or some of {', '.join(registry.names('metrics'))}.")
    ] = ALL,
    sap: Annotated[
        Sap, typer.Option(help="Accuracy of a linear SVM, or squared correlation.")
    ] = Sap.discrete,
    dci_backend: Annotated[
        DciBackend, typer.Option(help="Our fast trees, or scikit-learn's.")
    ] = DciBackend.exact,
    train_points: Annotated[int, typer.Option(help="Points to learn from.")] = 10_000,
    test_points: Annotated[int, typer.Option(help="Points to test on.")] = 5_000,
    variance_points: Annotated[
        int, typer.Option(help="Points for the variances of factor_vae.")
    ] = 10_000,
    eval_seed: Annotated[int, typer.Option(help="Fixes the points that are drawn.")] = 0,
    eval_seeds: Annotated[
        int, typer.Option(help="Evaluations, each with its own seed: mean and deviation.")
    ] = 1,
    shuffled: Annotated[
        bool, typer.Option("--shuffled", help="Add what codes that know nothing would score.")
    ] = False,
    disjoint: Annotated[
        bool, typer.Option("--disjoint", help="Draw training and test points from separate rows.")
    ] = False,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 is one per core.")] = 0,
    device: Annotated[str, typer.Option(help=options.DEVICE_HELP)] = "auto",
    runs_dir: options.RunsDir = options.RUNS_DIR,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Score how disentangled the codes of a run are.

    \b
    did eval                                    the latest run; also writes its eval.json
    did eval runs/x --metrics mig,dci,sap --json
    did eval --codes z.npz --eval-seeds 5 --shuffled
    did export --what codes --format npz -o - | did eval --codes -

    The scores are those of disentanglement_lib, draw for draw. Notes on stderr say what in the
    codes or in the data could make them mislead.
    """
    names = _metric_names(metrics)
    if codes is not None and run is not None:
        raise UsageError("a run and --codes are two things to score", hint="Give one of them.")
    options.say("did eval: getting ready ...", quiet)  # importing torch or sklearn takes seconds

    from didcli.engine import evaluate as engine
    from didcli.metrics._parallel import cores

    protocol = engine.EvaluationProtocol(
        train_points=train_points,
        test_points=test_points,
        variance_points=variance_points,
        sap=sap.value,
        dci_backend=dci_backend.value,
        eval_seed=eval_seed,
        eval_seeds=eval_seeds,
        disjoint=disjoint,
        threads=threads or cores(),
    )
    if codes is not None:
        title = "stdin" if codes == "-" else codes
        table = _read_codes(codes)
        with _stages(quiet) as on_progress:
            report = engine.evaluate(
                table, names, protocol, shuffled=shuffled, on_progress=on_progress
            )
    else:
        from didcli.engine import runs

        folder = runs.find_run(run, runs_dir)
        title = str(folder)
        options.say(f"run {folder}", quiet)
        with _stages(quiet) as on_progress:
            report = engine.evaluate_run(
                runs.open_run(folder, device),
                names,
                protocol,
                shuffled=shuffled,
                data_dir=data_dir,
                on_progress=on_progress,
            )
    for note in report["notes"]:
        options.say(f"note: {note}", quiet)
    if as_json:
        options.print_json(report)
    else:
        typer.echo(_as_text(report, title))


def _metric_names(asked: str) -> list[str]:
    """`mig,dci` -> the names, checked before anything slow is loaded."""
    known = registry.names("metrics")
    if asked.strip() == ALL:
        return known
    names = list(dict.fromkeys(name.strip() for name in asked.split(",") if name.strip()))
    if not names:
        raise UsageError("--metrics names none", hint=f"Choose from: all, {', '.join(known)}.")
    for name in names:
        registry.check("metrics", name)
    return names


def _read_codes(source: str) -> "CodeTable":
    from didcli.engine.evaluate import read_code_table

    if source == "-":
        # A zip archive is read from its end: a pipe has none until it is over.
        return read_code_table(io.BytesIO(sys.stdin.buffer.read()), "stdin")
    try:
        with Path(source).open("rb") as file:
            return read_code_table(file, source)
    except OSError as error:
        raise DataError(
            f"cannot read {source}: {error.strerror}", hint="Check the path of --codes."
        ) from error


@contextmanager
def _stages(quiet: bool) -> Iterator[Callable[[str, int, int, str], None]]:
    """Yields a callback (title, done, total, note) that shows one stage after the other."""
    from didcli.io.progress import progress

    with ExitStack() as stack:
        shown: str | None = None
        update: Any = None

        def on_progress(title: str, done: int, total: int, note: str) -> None:
            nonlocal shown, update
            if title != shown:
                stack.close()
                update = stack.enter_context(progress(title, total=total, quiet=quiet))
                shown = title
            update(done, note=note)

        yield on_progress


def _as_text(report: Mapping[str, Any], title: str) -> str:
    """The scores as a table of at most 80 columns."""
    data = report["data"]
    sizes = ", ".join(
        f"{name} ({size})"
        for name, size in zip(data["factor_names"], data["factor_sizes"], strict=True)
    )
    lines = [f"{title}: {data['rows']:,} rows, {data['latents']} latents", f"factors: {sizes}", ""]
    columns = {"score": report["scores"]}
    if "scores_sd" in report:
        columns["sd"] = report["scores_sd"]
    if "chance" in report:
        columns["chance"] = report["chance"]
    width = max(len(key) for key in report["scores"]) + 2
    lines.append(" " * width + "".join(f"{head:>12}" for head in columns))
    for key in report["scores"]:
        cells = "".join(f"{_cell(column[key]):>12}" for column in columns.values())
        lines.append(f"{key:<{width}}{cells}")
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"
