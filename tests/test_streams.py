import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, sys
from didcli.commands._streams import mend
mend()
print("data")
read = sys.stdin.read()
for _ in range(3):  # more than a buffer holds
    print("x" * 100_000, file=sys.stderr, flush=True)
opened = os.open(os.devnull, os.O_RDONLY)
sys.exit(f"{read!r} {opened}" if read or opened < 3 else 0)
"""


def run(redirections: str, **options: object) -> subprocess.CompletedProcess[str]:
    """PROGRAM with streams as the shell redirects them."""
    command = ["sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-c", PROGRAM]
    return subprocess.run(
        command, check=False, **{"stdout": subprocess.PIPE, "text": True, "input": "", **options}
    )


@pytest.mark.parametrize(
    ("closed", "stdout"),
    [("<&-", "data\n"), (">&-", ""), ("2>&-", "data\n"), ("<&- >&- 2>&-", "")],
)
def test_a_stream_that_was_closed_is_there_and_empty_and_no_file_takes_its_place(closed, stdout):
    result = run(closed)
    assert (result.returncode, result.stdout) == (0, stdout)


def test_a_reader_of_stderr_that_has_gone_ends_nothing():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        result = run("", stderr=closed)
    assert (result.returncode, result.stdout) == (0, "data\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_full_disk_below_a_log_of_stderr_ends_nothing():
    result = run("2> /dev/full")
    assert (result.returncode, result.stdout) == (0, "data\n")


def test_a_full_pipe_of_stderr_that_does_not_block_ends_nothing():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with os.fdopen(reader), os.fdopen(writer, "wb") as full:
        result = run("", stderr=full)
    assert (result.returncode, result.stdout) == (0, "data\n")


@pytest.mark.parametrize(
    ("encoding", "written"),
    [("utf-8", b"runs/\xff \xce\xb2\n"), ("ascii", b"runs/\\udcff \\u03b2\n")],
)
def test_stdout_takes_every_name(encoding, written):
    program = (
        "import os\nfrom didcli.commands._streams import mend\nmend()\n"
        "print(os.fsdecode(b'runs/\\xff'), chr(0x3b2))"
    )
    environment = {**os.environ, "PYTHONIOENCODING": f"{encoding}:strict"}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, check=True, capture_output=True, env=environment)
    assert result.stdout == written


def test_stderr_is_otherwise_what_it_was():
    result = run("", stderr=subprocess.PIPE)
    assert result.stderr == ("x" * 100_000 + "\n") * 3
