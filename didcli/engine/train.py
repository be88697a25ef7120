"""The training loop, the same for every method.

Where torchrun has started several processes, each goes through it with its share of every batch,
and the first one alone writes the run folder.
"""

import dataclasses
import json
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
import torch

import didcli
from didcli import registry
from didcli.config import RunConfig, Section, build, check_resumable
from didcli.engine import checkpoint as checkpoints
from didcli.engine import device as devices
from didcli.engine import processes, reports, runs
from didcli.engine.traverse import training_picture
from didcli.errors import DivergedError, RunError
from didcli.interfaces import Dataset, Method
from didcli.io.atomic import write_text
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
    """Images of real data, since the line before."""
    seconds_left: float


@dataclass(frozen=True)
class Watcher:
    """What the caller wants to hear of, and how it stops a run."""

    on_start: Callable[[str, int], None] = lambda _text, _step: None
    """Called with a line that names device, precision and data, and the first step."""
    on_step: Callable[[int], None] = lambda _step: None
    """Called with the number of steps done, after each."""
    on_log: Callable[[Report], None] = lambda _report: None
    on_warning: Callable[[str], None] = lambda _text: None
    on_data: Callable[[int, int], None] | None = None
    """Called with images rendered and their total while a dataset is being made."""
    should_stop: Callable[[], bool] = lambda: False
    """Asked after each step; the state is saved before `run` returns."""


@dataclass(frozen=True)
class Outcome:
    path: Path
    step: int
    """Steps done, this time and before."""
    finished: bool
    """False when `should_stop` ended it."""


@dataclass
class _Clock:
    """Measures throughput between two log lines."""

    batch_size: int
    steps: int
    last_step: int
    last_time: float = field(default_factory=time.perf_counter)

    def report(self, step: int, losses: Mapping[str, float]) -> Report:
        now = time.perf_counter()
        rate = (step - self.last_step) / max(now - self.last_time, 1e-9)
        self.last_step, self.last_time = step, now
        return Report(step, losses, rate * self.batch_size, (self.steps - step) / rate)


def run(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    data_dir: Path | None = None,
    watcher: Watcher | None = None,
) -> Outcome:
    """Train into the run folder `out`, going on from its checkpoint with `resume`.

    Raises RunConflictError when `out` holds a run (without `resume` or `force`) or is in use,
    DivergedError when losses or weights are no longer finite; the last good checkpoint is then
    kept. UsageError when resuming with settings that would make it another run.
    """
    watcher = watcher or Watcher()
    # Setup.
    parallel.check_divisible(config.train.batch_size, "images of a batch (train.batch_size)")
    device = _device(config.train.device)
    precision = devices.choose_precision(config.train.precision, device)
    threads = devices.choose_threads(config.train.threads, processes.local()[1])
    torch.set_num_threads(threads)
    first = processes.is_first()
    new = first and runs.claim(out, resume=resume, force=force)
    with runs.locked(out, new=new) if first else nullcontext():
        dataset = runs.load_dataset(config, data_dir, on_progress=watcher.on_data)
        module = runs.build_method(_for_dataset(config, dataset), dataset.image_shape)
        # Channels last: convolutions in bfloat16 are fastest so, on CPUs and on GPUs.
        module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        first_step = 0
        if force and first:
            runs.clear(out)
        if resume and reports.has_checkpoint(out):
            first_step = _resume(out, module, config, dataset)
        processes.check_equal(module, f"{first_step} {config.to_dict()} {dataset.source}")
        if first:
            if not first_step:
                reports.forget(out)
            write_text(out / runs.CONFIG_NAME, config.to_yaml())
        trainer = _Trainer(module, dataset, config, out, device, precision, watcher)
        where = devices.describe(device, precision, threads)
        if parallel.processes() > 1:
            where += f", {parallel.processes()} processes"
        trainer.log_start(first_step, where)
        # Where a dataset has something to say of itself: files left out, a doubtful origin.
        for note in getattr(dataset, "notes", ()):
            trainer.warn(first_step, note)
        watcher.on_start(
            f"{config.method.name} on {dataset.name} ({dataset.source}), {where}", first_step
        )
        return trainer.fit(first_step)


