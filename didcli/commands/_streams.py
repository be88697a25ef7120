"""stdin, stdout and stderr that were closed before the program began, or stop working under it."""

import codecs
import io
import os
import sys
from typing import Any, TextIO


def mend() -> None:
    """Make all three be there, and stderr never fail: it carries no data, and ends no work.

    Reading an absent stdin gives nothing; what goes to an absent stdout or stderr is lost, as
    whoever closed it wants. A stdout that fails is an error as ever.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, _nothing(descriptor))
    if isinstance(sys.stdout, io.TextIOWrapper):
        # The name of a folder need not be text, nor a label in the encoding of the terminal.
        utf8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
    sys.stderr.flush()
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(_Lossy(sys.stderr.fileno(), "wb", closefd=False)),
        encoding=sys.stderr.encoding,
        errors=sys.stderr.errors,
        line_buffering=True,
    )


class _Lossy(io.FileIO):
    """Drops what cannot be written: a reader that has gone, a full disk below a log file.

    Below the text layer, because not all that is written there is ours: rich, for one, ends the
    program when the pipe of a console closes.
    """

    def write(self, data: Any, /) -> int:
        try:
            written = super().write(data)
        except OSError:
            return len(data)
        # A full pipe that does not block takes nothing, and says so by None.
        return len(data) if written is None else written


def _nothing(descriptor: int) -> TextIO:
    """The null device, opened as that very descriptor: else the next file to be opened would get
    it, a checkpoint perhaps, and with it what libraries print.
    """
    opened = os.open(os.devnull, os.O_RDWR)
    if opened != descriptor:
        os.dup2(opened, descriptor)
        os.close(opened)
    os.set_inheritable(descriptor, True)
    return os.fdopen(descriptor, "w" if descriptor else "r", encoding="utf-8", closefd=False)
