"""The processor cores of this machine."""

import os


def usable_cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS and Windows
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def choose_threads(asked: int, processes: int = 1) -> int:
    """How many threads to compute by: 0 is one for each core that this process may use, less what
    goes to the others of `processes` that do the same on this machine."""
    return asked or max(usable_cores() // processes, 1)
