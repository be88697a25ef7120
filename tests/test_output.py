import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from didcli.commands import _output
from didcli.errors import StorageError

PARTS = [b"one", b"two"]


def write(path: Path) -> None:
    """As the commands do."""
    _output.check(str(path), binary=True)
    _output.write(str(path), PARTS)


def test_a_file_is_replaced_once_all_is_there(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"old")

    def broken():
        yield b"one"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        _output.write(str(path), broken())
    assert path.read_bytes() == b"old"
    write(path)
    assert path.read_bytes() == b"onetwo"
    assert list(tmp_path.iterdir()) == [path]


def test_a_symbolic_link_stays_and_its_file_gets_the_result(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    link, file = tmp_path / "link.png", tmp_path / "elsewhere" / "file.png"
    link.symlink_to(Path("elsewhere", "file.png"))  # which is not there yet
    for _ in range(2):
        write(link)
        assert link.is_symlink()
        assert file.read_bytes() == b"onetwo"
        assert not file.is_symlink()


def test_a_link_into_a_folder_that_is_not_there_is_found_before_the_work(tmp_path):
    link = tmp_path / "link.png"
    link.symlink_to(tmp_path / "absent" / "file.png")
    with pytest.raises(StorageError, match=r"no folder .*absent"):
        _output.check(str(link), binary=True)


def test_a_fifo_stays_one_and_its_reader_gets_the_parts(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()), daemon=True)
    reader.start()
    write(fifo)
    reader.join(timeout=10)
    assert got == [b"onetwo"]
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert list(tmp_path.iterdir()) == [fifo]


def test_a_reader_of_a_fifo_that_goes_is_a_closed_pipe(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: fifo.open("rb").close(), daemon=True)
    reader.start()

    def content():
        reader.join(timeout=10)
        yield b"one"

    with pytest.raises(BrokenPipeError):
        _output.write(str(fifo), content())


def test_a_pipe_of_the_shell_gets_the_result():
    program = (
        "import sys\n"
        "from didcli.commands import _output\n"
        "_output.check(sys.argv[1], binary=True)\n"
        "_output.write(sys.argv[1], [b'one', b'two'])"
    )
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb") as reader:
        subprocess.run(
            [sys.executable, "-c", program, f"/dev/fd/{theirs}"], check=True, pass_fds=[theirs]
        )
        os.close(theirs)
        assert reader.read() == b"onetwo"
