"""What each dimension of the codes does: move one while the others stand still, and decode."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from didcli.engine import runs
from didcli.engine.reports import read_report
from didcli.errors import UsageError
from didcli.interfaces import Dataset, Method
from didcli.io import page, pictures

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

PICTURE_STEPS = 9
PICTURE_SEED = 0
GIF_PERIOD_MS = 3000
"""Of an animation, there and back."""
GIF_FRAME_MS = (40, 300)
"""Shortest and longest frame: viewers slow down what is faster, and what is slower stutters."""


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
    """(steps,) from low to high, both included; steps >= 2. Raises UsageError unless low < high."""
    if not (np.isfinite([low, high]).all() and low < high):
        raise UsageError(
            f"the range goes from {low:g} to {high:g}",
            hint="--range takes two finite numbers, the smaller first: --range -1,1",
        )
    return np.linspace(low, high, steps, dtype=np.float32)


def parse_dims(texts: Sequence[str], latent_dim: int) -> tuple[int, ...]:
    """`["3", "0-2", "1,5"]` -> (3, 0, 1, 2, 5): in the order given, each once; all for none.

    Raises UsageError for a text that is not a dimension, a range or a list of them, and for
    dimensions outside 0 .. latent_dim - 1.
    """
    last_one = latent_dim - 1
    ways = f"--dim {last_one}, --dim 0-{last_one}, --dim 0,{last_one}"
    there = f"The run has dimensions 0 to {last_one}: {ways}"
    chosen: list[int] = []
    for part in (part.strip() for text in texts for part in text.split(",")):
        first, dash, last = part.partition("-")
        # isascii, because isdigit also takes superscripts, which int() refuses.
        if not (part.isascii() and first.isdigit() and (last.isdigit() if dash else True)):
            raise UsageError(f"{part!r} is not a dimension", hint=there)
        bounds = int(first), int(last or first)
        if max(bounds) >= latent_dim:
            raise UsageError(f"there is no dimension {max(bounds)}", hint=there)
        if bounds[0] > bounds[1]:
            raise UsageError(f"the range {part} goes backwards", hint=there)
        chosen += range(bounds[0], bounds[1] + 1)
    return tuple(dict.fromkeys(chosen)) if texts else tuple(range(latent_dim))


def parse_range(text: str) -> tuple[float, float]:
    """`-2,2` -> (-2.0, 2.0). Raises UsageError."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"--range takes two numbers, got {text!r}", hint="For example: --range -1,1"
        ) from None
    return low, high


