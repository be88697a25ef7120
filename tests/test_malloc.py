"""Memory that arrays have left is used again."""

import platform
import subprocess
import sys

import pytest

from didcli.commands import _malloc

NEW_PAGES = """
import resource
import numpy as np
{}
def pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(2**26, np.uint8)
before = pages()
for _ in range(10):
    np.ones(2**26, np.uint8)
print(pages() - before)
"""
"""Prints the pages that ten arrays of 64 MiB take from the system, one after the other."""
KEEP = "from didcli.commands import _malloc; assert _malloc.keep_freed_memory()"


def new_pages(preparation: str) -> int:
    command = [sys.executable, "-c", NEW_PAGES.format(preparation)]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc of glibc")
def test_arrays_take_no_new_pages_where_others_were_freed():
    assert new_pages(KEEP) < 0.01 * new_pages("")


@pytest.mark.parametrize(
    ("most", "done", "thresholds"),
    [
        (2**40, True, {_malloc.MMAP_THRESHOLD: 2**30, _malloc.TRIM_THRESHOLD: 2**30}),
        (2**25, True, {_malloc.MMAP_THRESHOLD: 2**25, _malloc.TRIM_THRESHOLD: 2**30}),
        (2**19, False, {}),
    ],
)
def test_older_versions_get_the_most_they_take_or_are_left_alone(
    monkeypatch, most, done, thresholds
):
    """The threshold of mmap may be limited, that of trimming never is."""
    found = {}

    class Library:
        @staticmethod
        def mallopt(parameter, value):
            if parameter == _malloc.MMAP_THRESHOLD and value > most:
                return 0
            found[parameter] = value
            return 1

    monkeypatch.setattr(_malloc.sys, "platform", "linux")
    monkeypatch.setattr(_malloc.ctypes, "CDLL", lambda _: Library)
    assert _malloc.keep_freed_memory() is done
    assert found == thresholds


def test_where_there_is_no_such_malloc_nothing_happens(monkeypatch):
    monkeypatch.setattr(_malloc.ctypes, "CDLL", lambda _: object())
    assert not _malloc.keep_freed_memory()
    monkeypatch.setattr(_malloc.sys, "platform", "darwin")
    monkeypatch.setattr(_malloc.ctypes, "CDLL", None)
    assert not _malloc.keep_freed_memory()
