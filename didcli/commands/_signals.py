"""Ctrl-C and SIGTERM while something worth saving is under way."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
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
def graceful_stop() -> Iterator[Stop]:
    """Within, the first signal only asks to stop; a second one ends the process as usual."""
    stop = Stop()
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _frame: FrameType | None) -> None:
        stop.signal = number
        for each, handler in former.items():
            signal.signal(each, handler)

    for number in former:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
