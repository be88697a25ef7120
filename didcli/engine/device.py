"""Choose the device, the precision and the number of threads of a run."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from didcli.config import Precision
from didcli.errors import UsageError
from didcli.io.cores import choose_threads


def available_devices() -> list[str]:
    """The devices there are, best first: `cuda:0`, ..., `mps`, `cpu`."""
    found = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def choose_device(asked: str) -> torch.device:
    """`auto` is the best there is; `cuda` is `cuda:0`.

    Raises UsageError when the device is absent, naming those present.
    """
    present = available_devices()
    if asked == "auto":
        return torch.device(present[0])
    wanted = "cuda:0" if asked == "cuda" else asked
    if wanted not in present:
        raise UsageError(
            f"device {asked!r} is not there; present: {', '.join(present)}",
            hint="Pass --device auto, or a device that is present."
            if asked.startswith(("cuda", "mps", "cpu"))
            else "--device takes auto, cpu, cuda, cuda:N or mps.",
        )
    return torch.device(wanted)


def choose_shared_device(asked: str, process: int, processes: int) -> torch.device:
    """The device of one of the processes of a run on this machine: a GPU for each, or the CPU.

    process: its number, from 0, which is that of its GPU. `auto` is GPUs where there are any.
    Raises UsageError when there are too few, or another kind of device is asked for.
    """
    gpus = torch.cuda.device_count()
    if asked == "cpu" or (asked == "auto" and not gpus):
        return torch.device("cpu")
    if asked not in {"auto", "cuda"} or gpus < processes:
        raise UsageError(
            f"device {asked!r} cannot be had by each of {processes} processes; "
            f"present: {', '.join(available_devices())}",
            hint="Pass --device cuda with no more processes than GPUs, or --device cpu.",
        )
    return torch.device("cuda", process)


def choose_precision(asked: Precision, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where the hardware computes in it, float32 elsewhere.

    Raises UsageError when bf16 is asked for on mps, where it has not been tried.
    """
    if asked == "fp32":
        return torch.float32
    if asked == "bf16" and device.type == "mps":
        raise UsageError("did does not run bf16 on mps", hint="Pass --precision fp32.")
    wanted = asked == "bf16" or _computes_in_bfloat16(device)
    return torch.bfloat16 if wanted else torch.float32


def use_threads(asked: int) -> None:
    """Have torch compute by so many CPU threads from now on; 0 as in `choose_threads`."""
    torch.set_num_threads(choose_threads(asked))


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager[object]:
    """Convolutions and matrix products inside run in `precision`.

    Without autocast's cache of converted weights: a training step updates weights between two
    uses of a network, and the cache would go on serving the old ones.
    """
    enabled = precision != torch.float32
    return torch.autocast(device.type, dtype=precision, enabled=enabled, cache_enabled=False)


def memory_format(device: torch.device) -> torch.memory_format:
    """How images and weights lie in memory: channels last, in which convolutions are up to twice as
    fast, most of all in bfloat16. But not on MPS, where batch norm then has wrong gradients in
    many a torch (https://github.com/pytorch/pytorch/issues/175189)."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


@contextmanager
def exact_float32() -> Iterator[None]:
    """Convolutions that are to be in float32 have all its 24 bits inside, on CUDA too.

    torch lets cuDNN round their inputs to 11 bits (TF32). Rounded so on a CPU, codes move by up to
    some hundredths, and points of a metric change bins. Matrix products are exact without asking.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def describe(device: torch.device, precision: torch.dtype, threads: int) -> str:
    """Words for the first line of a run: `cpu (2 threads), bf16`."""
    where = f"cpu ({threads} thread{'s' * (threads > 1)})" if device.type == "cpu" else str(device)
    if device.type == "cuda":
        where += f" ({torch.cuda.get_device_name(device)})"
    return f"{where}, {'bf16' if precision == torch.bfloat16 else 'fp32'}"


def _computes_in_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False
