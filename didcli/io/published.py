"""Check that a file is the one that was published: what every official dataset asks first."""

from dataclasses import dataclass
from pathlib import Path

from didcli.errors import DataError, StorageError
from didcli.io.digests import difference, remembered
from didcli.io.remote import RemoteFile


@dataclass(frozen=True)
class Published:
    """A file that is here and may be read."""

    sha256: str
    note: str | None
    """How it differs from the copy whose digests are known, where other copies are accepted."""

    @property
    def source(self) -> str:
        """What a run records: `official sha256:…`, or `unverified sha256:…` for another copy."""
        return f"{'official' if self.note is None else 'unverified'} sha256:{self.sha256}"


def check(path: Path, file: RemoteFile, hint: str) -> Published:
    """Compare the file at `path` with what was published about it.

    Raises DataError, with `hint`, when it is absent or another, and StorageError when it cannot be
    read. Where the digests are of an older copy, another copy is accepted with a note naming both.
    It is read again only when its size or its time of change has changed (`digests.remembered`).
    """
    if not path.is_file():
        raise DataError(f"there is no {path}", hint=hint)
    try:
        found = remembered(path)
    except OSError as error:
        raise StorageError(
            f"cannot read {path}: {error.strerror}", hint="See who may read it."
        ) from error
    problem = difference(found, file)
    if problem is None:
        return Published(found.sha256, note=None)
    if not file.digests_of_older_copy:
        raise DataError(f"{path} is not the published file: {problem}", hint=hint)
    return Published(found.sha256, unverified(file.name, problem))


def unverified(name: str, problem: str) -> str:
    """What to say of a file that cannot be verified; problem: what `difference` said."""
    return f"{name} is not the copy whose digests are known, and cannot be verified: {problem}"
