import os
import subprocess
import sys

import numpy as np
import pytest

from didcli.io import mapped, records
from didcli.io.mapped import Mapped

VALUES = np.random.default_rng(0).integers(256, size=(5000, 512), dtype=np.uint8)
ROWS = np.array([4999, 0, 17, 17])


@pytest.fixture
def file(tmp_path):
    return records.ensure(tmp_path / "file", records.Content("a test", 5000, 512), lambda: [VALUES])


@pytest.mark.parametrize("resident", [0, 2**26])
def test_rows_are_the_same_before_and_after_pages_are_let_go(file, monkeypatch, resident):
    monkeypatch.setattr(mapped, "RESIDENT_BYTES", resident)
    rows = Mapped(file)
    assert len(rows) == 5000
    for _ in range(3):
        np.testing.assert_array_equal(rows.take(ROWS), VALUES[ROWS])


def test_an_array_in_memory_works_as_well(monkeypatch):
    monkeypatch.setattr(mapped, "RESIDENT_BYTES", 0)
    np.testing.assert_array_equal(Mapped(VALUES).take(ROWS), VALUES[ROWS])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_resident_memory_is_bounded_however_much_is_read(tmp_path):
    """Of 800 MB read at random, a sixth stays at most."""
    script = """
import sys
import numpy as np
from didcli.io.mapped import Mapped

size = 200_000
with open(sys.argv[1], "wb") as file:
    file.truncate(size * 4096)
rows = Mapped(np.asarray(np.memmap(sys.argv[1], np.uint8, "r", 0, (size, 4096))))
rng = np.random.default_rng(0)
largest = 0
for _ in range(700):
    rows.take(rng.integers(size, size=200))
    with open("/proc/self/status") as status:
        mapped = next(line for line in status if line.startswith("RssFile"))
    largest = max(largest, int(mapped.split()[1]) * 1024)
print(largest)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "file")]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    assert 2**24 < int(result.stdout) < 2**27