class _Trainer:
    """The loop and what it writes. Knows no method by name."""

    def __init__(
        self,
        module: torch.nn.Module,
        dataset: Dataset,
        config: RunConfig,
        out: Path,
        device: torch.device,
        precision: torch.dtype,
        watcher: Watcher,
    ) -> None:
        self.module, self.method = module, cast("Method", module)
        self.dataset, self.config, self.out = dataset, config, out
        self.device, self.precision, self.watcher = device, precision, watcher
        self.first = processes.is_first()
        """Whether this process writes."""

    def fit(self, first_step: int) -> Outcome:
        train = self.config.train
        clock = _Clock(train.batch_size, train.steps, first_step)
        self.module.train()
        done = first_step
        for step in range(first_step, train.steps):
            losses = self._step(step)
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
        return Outcome(self.out, done, finished=done == train.steps)

    def _step(self, step: int) -> Mapping[str, torch.Tensor]:
        """One batch and one update: a function of (seed, step) and of the weights, no more."""
        train = self.config.train
        rows = np.random.default_rng((train.seed, step)).integers(
            len(self.dataset), size=train.batch_size
        )
        images = runs.to_unit_range(self.dataset.images(parallel.share(rows)), self.device)
        rng = step_generator(train.seed, step, self.device)
        with devices.autocast(self.device, self.precision):
            return self.method.train_step(images, rng, step)

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

    def log_start(self, step: int, where: str) -> None:
        """Begin log.jsonl, or drop the lines of steps that are going to be done again."""
        if not self.first:
            return
        path = self.out / runs.LOG_NAME
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() and step else []
        kept = [line for line in lines if _step_of(line) <= step]
        write_text(path, "".join(f"{line}\n" for line in kept))
        self._write_log(
            event="start", step=step, device=where, source=self.dataset.source, versions=versions()
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
        if not self.first:
            return
        with (self.out / runs.LOG_NAME).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"schema": 1, **fields, "time": round(time.time(), 3)}) + "\n")

    def _check_finite(self, step: int, values: Mapping[str, float]) -> None:
        if np.isfinite(list(values.values())).all():
            return
        self._diverged(step, ", ".join(f"{name} {value:.4g}" for name, value in values.items()))

    def _diverged(self, step: int, shown: str) -> NoReturn:
        self._write_log(event="diverged", step=step, text=shown)
        hint = (
            "Begin anew with lower learning rates: did train --config "
            f"{self.out / runs.CONFIG_NAME} --set method.KEY=VALUE"
        )
        if reports.has_checkpoint(self.out):
            hint += f". The last good checkpoint is kept, for did traverse {self.out}."
        raise DivergedError(f"training diverged by step {step}: {shown}", hint=hint)

    def _draw(self) -> None:
        if not self.first:
            return
        self.module.eval()
        training_picture(self.method, self.dataset, self.device).save(self.out / runs.PICTURE_NAME)
        self.module.train()


def step_generator(seed: int, step: int, device: torch.device) -> torch.Generator:
    """The generator of one training step: the same for equal (seed, step), unrelated otherwise."""
    state = np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state) >> 1)  # MPS takes 63 bits


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
    """Of what decides the numbers."""
    return {
        "didcli": didcli.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _for_dataset(config: RunConfig, dataset: Dataset) -> RunConfig:
    """The settings, with what the method takes from the dataset; see `didcli.interfaces`."""
    module = registry.load("methods", config.method.name)
    if not hasattr(module, "for_dataset"):
        return config
    settings = module.for_dataset(config.method.settings, len(dataset))
    return dataclasses.replace(config, method=Section(config.method.name, settings))


def _device(asked: str) -> torch.device:
    if parallel.processes() == 1:
        return devices.choose_device(asked)
    device = devices.choose_shared_device(asked, *processes.local())
    if device.type == "cuda":
        torch.cuda.set_device(device)  # NCCL and the autograd threads work on the current one
    return device


def _resume(out: Path, module: torch.nn.Module, config: RunConfig, dataset: Dataset) -> int:
    """Put the folder's checkpoint into the method; the number of steps it has done."""
    loaded = checkpoints.load(out / checkpoints.FILE_NAME)
    if loaded.source != dataset.source:
        raise RunError(
            f"{out} was trained on {loaded.source}, and {dataset.name} here is {dataset.source}",
            hint="Choose the same, such as --set data.source=official, or begin anew: --out DIR.",
        )
    if loaded.step > config.train.steps:
        raise RunError(
            f"{out} has done {loaded.step} steps, more than the {config.train.steps} asked for",
            hint=f"Pass --steps {loaded.step} or more.",
        )
    # config.yaml may have been changed since.
    check_resumable(build([loaded.config]), config)
    checkpoints.restore(module, loaded)
    return loaded.step


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # a line cut short by a crash
        return 1 << 62
