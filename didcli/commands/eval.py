"""`did eval`: score a run, or codes from anywhere, and print a table or JSON."""

import functools
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from didcli import registry
from didcli.commands import _options as options
from didcli.errors import DataError, UsageError
from didcli.io.cores import choose_threads
from didcli.scoring.protocol import (
    DciBackend,
    EvaluationProtocol,
    SapConvention,
    score_name,
)

if TYPE_CHECKING:
    from didcli.engine.evaluate import OnStage
    from didcli.scoring.table import CodeTable

ALL = "all"
SCORING = (
    *("metrics", "sap", "dci_backend", "train_points", "test_points", "variance_points"),
    *("eval_seeds", "shuffled", "disjoint", "plot"),
)
"""Options that say how to score, and mean nothing to --select."""
OF_RUNS = ("device", "runs_dir", "data_dir")
"""Options that say where a run and its data are, and mean nothing to --codes."""
UNITS = {"Encoding": "images", "Scoring": "scores"}
"""What the stages of an evaluation count."""


class Criterion(StrEnum):
    udr = "udr"
    centrality = "centrality"


def evaluate(
    context: typer.Context,
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN",
            help="Run folder. Without it, the latest under --runs-dir. Several for --select.",
        ),
    ] = None,
    codes: Annotated[
        str | None,
        typer.Option(help="Score this npz (codes, factors, factor_sizes) instead; - is stdin."),
    ] = None,
    metrics: Annotated[
        str, typer.Option(help=f"all, or some of {', '.join(registry.names('metrics'))}.")
    ] = ALL,
    sap: Annotated[
        SapConvention, typer.Option(help="Accuracy of a linear SVM, or squared correlation.")
    ] = EvaluationProtocol.sap,
    dci_backend: Annotated[
        DciBackend, typer.Option(help="Our fast trees, or scikit-learn's.")
    ] = EvaluationProtocol.dci_backend,
    train_points: Annotated[
        int, typer.Option(help="Points to learn from.")
    ] = EvaluationProtocol.train_points,
    test_points: Annotated[
        int, typer.Option(help="Points to test on.")
    ] = EvaluationProtocol.test_points,
    variance_points: Annotated[
        int, typer.Option(help="Points for the variances of factor_vae.")
    ] = EvaluationProtocol.variance_points,
    eval_seed: Annotated[
        int, typer.Option(help="Fixes the points that are drawn.")
    ] = EvaluationProtocol.eval_seed,
    eval_seeds: Annotated[
        int, typer.Option(help="Evaluations, each with its own seed: mean and deviation.")
    ] = EvaluationProtocol.eval_seeds,
    shuffled: Annotated[
        bool, typer.Option("--shuffled", help="Add what codes that know nothing would score.")
    ] = False,
    disjoint: Annotated[
        bool, typer.Option("--disjoint", help="Draw training and test points from separate rows.")
    ] = EvaluationProtocol.disjoint,
    plot: Annotated[
        bool, typer.Option("--plot", help="Draw latents by factors: eval.png in the run folder.")
    ] = False,
    select: Annotated[
        Criterion | None,
        typer.Option(help="Instead, rank several runs of one configuration, without labels."),
    ] = None,
    threads: options.Threads = 0,
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
    did eval --select udr runs/a runs/b runs/c
    did export --what codes --format npz -o - | did eval --codes -

    The scores are those of disentanglement_lib on the same draws, but for ties in dci; infomec is
    that of Hsu et al. 2023. Notes on stderr say what in the codes or in the data could make them
    mislead.
    """
    names = _metric_names(metrics)
    given = runs or []
    if codes is not None and (given or select):
        raise UsageError("runs and --codes are two things to score", hint="Give one of them.")
    if codes is not None and (senseless := _given(context, OF_RUNS)):
        raise UsageError(
            f"{', '.join(senseless)}: not for --codes, which opens no run",
            hint="The codes bring their factors; name a run instead, or leave it out.",
        )
    if plot and not {"mig", "dci"} & set(names):
        raise UsageError("--plot shows the matrices of mig and dci", hint="Add one to --metrics.")
    if len(given) > 1 and not select:
        raise UsageError(f"one run at a time, got {len(given)}", hint="Or rank them: --select udr")
    if select and len(given) < 2:
        raise UsageError("--select ranks two runs or more", hint="Name run folders, one by one.")
    if select and (senseless := _given(context, SCORING)):
        raise UsageError(
            f"{', '.join(senseless)}: not for --select, which scores nothing",
            hint="did eval RUN scores a run; --select takes --eval-seed, --threads, --device and "
            "--data-dir.",
        )
    options.say("did eval: getting ready ...", quiet)  # importing torch or sklearn takes seconds
    if select:
        report = _select(given, select.value, device, threads, eval_seed, data_dir, quiet)
        _print(report, as_json, quiet, _ranking_as_text)
        return

    from didcli.engine import evaluate as engine

    protocol = EvaluationProtocol(
        train_points=train_points,
        test_points=test_points,
        variance_points=variance_points,
        sap=sap,
        dci_backend=dci_backend,
        eval_seed=eval_seed,
        eval_seeds=eval_seeds,
        disjoint=disjoint,
        threads=choose_threads(threads),
    )
    if codes is not None:
        title, folder = "stdin" if codes == "-" else codes, Path()
        table = _read_codes(codes)
        with _stages(quiet) as on_progress:
            report = engine.evaluate(
                table, names, protocol, shuffled=shuffled, on_progress=on_progress
            )
    else:
        from didcli.engine.run_folder import find_run
        from didcli.engine.runs import open_run

        folder = find_run(given[0] if given else None, runs_dir)
        title = str(folder)
        run = open_run(folder, device)
        options.say(f"run {folder}, step {run.step}, {run.device}", quiet)
        with _stages(quiet) as on_progress:
            report = engine.evaluate_run(
                run,
                names,
                protocol,
                shuffled=shuffled,
                data_dir=data_dir,
                on_progress=on_progress,
            )
    _print(report, as_json, quiet, functools.partial(_as_text, title))
    if plot:  # last: a picture that cannot be written does not lose the scores
        from didcli.engine.reports import PICTURE_NAME
        from didcli.io.atomic import write_bytes

        write_bytes(folder / PICTURE_NAME, engine.picture(report, title))
        options.say(f"picture {folder / PICTURE_NAME}", quiet)


def _given(context: typer.Context, names: Sequence[str]) -> list[str]:
    """Those of the options that stand on the command line, be it with their default."""
    sources = {name: context.get_parameter_source(name) for name in names}
    return [
        f"--{name.replace('_', '-')}"
        for name, source in sources.items()
        if source is not None and source.name == "COMMANDLINE"
    ]


def _select(
    folders: Sequence[Path],
    criterion: Literal["udr", "centrality"],
    device: str,
    threads: int,
    seed: int,
    data_dir: Path | None,
    quiet: bool,
) -> dict[str, Any]:
    from didcli.engine.device import use_threads
    from didcli.engine.runs import open_run
    from didcli.engine.select import select

    use_threads(threads)
    with _stages(quiet) as on_progress:
        return select(
            [open_run(folder, device) for folder in folders],
            criterion,
            seed=seed,
            data_dir=data_dir,
            on_progress=on_progress,
        )


def _print(
    report: Mapping[str, Any],
    as_json: bool,
    quiet: bool,
    as_text: Callable[[Mapping[str, Any]], str],
) -> None:
    options.say_notes(report["notes"], quiet)
    if as_json:
        options.print_json(report)
    else:
        typer.echo(as_text(report))


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
def _stages(quiet: bool) -> "Iterator[OnStage]":
    """Yields a callback (title, done, total, note) that shows one stage after the other."""
    from didcli.io.progress import progress

    with ExitStack() as stack:
        shown: str | None = None
        update: Any = None

        def on_progress(title: str, done: int, total: int, note: str) -> None:
            nonlocal shown, update
            if title != shown:
                stack.close()
                bar = progress(title, total=total, unit=UNITS.get(title, ""), quiet=quiet)
                update = stack.enter_context(bar)
                shown = title
            update(done, note=note)

        yield on_progress


def _as_text(title: str, report: Mapping[str, Any]) -> str:
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
    labels = {key: score_name(key, report["protocol"]) for key in report["scores"]}
    width = max(map(len, labels.values())) + 2
    lines.append(" " * width + "".join(f"{head:>12}" for head in columns))
    for key, label in labels.items():
        cells = [_cell(column[key]) if key in column else "" for column in columns.values()]
        lines.append((f"{label:<{width}}" + "".join(f"{cell:>12}" for cell in cells)).rstrip())
    if "mig" in report["details"]:
        lines += ["", *_best_latents(data["factor_names"], report["details"]["mig"])]
    return "\n".join(lines)


def _best_latents(names: Sequence[str], mig: Mapping[str, Any]) -> Iterator[str]:
    """A line for each factor: the latent that knows most of it, and how much more than the next."""
    width = max(6, *map(len, names)) + 2
    yield f"{'factor':<{width}}{'latent':>8}{'knows':>8}{'gap':>8}"
    known = zip(*mig["mutual_information"], strict=True)
    for name, of_latents, entropy, gap in zip(
        names, known, mig["factor_entropy"], mig["gap_per_factor"], strict=True
    ):
        best = max(of_latents)
        latent = of_latents.index(best)
        yield f"{name:<{width}}{latent:>8}{best / entropy:>8.2f}{gap:>8.2f}"


def _ranking_as_text(report: Mapping[str, Any]) -> str:
    """The runs, the best first: score, tab, path."""
    return "\n".join(f"{run['score']:.4f}\t{run['path']}" for run in report["runs"])


def _cell(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"
