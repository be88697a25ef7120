"""A file of equally long records, memory-mapped: many images, of which any few are wanted now.

one line of JSON, which says what the records are
a CRC-32 of each MiB of records, and one of all the bytes up to here; little-endian
zeros up to the next page
the records
"""

import json
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from didcli.io import once
from didcli.io.space import check_space

OnProgress = Callable[[int, int], object]
"""Called with the records written and the records in all."""

SCHEMA = 1
BLOCK_BYTES = 2**20
BLOCKS_CHECKED = 1024
"""Most blocks whose checksum is compared when a file is opened: 1 GiB, in a third of a second."""
_PAGE = 4096


@dataclass(frozen=True)
class Content:
    """What a file of records must hold to be of use."""

    source: str
    """Origin of the records, such as `official sha256:…` or `rendered v1`."""
    count: int
    """Number of records."""
    record_bytes: int

    @property
    def size(self) -> int:
        """Bytes of all records."""
        return self.count * self.record_bytes

    @property
    def blocks(self) -> int:
        return -(-self.size // BLOCK_BYTES)


def ensure(
    path: Path,
    content: Content,
    parts: Callable[[], Iterable[NDArray[np.uint8]]],
    on_progress: OnProgress | None = None,
) -> NDArray[np.uint8]:
    """The records at `path`, made from `parts()` where they are absent or damaged.

    parts: called at most once; yields the records in order, (any number, record_bytes) at a time.
    Returns (count, record_bytes), read-only, mapped from the file. Raises StorageError; where there
    is no room for the records, before `parts` is called.
    """

    def make(file: BinaryIO) -> None:
        check_space(path, content.size)
        write(file, content, parts(), on_progress)

    return once.ensure(path, partial(read, content=content), make)


def read(path: Path, content: Content) -> NDArray[np.uint8] | None:
    """Map the records, (count, record_bytes), read-only; None unless they are whole and as wanted.

    Compares the checksums of up to `BLOCKS_CHECKED` blocks, evenly spread.
    Raises OSError when there is a file that cannot be read.
    """
    start = len(_header(content, np.zeros(content.blocks)))
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != start + content.size:
                return None
            header = file.read(start)
            table = np.frombuffer(header, "<u4", content.blocks, offset=len(_line(content)))
            if header != _header(content, table):
                return None
            wanted = min(content.blocks, BLOCKS_CHECKED)
            blocks = np.linspace(0, content.blocks - 1, wanted, dtype=np.int64)
            if not np.array_equal(_checksums(file, start, blocks), table[blocks]):
                return None
    except FileNotFoundError:
        return None
    # A plain view: np.memmap does work of its own at every gather.
    records = np.memmap(path, np.uint8, "r", start, (content.count, content.record_bytes))
    return np.asarray(records)


def write(
    file: BinaryIO,
    content: Content,
    parts: Iterable[NDArray[np.uint8]],
    on_progress: OnProgress | None = None,
) -> None:
    """Write `parts`, one after the other, and the header. Raises ValueError if they do not fit."""
    start = len(_header(content, np.zeros(content.blocks)))
    file.seek(start)
    done = 0
    for part in parts:
        if part.dtype != np.uint8 or part.shape[1:] != (content.record_bytes,):
            raise ValueError(f"not records of {content.record_bytes} bytes: {part.shape}")
        file.write(np.ascontiguousarray(part).data)
        done += len(part)
        if on_progress is not None:
            on_progress(done, content.count)
    if done != content.count:
        raise ValueError(f"expected {content.count} records, got {done}")
    table = _checksums(file, start, range(content.blocks))
    file.seek(0)
    file.write(_header(content, table))


def _line(content: Content) -> bytes:
    about = {"schema": SCHEMA, **asdict(content), "block_bytes": BLOCK_BYTES}
    return json.dumps(about, sort_keys=True).encode() + b"\n"


def _header(content: Content, table: NDArray[np.generic]) -> bytes:
    """All that comes before the records; its length depends on `content` alone."""
    covered = _line(content) + table.astype("<u4").tobytes()
    header = covered + zlib.crc32(covered).to_bytes(4, "little")
    return header + bytes(-len(header) % _PAGE)


def _checksums(
    file: BinaryIO, start: int, blocks: Sequence[int] | NDArray[np.int64]
) -> NDArray[np.uint32]:
    """CRC-32 of those blocks of the records, which begin at byte `start`."""
    found = []
    for block in blocks:
        file.seek(start + int(block) * BLOCK_BYTES)
        found.append(zlib.crc32(file.read(BLOCK_BYTES)))
    return np.array(found, np.uint32)
