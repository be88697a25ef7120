"""How far a long task has come, told on stderr.

On a terminal it is a bar, drawn by rich; elsewhere (a log file, a pipe, CI, `TERM=dumb`) it is one
plain line about every ten seconds. stdout is never touched: it carries data.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

SECONDS_BETWEEN_LINES = 10.0
BAR_WIDTH = 12
"""Columns of the bar: the figures beside it need the rest of the usual 80."""


class Update(Protocol):
    """What the task calls as often as it likes."""

    def __call__(self, done: float, *, total: float | None = None, note: str = "") -> None:
        """`done` and `total` count units from the start of the task, not from the last call.

        total: replaces the one given at the start, for a task that learns it on the way.
        note: shown after the figures until the next call, such as `loss 0.123`.
        """
        ...


@contextmanager
def progress(
    title: str,
    *,
    total: float | None = None,
    unit: str = "",
    with_rate: bool = True,
    quiet: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Update]:
    """Show a task while the block runs: `with progress("Rendering", total=9) as update: update(1)`.

    The title is on the screen before this returns, so that a slow start does not look like a hang.
    unit: `B` is scaled to kB, MB, GB; any other is printed after the number as it is.
    with_rate: say how many units a second; leave it out where the notes have a better rate.
    """
    if quiet:
        yield _ignore
        return
    course = _Course(total, unit, with_rate, clock)
    show = _bar if is_animated(sys.stderr) else _lines
    with show(title, course) as update:
        yield update


def is_animated(stream: TextIO) -> bool:
    """Whether a line written to `stream` can be drawn over."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def amount(value: float, unit: str) -> str:
    """`28.0 MB` for (28024106, "B"); `1,500 steps` for (1500, "steps")."""
    if unit != "B":
        return f"{_number(value)} {unit}".rstrip()
    if value < 1000:
        return f"{value:.0f} B"
    for scaled in ("kB", "MB", "GB"):
        value /= 1000
        if value < 1000:
            return f"{value:.1f} {scaled}"
    return f"{value / 1000:.1f} TB"


def duration(seconds: float) -> str:
    """The two largest parts: `9 s`, `2 min 5 s`, `3 h 20 min`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _number(value: float) -> str:
    """Whole from 100 on, one decimal below unless it is a whole number."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def _ignore(done: float, *, total: float | None = None, note: str = "") -> None:
    """The Update of a quiet run."""


class _Course:
    """What the task has reported, as text."""

    def __init__(
        self, total: float | None, unit: str, with_rate: bool, clock: Callable[[], float]
    ) -> None:
        self.total = total
        self.unit = unit
        self.with_rate = with_rate
        self.done: float | None = None
        """Units done, as last reported; None until the first report."""
        self._clock = clock
        self._started = clock()
        self._first: tuple[float, float] | None = None

    def report(self, done: float, total: float | None) -> None:
        if self._first is None:
            # A resumed task starts at more than 0: what earlier runs did says nothing of the speed.
            self._first = (self._clock(), done)
        self.done = done
        self.total = self.total if total is None else total

    @property
    def seconds(self) -> float:
        return self._clock() - self._started

    @property
    def rate(self) -> float:
        """Units a second since the first report; 0 while it cannot be told."""
        if self._first is None or self.done is None:
            return 0.0
        seconds = self._clock() - self._first[0]
        return max(0.0, self.done - self._first[1]) / seconds if seconds > 0 else 0.0

    def figures(self, note: str = "") -> str:
        """`12.3 MB of 28.0 MB (44%), 1.2 MB/s, 13 s left, NOTE`, less what is not known."""
        done = self.done or 0.0
        parts = [amount(done, self.unit)]
        if self.total:
            # Bytes keep their unit, since it scales: `900 kB of 1.2 MB`, but `9 of 20 steps`.
            reached = amount(done, self.unit if self.unit == "B" else "")
            share = min(done / self.total, 1.0)
            parts = [f"{reached} of {amount(self.total, self.unit)} ({share:.0%})"]
        if self.rate and self.with_rate:
            parts.append(f"{amount(self.rate, self.unit)}/s")
        if self.rate and self.total and done < self.total:
            parts.append(f"{duration((self.total - done) / self.rate)} left")
        return ", ".join([*parts, note] if note else parts)


@contextmanager
def _lines(title: str, course: _Course) -> Iterator[Update]:
    _write(f"{title} ...\n")
    last_line = course.seconds

    def update(done: float, *, total: float | None = None, note: str = "") -> None:
        nonlocal last_line
        course.report(done, total)
        if course.seconds - last_line >= SECONDS_BETWEEN_LINES:
            last_line = course.seconds
            _write(f"{title}: {course.figures(note)}\n")

    yield update
    # Reached only when the block did not raise: a failure has its own words.
    if course.done is not None:
        _write(f"{title}: {amount(course.done, course.unit)} in {duration(course.seconds)}\n")


@contextmanager
def _bar(title: str, course: _Course) -> Iterator[Update]:
    _write(f"{title} ...")  # before the import of rich, which alone takes a tenth of a second
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    display = Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(min_width=len(title))),
        BarColumn(bar_width=BAR_WIDTH),
        TextColumn("{task.fields[figures]}", markup=False, table_column=Column(no_wrap=True)),
        console=Console(stderr=True),
        refresh_per_second=4,
        redirect_stdout=False,  # rich would send to the terminal what was meant for a pipe
    )
    _write("\r\x1b[2K")
    with display:
        task = display.add_task(title, total=course.total, figures="")

        def update(done: float, *, total: float | None = None, note: str = "") -> None:
            course.report(done, total)
            # Cut here: rich would rather drop the title and the bar than a part of a long note.
            room = display.console.width - len(title) - BAR_WIDTH - 2
            figures = course.figures(note)
            if len(figures) > room:
                figures = figures[: max(room - 1, 0)] + "…"
            display.update(task, completed=done, total=course.total, figures=figures)

        yield update


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
