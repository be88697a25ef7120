import hashlib
from dataclasses import replace

import pytest

from didcli.errors import DataError, StorageError
from didcli.io import published
from didcli.io.remote import RemoteFile

CONTENT = b"the whole set"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = RemoteFile("", "set", len(CONTENT), SHA256, None, None, "")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "set"
    path.write_bytes(CONTENT)
    return path


def test_the_published_file_is_official(path):
    assert published.check(path, FILE, "") == published.Published(SHA256, note=None)
    assert published.check(path, FILE, "").source == f"official sha256:{SHA256}"


def test_another_file_is_refused(path):
    path.write_bytes(b"the wh0le set")
    with pytest.raises(DataError, match="is not the published file: expected SHA-256") as caught:
        published.check(path, FILE, "Fetch it")
    assert caught.value.hint == "Fetch it"


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"there is no .*set"):
        published.check(tmp_path / "set", FILE, "")


def test_a_file_that_cannot_be_read_is_a_storage_error(path, monkeypatch):
    def refuse(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(published, "remembered", refuse)
    with pytest.raises(StorageError, match=r"cannot read .*: Permission denied"):
        published.check(path, FILE, "")


def test_another_copy_is_unverified_and_both_digests_are_named(path):
    found = published.check(path, replace(FILE, sha256="0" * 64, digests_of_older_copy=True), "")
    assert found.source == f"unverified sha256:{SHA256}"
    assert found.note is not None
    assert f"expected SHA-256 {'0' * 64}, got {SHA256}" in found.note
