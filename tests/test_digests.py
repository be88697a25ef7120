import hashlib

import pytest

from didcli.io.digests import difference, digests
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
