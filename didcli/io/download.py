"""Fetch a published file: resumed where it stopped, and checked before it is trusted.

While it comes in, the file is NAME.part, with NAME.part.json to say whose bytes those are. Only
what has passed every check becomes NAME. pooch holds the frame (where, whether, the last check,
the move); the transfer is `_ResumableDownloader`, plugged into it.

HTTP as in RFC 9110: ranges in section 14, validators in 8.8, If-Range in 13.1.5.
"""

import email.utils
import http.client
import itertools
import json
import os
import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

import filelock
import pooch
import requests
import urllib3

from didcli import __version__
from didcli.errors import DataError, UsageError
from didcli.io.digests import difference, digests
from didcli.io.progress import amount, duration
from didcli.io.remote import RemoteFile
from didcli.io.space import storage_errors

MIRROR_VARIABLE = "DID_MIRROR"
"""Base URL of a mirror: NAME is then fetched from $DID_MIRROR/NAME, and checked all the same."""

LARGEST_OF_UNKNOWN_SIZE = 32 * 2**30
"""Bytes. An endless answer must not fill the disk; no set here is nearly as large."""

CHUNK = 2**16
SNIFFED = 512
"""Bytes looked at to tell a web page from data."""

OnProgress = Callable[[int, int | None], object]
"""(bytes that are here, bytes in all where known)."""
OnNote = Callable[[str], object]
"""A line for the user about something that was mended on the way."""

_LATER = "Run the same command again: it goes on where it stopped."
_IF_FULL = (
    "Free some space and run the same command again: what has come is kept. "
    "Or choose another disk: --data-dir DIR."
)
_MIRROR = f"fetch from a mirror: {MIRROR_VARIABLE}=https://mirror.example/data"
_ELSEWHERE = f"Try again later, or {_MIRROR}"
_NO_NETWORK = f"Check the network and the proxy (HTTPS_PROXY), or {_MIRROR}"
_CERTIFICATE = (
    "Check the clock of this machine; behind a proxy that opens TLS, name its certificates: "
    "REQUESTS_CA_BUNDLE=FILE"
)


class UnreachableError(DataError):
    """No server answered, so nothing is known against the file itself."""


