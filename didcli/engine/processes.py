"""The processes of one run, as torchrun starts them: how they meet, agree, and end together."""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed

from didcli.engine import checkpoint as checkpoints
from didcli.errors import FailedElsewhereError, RunError
from didcli.nn import parallel

TIMEOUT = timedelta(minutes=30)
"""Longest wait for another process: one may have to make its dataset first."""
SECONDS_TO_BE_ENDED = 30.0
"""Time that a process which is not the first to fail gives torchrun to end it."""
SECONDS_TO_LET_GO = 0.5
"""Time for gloo's threads to let go of their last message: one that still holds it when the group
is destroyed aborts the process at its exit (seen in 6 of 24 runs on a busy machine, and in 0 of 30
with this wait)."""
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables that torchrun sets in the environment of every process."""


@contextmanager
def joined() -> Iterator[None]:
    """Within: this process is one of those that torchrun started; if it started none, alone.

    When one fails, all end: its own error leaves here and becomes the message and the exit code.
    Those that fail after it, for want of it or for the same reason, raise FailedElsewhereError
    instead, so that there is one message.
    """
    if not all(name in os.environ for name in VARIABLES) or os.environ["WORLD_SIZE"] == "1":
        yield
        return
    from torch.distributed.rendezvous import rendezvous  # absent where torch is built without it

    store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
    # On GPUs, what lies on the CPU (whether to stop) goes by gloo and makes no GPU wait.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(
        backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT
    )
    try:
        yield
    except Exception:
        others = store.add("failed", 1) - 1
        if others == 0:
            raise
        distributed.destroy_process_group()  # those that still wait for this one fail at once
        time.sleep(SECONDS_TO_BE_ENDED)
        raise FailedElsewhereError(
            "another process of this run failed first", hint="See what it says."
        ) from None
    finally:
        if distributed.is_initialized():
            time.sleep(SECONDS_TO_LET_GO)
            distributed.destroy_process_group()


def is_first() -> bool:
    """Whether this process writes and speaks for all."""
    return parallel.rank() == 0


def local() -> tuple[int, int]:
    """The number of this process among those on this machine, from 0, and how many they are."""
    if parallel.processes() == 1:
        return 0, 1
    return int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])


def any_of(asked: bool) -> bool:
    """Whether any process is asked to do something; the same answer in all."""
    if parallel.processes() == 1:
        return asked
    return bool(parallel.gather(torch.tensor([asked], dtype=torch.uint8)).any())


def from_first(text: str) -> str:
    """The text that the first process has; the other texts are dropped."""
    if parallel.processes() == 1:
        return text
    content = text.encode() if parallel.rank() == 0 else b""
    length = int(parallel.gather(torch.tensor([len(content)])).max())
    padded = torch.frombuffer(bytearray(content.ljust(length, b"\0")), dtype=torch.uint8)
    return bytes(parallel.gather(padded[None])[0].tolist()).decode()


def check_equal(method: torch.nn.Module, described: str) -> None:
    """See that all processes start from the same training state. Raises RunError."""
    if parallel.processes() == 1:
        return
    digest = hashlib.sha256(described.encode())
    for name, tensor in sorted(checkpoints.state(method).items()):
        digest.update(name.encode() + tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    digests = parallel.gather(torch.tensor([list(digest.digest())], dtype=torch.uint8))
    if not bool((digests == digests[0]).all()):
        raise RunError(
            "the processes do not start from the same weights, settings and data",
            hint="All need the run folder on a file system that they share, the same dataset, and "
            "the same versions of did and torch.",
        )
