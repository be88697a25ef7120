"""Where a set comes from that is published, and can also be drawn on this machine."""

from pathlib import Path
from typing import Literal

from didcli.errors import DataError, UsageError
from didcli.io.remote import RemoteFile

Source = Literal["auto", "official", "rendered"]

_DRAW = "Or draw it: --source rendered, which is --set data.source=rendered for did train."


def fetch_again(name: str) -> str:
    """A hint for whoever has an official file that is of no use."""
    return f"Fetch it again: did download {name} --force. {_DRAW}"


def official_file(
    name: str, source: Source, folder: Path, files: tuple[RemoteFile, ...]
) -> RemoteFile | None:
    """The one of `files` to read from `folder`, or None where the set is to be drawn.

    `auto` takes an official file where there is one. Raises UsageError for an unknown source,
    DataError when the official file is asked for and absent.
    """
    if source not in {"auto", "official", "rendered"}:
        raise UsageError(
            f"no {source!r} among the sources of {name}",
            hint="Choose from: auto, official, rendered.",
        )
    if source == "rendered":
        return None
    for file in files:
        if (folder / file.name).is_file():
            return file
    if source == "official":
        raise DataError(
            f"no official file of {name} in {folder}",
            hint=f"Fetch it: did download {name}. {_DRAW}",
        )
    return None
