"""What runs there are, told from their files without loading a model."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from didcli.config import CONFIG_NAME
from didcli.engine import checkpoint_header as checkpoints
from didcli.engine.reports import has_checkpoint, read_report, steps_done
from didcli.errors import DidError

_Value = TypeVar("_Value", str, int)


@dataclass(frozen=True)
class Entry:
    """One run folder."""

    path: Path
    age_seconds: float
    """Seconds since its checkpoint (or, before there is one, its settings) was written."""
    method: str = ""
    data: str = ""
    source: str = ""
    seed: int | None = None
    step: int | None = None
    """Steps done: of its checkpoint, or of its scores without one; 0 before there is either."""
    steps: int | None = None
    """Steps wanted."""
    scores: Mapping[str, float | None] = field(default_factory=dict)
    """Scores of the last `did eval`, if it was of this checkpoint, or that one has been deleted."""
    problem: str = ""
    """Why the run cannot be read; the fields above but `path` and age are then empty, or null."""

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path), "age_seconds": round(self.age_seconds)}


def list_runs(runs_dir: Path) -> list[Entry]:
    """The runs right under `runs_dir`, the one written last first; none where it does not exist."""
    folders = {file.parent for file in runs_dir.glob(f"*/{CONFIG_NAME}")}
    folders |= {file.parent for file in runs_dir.glob(f"*/{checkpoints.FILE_NAME}")}
    entries = [_entry(folder) for folder in folders]
    return sorted(entries, key=lambda entry: (entry.age_seconds, str(entry.path)))


def _entry(folder: Path) -> Entry:
    checkpoint, settings = folder / checkpoints.FILE_NAME, folder / CONFIG_NAME
    written = (checkpoint if has_checkpoint(folder) else settings).stat().st_mtime
    age = time.time() - written
    report = read_report(folder) or {}
    try:
        if not has_checkpoint(folder):
            from didcli.config import load_file  # with yaml, which few runs need

            config: Mapping[str, Any] = load_file(settings)
            source = report["run"]["data_source"] if report else ""
        else:
            described = checkpoints.describe(checkpoint)
            config, source = described["config"], described["source"]
        step = steps_done(folder)
        return Entry(
            path=folder,
            age_seconds=age,
            method=_checked(config["method"]["name"], str),
            data=_checked(config["data"]["name"], str),
            source=_checked(source, str),
            seed=_checked(config["train"]["seed"], int),
            step=step,
            steps=_checked(config["train"]["steps"], int),
            scores=report.get("scores", {}) if step else {},
        )
    except (DidError, KeyError, TypeError) as error:
        why = str(error) if isinstance(error, DidError) else f"{type(error).__name__}: {error}"
        return Entry(path=folder, age_seconds=age, problem=why)


def _checked(value: Any, kind: type[_Value]) -> _Value:
    """Raises TypeError for what a damaged file may have instead."""
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {value!r}")
    return value
