"""Where a result goes: a file, or stdout for `-`."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from didcli.errors import StorageError, UsageError

STDOUT = "-"


def check(output: str, *, binary: bool, as_json: bool = False) -> None:
    """See, before any work is done, that the result will have somewhere to go.

    Raises UsageError when stdout would get two things, or bytes that garble a terminal, and
    StorageError when the file could not be written.
    """
    if output == STDOUT:
        if as_json:
            raise UsageError(
                "--json and -o - both write to stdout", hint="Give -o a file, or leave out --json."
            )
        if binary and sys.stdout.isatty():
            raise UsageError(
                "the result is binary, and stdout is a terminal",
                hint="Pipe it into a program, or write a file: -o FILE",
            )
        return
    path = Path(output)
    if path.is_dir():
        raise StorageError(f"{path} is a folder", hint="Name a file in it: -o FILE")
    folder = _replaced(path).parent
    if not _is_stream(path) and not folder.is_dir():
        raise StorageError(f"no folder {folder}", hint="Make it, or choose another -o.")
    opened = path if _is_stream(path) else folder
    if not os.access(opened, os.W_OK):
        raise StorageError(f"{opened} cannot be written to", hint="Choose another -o.")


def write(output: str, content: Iterable[bytes]) -> None:
    """Write the parts of a result: to a file once all are there, to stdout, a FIFO or a device as
    they come.

    Raises StorageError where a file cannot be written, and what a stream raises: BrokenPipeError
    when the reader of a pipe has gone.
    """
    path = Path(output)
    if output == STDOUT:
        _stream(sys.stdout.buffer, content)
    elif _is_stream(path):
        # To replace it, as a file is, would take it from whoever else has it: /dev/null from all.
        with path.open("wb") as file:
            _stream(file, content)
    else:
        from didcli.io.atomic import write_bytes

        write_bytes(_replaced(path), b"".join(content))


def _stream(file: BinaryIO, content: Iterable[bytes]) -> None:
    for part in content:
        file.write(part)
        # At once, so that a reader who has seen enough ends this, and not the last part.
        file.flush()


def _is_stream(path: Path) -> bool:
    """Whether it takes bytes and keeps none: a FIFO, a device, what the shell makes of >(...)."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _replaced(path: Path) -> Path:
    """The file that a result at `path` replaces: of a symbolic link the one that it leads to."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path
