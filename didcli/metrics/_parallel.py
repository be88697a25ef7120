"""Spread independent work over threads. It pays where the work leaves Python's lock: scikit-learn's
solvers, BLAS, and compiled trees do."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def ordered_map(
    function: Callable[[Item], Outcome],
    items: Iterable[Item],
    threads: int,
    *,
    on_stop: Callable[[], object] = lambda: None,
) -> list[Outcome]:
    """`[function(item) for item in items]`, on up to `threads` threads.

    What is raised here, Ctrl-C included, comes out once the items under way have ended; no others
    are begun. on_stop: called before they are waited for, to have them end early.
    """
    if threads <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        try:
            return list(pool.map(function, items))
        except BaseException:
            on_stop()
            raise
