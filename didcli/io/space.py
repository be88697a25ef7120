"""Room on the disk, and what users are told when something is wrong with it."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from didcli.errors import StorageError
from didcli.io.paths import ENVIRONMENT_VARIABLE

CHOOSE_ANOTHER = f"Choose another folder: --data-dir DIR, or the variable {ENVIRONMENT_VARIABLE}."


def check_space(path: Path, size: int) -> None:
    """Raises StorageError where `size` bytes do not fit beside `path`: better now than later."""
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise StorageError(
            f"{path.name} takes {size:,} bytes in {path.parent}, where {free:,} are free",
            hint=CHOOSE_ANOTHER,
        )


@contextmanager
def storage_errors(path: Path, *, if_full: str = CHOOSE_ANOTHER) -> Iterator[None]:
    """Raises StorageError in place of OSError. if_full: the hint where no space is left."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise StorageError(f"no space is left for {path}", hint=if_full) from error
        raise StorageError(
            f"cannot read or write {path}: {error.strerror or error}", hint=CHOOSE_ANOTHER
        ) from error
