"""What is known about a published file before any byte of it has been fetched."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RemoteFile:
    """A file on the web, and every check that its publishers made possible."""

    url: str
    name: str
    """File name inside the data folder."""
    size: int | None
    """Size in bytes, where published."""
    sha256: str | None
    """Digest in lower-case hexadecimal, where published; likewise the next two."""
    md5: str | None
    git_blob_sha1: str | None
    """SHA-1 of `blob <size>\\0` and then the bytes: the name that git gives to the file."""
    licence: str
    digests_of_older_copy: bool = False
    """Whether the digests are known to be of a copy that has been replaced since. A file with
    others is then not refused, but every user of the file says so: see `difference`."""
