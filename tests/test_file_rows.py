import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from didcli.errors import StorageError
from didcli.io import records
from didcli.io.file_rows import FileRows

VALUES = np.random.default_rng(0).integers(256, size=(5000, 512), dtype=np.uint8)
ROWS = np.array([4999, 0, 17, 17])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


@pytest.fixture
def file(path):
    return records.ensure(path, records.Content("a test", 5000, 512), lambda: [VALUES])


def test_rows_come_in_the_order_asked_for(file):
    rows = FileRows(file)
    assert len(rows) == 5000
    np.testing.assert_array_equal(rows.take(ROWS), VALUES[ROWS])
    assert rows.take(ROWS[:0]).shape == (0, 512)
    assert rows.take(ROWS).flags.writeable


def test_where_a_file_cannot_be_read_at_a_position_the_map_is(file, monkeypatch):
    monkeypatch.delattr(os, "preadv")
    np.testing.assert_array_equal(FileRows(file).take(ROWS), VALUES[ROWS])


@pytest.mark.parametrize("part", [slice(0, 5000), slice(0, 100)])
def test_an_array_in_memory_and_a_part_of_a_map_work_as_well(file, part):
    rows = np.arange(99, -1, -7)
    for array in (VALUES[part], file[part], file[part][::-1], file[-100:]):
        np.testing.assert_array_equal(FileRows(array).take(rows), array[rows])


def test_threads_may_read_at_a_time(file):
    rows = FileRows(file)
    wanted = [np.random.default_rng(seed).integers(5000, size=200) for seed in range(8)]
    with ThreadPoolExecutor(8) as threads:
        for indices, taken in zip(wanted, threads.map(rows.take, wanted), strict=True):
            np.testing.assert_array_equal(taken, VALUES[indices])


def test_rows_outlive_the_file(file, path):
    rows = FileRows(file)
    path.unlink()
    np.testing.assert_array_equal(rows.take(ROWS), VALUES[ROWS])


def test_a_file_that_is_cut_short_is_an_error(file, path):
    rows = FileRows(file)
    os.truncate(path, 10_000)
    with pytest.raises(StorageError, match="has become shorter"):
        rows.take(ROWS)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_resident_memory_does_not_grow_however_much_is_read(path):
    """Of 800 MB, written just now: Linux maps such files in large pieces."""
    script = """
import sys
from pathlib import Path
import numpy as np
from didcli.io import records
from didcli.io.file_rows import FileRows

content = records.Content("a test", 200_000, 4096)
part = np.ones((1000, 4096), np.uint8)
rows = FileRows(records.ensure(Path(sys.argv[1]), content, lambda: [part] * 200))
rng = np.random.default_rng(0)

def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssFile"))

before = largest = resident()
for _ in range(700):
    assert rows.take(rng.integers(200_000, size=200)).all()
    largest = max(largest, resident())
print(largest - before)
"""
    command = [sys.executable, "-c", script, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    path.unlink()
    assert int(result.stdout) < 2**23
