"""What many tests need: the rendered dSprites, a tiny run, and the real command."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from random_run import make_dataset, make_run

from didcli import config as settings
from didcli.data._stored import StoredImages
from didcli.engine.runs import Run, open_run

# What the caller's shell has set is not what is tested, in this process or in those it starts.
for name in ("DID_MIRROR", "COLUMNS", "LINES"):
    os.environ.pop(name, None)
for name in ("http_proxy", "https_proxy", "all_proxy"):
    os.environ.pop(name, None)
    os.environ.pop(name.upper(), None)

# A shell that starts tests in the background has them, and what they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TINY = [
    *("method.width=4", "method.latent_dim=3", "method.noise_dim=1", "method.embedding=4"),
    *("method.circular=[]", "method.polar={}", "method.opening={}"),
    *("train.batch_size=4", "train.picture_every=0", "train.log_every=2", "train.save_every=2"),
    *("train.device=cpu", "train.threads=1", "train.precision=fp32"),
]
"""Settings of a DiD run that takes milliseconds a step."""
PATIENCE = 600.0
"""Seconds after which something that a test waits for is taken to hang. No test measures speed."""

Did = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """One CPU thread for every test: small networks gain nothing from more, and runs stay equal.
    Commands that are called in this process choose a number, and leave it so."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which dSprites is rendered once, for all tests."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def did(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Did:
    """Runs the real command: did("train", "--steps", "2").stdout"""
    folder = tmp_path_factory.mktemp("cwd")
    environment = {**os.environ, "DID_DATA_DIR": str(data_dir), "OMP_NUM_THREADS": "1"}

    def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "didcli", *arguments]
        defaults: dict[str, object] = {"cwd": folder, "env": environment, "timeout": PATIENCE}
        return subprocess.run(
            command, check=False, capture_output=True, text=True, **{**defaults, **options}
        )

    return run


@pytest.fixture
def hangups_are_heard() -> Iterator[None]:
    """SIGHUP is not ignored, not even by what the test starts, where the tests run under nohup."""
    former = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def tiny_config() -> settings.RunConfig:
    return settings.resolve(assignments=[*TINY, "train.steps=4"])


@pytest.fixture(scope="session")
def tiny_run(
    tiny_config: settings.RunConfig, data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a finished run of 4 steps. Tests that write into it must copy it first."""
    from didcli.engine import train

    return train.run(tiny_config, tmp_path_factory.mktemp("runs") / "tiny", data_dir=data_dir).path


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of random weights. Tests that write into its folder must copy it first."""
    return open_run(make_run(tmp_path_factory.mktemp("runs") / "random"), "cpu")


@pytest.fixture(scope="session")
def dataset() -> StoredImages:
    """600 images of random pixels, of the kind that `run` was made for."""
    return make_dataset()
