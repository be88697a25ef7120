"""`eval.json`: the scores that `did eval` leaves in a run folder, if they are of its checkpoint.

Settings and scores outlive the checkpoint, which is hundreds of times as large: a run whose
checkpoint has been deleted keeps its place in a comparison.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from didcli.engine import checkpoint_header as checkpoints
from didcli.io.atomic import write_text
from didcli.scoring.protocol import deciding

FILE_NAME = "eval.json"
PICTURE_NAME = "eval.png"
"""Picture of the same scores, drawn by `did eval --plot`."""
BY_SCORE = ("scores", "scores_sd", "scores_per_seed", "chance", "details")
"""Parts of a report that have a key for each score or metric."""


def keep_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Write the report, beside the scores of other metrics if they are of the same evaluation.

    That is one of the same checkpoint on the same images, by the same protocol and with the same
    versions of everything; scores of any other are replaced. Raises StorageError.
    """
    former = read_report(folder, report["run"]["checkpoint"])
    same = former is not None and _evaluation(former) == _evaluation(report)
    write_report(folder, _joined(former, report) if former is not None and same else report)


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Raises StorageError."""
    write_text(folder / FILE_NAME, json.dumps(report, indent=1, allow_nan=False) + "\n")


def read_report(folder: Path, digest: str | None = None) -> dict[str, Any] | None:
    """The report of the run's checkpoint, or of one that is not there any more; None where it is
    absent, damaged, or of another one.

    It has the keys `run`, with the `checkpoint` and the `step` it is of, `scores` and `protocol`.
    digest: SHA-256 of the checkpoint, for who has it already.
    """
    try:
        report = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        if digest is None and has_checkpoint(folder):
            digest = _sha256(folder / checkpoints.FILE_NAME)
    except (OSError, ValueError):
        return None
    if not _is_report(report):
        return None
    return dict(report) if digest in {report["run"]["checkpoint"], None} else None


def forget(folder: Path) -> None:
    """Scores of a run that begins anew are another run's, and so is their picture."""
    for name in (FILE_NAME, PICTURE_NAME):
        (folder / name).unlink(missing_ok=True)


def has_checkpoint(folder: Path) -> bool:
    return (folder / checkpoints.FILE_NAME).exists()


def steps_scored(folder: Path) -> int:
    """Steps that the run had done when it was scored; 0 where no report says so."""
    report = read_report(folder)
    return 0 if report is None else int(report["run"]["step"])


def steps_done(folder: Path) -> int:
    """Steps that the checkpoint is after or, without one, those that the scores are of; 0 where
    there is neither. Raises RunError for a damaged checkpoint."""
    if not has_checkpoint(folder):
        return steps_scored(folder)
    return int(checkpoints.describe(folder / checkpoints.FILE_NAME)["step"])


def _evaluation(report: Mapping[str, Any]) -> tuple[Any, ...]:
    """All that scores depend on."""
    run = {key: value for key, value in report["run"].items() if key != "path"}
    return run, deciding(report["protocol"]), report.get("versions"), report.get("data")


def _joined(former: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
    """`report` with what `former` has of other metrics. What both have, they have alike."""
    joined = dict(report)
    for part in BY_SCORE:
        if part in former or part in report:
            joined[part] = {**former.get(part, {}), **report.get(part, {})}
    joined["notes"] = list(dict.fromkeys([*former.get("notes", []), *report.get("notes", [])]))
    return joined


def _sha256(path: Path) -> str:
    """SHA-256 of a file, read once in a process, unless it changes: checkpoints are large."""
    status = path.stat()
    # A checkpoint that replaces another one has a new number, whatever its clock says.
    state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return _sha256_in_state(path, state)


@cache
def _sha256_in_state(path: Path, _state: tuple[int, ...]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_report(content: Any) -> bool:
    """Whether it is of the form that `did eval` writes; a file may have been edited, or cut off."""
    try:
        run, scores, protocol = (content[key] for key in ("run", "scores", "protocol"))
        return (
            isinstance(run["checkpoint"], str)
            and type(run["step"]) is int
            and run["step"] > 0
            and isinstance(run.get("data_notes", []), list)
            and isinstance(protocol, dict)
            and all(score is None or _is_number(score) for score in scores.values())
        )
    except (AttributeError, KeyError, TypeError):
        return False


def _is_number(value: Any) -> bool:
    """Python reads NaN and Infinity, which are not JSON."""
    return type(value) in {float, int} and math.isfinite(value)
