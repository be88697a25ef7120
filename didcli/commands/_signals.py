"""Ctrl-C, SIGTERM and SIGHUP (a terminal that closes), at once or when work has been saved."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_HANGUP = getattr(signal, "SIGHUP", None)  # Windows has none


class Stop:
    """Whether the user has asked to stop, and with which signal."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def requested(self) -> bool:
        return self.signal is not None

    def leave(self) -> None:
        """Exit with the code of the signal: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
        raise SystemExit(128 + (self.signal or signal.SIGINT))


def exit_on_signals() -> None:
    """From now on SIGTERM and SIGHUP end the program as an exit does: what is open is cleaned up.

    Ctrl-C does so anyway.
    """
    for number in _asking():
        if number != signal.SIGINT:
            signal.signal(number, _exit)


@contextmanager
def graceful_stop(notice: str = "") -> Iterator[Stop]:
    """Within, the first signal only asks to stop; a second one ends the process as usual.

    But a second SIGHUP is no second wish: a closing terminal sends one, and its shell another.

    notice: a line for stderr, upon the first signal.
    """
    stop = Stop()
    former = {number: signal.getsignal(number) for number in _asking()}

    def ask(number: int, _frame: FrameType | None) -> None:
        stop.signal = number
        if notice:
            _write(notice)
        for each, handler in former.items():
            if each != _HANGUP:
                signal.signal(each, handler)

    for number in former:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _asking() -> list[int]:
    """The signals that ask to stop. Not those that are ignored: `nohup` has SIGHUP so, and a script
    that starts something in the background SIGINT, which is meant for what is in front."""
    asking = [signal.SIGINT, signal.SIGTERM, *([] if _HANGUP is None else [_HANGUP])]
    return [number for number in asking if signal.getsignal(number) != signal.SIG_IGN]


def _exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _write(line: str) -> None:
    """Write to stderr, from a signal handler: the signal may have come amid a write to
    `sys.stderr`, which takes no other in between."""
    # Where a bar is drawn, the cursor stands behind it.
    start = "\n" if sys.stderr.isatty() else ""
    with suppress(OSError):  # nobody reads it: no reason not to save
        os.write(sys.stderr.fileno(), f"{start}{line}\n".encode())
