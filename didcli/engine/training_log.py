"""log.jsonl of a run folder: one JSON object a line, each with the step that it was written at.

A crash can leave a line cut short; reading leaves it out.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from didcli.engine.run_folder import LOG_NAME
from didcli.io.atomic import write_text

TAIL_BYTES = 1 << 14
"""Enough for the last lines, which name some twenty values each."""


def append(folder: Path, fields: dict[str, Any]) -> None:
    """Add a line with these fields, and the time."""
    with (folder / LOG_NAME).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"schema": 1, **fields, "time": round(time.time(), 3)}) + "\n")


def keep_until(folder: Path, step: int) -> None:
    """Drop the lines of steps after `step`, which are going to be done again; of 0 keep none."""
    kept = [line for line in lines(folder) if line["step"] <= step] if step else []
    write_text(folder / LOG_NAME, "".join(f"{json.dumps(line)}\n" for line in kept))


def lines(folder: Path) -> list[dict[str, Any]]:
    """All lines, in order; none where there is no log."""
    try:
        log = (folder / LOG_NAME).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return list(_parsed(log.splitlines()))


def step_reached(folder: Path) -> int:
    """The step of the last line, however long the log is; 0 where there is none."""
    try:
        with (folder / LOG_NAME).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            tail = file.read().decode(errors="replace")
    except OSError:
        return 0
    return max((line["step"] for line in _parsed(tail.splitlines())), default=0)


def _parsed(texts: Iterable[str]) -> Iterator[dict[str, Any]]:
    for text in texts:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            yield line