@dataclass(frozen=True)
class Patience:
    """How long a download insists."""

    tries: int = 6
    """Failures in a row, without a byte more than before, after which it gives up."""
    tries_without_answer: int = 3
    """The same while no server has answered at all: then there is most likely no network."""
    first_wait: float = 1.0
    """Seconds before the second try; doubled for each one after that."""
    longest_wait: float = 60.0
    """Seconds; bounds the doubling, and what a server may ask for by Retry-After."""
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    """Seconds without a single byte."""
    sleep: Callable[[float], object] = field(default=time.sleep, repr=False)

    def wait(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row, at least one."""
        return min(self.longest_wait, self.first_wait * 2.0 ** (failures - 1))


@dataclass(frozen=True)
class FetchResult:
    """A file that is here and has passed every check."""

    path: Path
    downloaded: bool
    """False when the file was here already, and passed."""
    size: int
    """Bytes."""
    sha256: str
    difference: str | None = None
    """From the published digests, where those are of an older copy: then it is not verified."""


def fetch(
    file: RemoteFile,
    folder: Path,
    *,
    force: bool = False,
    on_progress: OnProgress | None = None,
    on_note: OnNote | None = None,
    patience: Patience | None = None,
) -> FetchResult:
    """Have `file` in `folder`, whole and verified.

    A file that is here and passes is left alone, unless `force`; one that does not pass is fetched
    again. Either way the old one stays until its successor has passed. Of two processes that fetch
    the same file, the second waits for the first and uses what it brought.

    Raises UnreachableError without a network, DataError when the server has something else than
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
            part = _Part(folder / f"{file.name}.part")
            downloader = _ResumableDownloader(
                source_url(file), file, part, patience or Patience(), on_progress or _nobody, note
            )
            _replace(path, file, downloader)
            found = digests(path)
            problem = difference(found, file)
            return FetchResult(path, True, found.size, found.sha256, problem)


def source_url(file: RemoteFile) -> str:
    """Where `file` is fetched from: its publisher, or the mirror that $DID_MIRROR names."""
    mirror = os.environ.get(MIRROR_VARIABLE)
    if not mirror:
        return file.url
    if urlsplit(mirror).scheme not in {"http", "https"}:
        raise UsageError(
            f"{MIRROR_VARIABLE}={mirror} is not an http or https URL",
            hint=f"Set it to a base URL, such as {MIRROR_VARIABLE}=https://mirror.example/data",
        )
    return f"{mirror.rstrip('/')}/{quote(file.name)}"


def _replace(path: Path, file: RemoteFile, downloader: "_ResumableDownloader") -> None:
    """Fetch `file` and put it at `path`, whatever is there now."""
    # pooch leaves alone a file that is there and passes. So it works under another name, and the
    # old file is in its place until the new one has been checked.
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    pooch.get_logger().setLevel("WARNING")  # what it would say is said by `note`
    pooch.retrieve(
        downloader.url,
        known_hash=_known_hash(file),
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


# ---------------------------------------------------------------------------- checks


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


def _looks_like_html(head: bytes) -> bool:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head"))


# ---------------------------------------------------------------------------- the part


@dataclass(frozen=True)
class _Entity:
    """Whose bytes a part holds; what it takes to ask for the rest of the very same ones."""

    url: str
    etag: str | None
    last_modified: str | None

    @property
    def validator(self) -> str | None:
        """For If-Range, which must not carry a weak tag."""
        strong = self.etag is not None and not self.etag.startswith("W/")
        return self.etag if strong else self.last_modified

    def conflicts(self, other: "_Entity") -> bool:
        """Whether the server says that the content has changed since."""
        if self.etag is not None and other.etag is not None:
            return self.etag.removeprefix("W/") != other.etag.removeprefix("W/")
        if self.last_modified is not None and other.last_modified is not None:
            return self.last_modified != other.last_modified
        return False


@dataclass(frozen=True)
class _Part:
    """NAME.part and its sidecar."""

    path: Path

    @property
    def sidecar(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def entity(self) -> _Entity | None:
        """None when it is not known whose bytes these are: then they are of no use."""
        try:
            return _Entity(**json.loads(self.sidecar.read_text("utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def begin(self, entity: _Entity) -> None:
        # Emptied first: were the process killed in between, old bytes would get a new name.
        self.path.write_bytes(b"")
        self.sidecar.write_text(json.dumps(asdict(entity)), "utf-8")

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.sidecar.unlink(missing_ok=True)


# ---------------------------------------------------------------------------- the transfer


class _AttemptError(Exception):
    """This attempt failed in a way that the next one may not."""

    def __init__(
        self,
        reason: str,
        *,
        answered: bool = True,
        useless: bool = False,
        wait: float | None = None,
    ) -> None:
        """
        answered: whether a server spoke to us.
        useless: the part cannot be continued.
        wait: seconds, where the server asked for a number of them.
        """
        super().__init__(reason)
        self.answered = answered
        self.useless = useless
        self.wait = wait


@dataclass(frozen=True)
class _ResumableDownloader:
    """Fills the file that pooch names; a `pooch.typing.Downloader`."""

    url: str
    file: RemoteFile
    part: _Part
    patience: Patience
    on_progress: OnProgress
    note: OnNote

    def __call__(self, _url: str, output_file: str, _pooch: object) -> None:
        # pooch has made an empty file of this name. Were this process killed, it would stay for
        # ever, and every try would leave another.
        Path(output_file).unlink()
        resumed = self._transfer()
        problem = self._problem()
        if problem and resumed:
            # Where a server gives no validator, content that changed half-way shows only now.
            self.note(f"{self.file.name}: damaged after resuming, so it is fetched from the start")
            self.part.discard()
            self._transfer()
            problem = self._problem()
        if problem:
            self.part.discard()
            raise DataError(
                f"{self._host} sent something else than {self.file.name}: {problem}",
                hint=_ELSEWHERE,
            )
        _sync(self.part.path)
        self.part.path.replace(output_file)
        self.part.discard()

    def _problem(self) -> str | None:
        """What is wrong with the part. Whether another copy is whole, its reader has to say."""
        if self.file.digests_of_older_copy:
            return None
        return difference(digests(self.part.path), self.file)

    @property
    def _host(self) -> str:
        return urlsplit(self._shown_url).netloc

    @property
    def _shown_url(self) -> str:
        """Without the name and the password that the URL of a mirror may hold."""
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    def _transfer(self) -> bool:
        """Bring the part to its full length; True when its bytes came in more than one answer."""
        if not self._is_of_use():
            self.part.discard()
        furthest = self.part.size()
        if furthest and furthest == self.file.size:
            return True
        answered, failures = False, 0
        with requests.Session() as session:
            session.headers["User-Agent"] = f"didcli/{__version__}"
            # Ranges count the bytes that travel, so these must be the bytes of the file.
            session.headers["Accept-Encoding"] = "identity"
            while True:
                try:
                    return self._attempt(session)
                except _AttemptError as failure:
                    # Progress is a byte further than ever: a server that ignores ranges sends the
                    # beginning again and again.
                    size = self.part.size()
                    if size > furthest:
                        furthest, failures = size, 1
                    elif self._is_whole_all_the_same():
                        return True
                    else:
                        failures += 1
                    answered = answered or failure.answered
                    if failure.useless:
                        self.part.discard()
                    self._wait_or_raise(failure, failures, answered=answered)

    def _is_of_use(self) -> bool:
        """Whether the part that an earlier process left can be continued."""
        entity = self.part.entity()
        return (
            entity is not None and entity.url == self._shown_url and self.part.size() <= self._limit
        )

    def _is_whole_all_the_same(self) -> bool:
        """Where no size was published, only the digest tells a cut from a length that was a lie."""
        if self.file.size is not None or self.part.size() == 0:
            return False
        return difference(digests(self.part.path), self.file) is None

    def _wait_or_raise(self, failure: _AttemptError, failures: int, *, answered: bool) -> None:
        tries = self.patience.tries if answered else self.patience.tries_without_answer
        if failures >= tries:
            kept = self.part.size()
            raise (DataError if answered else UnreachableError)(
                f"cannot fetch {self.file.name} from {self._host}: {failure}"
                + (f" ({amount(kept, 'B')} are kept)" if kept else ""),
                hint=_LATER if answered else _NO_NETWORK,
            ) from failure
        wait = self.patience.wait(failures) if failure.wait is None else failure.wait
        wait = min(wait, self.patience.longest_wait)
        self.note(f"{self.file.name}: {failure}; trying again in {duration(wait)}")
        self.patience.sleep(wait)

    def _attempt(self, session: requests.Session) -> bool:
        """One request, and as much of the answer as comes.

        Returns once the part is complete: True when an earlier answer began it. Raises
        _AttemptError when another request may help.
        """
        have, entity = self.part.size(), self.part.entity()
        with self._ask(session, _range_headers(have, entity)) as response:
            start = self._start_of(response, have)
            answer = _Entity(
                self._shown_url,
                response.headers.get("ETag"),
                response.headers.get("Last-Modified"),
            )
            if start and entity and entity.conflicts(answer):
                raise _AttemptError("the content changed on the server", useless=True)
            self._receive(response, start, answer)
        return start > 0

    @property
    def _limit(self) -> int:
        """Bytes beyond which nothing is written."""
        return LARGEST_OF_UNKNOWN_SIZE if self.file.size is None else self.file.size

    def _ask(self, session: requests.Session, headers: dict[str, str]) -> requests.Response:
        timeout = (self.patience.connect_timeout, self.patience.read_timeout)
        try:
            return session.get(self.url, headers=headers, stream=True, timeout=timeout)
        except requests.RequestException as error:
            # ValueError: the kinds for malformed URLs and headers.
            if isinstance(error, requests.TooManyRedirects | ValueError):
                raise DataError(
                    f"cannot fetch {self._shown_url}: {error}", hint=_ELSEWHERE
                ) from error
            if isinstance(_root(error), ssl.SSLCertVerificationError):
                raise DataError(
                    f"the certificate of {self._host} is not trusted: {_reason(error)}",
                    hint=_CERTIFICATE,
                ) from error
            raise _AttemptError(_reason(error), answered=False) from error

    def _start_of(self, response: requests.Response, have: int) -> int:
        """Where in the file the body begins: at 0, or at `have`."""
        status = response.status_code
        if status == 200:
            return 0
        start, total = _content_range(response.headers.get("Content-Range", ""))
        if status == 206:
            if start != have:
                raise _AttemptError("the server sent another range than was asked", useless=True)
            return have
        if status == 416:
            if total is not None and total == have and self.file.size is not None:
                self.part.discard()
                raise DataError(
                    f"{self._host} has something else than {self.file.name}: "
                    f"expected {self.file.size:,} bytes, it has {total:,}",
                    hint=_ELSEWHERE,
                )
            raise _AttemptError("the server has no more bytes", useless=True)

        answer = f"{status} {response.reason}".rstrip()
        if status in {408, 425, 429} or status >= 500:
            wait = _retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
            raise _AttemptError(f"the server answered {answer}", wait=wait)
        raise DataError(f"{self._host} answered {answer} for {self._shown_url}", hint=_ELSEWHERE)

    def _receive(self, response: requests.Response, start: int, entity: _Entity) -> None:
        """Append the body to the part, or begin it anew when the body starts at 0."""
        chunks = _chunks(response)
        head = next(chunks, b"")
        if start == 0:
            # Looked at before the part is emptied: the login page of a hotel network must not
            # cost what has come so far.
            if _looks_like_html(head):
                raise DataError(
                    f"{self._host} sent an HTML page in place of {self.file.name}",
                    hint=f"Open {self._shown_url} in a browser: a login page may be in the way. "
                    f"Or {_MIRROR}",
                )
            self.part.begin(entity)

        done, total = start, self.file.size or _announced(response, start)
        self.on_progress(done, total)
        with self.part.path.open("ab") as sink:
            for chunk in itertools.chain((head,), chunks):
                done += sink.write(chunk[: self._limit - done])
                self.on_progress(done, total)
                if done == self._limit:
                    break
        if self.file.size is not None and done < self.file.size:
            raise _AttemptError(f"the answer ended after {done:,} of {self.file.size:,} bytes")


def _range_headers(have: int, entity: _Entity | None) -> dict[str, str]:
    """What asks for the bytes from `have` on, but for all of them if the content has changed."""
    if have == 0:
        return {}
    condition = {"If-Range": entity.validator} if entity and entity.validator else {}
    return {"Range": f"bytes={have}-", **condition}


def _content_range(value: str) -> tuple[int | None, int | None]:
    """(first byte, size of the whole); `bytes 5-9/10` is (5, 10), `bytes */10` is (None, 10)."""
    match = re.fullmatch(r"bytes\s+(?:(\d+)-\d+|\*)/(?:(\d+)|\*)", value.strip())
    if match is None:
        return None, None
    start, total = match.groups()
    return int(start) if start else None, int(total) if total else None


def _retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for: it gives them, or a date."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        until = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - now).total_seconds())


def _announced(response: requests.Response, start: int) -> int | None:
    """The size of the whole file by the Content-Length of what is left of it."""
    length = response.headers.get("Content-Length", "")
    return start + int(length) if length.isdecimal() else None


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """The body as it travels, the first chunk long enough to tell what it is.

    Not `iter_content`, which would unpack what a server calls `Content-Encoding: gzip`, as some do
    of a .tar.gz; and which waits for full chunks, so that a slow line loses much at every cut.
    """
    try:
        chunk = response.raw.read(SNIFFED, decode_content=False)
        while chunk:
            yield chunk
            chunk = response.raw.read1(CHUNK, decode_content=False)
    except urllib3.exceptions.HTTPError as error:
        raise _AttemptError(_reason(error)) from error


def _root(error: BaseException) -> BaseException:
    while deeper := error.__cause__ or error.__context__:
        error = deeper
    return error


def _reason(error: BaseException) -> str:
    """The few words of the innermost error: the outer ones only wrap it in class names."""
    if isinstance(error, requests.Timeout | urllib3.exceptions.ReadTimeoutError):
        return "the server did not answer in time"
    root = _root(error)
    if isinstance(root, http.client.IncompleteRead | urllib3.exceptions.IncompleteRead):
        return "the connection was cut"
    return getattr(root, "strerror", None) or str(root) or type(root).__name__


def _sync(path: Path) -> None:
    """Have the bytes on the disk before the name promises them."""
    with path.open("r+b") as file:  # Windows syncs only what is open for writing
        os.fsync(file.fileno())
