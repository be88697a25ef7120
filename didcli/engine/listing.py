"""What runs there are, told from their files without loading a model."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from didcli.config import CONFIG_NAME
from didcli.engine import checkpoint_header as checkpoints
from didcli.engine.reports import has_checkpoint, read_report, steps_scored
from didcli.errors import DidError


@dataclass(frozen=True)
class Entry:
    """One run folder."""

    path: Path
    age_seconds: float
    """Since its checkpoint (or, before there is one, its settings) was written."""
    method: str = ""
    data: str = ""
    source: str = ""
    seed: int = 0
    step: int = 0
    """Steps done: of its checkpoint, or of its scores without one; 0 before there is either."""
    steps: int = 0
    """Steps wanted."""
    scores: Mapping[str, float | None] = field(default_factory=dict)
    """Of the last `did eval`, if it was of this checkpoint, or that one has been deleted."""
    problem: str = ""
    """Why the run cannot be read; the fields above but `path` and age are then empty."""

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
            from didcli.config import load_file

            config: Mapping[str, Any] = load_file(settings)
            step = steps_scored(folder)
            source = report["run"]["data_source"] if step else ""
        else:
            described = checkpoints.describe(checkpoint)
            config, step, source = described["config"], described["step"], described["source"]
        return Entry(
            path=folder,
            age_seconds=age,
            method=config["method"]["name"],
            data=config["data"]["name"],
            source=source,
            seed=config["train"]["seed"],
            step=step,
            steps=config["train"]["steps"],
            scores=report.get("scores", {}) if step else {},
        )
    except (DidError, KeyError, TypeError):
        return Entry(path=folder, age_seconds=age, problem="damaged")
