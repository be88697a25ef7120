"""Ctrl-C and SIGTERM while something worth saving is under way."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


class Stop:
    """Whether the user has asked to stop, and with which signal."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def requested(self) -> bool:
        return self.signal is not None

    def leave(self) -> None:
        """Exit with the code of the signal: 130 for Ctrl-C, 143 for SIGTERM."""
        raise SystemExit(128 + (self.signal or signal.SIGINT))


@contextmanager
def graceful_stop(notice: str = "") -> Iterator[Stop]:
    """Within, the first signal only asks to stop; a second one ends the process as usual.

    notice: a line for stderr, upon the first signal.
    """
    stop = Stop()
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _frame: FrameType | None) -> None:
        stop.signal = number
        if notice:
            _write(notice)
        for each, handler in former.items():
            signal.signal(each, handler)

    for number in former:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _write(line: str) -> None:
    """Write to stderr, from a signal handler: the signal may have come amid a write to
    `sys.stderr`, which takes no other in between."""
    # Where a bar is drawn, the cursor stands behind it.
    start = "\n" if sys.stderr.isatty() else ""
    with suppress(OSError):  # nobody reads it: no reason not to save
        os.write(sys.stderr.fileno(), f"{start}{line}\n".encode())
