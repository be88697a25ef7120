"""A trained run, opened: its settings, its images, and codes both ways."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from didcli import registry
from didcli.config import RunConfig
from didcli.engine import checkpoint as checkpoints
from didcli.engine.device import choose_device, exact_float32, memory_format
from didcli.engine.run_settings import checked_settings
from didcli.errors import DataError, RunError
from didcli.interfaces import Dataset
from didcli.io.records import OnProgress

if TYPE_CHECKING:
    from didcli.interfaces import Method

SETTLED_SOURCES = ("official", "rendered")
"""Sources that `data.source: auto` may come to; the `source` of a dataset then begins so."""
BATCH_SIZE = 128
"""Images per pass of `encode` and `decode`. Fixed, so that codes do not depend on the caller. The
classic encoder's activations of 256 no longer fit a cache: it takes two fifths longer."""


class Run:
    """A trained model, read from its run folder. Weights are in float32 and evaluation mode."""

    def __init__(
        self, path: Path, checkpoint: checkpoints.Checkpoint, device: torch.device
    ) -> None:
        """Raises RunError when the checkpoint does not fit the method it names."""
        self.path = path
        self.config: RunConfig = checked_settings(path, checkpoint.config, checkpoint.versions)
        self.step = checkpoint.step
        self.digest = checkpoint.digest
        """SHA-256 of the checkpoint file, hexadecimal."""
        self.versions = checkpoint.versions
        """Versions of the packages that trained it."""
        self.source = checkpoint.source
        """Source of the training images."""
        self.image_shape = checkpoint.image_shape
        """(C, H, W)."""
        self.device = device
        method = build_method(self.config, self.image_shape)
        checkpoints.restore(method, checkpoint, optimisers=False)
        method.to(device=device, memory_format=memory_format(device))  # type: ignore[call-overload]
        self.method: torch.nn.Module = method.eval()
        self.latent_dim: int = cast("Method", method).latent_dim
        self.code_range: tuple[float, float] = cast("Method", method).code_range
        self.angles: tuple[int, ...] = getattr(method, "angles", ())
        """Codes in which -1 and 1 are one value."""

    @torch.no_grad()
    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, C, H, W) uint8, 0..255 -> codes (B, D). Raises DataError for another shape."""
        if images.ndim != 4 or images.shape[1:] != self.image_shape or images.dtype != np.uint8:
            raise DataError(
                f"the run encodes uint8 images of shape (B, {_shape(self.image_shape)}), "
                f"got {images.dtype} ({_shape(images.shape)})",
                hint="Resize the images, and give values from 0 to 255.",
            )
        with exact_float32():
            batches = [
                cast("Method", self.method).encode(to_unit_range(part, self.device)).cpu().numpy()
                for part in _parts(images)
            ]
        return np.concatenate(batches) if batches else np.empty((0, self.latent_dim), np.float32)

    @torch.no_grad()
    def decode(self, codes: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Codes (B, D) -> (B, C, H, W), 0..255. Raises DataError for another shape or NaN."""
        if codes.ndim != 2 or codes.shape[1] != self.latent_dim or not np.isfinite(codes).all():
            raise DataError(
                f"the run decodes finite codes of shape (B, {self.latent_dim}), "
                f"got ({_shape(codes.shape)})",
                hint="Give one row of numbers for each image.",
            )
        batches = []
        for part in _parts(codes):
            tensor = torch.from_numpy(part.astype(np.float32)).to(self.device)
            with exact_float32():
                images = cast("Method", self.method).decode(tensor)
            batches.append((images * 255.0).round().to(torch.uint8).cpu().numpy())
        return np.concatenate(batches) if batches else np.empty((0, *self.image_shape), np.uint8)

    def dataset(
        self, data_dir: Path | str | None = None, on_progress: OnProgress | None = None
    ) -> Dataset:
        """The dataset that the run was trained on; where its images are not at hand, those that its
        settings name here, with a note.

        on_progress: called with images done and their total, only when it has to be made first.
        """
        try:
            dataset = load_dataset(self.config, data_dir, on_progress, as_from=self.source)
        except DataError:
            if _settled(self.config, self.source) == self.config:
                raise
            dataset = load_dataset(self.config, data_dir, on_progress)
        if dataset.source != self.source:
            other = f"the run was trained on {self.source}, and these images are {dataset.source}"
            dataset.notes = (*dataset.notes, other)
        return dataset


def open_run(path: Path | str, device: str = "auto") -> Run:
    """Read a run from its folder. Raises RunError when there is none, or it is damaged."""
    folder = Path(path)
    if not folder.is_dir():
        raise RunError(f"no run folder {folder}", hint="did train makes one, and prints its path.")
    return Run(folder, checkpoints.load(folder / checkpoints.FILE_NAME), choose_device(device))


def build_method(config: RunConfig, image_shape: tuple[int, int, int]) -> torch.nn.Module:
    """An untrained method on the CPU; its initial weights are a function of the seed alone."""
    module = registry.load("methods", config.method.name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        method: torch.nn.Module = module.build(config.method.settings, image_shape)
    return method


def load_dataset(
    config: RunConfig,
    data_dir: Path | str | None = None,
    on_progress: OnProgress | None = None,
    *,
    as_from: str = "",
) -> Dataset:
    """The dataset that the settings name. on_progress: as for `Run.dataset`.

    as_from: the `source` of a dataset that they named before: `auto` then is what it was, even if
    an official file has come since.
    """
    module = registry.load("data", config.data.name)
    data = _settled(config, as_from).data
    settings = {key: value for key, value in data.to_dict().items() if key != "name"}
    dataset: Dataset = module.load(**settings, data_dir=data_dir, on_progress=on_progress)
    return dataset


def to_unit_range(images: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """(B, C, H, W) uint8, 0..255 -> float32 in [0, 1] on the device, in its `memory_format`."""
    # Not non_blocking: the array may be gone before MPS has read it.
    tensor = torch.from_numpy(images).to(device)
    return tensor.to(torch.float32, memory_format=memory_format(device)).div_(255.0)


def _settled(config: RunConfig, source: str) -> RunConfig:
    """The settings, with what `auto` had come to when they named a dataset of this `source`."""
    kind, data = source.partition(" ")[0], config.data
    if getattr(data.settings, "source", None) != "auto" or kind not in SETTLED_SOURCES:
        return config
    return replace(config, data=replace(data, settings=replace(data.settings, source=kind)))


def _parts(rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(rows), BATCH_SIZE):
        yield rows[start : start + BATCH_SIZE]


def _shape(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
