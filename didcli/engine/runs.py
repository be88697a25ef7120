"""Run folders: `config.yaml`, `checkpoint.safetensors`, `log.jsonl`, `eval.json`, pictures."""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from didcli import registry
from didcli.config import CONFIG_NAME, Layer, RunConfig, build, load_file
from didcli.engine import checkpoint as checkpoints
from didcli.engine import reports
from didcli.engine.device import choose_device
from didcli.engine.encode import KEPT_PATTERN
from didcli.errors import DataError, DidError, RunConflictError, RunError, StorageError, UsageError
from didcli.interfaces import Dataset
from didcli.io.atomic import is_temporary

if TYPE_CHECKING:
    from didcli.interfaces import Method

LOG_NAME = "log.jsonl"
PICTURE_NAME = "traversal.png"
JOB_LOG_NAME = "job.log"
"""What a command said of which `did compare` started it here."""
CARD_NAME = "README.md"
"""Of a released run."""
LOCK_NAME = ".lock"
WRITTEN = {
    *(CONFIG_NAME, checkpoints.FILE_NAME, LOG_NAME, JOB_LOG_NAME, PICTURE_NAME),
    *(reports.FILE_NAME, reports.PICTURE_NAME),
    *(f"{part}.{suffix}" for part in ("encoder", "generator") for suffix in ("pt2", "onnx")),
    *(f"codes.{suffix}" for suffix in ("npz", "csv", "jsonl")),
}
"""Files that commands write into a run folder under these names when they are given no other."""
WRITTEN_PATTERN = rf"traverse(-dim[\d-]+)?\.(png|gif|html)|{KEPT_PATTERN}"
SETTLED_SOURCES = ("official", "rendered")
"""What `data.source: auto` may come to, and the `source` of a dataset then begins with."""
BATCH_SIZE = 256
"""Images per pass of `encode` and `decode`. Fixed, so that codes do not depend on the caller."""


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
        """Of the packages that trained it."""
        self.source = checkpoint.source
        """Where the training images came from."""
        self.image_shape = checkpoint.image_shape
        """(C, H, W)."""
        self.device = device
        method = build_method(self.config, self.image_shape)
        checkpoints.restore(method, checkpoint, optimisers=False)
        # Channels last: convolutions are up to twice as fast so.
        method.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.method: torch.nn.Module = method.eval()
        self.latent_dim: int = cast("Method", method).latent_dim
        self.code_range: tuple[float, float] = cast("Method", method).code_range

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, C, H, W) uint8, 0..255 -> codes (B, D). Raises DataError for another shape."""
        if images.ndim != 4 or images.shape[1:] != self.image_shape or images.dtype != np.uint8:
            raise DataError(
                f"the run encodes uint8 images of shape (B, {_shape(self.image_shape)}), "
                f"got {images.dtype} ({_shape(images.shape)})",
                hint="Resize the images, and give values from 0 to 255.",
            )
        batches = [
            cast("Method", self.method).encode(to_unit_range(part, self.device)).cpu().numpy()
            for part in _parts(images)
        ]
        return np.concatenate(batches) if batches else np.empty((0, self.latent_dim), np.float32)

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
            images = cast("Method", self.method).decode(tensor)
            batches.append((images * 255.0).round().to(torch.uint8).cpu().numpy())
        return np.concatenate(batches) if batches else np.empty((0, *self.image_shape), np.uint8)

    def dataset(
        self, data_dir: Path | None = None, on_progress: Callable[[int, int], None] | None = None
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


def find_run(path: Path | None, runs_dir: Path) -> Path:
    """`path`, or without one the latest run under `runs_dir`. Raises RunError when there is none.

    The latest is the one whose checkpoint was written last.
    """
    if path is not None:
        return path
    latest = max(
        runs_dir.glob(f"*/{checkpoints.FILE_NAME}"),
        key=lambda file: file.stat().st_mtime,
        default=None,
    )
    if latest is None:
        raise RunError(
            f"no run under {runs_dir}", hint="Train one with did train, or name a run folder."
        )
    return latest.parent


def new_folder(config: RunConfig, runs_dir: Path) -> Path:
    """An empty folder whose name sorts by time, such as `20260131-235959-did-dsprites-s0`.

    Made at once, as another process may be about to give its run the same name: it then takes that
    name with `-2` after it. Raises StorageError.
    """
    started = datetime.now().strftime("%Y%m%d-%H%M%S")
    data = Path(config.data.name).stem
    name = f"{started}-{config.method.name}-{data}-s{config.train.seed}"
    folder = runs_dir / name
    for number in itertools.count(2):
        try:
            folder.mkdir(parents=True)
            break
        except OSError as error:
            if not folder.is_dir():
                raise _cannot_make(folder, error) from error
            folder = runs_dir / f"{name}-{number}"
    return folder


def remove_unused(folder: Path) -> None:
    """Remove a folder in which nothing was written but a lock."""
    if {file.name for file in folder.iterdir()} <= {LOCK_NAME}:
        (folder / LOCK_NAME).unlink(missing_ok=True)
        folder.rmdir()


def settings_of(folder: Path) -> RunConfig:
    """As the checkpoint has them: they are covered by its integrity. Those of `config.yaml` where
    there is none.

    Raises RunError where they are lost, or another version's.
    """
    if reports.has_checkpoint(folder):
        described = checkpoints.describe(folder / checkpoints.FILE_NAME)
        return checked_settings(folder, described.get("config", {}), described.get("versions", {}))
    return checked_settings(folder, _config_file(folder))


def checked_settings(
    folder: Path, settings: Layer, versions: Mapping[str, str] | None = None
) -> RunConfig:
    """Of a run, as they were found. Raises RunError for those that this version does not know.

    versions: of what wrote them, where that is known.
    """
    try:
        return build([settings])
    except DidError as error:
        writer = (versions or {}).get("didcli", "unknown")
        raise RunError(
            f"the settings of {folder} cannot be used: {error}",
            hint=f"They are of another version: didcli {writer}. Use that one, or train it again.",
        ) from error


def read_settings(folder: Path) -> Layer | None:
    """Of a run to go on with: its `config.yaml`, or what its checkpoint says where that is lost.

    None where there is neither. Whether they are those of the checkpoint is seen on resuming.
    Raises RunError for a damaged file.
    """
    if (folder / CONFIG_NAME).exists():
        return _config_file(folder)
    if reports.has_checkpoint(folder):
        settings: Layer = checkpoints.describe(folder / checkpoints.FILE_NAME)["config"]
        return settings
    return None


def latest_started(runs_dir: Path) -> Path | None:
    """The run that was begun or saved last, whether or not it has a checkpoint yet."""
    written = [
        (file.stat().st_mtime, file.parent)
        for name in (CONFIG_NAME, checkpoints.FILE_NAME)
        for file in runs_dir.glob(f"*/{name}")
    ]
    return max(written)[1] if written else None


def claim(folder: Path, *, resume: bool, force: bool) -> bool:
    """Make the folder, or see that a run may be written into it. Returns whether it is new.

    Raises RunConflictError when it holds a run, unless `resume` or `force`; also, even then, when
    it holds other files and no run: a mistyped path must not mix a run into somebody's folder.
    """
    try:
        new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        # Temporary files are left by a process that was killed while it wrote.
        present = {file.name for file in folder.iterdir()} - {LOCK_NAME}
        found = {name for name in present if not is_temporary(name)}
    except (FileExistsError, NotADirectoryError):
        raise RunConflictError(f"{folder} is a file", hint="Choose another --out.") from None
    except OSError as error:
        raise _cannot_make(folder, error) from error
    holds_run = bool(found & {CONFIG_NAME, checkpoints.FILE_NAME})
    if found and not holds_run:
        raise RunConflictError(
            f"{folder} holds other files and no run", hint="Choose a new folder for --out."
        )
    if holds_run and not (resume or force):
        raise RunConflictError(
            f"{folder} already holds a run",
            hint="Go on with it: --resume. Replace it: --force. Or choose another --out.",
        )
    return new


def clear(folder: Path) -> None:
    """Delete what a former run, and commands about it, wrote into the folder; nothing else."""
    released = _is_released(folder)
    for path in list(folder.iterdir()):
        if (
            path.name in WRITTEN
            or (path.name == CARD_NAME and released)
            or re.fullmatch(WRITTEN_PATTERN, path.name)
            or is_temporary(path.name)
        ):
            path.unlink()


def build_method(config: RunConfig, image_shape: tuple[int, int, int]) -> torch.nn.Module:
    """An untrained method on the CPU; its initial weights are a function of the seed alone."""
    module = registry.load("methods", config.method.name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        method: torch.nn.Module = module.build(config.method.settings, image_shape)
    return method


def load_dataset(
    config: RunConfig,
    data_dir: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
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
    """(B, C, H, W) uint8, 0..255 -> float32 in [0, 1] on the device, channels last."""
    tensor = torch.from_numpy(images).to(device, non_blocking=True)
    return tensor.to(torch.float32, memory_format=torch.channels_last).div_(255.0)


@contextmanager
def locked(folder: Path, *, new: bool = False) -> Iterator[None]:
    """Hold the run folder against other trainers. Raises RunConflictError when one holds it.

    A folder that is `new`, and in which nothing was written in the end, is removed.
    """
    lock = FileLock(folder / LOCK_NAME, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise RunConflictError(
            f"{folder} is in use by another process",
            hint="Wait for it, or choose another --out.",
        ) from None
    except OSError as error:
        raise StorageError(
            f"cannot write in {folder}: {error.strerror}", hint="Choose another --out."
        ) from error
    try:
        yield
    finally:
        if new:
            remove_unused(folder)
        lock.release()


def _settled(config: RunConfig, source: str) -> RunConfig:
    """The settings, with what `auto` had come to when they named a dataset of this `source`."""
    kind, data = source.partition(" ")[0], config.data
    if getattr(data.settings, "source", None) != "auto" or kind not in SETTLED_SOURCES:
        return config
    return replace(config, data=replace(data, settings=replace(data.settings, source=kind)))


def _config_file(folder: Path) -> Layer:
    try:
        return load_file(folder / CONFIG_NAME)
    except UsageError as error:
        instead = (
            f"Delete {CONFIG_NAME}: the checkpoint has the settings, too."
            if reports.has_checkpoint(folder)
            else "Put it back, or train the run again."
        )
        raise RunError(f"the settings of {folder} are lost: {error}", hint=instead) from error


def _is_released(folder: Path) -> bool:
    try:
        return checkpoints.describe(folder / checkpoints.FILE_NAME).get("released") is True
    except RunError:
        return False


def _cannot_make(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot make the run folder {folder}: {error.strerror}",
        hint="Choose another --out or --runs-dir.",
    )


def _parts(rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(rows), BATCH_SIZE):
        yield rows[start : start + BATCH_SIZE]


def _shape(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
