"""Score codes against the factors behind them.

Three lines score any encoder:

    from didcli.engine.evaluate import code_table, evaluate
    report = evaluate(code_table(codes, factors))
    print(report["scores"])
"""

import hashlib
import importlib.metadata
import itertools
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_info

from didcli import registry
from didcli.engine.encode import encode_dataset
from didcli.errors import DataError, StorageError, UsageError
from didcli.io import arrays
from didcli.io.heatmap import Panel, draw
from didcli.scoring.guards import inspect
from didcli.scoring.outcomes import Outcome, details_of, notes_of, scores_of
from didcli.scoring.protocol import EvaluationProtocol, Result, UndefinedError
from didcli.scoring.table import CodeTable, code_table

if TYPE_CHECKING:
    from didcli.engine.runs import Run

__all__ = [
    "CodeTable",
    "EvaluationProtocol",
    "code_table",
    "evaluate",
    "evaluate_run",
    "picture",
    "read_code_table",
]

SCHEMA = 1
LARGEST_ARRAY = 4 * 2**30
"""Bytes that an array in a file of codes may unpack to."""
LIBRARIES = ("didcli", "numpy", "scikit-learn", "scipy", "numba")
"""Versions to record: scikit-learn's solvers have changed scores twice."""

OnStage = Callable[[str, int, int, str], None]
"""Called with the title of the stage, the steps done, their total, and what is next."""


def evaluate(
    table: CodeTable,
    metrics: Sequence[str] | None = None,
    protocol: EvaluationProtocol | None = None,
    *,
    shuffled: bool = False,
    on_progress: OnStage | None = None,
) -> dict[str, Any]:
    """Score a table with the metrics named, all by default; the object that `--json` prints.

    Its keys: `schema`, `scores`, `protocol`, `data`, `details` (per latent and per factor, of the
    first seed, by metric), `versions`, `notes`. A score that is undefined is None, with a note.
    With several seeds `scores` and `chance` are means over them, and `scores_sd` (n - 1) and
    `scores_per_seed` are added.
    shuffled: score the table with its codes shuffled against its factors, too, in `chance`. It is
    done unasked for metrics that take noise for signal, where latents are near dead.
    Raises UnknownNameError for a metric that does not exist, UsageError for a senseless protocol.
    """
    protocol = protocol or EvaluationProtocol()
    names = _checked_request(metrics, protocol)
    facts, notes = inspect(table, protocol)
    misled = [name for name in names if facts["near_dead_latents"] and _needs_baseline(name)]
    tables = {"scores": table, "chance": _shuffled(table, protocol.eval_seed)}
    wanted = {"scores": names, "chance": names if shuffled else misled}
    seeds = range(protocol.eval_seed, protocol.eval_seed + protocol.eval_seeds)
    steps = [(kind, *step) for kind in tables for step in itertools.product(wanted[kind], seeds)]

    outcomes: dict[str, dict[str, list[Outcome]]] = {kind: {} for kind in tables}
    for done, (kind, name, seed) in enumerate(steps):
        if on_progress is not None:
            on_progress("Scoring", done, len(steps), name)
        outcomes[kind].setdefault(name, []).append(_score(tables[kind], name, protocol, seed))
    if on_progress is not None:
        on_progress("Scoring", len(steps), len(steps), "")
    return {
        "schema": SCHEMA,
        **scores_of(outcomes["scores"], several=len(seeds) > 1),
        **({"chance": scores_of(outcomes["chance"])["scores"]} if outcomes["chance"] else {}),
        "protocol": protocol.as_dict(),
        "data": facts,
        "details": details_of(outcomes["scores"]),
        "versions": _versions(),
        "notes": notes + notes_of(outcomes["scores"]),
    }


