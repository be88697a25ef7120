import signal
import subprocess
import sys
import textwrap

import pytest
from conftest import PATIENCE

from didcli.errors import StorageError
from didcli.io import once


def read(path):
    """The content of a whole file, which ends with a full stop."""
    content = path.read_bytes() if path.exists() else b""
    return content if content.endswith(b".") else None


def write(file):
    file.write(b"made.")


def never(_file):
    pytest.fail("must not be made again")


def child(body: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process with `once`, `read` and the path to work on."""
    prelude = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from didcli.io import once
        path = Path(sys.argv[1])
        def read(path):
            content = path.read_bytes() if path.exists() else b""
            return content if content.endswith(b".") else None
        """
    )
    return subprocess.Popen(
        [sys.executable, "-c", prelude + textwrap.dedent(body), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_makes_the_file_and_its_folder_once(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    assert once.ensure(path, read, write) == b"made."
    assert once.ensure(path, read, never) == b"made."


def test_a_good_file_is_used_without_writing_to_the_folder(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"here.")
    assert once.ensure(path, read, never) == b"here."
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_file_is_replaced(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"half of")
    assert once.ensure(path, read, write) == b"made."


def test_a_failure_leaves_the_folder_as_it_was(tmp_path):
    def fail(file):
        file.write(b"half of")
        raise KeyboardInterrupt

    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        once.ensure(path, read, fail)
    assert path.read_bytes() == b"old"
    assert not list(tmp_path.glob(".*.tmp"))
    assert once.ensure(path, read, write) == b"made."  # the lock was released


def test_of_two_processes_one_makes_the_file_and_the_other_waits(tmp_path):
    body = """
        def write(file):
            with open(sys.argv[2], "a") as log:
                log.write("x")
            time.sleep(0.5)
            file.write(b"made.")
        print(once.ensure(path, read, write).decode())
    """
    children = [child(body, tmp_path / "file", tmp_path / "log") for _ in range(2)]
    outputs = [process.communicate(timeout=PATIENCE) for process in children]
    assert outputs == [("made.\n", "")] * 2
    assert (tmp_path / "log").read_text() == "x"


def test_what_a_killed_process_left_is_cleaned_up(tmp_path):
    body = """
        def write(file):
            file.write(b"half of")
            file.flush()
            print("writing", flush=True)
            time.sleep(60)
        once.ensure(path, read, write)
    """
    path = tmp_path / "file"
    with child(body, path) as process:
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    assert list(tmp_path.glob(".*.tmp"))

    # The lock died with its holder.
    assert once.ensure(path, read, write) == b"made."
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_full_disk_says_where_else_the_file_could_go(tmp_path):
    body = """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        from didcli.errors import StorageError
        try:
            once.ensure(path, read, lambda file: file.write(bytes(100_000)))
        except StorageError as error:
            print(error.exit_code, error, error.hint, sep="|")
    """
    with child(body, tmp_path / "file") as process:
        code, message, hint = process.communicate(timeout=PATIENCE)[0].strip().split("|")
    assert code == "7"
    assert message == f"no space is left for {tmp_path / 'file'}"
    assert "--data-dir" in hint
    assert "DID_DATA_DIR" in hint
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_folder_that_cannot_be_made_says_which(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"cannot read or write .*inside") as caught:
        once.ensure(tmp_path / "file" / "inside", read, write)
    assert "--data-dir" in caught.value.hint


def test_a_disk_that_forgets_is_reported(tmp_path):
    with pytest.raises(StorageError, match="does not read back"):
        once.ensure(tmp_path / "file", read, lambda file: file.write(b"half of"))
