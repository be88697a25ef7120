"""Text that a command is given: a file, or stdin where its path is `-`."""

import sys
from pathlib import Path

STDIN = "-"


def read(path: Path) -> str:
    """What the file says, in UTF-8. Raises OSError, and ValueError for what is no UTF-8."""
    if str(path) == STDIN:
        return sys.stdin.buffer.read().decode("utf-8")
    return path.read_text(encoding="utf-8")


def name(path: Path) -> str:
    """What messages call it."""
    return "stdin" if str(path) == STDIN else str(path)
