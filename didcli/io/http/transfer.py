"""A transfer that goes on where it stopped: request after request, until the part is whole."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import requests

from didcli import __version__
from didcli.errors import DataError
from didcli.io.digests import difference, digests
from didcli.io.http.exchange import AttemptError, Exchange, OnProgress
from didcli.io.http.part import Part
from didcli.io.http.source import LATER_HINT, MIRROR_HINT, Source
from didcli.io.progress import amount, duration
from didcli.io.remote import RemoteFile

OnNote = Callable[[str], object]
"""A line for the user about something that was mended on the way."""

_AGAIN = "Run the same command again: it goes on where it stopped."
_NO_NETWORK = f"Check the network and the proxy (HTTPS_PROXY), or {MIRROR_HINT}"


class UnreachableError(DataError):
    """No server answered, so nothing is known against the file itself."""


@dataclass(frozen=True)
class Patience:
    """How long a download insists."""

    tries: int = 6
    """Failures in a row, without a byte more than before, after which it gives up."""
    tries_without_answer: int = 3
    """Failures in a row while no server has answered: then there is most likely no network."""
    first_wait: float = 1.0
    """Seconds before the second try; doubled for each one after that."""
    longest_wait: float = 60.0
    """Most seconds between tries: bounds the doubling, and what Retry-After may ask for."""
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    """Most seconds without a single byte."""
    sleep: Callable[[float], object] = field(default=time.sleep, repr=False)

    def wait(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row, at least one."""
        return min(self.longest_wait, self.first_wait * 2.0 ** (failures - 1))


@dataclass(frozen=True)
class ResumableDownloader:
    """Fills the file that pooch names; a `pooch.typing.Downloader`."""

    source: Source
    part: Part
    patience: Patience
    on_progress: OnProgress
    note: OnNote

    @property
    def file(self) -> RemoteFile:
        return self.source.file

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
                f"{self.source.host} sent something else than {self.file.name}: {problem}",
                hint=LATER_HINT,
            )
        self.part.finish(Path(output_file))

    def _problem(self) -> str | None:
        """What is wrong with the part. Whether another copy is whole, only its reader can tell."""
        if self.file.digests_of_older_copy:
            return None
        return difference(digests(self.part.path), self.file)

    def _transfer(self) -> bool:
        """Bring the part to its full length; True when its bytes came in more than one answer."""
        if not self._is_of_use():
            self.part.discard()
        furthest = self.part.size()
        if furthest and furthest == self.file.size:
            return True
        patience = self.patience
        exchange = Exchange(
            self.source,
            self.part,
            (patience.connect_timeout, patience.read_timeout),
            self.on_progress,
        )
        answered, failures = False, 0
        with requests.Session() as session:
            session.headers["User-Agent"] = f"didcli/{__version__}"
            # Ranges count the bytes that travel, so these must be the bytes of the file.
            session.headers["Accept-Encoding"] = "identity"
            while True:
                try:
                    return exchange.run(session)
                except AttemptError as failure:
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
            entity is not None
            and entity.url == self.source.shown_url
            and self.part.size() <= self.source.limit
        )

    def _is_whole_all_the_same(self) -> bool:
        """Whether the part is whole though an answer failed. Checked only if no size was published:
        then the digest alone tells a cut from a length that was a lie."""
        if self.file.size is not None or self.part.size() == 0:
            return False
        return difference(digests(self.part.path), self.file) is None

    def _wait_or_raise(self, failure: AttemptError, failures: int, *, answered: bool) -> None:
        tries = self.patience.tries if answered else self.patience.tries_without_answer
        if failures >= tries:
            kept = self.part.size()
            raise (DataError if answered else UnreachableError)(
                f"cannot fetch {self.file.name} from {self.source.host}: {failure}"
                + (f" ({amount(kept, 'B')} are kept)" if kept else ""),
                hint=_AGAIN if answered else _NO_NETWORK,
            ) from failure
        wait = self.patience.wait(failures) if failure.wait is None else failure.wait
        wait = min(wait, self.patience.longest_wait)
        self.note(f"{self.file.name}: {failure}; trying again in {duration(wait)}")
        self.patience.sleep(wait)
