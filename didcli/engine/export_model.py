"""The encoder and the generator of a run as single files: ONNX or torch.export."""

import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

import didcli
from didcli.engine import runs
from didcli.errors import RunError, UsageError
from didcli.interfaces import Method

Part = Literal["encoder", "generator"]
PARTS: tuple[Part, ...] = ("encoder", "generator")
ModelFormat = Literal["onnx", "pt2"]

TOLERANCE = 1e-4
"""Largest difference from the run's own output that an exported network may have."""
CHECKED_BATCHES = (1, 2, 5)
"""Batch sizes at which an exported network is compared with the run."""
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


@dataclass(frozen=True)
class ExportedModel:
    """A network in one file, which has been read back and compared with the run."""

    content: bytes
    max_difference: float
    """Largest absolute difference from the run's own output, over random inputs."""


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
    """Hide what torch's ONNX exporter says of itself, which nobody who exports can change."""
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
