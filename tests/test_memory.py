"""What stands for a lack of memory, as numpy, torch and the system really say it."""

import errno
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from didcli.commands._memory import memory_errors
from didcli.errors import OutOfMemoryError

EXBIBYTE = 2**60


def raising(error):
    def fail():
        raise error

    return fail


def caught(fail, command):
    with (
        pytest.raises(OutOfMemoryError) as raised,
        memory_errors(SimpleNamespace(invoked_subcommand=command)),
    ):
        fail()
    return raised.value


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        (raising(MemoryError()), "out of memory"),
        (
            lambda: np.empty(EXBIBYTE, dtype=np.uint8),
            "out of memory: there is no room for another 1.00 EiB",
        ),
        (
            lambda: torch.empty(EXBIBYTE, dtype=torch.uint8),
            f"out of memory: there is no room for another {EXBIBYTE} bytes",
        ),
        (
            raising(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU")),
            "out of device memory: there is no room for another 20.00 GiB",
        ),
        (
            raising(RuntimeError("MPS backend out of memory (MPS allocated: 8.1 GB). Tried to")),
            "out of device memory",
        ),
        (raising(RuntimeError("CUDA error: out of memory")), "out of device memory"),
        (raising(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))), "out of memory"),
    ],
    ids=["python", "numpy", "torch", "cuda", "mps", "driver", "system"],
)
def test_a_lack_of_memory_is_one_error_whoever_says_it(fail, message):
    error = caught(fail, "traverse")
    assert str(error) == message
    assert error.exit_code == 7
    assert ("--device cpu" in error.hint) == ("device" in message)


def test_the_hint_is_of_the_command():
    short = raising(MemoryError())
    assert "train.batch_size" in caught(short, "train").hint
    assert "--metrics" in caught(short, "eval").hint
    assert "more memory" in caught(short, "runs").hint


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), OSError(errno.EPIPE, "pipe")])
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as raised, memory_errors(SimpleNamespace()):
        raise error
    assert raised.value is error
