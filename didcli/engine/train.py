"""The training loop, the same for every method.

Where torchrun has started several processes, each goes through it with its share of every batch,
and the first one alone writes the run folder.
"""

import platform
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

import didcli
from didcli.config import CONFIG_NAME, RunConfig, check_resumable
from didcli.engine import checkpoint as checkpoints
from didcli.engine import (
    processes,
    reports,
    run_folder,
    run_settings,
    training_log,
    training_picture,
)
from didcli.engine.setup import Setup, set_up
from didcli.errors import DivergedError, RunError
from didcli.io import pictures
from didcli.io.atomic import write_bytes, write_text
from didcli.io.records import OnProgress
from didcli.nn import parallel

COLLAPSE_FROM = 1_000
"""Steps before which a generator is not yet judged."""
COLLAPSE_RATIO = 0.25
"""A generator whose pixels spread less than this share of the data's is called collapsed."""


@dataclass(frozen=True)
class Report:
    """What a log line says."""

    step: int
    """Steps done."""
    losses: Mapping[str, float]
    images_per_second: float
    """Real images trained on in a second, since the line before."""


@dataclass(frozen=True)
class TrainWatcher:
    """What the caller wants to hear of, and how it stops a run."""

    on_start: Callable[[str, int], None] = lambda _text, _step: None
    """Called with a line that names device, precision and data, and the first step."""
    on_step: Callable[[int], None] = lambda _step: None
    """Called with the number of steps done, after each."""
    on_log: Callable[[Report], None] = lambda _report: None
    on_warning: Callable[[str], None] = lambda _text: None
    on_data: OnProgress | None = None
    """Called with images rendered and their total while a dataset is being made."""
    should_stop: Callable[[], bool] = lambda: False
    """Asked after each step; the state is saved before `run` returns."""


@dataclass(frozen=True)
class TrainOutcome:
    path: Path
    step: int
    """Steps done, this time and before."""
    finished: bool
    """False when `should_stop` ended it."""


@dataclass
class _Clock:
    """Measures throughput between two log lines."""

    batch_size: int
    last_step: int
    last_time: float = field(default_factory=time.perf_counter)

    def report(self, step: int, losses: Mapping[str, float]) -> Report:
        now = time.perf_counter()
        rate = (step - self.last_step) / max(now - self.last_time, 1e-9)
        self.last_step, self.last_time = step, now
        return Report(step, losses, rate * self.batch_size)


def run(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    data_dir: Path | None = None,
    watcher: TrainWatcher | None = None,
) -> TrainOutcome:
    """Train into the run folder `out`, going on from its checkpoint with `resume`.

    Raises RunConflictError when `out` holds a run (without `resume` or `force`) or is in use,
    DivergedError when losses or weights are no longer finite; the last good checkpoint is then
    kept. UsageError when resuming with settings that would make it another run, RunError when what
    was to go on has scores and no checkpoint any more.
    """
    watcher = watcher or TrainWatcher()
    parallel.check_divisible(config.train.batch_size, "images of a batch (train.batch_size)")
    first = processes.is_first()
    new = first and run_folder.claim(out, resume=resume, force=force)
    with run_folder.locked(out, new=new) if first else nullcontext():
        former = _former(out) if resume else None
        if resume and former is None and (scored := reports.steps_scored(out)):
            raise RunError(
                f"the checkpoint of {out} is gone, and its {reports.FILE_NAME} is of step {scored}",
                hint="Train it anew, and lose those scores: --force. Or begin another: --out DIR.",
            )
        setup = set_up(config, data_dir, watcher.on_data, as_from=former.source if former else "")
        if force and first:
            run_folder.clear(out)
        first_step = _go_on(out, setup, former) if former else 0
        source = setup.dataset.source
        processes.check_equal(setup.module, f"{first_step} {config.to_dict()} {source}")
        if first:
            if not first_step:
                reports.forget(out)
            write_text(out / CONFIG_NAME, config.to_yaml())
        trainer = _Trainer(setup, out, watcher)
        trainer.log_start(first_step)
        for note in setup.dataset.notes:
            trainer.warn(first_step, note)
        watcher.on_start(
            f"{config.method.name} on {setup.dataset.name} ({source}), {setup.describe()}",
            first_step,
        )
        return trainer.fit(first_step)


