"""Whether a file on the disk is the one that was published."""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from didcli.errors import StorageError
from didcli.io.atomic import write_text
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


def remembered(path: Path) -> Digests:
    """The digests of a file, without reading it if it has not changed since the last call.

    Its size and the time of its last change tell; both are kept with the digests in a hidden file
    beside it. For files of many gigabytes, which it would take minutes to read at every start.
    """
    memory = path.with_name(f".{path.name}.digests.json")
    status = path.stat()
    state = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    with suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(memory.read_text("utf-8"))
        if kept["state"] == state:
            return Digests(**kept["digests"])
    found = digests(path)
    with suppress(StorageError):  # in a folder that is only readable the next call reads it again
        write_text(memory, json.dumps({"state": state, "digests": asdict(found)}) + "\n")
    return found


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
