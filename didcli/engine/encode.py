"""Encode a whole dataset once; every metric then reads from the table of codes."""

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from didcli.errors import DataError, StorageError
from didcli.interfaces import Dataset
from didcli.io.atomic import write_bytes
from didcli.io.records import OnProgress

if TYPE_CHECKING:
    from didcli.engine.runs import Run

KEPT_PATTERN = r"codes-[0-9a-f]{12}\.safetensors"
"""Names of the files in run folders that keep the codes of a dataset."""
BATCH_SIZE = 2048
"""Images fetched and encoded at a time."""
RUN_TO_RUN_TOLERANCE = 1e-3
"""Largest difference, relative to the largest code, between two encodings of one image: kernels for
different batch sizes add in different orders, and no more."""

RARE = 0.1
"""Share of images that may differ by more in a sound encoder; one that samples changes all."""

Encode = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""(B, C, H, W) uint8 images, 0..255 -> (B, D) codes."""


def encode_images(
    encode: Encode,
    dataset: Dataset,
    on_progress: OnProgress | None = None,
    *,
    rows: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """The codes of every image of the dataset, in its order, or of those in `rows`: (N, D) float32.

    encode: any encoder, in evaluation mode and float32.
    on_progress: called with the images encoded so far, and their total.
    Raises DataError when it gives an image another code in other company: it was left in training
    mode, or it samples its codes. Raises DataError for codes of another shape, or not finite.
    """
    if rows is None:
        rows = np.arange(len(dataset))
    codes: NDArray[np.float32] | None = None
    for start in range(0, len(rows), BATCH_SIZE):
        part = rows[start : start + BATCH_SIZE]
        batch = _checked(encode(dataset.images(part)), part)
        if codes is None:
            codes = np.empty((len(rows), batch.shape[1]), dtype=np.float32)
        codes[start : start + len(part)] = batch
        if on_progress is not None:
            on_progress(start + len(part), len(rows))
    if codes is None:
        raise DataError("the dataset is empty", hint="Choose a dataset with images.")
    _check_repeatable(encode, dataset, rows, codes)
    return codes


def encode_dataset(
    run: "Run", dataset: Dataset, on_progress: OnProgress | None = None
) -> NDArray[np.float32]:
    """The codes of every image under the model of a run: (N, D) float32.

    Kept in the run folder, under the digest of the checkpoint, for the next call; codes of older
    checkpoints are deleted, if they can be. A damaged file, or one made from other images, is made
    anew. A folder that cannot be written to costs the next call its time and nothing else.
    """
    kept = _kept_codes(run, dataset)
    if kept is not None:
        return kept
    codes = encode_images(run.encode, dataset, on_progress)
    cache, labels = _cache(run), _labels(run, dataset)
    try:
        write_bytes(cache, to_safetensors({"codes": codes}, {**labels, "sha256": _digest(codes)}))
    except StorageError:
        return codes
    for old in run.path.glob("codes-*.safetensors"):
        if old != cache and re.fullmatch(KEPT_PATTERN, old.name):
            with suppress(OSError):
                old.unlink()
    return codes


def encode_sample(
    run: "Run", dataset: Dataset, rows: NDArray[np.int64], on_progress: OnProgress | None = None
) -> NDArray[np.float32]:
    """The codes of some images under the model of a run: (len(rows), D) float32.

    Those that `encode_dataset` keeps, if it has been here; otherwise no more than these are made.
    """
    kept = _kept_codes(run, dataset)
    if kept is not None:
        return kept[rows]
    return encode_images(run.encode, dataset, on_progress, rows=rows)


def _cache(run: "Run") -> Path:
    return run.path / f"codes-{run.digest[:12]}.safetensors"


def _labels(run: "Run", dataset: Dataset) -> dict[str, str]:
    # Other kernels round otherwise, and reports name the torch of now.
    made_by = f"torch {version('torch')} on {run.device.type}"
    return {"checkpoint": run.digest, "source": dataset.source, "made_by": made_by}


def _kept_codes(run: "Run", dataset: Dataset) -> NDArray[np.float32] | None:
    """The codes of the dataset in the run folder, or None unless they are there, undamaged."""
    try:
        with safe_open(_cache(run), framework="numpy") as file:
            written: dict[str, str] = file.metadata() or {}
            codes: NDArray[np.float32] = file.get_tensor("codes")
    except (OSError, SafetensorError):
        return None
    expected = {**_labels(run, dataset), "sha256": _digest(codes)}
    shape = len(dataset), run.latent_dim
    fits = codes.shape == shape and codes.dtype == np.float32 and written == expected
    return codes if fits else None


def _digest(codes: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(codes).data).hexdigest()


def _checked(codes: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    if codes.ndim != 2 or len(codes) != len(rows):
        raise DataError(
            f"the encoder made codes of shape {codes.shape} from {len(rows)} images",
            hint="An encoder returns one row of codes for each image.",
        )
    if not np.isfinite(codes).all():
        raise DataError(
            f"the encoder made codes that are not finite, from images {rows[0]} to {rows[-1]}",
            hint="The model diverged: use an earlier checkpoint, or train again.",
        )
    return codes


def _check_repeatable(
    encode: Encode, dataset: Dataset, rows: NDArray[np.int64], codes: NDArray[np.float32]
) -> None:
    """Encode a few of the images again, among others than before."""
    few = np.linspace(0, len(rows) - 1, num=min(64, len(rows))).astype(np.int64)
    again = _checked(encode(dataset.images(rows[few])), rows[few])
    differences = np.abs(again - codes[few]).max(axis=1)
    other = differences > RUN_TO_RUN_TOLERANCE * np.abs(codes[few]).max()
    # A rare one may be an angle that rounding has taken across the cut, from 1 to -1.
    if other.mean() > RARE:
        raise DataError(
            "the encoder gives the same image different codes "
            f"(they differ by {differences.max():.3g})",
            hint="Put the model in evaluation mode, and take the mean where it samples codes.",
        )