class _Trainer:
    """The loop and what it writes. Knows no method by name."""

    def __init__(self, setup: Setup, out: Path, watcher: TrainWatcher) -> None:
        self.setup, self.out, self.watcher = setup, out, watcher
        self.config, self.dataset, self.module = setup.config, setup.dataset, setup.module
        self.first = processes.is_first()
        """Whether this process writes."""

    def fit(self, first_step: int) -> TrainOutcome:
        train = self.config.train
        clock = _Clock(train.batch_size, first_step)
        done = first_step
        for step in range(first_step, train.steps):
            losses = self.setup.step(step)
            done = step + 1
            last = done == train.steps
            self.watcher.on_step(done)
            stopping = not last and processes.any_of(self.watcher.should_stop())

            # Log. Values wait for the device, so not on every step.
            if last or stopping or done % train.log_every == 0 or done % train.save_every == 0:
                whole = parallel.mean(torch.stack(list(losses.values())))
                values = dict(zip(losses, whole.tolist(), strict=True))
                self._check_finite(done, values)
                if last or done % train.log_every == 0:
                    self._log(clock.report(done, values))

            # Save.
            if last or stopping or done % train.save_every == 0:
                self.save(done)
            if train.picture_every and (last or done % train.picture_every == 0):
                self._draw()
            if stopping:
                break
        # Together: torchrun ends the others when one leaves a run that was stopped.
        processes.any_of(False)
        return TrainOutcome(self.out, done, finished=done == train.steps)

    def save(self, step: int) -> None:
        """Raises DivergedError, in every process, for weights that nothing can go on from."""
        state = checkpoints.state(self.module)
        lost = [name for name, values in state.items() if not values.isfinite().all()]
        if lost:
            self._diverged(step, f"{', '.join(lost[:3])} not finite")
        if not self.first:
            return
        checkpoints.save(
            self.out / checkpoints.FILE_NAME,
            self.module,
            step=step,
            config=self.config.to_dict(),
            source=self.dataset.source,
            image_shape=self.dataset.image_shape,
            versions=versions(),
        )

    def log_start(self, step: int) -> None:
        """Begin log.jsonl, or drop the lines of steps that are going to be done again."""
        if not self.first:
            return
        training_log.keep_until(self.out, step)
        self._write_log(
            event="start",
            step=step,
            device=self.setup.describe(),
            source=self.dataset.source,
            versions=versions(),
        )

    def _log(self, report: Report) -> None:
        self._write_log(
            event="log",
            step=report.step,
            images_per_second=round(report.images_per_second, 1),
            **report.losses,
        )
        self.watcher.on_log(report)
        warning = collapse(report.step, report.losses)
        if warning:
            self.warn(report.step, warning)

    def warn(self, step: int, text: str) -> None:
        """Tell the watcher and the log."""
        self._write_log(event="warning", step=step, text=text)
        self.watcher.on_warning(text)

    def _write_log(self, **fields: Any) -> None:
        if self.first:
            training_log.append(self.out, fields)

    def _check_finite(self, step: int, values: Mapping[str, float]) -> None:
        if np.isfinite(list(values.values())).all():
            return
        self._diverged(step, ", ".join(f"{name} {value:.4g}" for name, value in values.items()))

    def _diverged(self, step: int, shown: str) -> NoReturn:
        self._write_log(event="diverged", step=step, text=shown)
        hint = (
            "Begin anew with lower learning rates: did train --config "
            f"{self.out / CONFIG_NAME} --set method.KEY=VALUE"
        )
        if reports.has_checkpoint(self.out):
            hint += f". The last good checkpoint is kept, for did traverse {self.out}."
        raise DivergedError(f"training diverged by step {step}: {shown}", hint=hint)

    def _draw(self) -> None:
        if not self.first:
            return
        self.module.eval()
        sheet = training_picture.draw(self.setup.method, self.dataset, self.setup.device)
        write_bytes(self.out / run_folder.PICTURE_NAME, pictures.png_bytes(sheet))
        self.module.train()


def collapse(step: int, losses: Mapping[str, float]) -> str | None:
    """A warning when generated pixels hardly spread; methods without a generator never get one."""
    fake, real = losses.get("fake_sd"), losses.get("real_sd")
    if fake is None or real is None or step < COLLAPSE_FROM or fake >= COLLAPSE_RATIO * real:
        return None
    return (
        f"the generator has collapsed by step {step}: its pixels have mean "
        f"{losses['fake_mean']:.3f} and sd {fake:.3f}, the data's {losses['real_mean']:.3f} and "
        f"{real:.3f}; scores of this run will mean nothing"
    )


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    return {
        "didcli": didcli.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _former(out: Path) -> checkpoints.Checkpoint | None:
    return checkpoints.load(out / checkpoints.FILE_NAME) if reports.has_checkpoint(out) else None


def _go_on(out: Path, setup: Setup, former: checkpoints.Checkpoint) -> int:
    """Put the folder's checkpoint into the method; the number of steps it has done."""
    config, dataset = setup.config, setup.dataset
    # config.yaml may have been changed since.
    check_resumable(run_settings.checked_settings(out, former.config, former.versions), config)
    if former.source != dataset.source:
        raise RunError(
            f"{out} was trained on {former.source}, and {dataset.name} here is {dataset.source}",
            hint="Put back the images it was trained on, or begin anew: --out DIR.",
        )
    if former.step > config.train.steps:
        raise RunError(
            f"{out} has done {former.step} steps, more than the {config.train.steps} asked for",
            hint=f"Pass --steps {former.step} or more.",
        )
    checkpoints.restore(setup.module, former)
    return former.step
