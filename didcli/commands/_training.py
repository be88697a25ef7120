"""A training as the user sees it: lines and progress on stderr, and signals that stop it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from didcli.commands import _options as options
from didcli.commands._signals import Stop, graceful_stop

if TYPE_CHECKING:
    from didcli.engine.train import Report, TrainWatcher
    from didcli.io.progress import Update
    from didcli.io.records import OnProgress

STOPPING = "stopping after this step; a second signal (Ctrl-C) ends at once"
SHOWN = 3
"""Losses named in the progress line; log.jsonl has them all."""


class TrainingView:
    """Says what the engine tells of a training, and passes on that the user wants to stop it."""

    def __init__(self, steps: int, on_data: "OnProgress", shown: ExitStack, *, quiet: bool) -> None:
        """steps: to train in all. shown: what is closed when the training ends."""
        self.stop = Stop()
        """Whether signals have asked to stop."""
        self._steps, self._on_data, self._shown, self._quiet = steps, on_data, shown, quiet
        self._update: Update | None = None
        self._note = ""

    def watcher(self) -> "TrainWatcher":
        """What to hand to the engine."""
        from didcli.engine.train import TrainWatcher

        return TrainWatcher(
            on_start=self.on_start,
            on_step=self.on_step,
            on_log=self.on_log,
            on_warning=self.on_warning,
            on_data=self._on_data,
            should_stop=self.should_stop,
        )

    def on_start(self, text: str, step: int) -> None:
        from didcli.io.progress import progress

        # Not before: until training starts there is nothing to save, and while a dataset is made
        # nobody asks whether to stop.
        self.stop = self._shown.enter_context(graceful_stop("" if self._quiet else STOPPING))
        options.say(f"{text}, going on from step {step}" if step else text, self._quiet)
        self._update = self._shown.enter_context(
            progress(
                "Training", total=self._steps, unit="steps", with_rate=False, quiet=self._quiet
            )
        )

    def on_step(self, step: int) -> None:
        if self._update is not None:
            self._update(step, note=self._note)

    def on_log(self, report: "Report") -> None:
        losses = list(report.losses.items())[:SHOWN]
        shown = " ".join(f"{name} {value:.3g}" for name, value in losses)
        self._note = f"{report.images_per_second:.0f} images/s, {shown}"

    def on_warning(self, text: str) -> None:
        options.say(f"warning: {text}", self._quiet)

    def should_stop(self) -> bool:
        return self.stop.requested()


@contextmanager
def shown_training(steps: int, *, quiet: bool) -> Iterator[TrainingView]:
    """Show a training of so many steps while the block runs."""
    with options.data_progress(quiet) as on_data, ExitStack() as shown:
        yield TrainingView(steps, on_data, shown, quiet=quiet)