def evaluate_run(
    run: "Run",
    metrics: Sequence[str] | None = None,
    protocol: EvaluationProtocol | None = None,
    *,
    shuffled: bool = False,
    data_dir: Path | None = None,
    on_progress: OnStage | None = None,
) -> dict[str, Any]:
    """Score a run on the dataset it was trained on, and keep the report in its `eval.json`, beside
    what is there of other metrics by the same protocol. Where it cannot be written, a note says so.

    The report has the keys of `evaluate`, and `run`: path, step, checkpoint, method, data source.
    Raises DataError when the factors of the dataset are not known.
    """
    import torch  # loaded with the run; this module scores codes without it

    from didcli.engine import reports

    protocol = protocol or EvaluationProtocol()
    _checked_request(metrics, protocol)  # now, not after minutes of encoding
    torch.set_num_threads(protocol.threads)

    def on_dataset(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress("Preparing the dataset, once", done, total, "")

    dataset = run.dataset(data_dir, on_dataset)
    if not dataset.factor_names:
        raise DataError(
            f"the factors of {dataset.name!r} are not known, so nothing can be scored",
            hint="Evaluate on a dataset with factors, or choose among runs with --select.",
        )

    def on_encode(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress("Encoding", done, total, "")

    codes = encode_dataset(run, dataset, on_encode)
    table = code_table(codes, dataset.factors, dataset.factor_sizes, dataset.factor_names)
    report = evaluate(table, metrics, protocol, shuffled=shuffled, on_progress=on_progress)
    report["notes"] = [*dataset.notes, *report["notes"]]
    report["run"] = {
        "path": str(run.path),
        "step": run.step,
        "checkpoint": run.digest,
        "method": run.config.method.name,
        "dataset": dataset.name,
        "data_source": dataset.source,
        "data_notes": list(dataset.notes),
        "training_seed": run.config.train.seed,
        "precision": "float32",
    }
    if not _is_grid_in_order(table):
        # Labels of a user's own images change without the images.
        report["run"]["factors_sha256"] = hashlib.sha256(table.factors.tobytes()).hexdigest()
    report["versions"]["torch"] = importlib.metadata.version("torch")
    try:
        reports.keep_report(run.path, report)
    except StorageError as error:  # a colleague's run, a full disk: the scores are not lost by it
        report["notes"].append(f"the scores are not kept in the run folder: {error}")
    return report


def _is_grid_in_order(table: CodeTable) -> bool:
    """Whether the sizes of the factors say what each row's are: all combinations, one row each, the
    last factor fastest."""
    if len(table.factors) != prod(table.factor_sizes):  # which may be more than int64 holds
        return False
    rows = np.ravel_multi_index(tuple(table.factors.T), table.factor_sizes)
    return bool((np.diff(rows) == 1).all())


def picture(report: Mapping[str, Any], title: str) -> bytes:
    """A PNG of which latent knows which factor, and which one trees predict it from.

    Draws the matrices of `mig` and of `dci` as far as the report has them. Raises UsageError when
    it has neither.
    """
    details, factors = report["details"], report["data"]["factor_names"]
    latents = [f"z{d}" for d in range(report["data"]["latents"])]
    panels = []
    if "mig" in details:
        information = np.array(details["mig"]["mutual_information"])
        known = information / np.array(details["mig"]["factor_entropy"])
        panels.append(Panel("mutual information / entropy of factor", known, latents, factors))
    if "dci" in details:
        importance = np.array(details["dci"]["importance"])
        panels.append(Panel("importance for predicting factor", importance, latents, factors))
    if not panels:
        raise UsageError(
            "there is nothing to draw: the picture shows matrices of mig and dci",
            hint="Ask for one of them: --metrics mig,dci",
        )
    return draw(panels, title)


def read_code_table(file: IO[bytes], name: str) -> CodeTable:
    """Read an npz with `codes` (N, D) and `factors` (N, K), and perhaps `factor_sizes` and
    `factor_names` (K,).

    name: what errors call the file. Raises DataError when it is not such a file. Never unpickles.
    """
    hint = (
        "Save one with did export --what codes -o FILE.npz, or with "
        "numpy.savez(file, codes=..., factors=..., factor_sizes=...)."
    )
    source = arrays.OpenFile(file, name)
    present = arrays.npz_names(source, hint)

    def read(key: str) -> NDArray[Any]:
        return arrays.npz_array(source, key, LARGEST_ARRAY, hint)

    return code_table(
        read("codes"),
        read("factors"),
        read("factor_sizes").ravel().tolist() if "factor_sizes" in present else None,
        arrays.npz_texts(source, "factor_names", hint) if "factor_names" in present else None,
    )


def _score(table: CodeTable, name: str, protocol: EvaluationProtocol, seed: int) -> Outcome:
    """One metric with a generator of its own, as in the reference."""
    metric = registry.load("metrics", name)
    try:
        result: Result = metric.score(table, np.random.RandomState(seed), protocol)
    except UndefinedError as error:
        return str(error)
    return result


def _needs_baseline(name: str) -> bool:
    """Whether the metric says that noise passes for signal with it."""
    return bool(getattr(registry.load("metrics", name), "NEEDS_BASELINE", False))


def _shuffled(table: CodeTable, seed: int) -> CodeTable:
    """The table with its codes in random order: the same latents, factors they know nothing of."""
    order = np.random.default_rng(seed).permutation(len(table))
    return replace(table, codes=table.codes[order])


def _versions() -> dict[str, str]:
    """Versions of what has changed scores before. BLAS with its kernels, whose rounding moves
    explicitness and infoe in the fifth decimal.
    """
    keys = ("internal_api", "version", "architecture")
    # numpy and scipy bring one each, and in no certain order.
    blas = {
        " ".join(str(library[key]) for key in keys if library.get(key))
        for library in threadpool_info()
        if library["user_api"] == "blas"
    }
    versions = {"python": platform.python_version()}
    if blas:  # NumPy may be built on one that cannot be asked
        versions["blas"] = ", ".join(sorted(blas))
    for library in LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _checked_request(metrics: Sequence[str] | None, protocol: EvaluationProtocol) -> list[str]:
    """The names of the metrics wanted, if they exist and the protocol makes sense."""
    names = list(metrics or registry.names("metrics"))
    for name in names:
        registry.check("metrics", name)
    counts = {
        "train points": protocol.train_points,
        "test points": protocol.test_points,
        "variance points": protocol.variance_points,
        "evaluation seeds": protocol.eval_seeds,
        "threads": protocol.threads,
    }
    for what, count in counts.items():
        smallest = 2 if what.endswith("points") else 1
        if count < smallest:
            raise UsageError(
                f"{what} must be at least {smallest}, got {count}",
                hint="did eval --help shows the defaults, which are the literature's.",
            )
    if not 0 <= protocol.eval_seed <= 2**32 - protocol.eval_seeds:
        raise UsageError(
            f"an evaluation seed must be in 0 .. 2^32 - 1, got {protocol.eval_seed}",
            hint="Pass --eval-seed 0.",
        )
    return names
