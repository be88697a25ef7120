"""The place of datasets, and of what is built from them, on this machine."""

import os
from pathlib import Path

from didcli.errors import UsageError

ENVIRONMENT_VARIABLE = "DID_DATA_DIR"


def data_dir(explicit: Path | str | None = None) -> Path:
    """The folder of downloads and caches: `explicit`, else $DID_DATA_DIR, else the user's cache.

    An empty variable counts as unset. A leading `~` is expanded. The folder need not exist yet:
    whoever writes into it makes it.
    """
    if explicit is not None:
        return expanded(explicit)
    from_environment = os.environ.get(ENVIRONMENT_VARIABLE)
    if from_environment:
        return expanded(from_environment)
    import platformdirs  # not at the top: `did --help` has no use for it

    return Path(platformdirs.user_cache_dir("did", appauthor=False))


def expanded(path: Path | str) -> Path:
    """The path, with a home directory for a leading `~`. Raises UsageError where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(
            f"{path} is in no home directory that there is", hint="Give the whole path."
        ) from None


def drawn_file(name: str, source: str) -> str:
    """Name of the file of a set that is drawn here: `dsprites-rendered-v1.bits`. source: as runs
    record it, `rendered v1`."""
    return f"{name}-{source.replace(' ', '-')}.bits"
