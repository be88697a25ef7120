"""What the publisher of a file would say of it, for files that tests make."""

import hashlib
from pathlib import Path

from didcli.io.remote import RemoteFile


def with_sha256(path: Path) -> RemoteFile:
    """Size and SHA-256 are known."""
    raw = path.read_bytes()
    return RemoteFile("", path.name, len(raw), hashlib.sha256(raw).hexdigest(), None, None, "")


def with_md5(path: Path) -> RemoteFile:
    """Only the MD5 is known."""
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return RemoteFile("", path.name, None, None, md5, None, "")
