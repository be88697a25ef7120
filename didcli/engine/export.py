"""A run for use elsewhere: its networks as single files, and the codes of images as tables."""

import csv
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import didcli
from didcli.engine import runs
from didcli.engine.encode import encode_dataset
from didcli.errors import DataError, RunError, UsageError
from didcli.interfaces import Dataset, Method
from didcli.io import image_files

Floats = NDArray[np.float32]
Part = Literal["encoder", "generator"]
PARTS: tuple[Part, ...] = ("encoder", "generator")
ModelFormat = Literal["onnx", "pt2"]
OnProgress = Callable[[int], None]
"""Called with the images encoded so far."""

SCHEMA = 1
TOLERANCE = 1e-4
"""Largest difference from the run's own output that an exported network may have."""
CHECKED_BATCHES = (1, 2, 5)
"""Batch sizes at which an exported network is compared with the run."""
ROWS_AT_ONCE = 8 * runs.BATCH_SIZE
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


@dataclass(frozen=True)
class ExportedModel:
    """A network in one file, which has been read back and compared with the run."""

    content: bytes
    max_difference: float
    """Largest absolute difference from the run's own output, over random inputs."""


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
    batches: Callable[[OnProgress], Iterator[Rows]]


class _Encoder(nn.Module):
    """images (B, C, H, W) float32 in [0, 1] -> codes (B, D) float32."""

    def __init__(self, method: nn.Module) -> None:
        super().__init__()
        self.method = method

    def forward(self, images: Tensor) -> Tensor:
        return cast("Method", self.method).encode(images)


class _Generator(nn.Module):
    """codes (B, D) float32 -> images (B, C, H, W) float32 in [0, 1]."""

    def __init__(self, method: nn.Module) -> None:
        super().__init__()
        self.method = method

    def forward(self, codes: Tensor) -> Tensor:
        return cast("Method", self.method).decode(codes)


def export_model(run: runs.Run, part: Part, file_format: ModelFormat) -> ExportedModel:
    """The encoder or the generator as one file, for batches of any size.

    Encoder: `images` (B, C, H, W) float32 in [0, 1] -> `codes` (B, D). Generator: the reverse.
    Raises UsageError when packages for ONNX are missing, RunError when what was written does not
    compute what the run computes.
    """
    if file_format == "onnx":
        check_onnx_packages()
    model, inputs = _part_and_inputs(run, part)
    with torch.no_grad():
        program = _traced(model, inputs[-1])
        expected = [model(batch) for batch in inputs]
    facts = {
        "didcli": didcli.__version__,
        "method": run.config.method.name,
        "checkpoint": run.digest,
        "step": str(run.step),
        "code_range": json.dumps(list(run.code_range)),
    }
    names = ("images", "codes") if part == "encoder" else ("codes", "images")
    if file_format == "onnx":
        content = _to_onnx(program, names, facts)
        actual = _run_onnx(content, inputs)
    else:
        content = _to_pt2(program, facts)
        actual = _run_pt2(content, inputs)
    return ExportedModel(content, check_equal(expected, actual, what=f"{part}.{file_format}"))


def used_weights(run: runs.Run) -> set[str]:
    """The names, in the method's `state_dict()`, of what `encode` and `decode` compute with."""
    names: set[str] = set()
    for part in PARTS:
        model, inputs = _part_and_inputs(run, part)
        with torch.no_grad():
            used = _used(_trace(model, inputs[-1]))
        names |= {name.removeprefix("method.") for name in used}
    return names & run.method.state_dict().keys()  # without buffers that are not kept


def check_equal(expected: Sequence[Tensor], actual: Sequence[Tensor], *, what: str) -> float:
    """The largest absolute difference. Raises RunError above TOLERANCE, or for another shape."""
    for ours, theirs in zip(expected, actual, strict=True):
        if ours.shape != theirs.shape:
            raise RunError(
                f"{what} gives shape {tuple(theirs.shape)} where the run gives "
                f"{tuple(ours.shape)}; it was not written",
                hint="Try the other --format, onnx or pt2, and report this.",
            )
    # By torch, whose maximum is NaN if any number is: Python's is not.
    pairs = zip(expected, actual, strict=True)
    difference = float(torch.stack([(ours - theirs).abs().max() for ours, theirs in pairs]).max())
    if not difference <= TOLERANCE:  # so that NaN is refused, too
        raise RunError(
            f"{what} differs from the run by up to {difference:.2g} (more than {TOLERANCE:g}); "
            "it was not written",
            hint="Try the other --format, onnx or pt2, and report this.",
        )
    return difference


def check_onnx_packages() -> None:
    """Raises UsageError when a package of the extra `onnx` is missing."""
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"exporting to ONNX needs {', '.join(missing)}",
            hint="pip install 'didcli[onnx]', or export with --format pt2.",
        )