def parse_rows(text: str) -> tuple[int, ...]:
    """`0,17,4` -> (0, 17, 4). Raises UsageError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UsageError(
            f"--rows takes numbers of dataset rows, got {text!r}", hint="For example: --rows 0,17,4"
        )
    return tuple(int(part) for part in parts)


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


def file_name(dims: Sequence[int], latent_dim: int, suffix: str) -> str:
    """`traverse.png` for all dimensions, else `traverse-dim3.png` or `traverse-dim0-1-5.png`.

    Not `traversal.png`, which is the picture that training refreshes.
    """
    every = list(dims) == list(range(latent_dim))
    return f"traverse{'' if every else '-dim' + '-'.join(map(str, dims))}.{suffix}"


def render(traversal: Traversal, labels: Sequence[str], suffix: str, *, title: str) -> bytes:
    """The file named `.suffix`: png, gif or html.

    labels: one for each dimension. title: what the pictures are of; written beneath them.
    """
    if suffix == "html":
        return to_html(traversal, labels, title)
    to_picture = to_gif if suffix == "gif" else to_png
    return to_picture(traversal, labels, title)


def to_png(traversal: Traversal, labels: Sequence[str], title: str) -> bytes:
    """A block a dimension: a row an anchor, a column a value, which stands above it."""
    headings = tuple(f"{value:.3g}" for value in traversal.values)
    blocks = [
        pictures.Block(_folded(text), images, headings)
        for text, images in zip(labels, traversal.images, strict=True)
    ]
    return pictures.png_bytes(pictures.captioned(pictures.sheet(blocks), title))


def to_gif(traversal: Traversal, labels: Sequence[str], title: str) -> bytes:
    """Dimensions side by side, a row an anchor, all moving from the lowest value up and back."""
    headings = tuple(_folded(text) for text in labels)
    low, high = (f"{traversal.values[end]:.3g}" for end in (0, -1))
    last = len(traversal.values) - 1
    order = there_and_back(last + 1)
    frames = []
    for step in order:
        images = np.moveaxis(traversal.images[:, :, step], 0, 1)
        table = pictures.sheet([pictures.Block("", images, headings)])
        moving = pictures.draw_slider(table, step / last, low, high)
        frames.append(pictures.captioned(moving, title))
    return pictures.gif_bytes(frames, frame_ms(len(order)))


def to_html(traversal: Traversal, labels: Sequence[str], title: str) -> bytes:
    """One page with nothing outside it: a slider for each dimension, an image strip a value."""
    height, width = traversal.images.shape[-2:]
    scale = pictures.enlargement(height, width)
    dimensions = [
        page.Slider(
            label=text,
            values=tuple(f"{value:.3g}" for value in traversal.values),
            images=tuple(
                pictures.png_bytes(pictures.strip(images[:, step], scale))
                for step in range(len(traversal.values))
            ),
        )
        for text, images in zip(labels, traversal.images, strict=True)
    ]
    return page.sliders(title, dimensions).encode()


def there_and_back(count: int) -> list[int]:
    """0 .. count - 1 and back again, the two ends once each, so that a loop does not stop there."""
    return [*range(count), *range(count - 2, 0, -1)]


def frame_ms(frames: int) -> int:
    """How long to show each frame, in ms: a multiple of 10, which is GIF's unit."""
    shortest, longest = GIF_FRAME_MS
    return min(max(10 * round(GIF_PERIOD_MS / frames / 10), shortest), longest)


@torch.no_grad()
def training_picture(method: Method, dataset: Dataset, device: torch.device) -> Image.Image:
    """What a model in training can do: real images, the same rebuilt from their codes, and then
    each dimension over its range from the codes of the first of them.

    The images are the same at every call, so that the pictures of a training can be compared.
    """
    rows = random_rows(PICTURE_STEPS, len(dataset), PICTURE_SEED)
    reals = dataset.images(np.array(rows, dtype=np.int64))
    codes = method.encode(runs.to_unit_range(reals, device))
    values = np.linspace(*method.code_range, PICTURE_STEPS, dtype=np.float32)
    anchor = codes[:1].float().cpu().numpy()
    moved = traversed_codes(anchor, range(method.latent_dim), values)[:, 0]
    moving = torch.from_numpy(moved.reshape(-1, method.latent_dim)).to(device)
    images = _to_pixels(method.decode(torch.cat((codes.float(), moving))))
    rebuilt, traversed = images[: len(codes)], images[len(codes) :]
    traversed = traversed.reshape(method.latent_dim, 1, PICTURE_STEPS, *images.shape[1:])
    headings = tuple(f"{value:.3g}" for value in values)
    table = pictures.sheet(
        [
            pictures.Block("real", reals[np.newaxis]),
            pictures.Block("rebuilt", rebuilt[np.newaxis]),
            *(
                pictures.Block(f"dim {dim}", rows, headings if dim == 0 else ())
                for dim, rows in enumerate(traversed)
            ),
        ]
    )
    return pictures.captioned(table, images_of(dataset.name, dataset.source))


def _to_pixels(images: torch.Tensor) -> Pixels:
    """[0, 1] -> uint8, 0..255. A model that diverged decodes NaN: shown black, as nothing is."""
    pixels: Pixels = (
        images.nan_to_num(0.0).clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8).cpu().numpy()
    )
    return pixels


def _folded(text: str) -> str:
    """A label in two lines, to take less room beside or above images."""
    return text.replace(": ", "\n", 1)
