"""The folder of a run: the files it may hold, and how one is found, made, claimed and cleared."""

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from didcli.config import CONFIG_NAME, RunConfig
from didcli.engine import checkpoint as checkpoints
from didcli.engine import reports
from didcli.engine.encode import KEPT_PATTERN
from didcli.errors import RunConflictError, RunError, StorageError
from didcli.io.atomic import is_temporary

LOG_NAME = "log.jsonl"
PICTURE_NAME = "traversal.png"
"""The picture that training refreshes."""
JOB_LOG_NAME = "job.log"
"""What the commands said that `did compare` started here."""
CARD_NAME = "README.md"
"""Model card of a released run."""
LOCK_NAME = ".lock"
WRITTEN = {
    *(CONFIG_NAME, checkpoints.FILE_NAME, LOG_NAME, JOB_LOG_NAME, PICTURE_NAME),
    *(reports.FILE_NAME, reports.PICTURE_NAME),
    *(f"{part}.{suffix}" for part in ("encoder", "generator") for suffix in ("pt2", "onnx")),
    *(f"codes.{suffix}" for suffix in ("npz", "csv", "jsonl")),
}
"""Files that commands write into a run folder under these names when they are given no other."""
WRITTEN_PATTERN = rf"traverse(-dim[\d-]+)?\.(png|gif|html)|events\.out\.tfevents\..+|{KEPT_PATTERN}"


def find_run(path: Path | None, runs_dir: Path) -> Path:
    """`path`, or without one the latest run under `runs_dir`. Raises RunError when there is none.

    The latest is the one whose checkpoint was written last.
    """
    if path is not None:
        return path
    latest = max(
        runs_dir.glob(f"*/{checkpoints.FILE_NAME}"),
        key=lambda file: file.stat().st_mtime,
        default=None,
    )
    if latest is None:
        raise RunError(
            f"no run under {runs_dir}", hint="Train one with did train, or name a run folder."
        )
    return latest.parent


def latest_started(runs_dir: Path) -> Path:
    """The run that was begun or saved last, whether or not it has a checkpoint yet.

    Raises RunError when there is none.
    """
    written = [
        (file.stat().st_mtime, file.parent)
        for name in (CONFIG_NAME, checkpoints.FILE_NAME)
        for file in runs_dir.glob(f"*/{name}")
    ]
    if not written:
        raise RunError(
            f"no run under {runs_dir} to go on with",
            hint="Name its folder with --out or --runs-dir; without --resume a new one begins.",
        )
    return max(written)[1]


def new_folder(config: RunConfig, runs_dir: Path) -> Path:
    """An empty folder whose name sorts by time, such as `20260131-235959-did-dsprites-s0`.

    Made at once, as another process may be about to give its run the same name: it then takes that
    name with `-2` after it. Raises StorageError.
    """
    started = datetime.now().strftime("%Y%m%d-%H%M%S")
    data = Path(config.data.name).stem
    name = f"{started}-{config.method.name}-{data}-s{config.train.seed}"
    folder = runs_dir / name
    for number in itertools.count(2):
        try:
            folder.mkdir(parents=True)
            break
        except OSError as error:
            if not folder.is_dir():
                raise _cannot_make(folder, error) from error
            folder = runs_dir / f"{name}-{number}"
    return folder


def remove_unused(folder: Path) -> None:
    """Remove a folder in which nothing was written but a lock."""
    if {file.name for file in folder.iterdir()} <= {LOCK_NAME}:
        (folder / LOCK_NAME).unlink(missing_ok=True)
        folder.rmdir()


def claim(folder: Path, *, resume: bool, force: bool) -> bool:
    """Make the folder, or see that a run may be written into it. Returns whether it is new.

    Raises RunConflictError when it holds a run, unless `resume` or `force`; also, even then, when
    it holds other files and no run: a mistyped path must not mix a run into somebody's folder.
    """
    try:
        new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        # Temporary files are left by a process that was killed while it wrote.
        present = {file.name for file in folder.iterdir()} - {LOCK_NAME}
        found = {name for name in present if not is_temporary(name)}
    except (FileExistsError, NotADirectoryError):
        raise RunConflictError(f"{folder} is a file", hint="Choose another --out.") from None
    except OSError as error:
        raise _cannot_make(folder, error) from error
    holds_run = bool(found & {CONFIG_NAME, checkpoints.FILE_NAME})
    if found and not holds_run:
        raise RunConflictError(
            f"{folder} holds other files and no run", hint="Choose a new folder for --out."
        )
    if holds_run and not (resume or force):
        raise RunConflictError(
            f"{folder} already holds a run",
            hint="Go on with it: --resume. Replace it: --force. Or choose another --out.",
        )
    return new


def clear(folder: Path) -> None:
    """Delete what a former run, and commands about it, wrote into the folder; nothing else."""
    released = _is_released(folder)
    for path in list(folder.iterdir()):
        if (
            path.name in WRITTEN
            or (path.name == CARD_NAME and released)
            or re.fullmatch(WRITTEN_PATTERN, path.name)
            or is_temporary(path.name)
        ):
            path.unlink()


@contextmanager
def locked(folder: Path, *, new: bool = False) -> Iterator[None]:
    """Hold the run folder against other trainers. Raises RunConflictError when one holds it.

    A folder that is `new`, and in which nothing was written in the end, is removed.
    """
    lock = FileLock(folder / LOCK_NAME, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise RunConflictError(
            f"{folder} is in use by another process",
            hint="Wait for it, or choose another --out.",
        ) from None
    except OSError as error:
        raise StorageError(
            f"cannot write in {folder}: {error.strerror}", hint="Choose another --out."
        ) from error
    try:
        yield
    finally:
        if new:
            remove_unused(folder)
        lock.release()


def _is_released(folder: Path) -> bool:
    try:
        return checkpoints.describe(folder / checkpoints.FILE_NAME).get("released") is True
    except RunError:
        return False


def _cannot_make(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot make the run folder {folder}: {error.strerror}",
        hint="Choose another --out or --runs-dir.",
    )
