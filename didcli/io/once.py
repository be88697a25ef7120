"""Make a file once, however many processes want it; find it there ever after."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

from filelock import FileLock

from didcli.errors import StorageError
from didcli.io.atomic import is_temporary, temporary_beside
from didcli.io.space import CHOOSE_ANOTHER, storage_errors

T = TypeVar("T")


def ensure(path: Path, read: Callable[[Path], T | None], write: Callable[[BinaryIO], None]) -> T:
    """What `read` makes of the file at `path`, which `write` makes first if there is none of use.

    When processes start together, one writes and the others wait. A process that is killed leaves
    at most a temporary file, which the next one to write removes.

    read: returns None for a file that is absent, damaged or of another version.
    write: is given an empty file, open for writing and reading, which takes the place of the one
        at `path` when it returns; when it raises, nothing has changed.
    Raises StorageError when the disk is full, or the folder cannot be read or written.
    """
    with storage_errors(path):
        # First without the lock: a folder may well be readable and no more.
        found = read(path)
        if found is not None:
            return found
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            found = read(path)  # another process may have made it in the meantime
            if found is not None:
                return found
            _replace(path, write)
            found = read(path)
    if found is None:
        raise StorageError(f"{path} does not read back as it was written", hint=CHOOSE_ANOTHER)
    return found


def _replace(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Call while holding the lock: then every temporary file is one that somebody abandoned."""
    for stale in path.parent.glob(f".{path.name}.*"):
        if is_temporary(stale.name):
            stale.unlink()
    temporary = temporary_beside(path)
    try:
        with temporary.open("w+b") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        # Without an fsync of the folder: after a power cut the file is there or is made again.
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
