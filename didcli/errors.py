"""The one exception family that users see, and the exit code each member stands for.

The engine raises; `didcli.cli` translates into two lines on stderr and an exit code, or, for
FailedElsewhereError, into the code alone.
"""

from typing import ClassVar


class DidError(Exception):
    """Something the user can mend: the message says what is wrong, the hint what to do."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(DidError):
    """An option, a setting or a combination of them that cannot be meant."""

    exit_code = 2


class UnknownNameError(UsageError):
    """No method, dataset, metric or preset has this name."""


class DataError(DidError):
    """A dataset, an image or a file of codes is missing, damaged, or not what it claims to be."""

    exit_code = 3


class RunError(DidError):
    """A run folder or a checkpoint is missing, damaged or incompatible."""

    exit_code = 4


class DivergedError(DidError):
    """Training produced numbers that are not finite."""

    exit_code = 5


class FailedElsewhereError(DidError):
    """Another process of the same run failed first, and says why: this one ends without a word."""

    exit_code = 1


class RunConflictError(DidError):
    """The run folder is in use by another process, or already holds a run."""

    exit_code = 6


class StorageError(DidError):
    """The disk is full, or a file cannot be read or written."""

    exit_code = 7


class OutOfMemoryError(DidError):
    """There is not enough memory for what was asked.

    Its exit code is that of a full disk: the machine has no room, for now or for good, and the
    same command may succeed on another.
    """

    exit_code = 7
