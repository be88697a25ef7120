"""Out of memory, told as what it is: Python, numpy, torch and the system each raise their own."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from didcli.errors import OutOfMemoryError

_PROCESSOR, _DEVICE = "DefaultCPUAllocator", "out of memory"
"""Words of torch, in a RuntimeError, for lack of the processor's memory, and of any device's."""
_BLOCK = re.compile(r"allocate ([\d.]+ \w+)")
"""Words of torch and numpy for the size that they asked for."""
_ASK_FOR_LESS = {
    "train": "Smaller batches take less: --set train.batch_size=32; so do smaller networks.",
    "eval": "Fewer scores at a time take less: --metrics mig; so do fewer points: --train-points.",
}
_ELSEWHERE = "End other programs, or use a machine with more memory."


@contextmanager
def memory_errors(context: Any) -> Iterator[None]:
    """Raises OutOfMemoryError in place of all that means it, with a hint for the subcommand.

    context: click's, of which Typer has carried its own copy at times and not at others.
    """
    try:
        yield
    except Exception as error:
        of_device = isinstance(error, RuntimeError) and _DEVICE in str(error)
        if not (of_device or _is_of_system(error)):
            raise
        block = _BLOCK.search(str(error))
        hint = _ASK_FOR_LESS.get(context.invoked_subcommand or "", _ELSEWHERE)
        raise OutOfMemoryError(
            f"out of {'device ' if of_device else ''}memory"
            + (f": there is no room for another {block[1]}" if block else ""),
            hint=f"{hint} Or leave the device: --device cpu." if of_device else hint,
        ) from error


def _is_of_system(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    of_torch = isinstance(error, RuntimeError) and _PROCESSOR in str(error)
    return of_torch or isinstance(error, MemoryError)
