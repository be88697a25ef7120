"""What a training step needs: a method, its data, and where it computes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch

from didcli import registry
from didcli.config import RunConfig, Section
from didcli.engine import device as devices
from didcli.engine import processes, runs
from didcli.interfaces import Dataset, Method
from didcli.io.cores import choose_threads
from didcli.io.records import OnProgress
from didcli.nn import parallel


@dataclass(frozen=True)
class Setup:
    config: RunConfig
    dataset: Dataset
    module: torch.nn.Module
    """The method, untrained unless something has been put into it, on the device."""
    device: torch.device
    precision: torch.dtype
    threads: int

    @property
    def method(self) -> Method:
        return cast("Method", self.module)

    def step(self, step: int) -> Mapping[str, torch.Tensor]:
        """One batch and one update: a function of (seed, step) and of the weights, no more."""
        train = self.config.train
        rows = np.random.default_rng((train.seed, step)).integers(
            len(self.dataset), size=train.batch_size
        )
        images = runs.to_unit_range(self.dataset.images(parallel.share(rows)), self.device)
        rng = step_generator(train.seed, step, self.device)
        with devices.exact_float32(), devices.autocast(self.device, self.precision):
            return self.method.train_step(images, rng, step)

    def describe(self) -> str:
        """Device, threads, precision, and processes where there are several."""
        where = devices.describe(self.device, self.precision, self.threads)
        if parallel.processes() > 1:
            where += f", {parallel.processes()} processes"
        return where


def set_up(
    config: RunConfig,
    data_dir: Path | None = None,
    on_data: OnProgress | None = None,
    *,
    as_from: str = "",
) -> Setup:
    """Load the data and build the method, untrained.

    on_data: called with images done and their total while the dataset is being made.
    as_from: the source of the data that the run began with, see `runs.load_dataset`.
    Raises UsageError for a device or a precision that is not there, DataError for absent data.
    """
    device = _device(config.train.device)
    precision = devices.choose_precision(config.train.precision, device)
    threads = choose_threads(config.train.threads, processes.local()[1])
    torch.set_num_threads(threads)
    dataset = runs.load_dataset(config, data_dir, on_data, as_from=as_from)
    module = runs.build_method(_for_dataset(config, dataset), dataset.image_shape)
    layout = devices.memory_format(device)
    module.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    return Setup(config, dataset, module.train(), device, precision, threads)


def step_generator(seed: int, step: int, device: torch.device) -> torch.Generator:
    """The generator of one training step: the same for equal (seed, step), unrelated otherwise."""
    state = np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state) >> 1)  # MPS takes 63 bits


def _for_dataset(config: RunConfig, dataset: Dataset) -> RunConfig:
    """The settings, with what the method takes from the dataset; see `didcli.interfaces`."""
    module = registry.load("methods", config.method.name)
    if not hasattr(module, "for_dataset"):
        return config
    settings = module.for_dataset(config.method.settings, len(dataset))
    return replace(config, method=Section(config.method.name, settings))


def _device(asked: str) -> torch.device:
    if parallel.processes() == 1:
        device = devices.choose_device(asked)
    else:
        device = devices.choose_shared_device(asked, *processes.local())
    if device.type == "cuda":
        # NCCL and the autograd threads work on the current one, and torch tells its precisions.
        torch.cuda.set_device(device)
    return device
