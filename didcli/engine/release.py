"""A run for others: a run folder with generator and encoder alone, its scores, and a model card."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import didcli
from didcli.config import CONFIG_NAME
from didcli.engine import checkpoint as checkpoints
from didcli.engine import run_folder, runs
from didcli.engine.export_model import used_weights
from didcli.engine.reports import read_report, write_report
from didcli.errors import RunConflictError, RunError
from didcli.io.atomic import write_text
from didcli.scoring.protocol import score_name

CHECKED = 8
"""Random images and codes with which the released run is compared with the original."""


def release(run: runs.Run, folder: Path) -> int:
    """Write `run` into `folder`, a new one, without what only training needs; the bytes written.

    `did eval`, `did traverse` and `did export` work on it as on the run, with the same results to
    the last bit, which is checked. Training cannot go on from it.
    Raises RunConflictError when the folder has something in it.
    """
    used = sorted(used_weights(run))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunConflictError(f"{folder} is not empty", hint="Choose a new folder for -o.")
    run_folder.claim(folder, resume=False, force=False)
    checkpoint = folder / checkpoints.FILE_NAME
    checkpoints.save(
        checkpoint,
        run.method,
        step=run.step,
        config=run.config.to_dict(),
        source=run.source,
        image_shape=run.image_shape,
        versions=run.versions,
        released=used,
    )
    released = runs.open_run(folder, str(run.device))
    try:
        _check_same(run, released)
    except RunError:
        checkpoint.unlink()
        raise
    write_text(folder / CONFIG_NAME, run.config.to_yaml())
    report = _report(run, released)
    if report is not None:
        write_report(folder, report)
    write_text(folder / run_folder.CARD_NAME, model_card(released, report))
    return checkpoint.stat().st_size


def model_card(run: runs.Run, report: Mapping[str, Any] | None) -> str:
    """Markdown with YAML front matter, in the fields that model hubs read. report: `eval.json`."""
    method, data = run.config.method.name, run.config.data.name
    name, (low, high) = run.path.resolve().name, run.code_range
    # Absolute paths and `..` mean nothing where a card is read.
    local = run.path.is_absolute() or ".." in run.path.parts
    path = shlex.quote(name if local else str(run.path))
    scores = {k: v for k, v in (report or {}).get("scores", {}).items() if v is not None}
    protocol = (report or {}).get("protocol", {})
    front: dict[str, Any] = {
        "library_name": "didcli",
        "tags": ["disentanglement", "representation-learning", method],
        "datasets": [data],
    }
    if scores:
        results = {
            "task": {"type": "disentanglement"},
            "dataset": {"name": data, "type": data},
            "metrics": [{"type": key, "value": round(value, 4)} for key, value in scores.items()],
        }
        front["model-index"] = [{"name": name, "results": [results]}]
    return "\n".join(
        [
            "---",
            yaml.safe_dump(front, sort_keys=False).rstrip(),
            "---",
            "",
            f"# {name}",
            "",
            f"Generator and encoder of `{method}` after {run.step:,} steps on {data} with seed "
            f"{run.config.train.seed}.",
            f"Training images: {run.source}, {' x '.join(map(str, run.image_shape))}. "
            f"{run.latent_dim} codes in [{low:g}, {high:g}].",
            "",
            "```sh",
            f"did traverse {path} --dim 0",
            f"did eval {path}",
            f"did train --config {path}/{CONFIG_NAME}     # trains it anew",
            "```",
            "",
            *_score_table({score_name(key, protocol): value for key, value in scores.items()}),
            f"Written by didcli {didcli.__version__}; trained with {_trainer(run)}.",
            "",
        ]
    )


def _trainer(run: runs.Run) -> str:
    return ", ".join(f"{name} {version}" for name, version in run.versions.items()) or "unknown"


def _score_table(scores: Mapping[str, float]) -> list[str]:
    if not scores:
        return []
    rows = [f"| {key} | {value:.4f} |" for key, value in scores.items()]
    return ["| Score (`eval.json` has the protocol) | |", "|---|---|", *rows, ""]


def _report(run: runs.Run, released: runs.Run) -> dict[str, Any] | None:
    """The report of `did eval` on `run` as that on `released`; None where there is none."""
    report = read_report(run.path, run.digest)
    if report is None:
        return None
    # Its name alone: where it lies here means nothing elsewhere.
    report["run"] |= {"path": released.path.resolve().name, "checkpoint": released.digest}
    return report


def _check_same(run: runs.Run, released: runs.Run) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(CHECKED, *run.image_shape), dtype=np.uint8)
    codes = rng.uniform(*run.code_range, size=(CHECKED, run.latent_dim))
    same = np.array_equal(run.encode(images), released.encode(images)) and np.array_equal(
        run.decode(codes), released.decode(codes)
    )
    if not same:
        raise RunError(
            f"{released.path} does not compute what {run.path} does",
            hint="Export encoder and generator instead, and report this.",
        )
