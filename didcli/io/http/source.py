"""The source of a file to fetch: its publisher, or a mirror that the user names."""

import os
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from didcli.errors import UsageError
from didcli.io.remote import RemoteFile

MIRROR_VARIABLE = "DID_MIRROR"
"""Base URL of a mirror: NAME is then fetched from $DID_MIRROR/NAME, and checked all the same."""

LARGEST_OF_UNKNOWN_SIZE = 32 * 2**30
"""Most bytes taken: an endless answer must not fill the disk; no set here is nearly as large."""

MIRROR_HINT = f"fetch from a mirror: {MIRROR_VARIABLE}=https://mirror.example/data"
LATER_HINT = f"Try again later, or {MIRROR_HINT}"


@dataclass(frozen=True)
class Source:
    """A file, and the URL that it is fetched from."""

    file: RemoteFile
    url: str

    @classmethod
    def of(cls, file: RemoteFile) -> "Source":
        """`file` at the mirror, else its publisher. Raises UsageError if $DID_MIRROR is no URL."""
        mirror = os.environ.get(MIRROR_VARIABLE)
        if not mirror:
            return cls(file, file.url)
        if urlsplit(mirror).scheme not in {"http", "https"}:
            raise UsageError(
                f"{MIRROR_VARIABLE}={mirror} is not an http or https URL",
                hint=f"Set it to a base URL, such as {MIRROR_VARIABLE}=https://mirror.example/data",
            )
        return cls(file, f"{mirror.rstrip('/')}/{quote(file.name)}")

    @property
    def shown_url(self) -> str:
        """The URL without the user name and the password that one of a mirror may hold."""
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    @property
    def host(self) -> str:
        return urlsplit(self.shown_url).netloc

    @property
    def limit(self) -> int:
        """Bytes beyond which nothing is written."""
        return LARGEST_OF_UNKNOWN_SIZE if self.file.size is None else self.file.size
