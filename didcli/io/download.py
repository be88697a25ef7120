"""Fetch a published file: resumed where it stopped, and checked before it is trusted.

While it comes in, the file is NAME.part, with NAME.part.json to say whose bytes those are. Only
what has passed every check becomes NAME. pooch is the frame (where, whether, the last check, the
move); the transfer is `ResumableDownloader`, plugged into it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock
import pooch

from didcli.io.digests import difference, digests
from didcli.io.http.exchange import OnProgress
from didcli.io.http.part import Part
from didcli.io.http.source import Source
from didcli.io.http.transfer import OnNote, Patience, ResumableDownloader
from didcli.io.remote import RemoteFile
from didcli.io.space import storage_errors

_IF_FULL = (
    "Free some space and run the same command again: what has come is kept. "
    "Or choose another disk: --data-dir DIR."
)


@dataclass(frozen=True)
class FetchResult:
    """A file that is here and has passed every check."""

    path: Path
    downloaded: bool
    """False when the file was here already, and passed."""
    size: int
    """Size of the file in bytes."""
    sha256: str
    difference: str | None = None
    """Difference from the published digests where those are of an older copy; then the file is not
    verified."""


def fetch(
    file: RemoteFile,
    folder: Path,
    *,
    force: bool = False,
    on_progress: OnProgress | None = None,
    on_note: OnNote | None = None,
    patience: Patience | None = None,
) -> FetchResult:
    """Bring `file` into `folder`, whole and verified.

    A file that is here and passes is left alone, unless `force`; one that does not pass is fetched
    again. Either way the old one stays until its successor has passed. When two processes fetch the
    same file, the second waits for the first and uses what it brought.

    Raises UnreachableError without a network, DataError when the server has something other than
    the file, StorageError when the disk is full or the folder cannot be written.
    """
    note = on_note or _nobody
    path = folder / file.name
    with storage_errors(path, if_full=_IF_FULL):
        # First without the lock: a verified file may well be in a folder that is only readable.
        if not force and (here := _verified(path, file)):
            return here
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder / f".{file.name}.lock", note):
            if not force and path.exists():
                if here := _verified(path, file):
                    return here
                note(f"{path} is damaged or of another version: fetching it again")
            downloader = ResumableDownloader(
                Source.of(file),
                Part(folder / f"{file.name}.part"),
                patience or Patience(),
                on_progress or _nobody,
                note,
            )
            _replace(path, downloader)
            found = digests(path)
            problem = difference(found, file)
            return FetchResult(path, True, found.size, found.sha256, problem)


def _replace(path: Path, downloader: ResumableDownloader) -> None:
    """Fetch the file and put it at `path`, whatever is there now."""
    # pooch leaves alone a file that is there and passes. So it works under another name, and the
    # old file is in its place until the new one has been checked.
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    pooch.get_logger().setLevel("WARNING")  # what it would say is said by `note`
    pooch.retrieve(
        downloader.source.url,
        known_hash=_known_hash(downloader.file),
        fname=fresh.name,
        path=path.parent,
        downloader=downloader,
    )
    fresh.replace(path)


def _known_hash(file: RemoteFile) -> str | None:
    """What pooch is to compare; None where only digests of an older copy are known."""
    if file.digests_of_older_copy:
        return None
    return f"sha256:{file.sha256}" if file.sha256 else f"md5:{file.md5}"


@contextmanager
def _lock(path: Path, note: OnNote) -> Iterator[None]:
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        note("another process is fetching the same file: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _nobody(*_: object) -> None:
    """Listens to progress and notes when the caller does not."""


def _verified(path: Path, file: RemoteFile) -> FetchResult | None:
    """The file that is here, if it is the one that was published."""
    if not path.is_file():
        return None
    if file.size is not None and path.stat().st_size != file.size:
        return None  # hundreds of megabytes need not be read to know
    found = digests(path)
    problem = difference(found, file)
    if problem is not None and not file.digests_of_older_copy:
        return None
    return FetchResult(path, False, found.size, found.sha256, problem)
