import hashlib
import os

import pytest

from didcli.io import digests as module
from didcli.io.digests import difference, digests, remembered
from didcli.io.remote import RemoteFile

HELLO = RemoteFile(
    url="http://localhost/hello",
    name="hello",
    size=6,
    sha256=hashlib.sha256(b"hello\n").hexdigest(),
    md5=None,
    # `echo hello | git hash-object --stdin`
    git_blob_sha1="ce013625030ba8dba906f756967f9e9ca394464a",
    licence="",
)


def test_the_git_blob_digest_is_what_git_says(tmp_path):
    (tmp_path / "hello").write_bytes(b"hello\n")
    assert difference(digests(tmp_path / "hello"), HELLO) is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"hello", "expected 6 bytes, got 5"), (b"hellO\n", "expected SHA-256")],
)
def test_a_difference_says_what_was_expected(tmp_path, content, problem):
    (tmp_path / "hello").write_bytes(content)
    assert problem in difference(digests(tmp_path / "hello"), HELLO)


@pytest.fixture
def hello(tmp_path):
    path = tmp_path / "hello"
    path.write_bytes(b"hello\n")
    return path


def test_a_file_that_has_not_changed_is_read_once(hello, monkeypatch):
    expected = digests(hello)
    assert remembered(hello) == expected
    monkeypatch.setattr(module, "digests", lambda _path: pytest.fail("it was read again"))
    assert remembered(hello) == expected


@pytest.mark.parametrize("content", [b"hello", b"hellO\n"])
def test_a_file_that_has_changed_is_read_again(hello, content):
    remembered(hello)
    hello.write_bytes(content)
    os.utime(hello, ns=(1, 1))
    assert remembered(hello) == digests(hello)


@pytest.mark.parametrize("memory", ["", "[]", "{}", '{"state": {}}', "\0"])
def test_a_damaged_memory_is_made_anew(hello, memory):
    remembered(hello)
    (kept,) = hello.parent.glob(".hello.*")
    kept.write_text(memory)
    assert remembered(hello) == digests(hello)
    assert kept.read_text() != memory


def test_where_nothing_can_be_kept_it_is_read_every_time(hello):
    hello.with_name(".hello.digests.json").mkdir()
    assert remembered(hello) == digests(hello)
