"""Whether a file on the disk is the one that was published."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from didcli.io.remote import RemoteFile


@dataclass(frozen=True)
class Digests:
    """What a file on the disk really is."""

    size: int
    sha256: str
    md5: str
    git_blob_sha1: str


def digests(path: Path) -> Digests:
    """Every digest that a publisher may have given, in one pass over the file."""
    size = path.stat().st_size
    sha256 = hashlib.sha256()
    md5 = hashlib.md5(usedforsecurity=False)
    blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(2**20):
            for running in (sha256, md5, blob):
                running.update(block)
    return Digests(size, sha256.hexdigest(), md5.hexdigest(), blob.hexdigest())


def difference(found: Digests, file: RemoteFile) -> str | None:
    """What is wrong with `found`, or None when it passes every check that was published.

    MD5 alone can be forged, so where a second digest is known, both must agree.
    """
    checks = {
        "SHA-256": (file.sha256, found.sha256),
        "MD5": (file.md5, found.md5),
        "git blob SHA-1": (file.git_blob_sha1, found.git_blob_sha1),
    }
    published = {name: pair for name, pair in checks.items() if pair[0] is not None}
    if not published:
        raise ValueError(f"{file.name} has no digest to be checked against")
    if file.size is not None and file.size != found.size:
        return f"expected {file.size:,} bytes, got {found.size:,}"
    for name, (expected, actual) in published.items():
        if expected != actual:
            return f"expected {name} {expected}, got {actual}"
    return None
