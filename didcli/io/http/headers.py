"""What the headers and the first bytes of an HTTP answer say, as pure functions.

RFC 9110: ranges in section 14, validators in 8.8, If-Range in 13.1.5, Retry-After in 10.2.3.
"""

import email.utils
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Entity:
    """Identity of the bytes in a part: what it takes to ask for the rest of the very same ones."""

    url: str
    etag: str | None
    last_modified: str | None

    @property
    def validator(self) -> str | None:
        """Value for If-Range, which must not carry a weak tag."""
        strong = self.etag is not None and not self.etag.startswith("W/")
        return self.etag if strong else self.last_modified

    @classmethod
    def of(cls, url: str, headers: Mapping[str, str]) -> "Entity":
        return cls(url, headers.get("ETag"), headers.get("Last-Modified"))

    def conflicts(self, other: "Entity") -> bool:
        """Whether the server says that the content has changed since."""
        if self.etag is not None and other.etag is not None:
            return self.etag.removeprefix("W/") != other.etag.removeprefix("W/")
        if self.last_modified is not None and other.last_modified is not None:
            return self.last_modified != other.last_modified
        return False


def range_headers(have: int, entity: Entity | None) -> dict[str, str]:
    """Headers that ask for the bytes from `have` on, or for all if the content has changed."""
    if have == 0:
        return {}
    condition = {"If-Range": entity.validator} if entity and entity.validator else {}
    return {"Range": f"bytes={have}-", **condition}


def content_range(value: str) -> tuple[int | None, int | None]:
    """(first byte, size of the whole); `bytes 5-9/10` is (5, 10), `bytes */10` is (None, 10)."""
    match = re.fullmatch(r"bytes\s+(?:(\d+)-\d+|\*)/(?:(\d+)|\*)", value.strip())
    if match is None:
        return None, None
    start, total = match.groups()
    return int(start) if start else None, int(total) if total else None


def retry_after(value: str | None, now: datetime) -> float | None:
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


def announced_size(headers: Mapping[str, str], start: int) -> int | None:
    """The size of the whole file, from the Content-Length of what is left of it after `start`."""
    length = headers.get("Content-Length", "")
    return start + int(length) if length.isdecimal() else None


def looks_like_html(head: bytes) -> bool:
    """Whether these first bytes begin a web page."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head"))
