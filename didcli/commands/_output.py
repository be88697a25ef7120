"""Where a result goes: a file, or stdout for `-`."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

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
    if not path.parent.is_dir():
        raise StorageError(f"no folder {path.parent}", hint="Make it, or choose another -o.")
    if not os.access(path.parent, os.W_OK):
        raise StorageError(f"{path.parent} cannot be written to", hint="Choose another -o.")


def write(output: str, content: Iterable[bytes]) -> None:
    """Write the parts of a result: to stdout as they come, to a file once all are there.

    Raises StorageError; BrokenPipeError when the reader of stdout has gone.
    """
    if output == STDOUT:
        for part in content:
            sys.stdout.buffer.write(part)
            # At once, so that a reader who has seen enough ends this, and not the last part.
            sys.stdout.buffer.flush()
        return
    from didcli.io.atomic import write_bytes

    write_bytes(Path(output), b"".join(content))
