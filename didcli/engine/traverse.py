"""What each dimension of the codes does: move one while the others stand still, and decode."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from didcli.engine import runs
from didcli.engine.reports import read_report
from didcli.errors import UsageError
from didcli.interfaces import Dataset

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Traversal:
    """The images along some dimensions, from some anchors."""

    dims: tuple[int, ...]
    values: Floats
    """(K,) what each of these dimensions is set to, the same for all."""
    images: Pixels
    """(dims, A, K, C, H, W)."""


@dataclass(frozen=True)
class Anchors:
    """The codes that a traversal starts from."""

    codes: Floats
    """(A, D)."""
    rows: tuple[int, ...]
    """The rows of the dataset whose codes they are; empty when they were drawn."""


@dataclass(frozen=True)
class Knowledge:
    """The factor that a dimension knows most about."""

    factor: str
    share: float
    """Mutual information as a share of the factor's entropy, in [0, 1]: the quantity of MIG."""


def traverse(run: runs.Run, dims: Sequence[int], values: Floats, anchors: Floats) -> Traversal:
    """Decode every value of every dimension from every anchor. anchors: (A, D)."""
    codes = traversed_codes(anchors, dims, values)
    images = run.decode(codes.reshape(-1, codes.shape[-1]))
    return Traversal(
        dims=tuple(dims),
        values=values,
        images=images.reshape(*codes.shape[:-1], *images.shape[1:]),
    )


def traversed_codes(anchors: Floats, dims: Sequence[int], values: Floats) -> Floats:
    """(A, D) anchors -> (len(dims), A, K, D): anchor a with its code dims[i] set to values[k]."""
    shape = (len(dims), len(anchors), len(values), anchors.shape[1])
    codes = np.broadcast_to(anchors[:, np.newaxis], shape).copy()
    for index, dim in enumerate(dims):
        codes[index, :, :, dim] = values
    return codes


def evenly_spaced(low: float, high: float, steps: int) -> Floats:
    """(steps,) from low to high, both included; steps >= 2."""
    return np.linspace(low, high, steps, dtype=np.float32)


def prior_anchors(run: runs.Run, count: int, seed: int) -> Anchors:
    """`count` codes, uniform over the method's range. The first do not depend on `count`."""
    rng = np.random.default_rng(seed)
    codes = rng.uniform(*run.code_range, size=(count, run.latent_dim))
    return Anchors(codes.astype(np.float32), rows=())


def data_anchors(run: runs.Run, dataset: Dataset, rows: Sequence[int]) -> Anchors:
    """The codes of images of the dataset. Raises UsageError for a row that is not there."""
    if max(rows) >= len(dataset):
        raise UsageError(
            f"{dataset.name} has no row {max(rows)}",
            hint=f"Its rows are 0 to {len(dataset) - 1}.",
        )
    codes = run.encode(dataset.images(np.array(rows, dtype=np.int64)))
    return Anchors(codes, tuple(rows))


def images_of(name: str, source: str) -> str:
    """`shapes3d (rendered v1)`; of a digest the first 12 digits, as there is little room."""
    brief = re.sub("(?<=sha256:[0-9a-f]{12})[0-9a-f]+", "", source)
    return f"{name} ({brief})"


def title_of(run: runs.Run) -> str:
    """Which run it is, and which images it was trained on."""
    images = images_of(run.config.data.name, run.source)
    return f"{run.path.resolve().name}, step {run.step}, {images}: what each dimension does"


def random_rows(count: int, total: int, seed: int) -> tuple[int, ...]:
    """`count` different rows below `total`; all of them when there are fewer."""
    rng = np.random.default_rng(seed)
    return tuple(rng.choice(total, size=min(count, total), replace=False).tolist())


def read_knowledge(folder: Path, digest: str, latent_dim: int) -> dict[int, Knowledge]:
    """What each dimension knows most about, by the report in a run folder; {} without one.

    digest: of the checkpoint; scores of another one say nothing about these dimensions. A missing
    or damaged report is no error here: a picture loses some labels by it, no more.
    """
    report = read_report(folder, digest) or {}
    try:
        details = report["details"]["mig"]
        information = np.asarray(details["mutual_information"], dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):  # seen to below
            shares = information / np.asarray(details["factor_entropy"], dtype=np.float64)
        names = [str(name) for name in report["data"]["factor_names"]]
    except (ValueError, KeyError, TypeError):
        return {}
    if shares.shape != (latent_dim, len(names)) or not np.isfinite(shares).all():
        return {}
    best = shares.argmax(axis=1)
    return {
        dim: Knowledge(names[factor], float(shares[dim, factor])) for dim, factor in enumerate(best)
    }


def label(dim: int, known: Mapping[int, Knowledge]) -> str:
    """`dim 3: pos_x (0.41)`, or `dim 3` where nothing is known."""
    if dim not in known:
        return f"dim {dim}"
    return f"dim {dim}: {known[dim].factor} ({known[dim].share:.2f})"
