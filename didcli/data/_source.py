"""Sources of a published set: its official files, or, for some, images drawn on this machine."""

from pathlib import Path
from typing import Literal, get_args

from didcli.errors import DataError, UsageError
from didcli.io.remote import RemoteFile

Source = Literal["auto", "official", "rendered"]
OnlyOfficial = Literal["auto", "official"]
"""Sources of a set that cannot be drawn; both are its official files."""

_DRAW = "Or draw it: --source rendered, which is --set data.source=rendered for did train."


def fetch_again(name: str) -> str:
    """A hint for whoever has an official file that is of no use."""
    return f"Fetch it again: did download {name} --force. {_DRAW}"


def check_choice(name: str, what: str, chosen: object, choices: object) -> None:
    """Raises UsageError unless `chosen` is in `choices`, a Literal of the `what`s of `name`."""
    known = get_args(choices)
    if chosen not in known:
        listed = ", ".join(str(choice) for choice in known)
        raise UsageError(
            f"no {chosen!r} among the {what}s of {name}", hint=f"Choose from: {listed}."
        )


def official_file(
    name: str, source: Source, folder: Path, files: tuple[RemoteFile, ...]
) -> RemoteFile | None:
    """The one of `files` to read from `folder`, or None where the set is to be drawn.

    `auto` takes an official file where there is one. Raises UsageError for an unknown source,
    DataError when the official file is asked for and absent.
    """
    check_choice(name, "source", source, Source)
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