def dataset_codes(run: runs.Run, dataset: Dataset, limit: int | None, *, keep: bool) -> CodeSource:
    """The codes of a dataset in its order, or of its first `limit` images.

    keep: encode all of it before the first batch, and keep the codes in the run folder for
    `did eval`; otherwise, and with a limit, the first batch comes at once and nothing is kept.
    """
    total = len(dataset) if limit is None else min(limit, len(dataset))
    factors = dataset.factors if dataset.factor_names else None

    def batches(on_progress: OnProgress) -> Iterator[Rows]:
        whole = keep and total == len(dataset)
        kept = encode_dataset(run, dataset, lambda done, _: on_progress(done)) if whole else None
        for start in range(0, total, ROWS_AT_ONCE):
            rows = np.arange(start, min(start + ROWS_AT_ONCE, total))
            codes = run.encode(dataset.images(rows)) if kept is None else kept[rows]
            on_progress(int(rows[-1]) + 1)
            _check_finite(codes, f"rows {rows[0]} to {rows[-1]} of {dataset.name}")
            yield Rows(rows.tolist(), codes, None if factors is None else factors[rows])

    return CodeSource(
        "row", total, run.latent_dim, dataset.factor_names, dataset.factor_sizes, batches
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

    def batches(on_progress: OnProgress) -> Iterator[Rows]:
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


def to_csv(source: CodeSource, on_progress: OnProgress) -> Iterator[bytes]:
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


def to_jsonl(source: CodeSource, on_progress: OnProgress) -> Iterator[bytes]:
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


def to_npz(source: CodeSource, on_progress: OnProgress) -> Iterator[bytes]:
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


CODE_WRITERS: Mapping[str, Callable[[CodeSource, OnProgress], Iterator[bytes]]] = {
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


def _part_and_inputs(run: runs.Run, part: Part) -> tuple[nn.Module, list[Tensor]]:
    """A copy of the encoder or the generator, and random batches of what it takes."""
    # On the CPU and laid out as usual: a file must not depend on the device it was made on.
    method = deepcopy(run.method).eval()
    method.to(device="cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    model = _Encoder(method) if part == "encoder" else _Generator(method)
    sizes = run.image_shape if part == "encoder" else (run.latent_dim,)
    low, high = (0.0, 1.0) if part == "encoder" else run.code_range
    rng = torch.Generator().manual_seed(0)
    return model, [
        torch.rand((batch, *sizes), generator=rng) * (high - low) + low for batch in CHECKED_BATCHES
    ]


def _traced(model: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """The computation of `model` on batches of any size, with the weights it uses and no others."""
    used = _used(_trace(model, example))
    for name in [name for name, _ in model.named_parameters() if name not in used]:
        owner, _, attribute = name.rpartition(".")
        delattr(model.get_submodule(owner), attribute)
    program = _trace(model, example)
    for module in program.graph_module.modules():
        for node in cast("torch.fx.GraphModule", module).graph.nodes:
            node.meta.pop("stack_trace", None)  # it names folders of this machine
    return program


def _trace(model: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    # Strict, because plain tracing takes len(codes) in a method for a constant.
    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings():
        # A method that sets evaluation mode for a moment, and gives the former one back.
        warnings.filterwarnings("ignore", "While compiling, we found certain side effects")
        return torch.export.export(model, (example,), dynamic_shapes=({0: batch},), strict=True)


def _used(program: torch.export.ExportedProgram) -> set[str]:
    """The names of parameters and buffers that the program computes with."""
    specs = program.graph_signature.input_specs
    return {
        spec.target
        for spec, node in zip(specs, _inputs(program), strict=True)
        if node.users and spec.target is not None
    }


def _inputs(program: torch.export.ExportedProgram) -> list[torch.fx.Node]:
    return [node for node in program.graph.nodes if node.op == "placeholder"]


def _to_pt2(program: torch.export.ExportedProgram, facts: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={"did.json": json.dumps(facts)})
    return buffer.getvalue()


def _run_pt2(content: bytes, inputs: Sequence[Tensor]) -> list[Tensor]:
    model = torch.export.load(io.BytesIO(content)).module()
    with torch.no_grad():
        return [model(batch) for batch in inputs]


def _to_onnx(
    program: torch.export.ExportedProgram, names: tuple[str, str], facts: Mapping[str, str]
) -> bytes:
    with _quiet_exporter():
        exported = torch.onnx.export(
            program,
            (),
            input_names=names[:1],
            output_names=names[1:],
            dynamo=True,
            verbose=False,
        )
    model = cast("torch.onnx.ONNXProgram", exported).model_proto
    for node in model.graph.node:
        node.ClearField("metadata_props")  # stack traces, which name folders of this machine
    # Named for people. Shapes in between would still have the exporter's name for it: drop them.
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    model.graph.ClearField("value_info")
    for key, text in facts.items():
        model.metadata_props.add(key=key, value=text)
    content: bytes = model.SerializeToString()
    return content


def _run_onnx(content: bytes, inputs: Sequence[Tensor]) -> list[Tensor]:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1  # several would pin themselves to cores, and say so on stderr
    session = onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
    (name,) = (given.name for given in session.get_inputs())
    return [torch.from_numpy(session.run(None, {name: batch.numpy()})[0]) for batch in inputs]


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without what torch's ONNX exporter says of itself, which nobody who exports can change."""
    # "torchvision is not installed", for each of its operators.
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # It copies a tree of arguments in a way that torch itself deprecates.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            yield
    finally:
        logger.setLevel(level)
