"""One safetensors file holds a whole training state.

Tensors: every weight under its name in the method's `state_dict()` (`g.*`, `d.*`, ...), and every
optimiser's state as `opt.<optimiser>.<weight>.<exp_avg | exp_avg_sq | step>`. Beside them, in the
file's `__metadata__`, one canonical JSON text: schema, step, settings, versions, data source and
checksums of each tensor and of the text itself. A released checkpoint has the weights that encode
and decode use, and no more. Nothing in it depends on the clock, so equal states are equal bytes.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from didcli.config import CONFIG_NAME
from didcli.engine.checkpoint_header import FILE_NAME, damaged, describe, metadata
from didcli.errors import RunError, StorageError
from didcli.io.atomic import write_bytes

__all__ = ["FILE_NAME", "Checkpoint", "describe", "load", "restore", "save", "state"]

SCHEMA = 1


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file says, with every checksum verified."""

    tensors: Mapping[str, Tensor]
    step: int
    """Training steps done."""
    config: Mapping[str, Any]
    """Settings, as `RunConfig.to_dict()` gives them."""
    source: str
    """Source of the training images."""
    image_shape: tuple[int, int, int]
    versions: Mapping[str, str]
    released: bool
    """Whether it has only what `encode` and `decode` use: training cannot go on from it."""
    dropped: frozenset[str]
    """Weights that a released checkpoint therefore leaves out; of some methods there are none."""
    digest: str
    """SHA-256 of the file, hexadecimal."""


def save(
    path: Path,
    method: nn.Module,
    *,
    step: int,
    config: Mapping[str, Any],
    source: str,
    image_shape: tuple[int, int, int],
    versions: Mapping[str, str],
    released: Collection[str] | None = None,
) -> None:
    """Write the training state of `method`, atomically, once the written bytes are verified.

    released: the names of the weights to write, where training shall not go on from them.
    An older checkpoint of that name stays until then. Raises StorageError.
    """
    tensors, dropped = state(method), list[str]()
    if released is not None:
        dropped = sorted(method.state_dict().keys() - set(released))
        tensors = {name: tensors[name] for name in released}
    described = {
        "schema": SCHEMA,
        "step": step,
        "config": config,
        "source": source,
        "image_shape": list(image_shape),
        "versions": versions,
        "released": released is not None,
        "dropped": dropped,
        "checksums": {name: _checksum(tensor) for name, tensor in tensors.items()},
    }
    text = json.dumps(described, sort_keys=True, separators=(",", ":"), allow_nan=False)
    content = save_tensors(tensors, metadata={"did": _sealed(text)})
    write_bytes(path, content, verify=lambda written: written == content)


def load(path: Path) -> Checkpoint:
    """Read and verify a checkpoint. Raises RunError when it is missing, damaged or too new."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise _absent(path) from None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}", hint="Check it.") from error
    try:
        text = metadata(content)["did"]
        described = json.loads(text)
        if "sha256" in described and text != _sealed(_unsealed(text)):
            raise damaged(path, "checksum of what it says of itself")
        tensors = load_tensors(content)
        if described["schema"] != SCHEMA:
            raise RunError(
                f"{path} has checkpoint schema {described['schema']}, this version reads {SCHEMA}",
                hint="Open it with the version of didcli that wrote it: "
                f"{described.get('versions', {}).get('didcli', 'unknown')}.",
            )
        wrong = [
            name
            for name, checksum in described["checksums"].items()
            if name not in tensors or _checksum(tensors[name]) != checksum
        ]
        if wrong or len(tensors) != len(described["checksums"]):
            raise damaged(path, f"checksum of {', '.join(wrong[:3]) or 'the tensor list'}")
        return Checkpoint(
            tensors=tensors,
            step=int(described["step"]),
            config=described["config"],
            source=described["source"],
            image_shape=tuple(described["image_shape"]),
            versions=described["versions"],
            released=described.get("released", False) is True,
            dropped=frozenset(described.get("dropped", ())),
            digest=hashlib.sha256(content).hexdigest(),
        )
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error


def _absent(path: Path) -> RunError:
    """What to say of a folder without a checkpoint: a run's, one of runs, or another."""
    folder = path.parent
    runs = sorted(each.parent for each in folder.glob(f"*/{FILE_NAME}"))
    if runs:
        hint = f"Name one of the runs in it, such as {runs[-1]}."
    elif (folder / CONFIG_NAME).is_file():
        hint = f"It may have stopped before its first one: did train --resume --out {folder}"
    else:
        hint = "Name a run folder: did train makes one, and prints its path."
    return RunError(f"no checkpoint at {path}", hint=hint)


def state(method: nn.Module) -> dict[str, Tensor]:
    """Every weight and every optimiser state of the method, on the CPU, by name."""
    tensors = dict(method.state_dict())
    names = {parameter: name for name, parameter in method.named_parameters()}
    for label, optimiser in method.optimisers.items():  # type: ignore[operator, union-attr]
        for parameter, values in optimiser.state.items():
            for key, value in values.items():
                tensors[f"opt.{label}.{names[parameter]}.{key}"] = value
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def restore(method: nn.Module, checkpoint: Checkpoint, *, optimisers: bool = True) -> None:
    """Put a checkpoint's values into `method`, in place.

    Raises RunError when names or shapes differ from what the method has, or when optimisers are
    asked for and the checkpoint is a released one.
    """
    if optimisers and checkpoint.released:
        raise RunError(
            "the checkpoint has a generator and an encoder, not what training needs to go on",
            hint="Train anew with its settings: did train --config RUN/config.yaml",
        )
    own = method.state_dict()
    stored = {k: v for k, v in checkpoint.tensors.items() if not k.startswith("opt.")}
    # What was dropped may be a weight that the method has no more.
    differing = sorted((own.keys() - checkpoint.dropped) ^ stored.keys()) + [
        name for name in own.keys() & stored.keys() if own[name].shape != stored[name].shape
    ]
    if differing:
        raise RunError(
            f"the checkpoint does not fit the method: {', '.join(differing[:5])}",
            hint="It was written by another version of the method, or for other settings.",
        )
    method.load_state_dict(stored, strict=not checkpoint.released)
    if optimisers:
        _restore_optimisers(method, checkpoint)


def _restore_optimisers(method: nn.Module, checkpoint: Checkpoint) -> None:
    names = {parameter: name for name, parameter in method.named_parameters()}
    for label, optimiser in method.optimisers.items():  # type: ignore[operator, union-attr]
        for group in optimiser.param_groups:
            for parameter in group["params"]:
                prefix = f"opt.{label}.{names[parameter]}."
                values = {
                    name.removeprefix(prefix): value
                    for name, value in checkpoint.tensors.items()
                    if name.startswith(prefix)
                }
                if values:
                    optimiser.state[parameter] = {
                        key: _like(parameter, value) for key, value in values.items()
                    }


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """A copy of `value` laid out in memory as `parameter` is: fused optimisers rely on it."""
    if value.shape != parameter.shape:  # Adam's count of steps
        return value.clone().to(parameter.device)
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def _checksum(tensor: Tensor) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the tensor's bytes."""
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(flat.numpy().tobytes()).hexdigest()[:16]


def _sealed(text: str) -> str:
    """A JSON object with one more entry at its end: the SHA-256 of the text without it."""
    return f'{text[:-1]},"sha256":"{hashlib.sha256(text.encode()).hexdigest()}"}}'


def _unsealed(text: str) -> str:
    return text[: -len(_sealed("}"))] + "}"
