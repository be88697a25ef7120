"""Write files so that a reader, or a crash at any moment, never meets half of one."""

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path

from didcli.errors import StorageError


def write_bytes(
    path: Path, content: bytes, *, verify: Callable[[bytes], bool] | None = None
) -> None:
    """Replace `path` by `content`: temporary file, fsync, rename, fsync of the folder.

    verify: sees the bytes read back before the rename. Raises StorageError; the old file stays.
    """
    temporary = temporary_beside(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if verify is not None and not verify(temporary.read_bytes()):
            raise StorageError(
                f"{temporary} does not read back as it was written",
                hint="The disk may be failing: write to another one.",
            )
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}",
            hint="Free some space, or choose a folder that can be written to.",
        ) from error
    finally:
        with contextlib.suppress(OSError):  # a read-only disk refuses to unlink what is not there
            temporary.unlink()


def temporary_beside(path: Path) -> Path:
    """The file to which this process writes what is to take the place of `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def is_temporary(name: str) -> bool:
    """Whether a file of this name was left by a process that was killed while it wrote."""
    return re.fullmatch(r"\..+\.\d+\.tmp", name) is not None


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in UTF-8, as `write_bytes` does."""
    write_bytes(path, text.encode())


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened there, and renames are journalled
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
