"""One request for a file, and as much of the answer as comes: it is appended to the part."""

import http.client
import itertools
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import requests
import urllib3

from didcli.errors import DataError
from didcli.io.http.headers import (
    Entity,
    announced_size,
    content_range,
    looks_like_html,
    range_headers,
    retry_after,
)
from didcli.io.http.part import Part
from didcli.io.http.source import LATER_HINT, MIRROR_HINT, Source

CHUNK = 2**16
SNIFFED = 512
"""Bytes looked at to tell a web page from data."""

OnProgress = Callable[[int, int | None], object]
"""Called with the bytes that are here, and the bytes in all where known."""

_CERTIFICATE = (
    "Check the clock of this machine; behind a proxy that opens TLS, name its certificates: "
    "REQUESTS_CA_BUNDLE=FILE"
)


class AttemptError(Exception):
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
class Exchange:
    """Asks `source` for the bytes that `part` does not have yet."""

    source: Source
    part: Part
    timeouts: tuple[float, float]
    """Most seconds to wait: for the connection, and without a single byte."""
    on_progress: OnProgress

    def run(self, session: requests.Session) -> bool:
        """One request, and as much of the answer as comes.

        Returns once the part is complete: True when an earlier answer began it. Raises
        AttemptError when another request may help.
        """
        have, entity = self.part.size(), self.part.entity()
        with self._ask(session, range_headers(have, entity)) as response:
            start = self._start_of(response, have)
            answer = Entity.of(self.source.shown_url, response.headers)
            if start and entity and entity.conflicts(answer):
                raise AttemptError("the content changed on the server", useless=True)
            self._receive(response, start, answer)
        return start > 0

    def _ask(self, session: requests.Session, headers: dict[str, str]) -> requests.Response:
        try:
            return session.get(self.source.url, headers=headers, stream=True, timeout=self.timeouts)
        except requests.RequestException as error:
            # ValueError: the kinds for malformed URLs and headers.
            if isinstance(error, requests.TooManyRedirects | ValueError):
                raise DataError(
                    f"cannot fetch {self.source.shown_url}: {error}", hint=LATER_HINT
                ) from error
            if isinstance(_root(error), ssl.SSLCertVerificationError):
                raise DataError(
                    f"the certificate of {self.source.host} is not trusted: {_reason(error)}",
                    hint=_CERTIFICATE,
                ) from error
            raise AttemptError(_reason(error), answered=False) from error

    def _start_of(self, response: requests.Response, have: int) -> int:
        """Position in the file at which the body begins: 0, or `have`."""
        status = response.status_code
        if status == 200:
            return 0
        start, total = content_range(response.headers.get("Content-Range", ""))
        if status == 206:
            if start != have:
                raise AttemptError("the server sent another range than was asked", useless=True)
            return have
        if status == 416:
            if total is not None and total == have and self.source.file.size is not None:
                self.part.discard()
                raise DataError(
                    f"{self.source.host} has something else than {self.source.file.name}: "
                    f"expected {self.source.file.size:,} bytes, it has {total:,}",
                    hint=LATER_HINT,
                )
            raise AttemptError("the server has no more bytes", useless=True)

        answer = f"{status} {response.reason}".rstrip()
        if status in {408, 425, 429} or status >= 500:
            wait = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
            raise AttemptError(f"the server answered {answer}", wait=wait)
        raise DataError(
            f"{self.source.host} answered {answer} for {self.source.shown_url}", hint=LATER_HINT
        )

    def _receive(self, response: requests.Response, start: int, entity: Entity) -> None:
        """Append the body to the part, or begin it anew when the body starts at 0."""
        source, file = self.source, self.source.file
        chunks = _chunks(response)
        head = next(chunks, b"")
        if start == 0:
            # Looked at before the part is emptied: the login page of a hotel network must not
            # cost what has come so far.
            if looks_like_html(head):
                raise DataError(
                    f"{source.host} sent an HTML page in place of {file.name}",
                    hint=f"Open {source.shown_url} in a browser: a login page may be in the way. "
                    f"Or {MIRROR_HINT}",
                )
            self.part.begin(entity)

        done, total = start, file.size or announced_size(response.headers, start)
        self.on_progress(done, total)
        with self.part.path.open("ab") as sink:
            for chunk in itertools.chain((head,), chunks):
                done += sink.write(chunk[: source.limit - done])
                self.on_progress(done, total)
                if done == source.limit:
                    break
        if file.size is not None and done < file.size:
            raise AttemptError(f"the answer ended after {done:,} of {file.size:,} bytes")


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
        raise AttemptError(_reason(error)) from error


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
