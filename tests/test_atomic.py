import errno
from pathlib import Path

import pytest

from didcli.errors import StorageError
from didcli.io.atomic import write_bytes


def test_a_disk_that_may_only_be_read_is_a_storage_error(tmp_path, monkeypatch):
    """On such a disk Linux refuses even to unlink what is not there."""

    def refuse(*_arguments, **_options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StorageError, match=r"cannot write .*: Read-only file system"):
        write_bytes(tmp_path / "file", b"content")


def test_a_file_that_does_not_read_back_leaves_the_old_one_and_nothing_else(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(StorageError, match="does not read back"):
        write_bytes(tmp_path / "file", b"new", verify=lambda _content: False)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1
