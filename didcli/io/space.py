"""Room on the disk."""

import shutil
from pathlib import Path

from didcli.errors import StorageError
from didcli.io.paths import ENVIRONMENT_VARIABLE


def check_space(path: Path, size: int) -> None:
    """Raises StorageError where `size` bytes do not fit beside `path`: better now than later."""
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise StorageError(
            f"{path.name} takes {size:,} bytes in {path.parent}, where {free:,} are free",
            hint=f"Choose another folder: --data-dir DIR, or the variable {ENVIRONMENT_VARIABLE}.",
        )
