"""A training for TensorBoard: what log.jsonl says of losses, as event files in the run folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from didcli.errors import UsageError

if TYPE_CHECKING:
    from didcli.engine.train import Report, TrainWatcher

FLUSH_SECONDS = 10
"""Longest time from a report to the moment when TensorBoard can see it."""


@contextmanager
def event_files(watcher: "TrainWatcher", folder: Path) -> Iterator["TrainWatcher"]:
    """A watcher that passes everything on to `watcher`, and writes each report's losses and
    images_per_second as scalars into an event file in `folder`.

    What earlier files say of steps that a resumed run does again is taken back. Raises UsageError
    when tensorboardX is not installed.
    """
    recorder = _Recorder(watcher, folder, _import_writer())
    try:
        yield replace(watcher, on_start=recorder.on_start, on_log=recorder.on_log)
    finally:
        recorder.close()


class _Recorder:
    """Opens its file when training starts: a run that does not start must leave nothing behind."""

    def __init__(self, watcher: "TrainWatcher", folder: Path, open_writer: Any) -> None:
        """open_writer: the class SummaryWriter."""
        self._watcher, self._folder, self._open_writer = watcher, folder, open_writer
        self._writer: Any = None

    def on_start(self, text: str, step: int) -> None:
        self._writer = self._open_writer(
            str(self._folder), flush_secs=FLUSH_SECONDS, purge_step=step + 1 if step else None
        )
        self._watcher.on_start(text, step)

    def on_log(self, report: "Report") -> None:
        scalars = {**report.losses, "images_per_second": report.images_per_second}
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, report.step)
        self._watcher.on_log(report)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _import_writer() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise UsageError(
            "--tensorboard needs tensorboardX, which is not installed",
            hint="pip install 'didcli[tensorboard]', or leave it out: log.jsonl has every value.",
        ) from None
    return SummaryWriter
