"""Spread independent work over threads. It pays where the work leaves Python's lock: scikit-learn's
solvers, BLAS, and compiled trees do."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def ordered_map(
    function: Callable[[Item], Outcome], items: Iterable[Item], threads: int
) -> list[Outcome]:
    """`[function(item) for item in items]`, on up to `threads` threads."""
    if threads <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))


def cores() -> int:
    """Processor cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS and Windows
    return len(affinity(0)) if affinity else os.cpu_count() or 1
