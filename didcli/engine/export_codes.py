"""The codes of images as tables: npz, csv or JSON Lines."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from didcli.engine import runs
from didcli.engine.encode import encode_dataset
from didcli.errors import DataError
from didcli.interfaces import Dataset
from didcli.io import image_files

Floats = NDArray[np.float32]
OnEncoded = Callable[[int], None]
"""Called with the images encoded so far."""

SCHEMA = 1
ROWS_AT_ONCE = 8 * runs.BATCH_SIZE


@dataclass(frozen=True)
class Rows:
    """Some rows of a table of codes."""

    keys: Sequence[int] | Sequence[str]
    """Row numbers of a dataset, or file names."""
    codes: Floats
    """(B, D), finite."""
    factors: NDArray[np.int64] | None
    """(B, K), or None where they are not known."""


@dataclass(frozen=True)
class CodeSource:
    """Where codes come from, and how to get them, batch by batch."""

    key: Literal["row", "file"]
    """What the keys of the rows are."""
    total: int
    """Rows at most; files that cannot be read make fewer."""
    latent_dim: int
    factor_names: tuple[str, ...]
    factor_sizes: tuple[int, ...]
    batches: Callable[[OnEncoded], Iterator[Rows]]
    notes: tuple[str, ...] = ()
    """Notes of the dataset, see `didcli.interfaces.Dataset`."""


def dataset_codes(run: runs.Run, dataset: Dataset, limit: int | None, *, keep: bool) -> CodeSource:
    """The codes of a dataset in its order, or of its first `limit` images.

    keep: encode all of it before the first batch, and keep the codes in the run folder for
    `did eval`; otherwise, and with a limit, the first batch comes at once and nothing is kept.
    """
    total = len(dataset) if limit is None else min(limit, len(dataset))
    factors = dataset.factors if dataset.factor_names else None

    def batches(on_progress: OnEncoded) -> Iterator[Rows]:
        whole = keep and total == len(dataset)
        kept = encode_dataset(run, dataset, lambda done, _: on_progress(done)) if whole else None
        for start in range(0, total, ROWS_AT_ONCE):
            rows = np.arange(start, min(start + ROWS_AT_ONCE, total))
            codes = run.encode(dataset.images(rows)) if kept is None else kept[rows]
            on_progress(int(rows[-1]) + 1)
            _check_finite(codes, f"rows {rows[0]} to {rows[-1]} of {dataset.name}")
            yield Rows(rows.tolist(), codes, None if factors is None else factors[rows])

    return CodeSource(
        *("row", total, run.latent_dim, dataset.factor_names, dataset.factor_sizes),
        batches,
        dataset.notes,
    )


def folder_codes(
    run: runs.Run, folder: Path, limit: int | None, on_skip: Callable[[str, str], None]
) -> CodeSource:
    """The codes of the images in a folder and the folders in it, sorted by path.

    Images are cropped about their centre and resized to what the run was trained on.
    on_skip: called with the name of a file that cannot be read, and why.
    Raises DataError when there is no image in the folder, or (from `batches`) none can be read.
    """
    files = image_files.find(folder)[:limit]

    def batches(on_progress: OnEncoded) -> Iterator[Rows]:
        any_read = False
        for start in range(0, len(files), runs.BATCH_SIZE):
            names, images = [], []
            for file in files[start : start + runs.BATCH_SIZE]:
                try:
                    images.append(image_files.read_image(file, run.image_shape))
                    names.append(image_files.printable(file.relative_to(folder)))
                except DataError as error:
                    on_skip(image_files.printable(file.relative_to(folder)), str(error))
            on_progress(min(start + runs.BATCH_SIZE, len(files)))
            if images:
                any_read = True
                codes = run.encode(np.stack(images))
                _check_finite(codes, f"{names[0]} to {names[-1]}")
                yield Rows(names, codes, None)
        if not any_read:
            raise DataError(
                f"none of the {len(files)} images in {folder} can be read",
                hint="Open one in a viewer: are they complete?",
            )

    return CodeSource("file", len(files), run.latent_dim, (), (), batches)


def to_csv(source: CodeSource, on_progress: OnEncoded) -> Iterator[bytes]:
    """Parts of a CSV file: a header `row` (or `file`), the factors, z0, z1, ...; then the rows."""
    codes = [f"z{dim}" for dim in range(source.latent_dim)]
    yield _csv_lines([[source.key, *source.factor_names, *codes]])
    for rows in source.batches(on_progress):
        columns = [[key] for key in rows.keys]
        factors = [[]] * len(columns) if rows.factors is None else rows.factors.tolist()
        yield _csv_lines(
            key + values + texts
            for key, values, texts in zip(columns, factors, _shortest(rows.codes), strict=True)
        )


def to_jsonl(source: CodeSource, on_progress: OnEncoded) -> Iterator[bytes]:
    """Parts of a JSON Lines file: `{"schema": 1, "row": 0, "factors": {...}, "codes": [...]}`."""
    for rows in source.batches(on_progress):
        factors = None if rows.factors is None else rows.factors.tolist()
        lines = []
        for index, (key, texts) in enumerate(zip(rows.keys, _shortest(rows.codes), strict=True)):
            entry: dict[str, Any] = {"schema": SCHEMA, source.key: key}
            if factors is not None:
                entry["factors"] = dict(zip(source.factor_names, factors[index], strict=True))
            entry["codes"] = [float(text) for text in texts]
            lines.append(json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n")
        yield "".join(lines).encode()


def to_npz(source: CodeSource, on_progress: OnEncoded) -> Iterator[bytes]:
    """One npz file: `codes` (N, D) float32; of a dataset `factors` (N, K) int64, `factor_sizes` and
    `factor_names` (K,), as `did eval --codes` reads them; of a folder `files` (N,).
    """
    parts = list(source.batches(on_progress))
    arrays: dict[str, NDArray[Any]] = {"codes": np.concatenate([rows.codes for rows in parts])}
    factors = [rows.factors for rows in parts if rows.factors is not None]
    if factors:
        arrays["factors"] = np.concatenate(factors)
        arrays["factor_sizes"] = np.array(source.factor_sizes, dtype=np.int64)
        arrays["factor_names"] = np.array(source.factor_names)
    if source.key == "file":
        arrays["files"] = np.array([name for rows in parts for name in rows.keys])
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # for mypy, a key may be allow_pickle
    yield buffer.getvalue()


CODE_WRITERS: Mapping[str, Callable[[CodeSource, OnEncoded], Iterator[bytes]]] = {
    "npz": to_npz,
    "csv": to_csv,
    "jsonl": to_jsonl,
}


def _csv_lines(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _shortest(codes: Floats) -> list[list[str]]:
    """The shortest decimals that read back as the same float32: 0.1, not 0.10000000149011612."""
    texts: list[list[str]] = codes.astype(np.str_).tolist()
    return texts


def _check_finite(codes: Floats, what: str) -> None:
    if not np.isfinite(codes).all():
        raise DataError(
            f"the codes of {what} are not finite",
            hint="The model diverged: use an earlier checkpoint, or train again.",
        )
