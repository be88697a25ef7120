"""What a checkpoint says of itself, read without torch: for commands that load no model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from didcli.config import CONFIG_NAME
from didcli.errors import RunError

FILE_NAME = "checkpoint.safetensors"


def describe(path: Path) -> Mapping[str, Any]:
    """What a checkpoint says of itself, from its header alone: step, config, source, versions.

    Nothing is verified: for listing many runs. Raises RunError when there is no such header.
    """
    try:
        with path.open("rb") as file:
            length = file.read(8)
            header = file.read(int.from_bytes(length, "little"))
        described: Mapping[str, Any] = json.loads(metadata(length + header)["did"])
        if type(described["step"]) is not int or not isinstance(described["config"], dict):
            raise TypeError("no step and no settings")
        return described
    except (OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error


def metadata(content: bytes) -> Mapping[str, str]:
    """The `__metadata__` of a safetensors file: a length (8 bytes), then a JSON header."""
    length = int.from_bytes(content[:8], "little")
    if length > len(content) - 8:
        raise ValueError("the header is longer than the file")
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    texts: Mapping[str, str] = header["__metadata__"]
    return texts


def damaged(path: Path, why: str) -> RunError:
    settings = path.with_name(CONFIG_NAME)
    config = f"--config {settings} " if settings.is_file() else ""
    return RunError(
        f"{path} is damaged ({why})",
        hint=f"Train again: did train {config}--force --out {path.parent}, or restore a copy.",
    )
