"""Several processes train as one does: the real command under the real torchrun."""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PATIENCE, TINY

from didcli.config import RunConfig, resolve
from didcli.engine import checkpoint as checkpoints
from didcli.engine import device as devices
from didcli.engine import processes, train
from didcli.errors import DataError, FailedElsewhereError, UsageError
from didcli.nn import parallel

HERE = Path(__file__).parent
VAE = ["method.name=vae", "method.width=4", "method.latent_dim=3", "method.networks=stem"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A file of 50 images of 32x32."""
    path = tmp_path_factory.mktemp("images") / "noise.npz"
    images = np.random.default_rng(0).integers(256, size=(50, 32, 32), dtype=np.uint8)
    np.savez(path, images=images)
    return path


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return {
        **os.environ,
        "DID_DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(HERE),
    }


def config_of(data: Path, *assignments: str, steps: int = 4) -> RunConfig:
    where = [f"data.path={data}", "data.image_size=32"]
    method = [] if any(text.startswith("method.name") for text in assignments) else TINY[:4]
    return resolve(
        flags={"data": {"name": "images"}},
        assignments=[*method, *TINY[4:], *where, *assignments, f"train.steps={steps}"],
    )


@pytest.fixture
def start(environment):
    """Starts a command; none outlives the test, be it that it waited for one in vain."""
    started = []

    def start(*command: str, stdin=None, **variables: str) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "stdin": stdin}
        started.append(subprocess.Popen(command, env={**environment, **variables}, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.terminate()  # torchrun then ends those that it has started
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture
def by_two(start):
    """Starts `did train` under torchrun, with the settings from stdin, which all have in common."""

    def by_two(config: RunConfig, out: Path, *options: str, program=("-m", "didcli")):
        file = out.parent / f"{out.name}.yaml"
        file.write_text(config.to_yaml())
        command = [*TORCHRUN, *program, "train", "--config", "-", "--out", str(out)]
        with file.open() as settings:
            return start(*command, *options, stdin=settings)

    return by_two


def losses_of(folder: Path) -> list[dict[str, float]]:
    """What the lines of the log say of each step, the step included."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    unlike = {"event", "schema", "time", "images_per_second"}
    return [
        {name: value for name, value in line.items() if name not in unlike}
        for line in lines
        if line["event"] == "log"
    ]


def assert_same_run(one: Path, other: Path) -> None:
    """Logs and checkpoints are equal but for rounding, which Adam's first steps make larger."""
    for a, b in zip(losses_of(one), losses_of(other), strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-5)
    a, b = (checkpoints.load(folder / checkpoints.FILE_NAME) for folder in (one, other))
    assert (a.step, a.config, a.source) == (b.step, b.config, b.source)
    assert a.tensors.keys() == b.tensors.keys()
    for name, values in a.tensors.items():
        torch.testing.assert_close(values, b.tensors[name], rtol=1e-3, atol=2e-5, msg=name)


def test_every_method_takes_the_steps_that_one_process_takes(start):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    meeting |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    script = str(HERE / "parallel_steps.py")
    started = [
        start(sys.executable, script, rank, RANK=rank, LOCAL_RANK=rank, **meeting)
        for rank in ("0", "1")
    ]
    (out, err), (_, other_err) = (process.communicate(timeout=PATIENCE) for process in started)
    assert [process.returncode for process in started] == [0, 0], err + other_err
    differences = json.loads(out)
    assert differences.keys() >= {"vae {}", "beta_vae {}"}
    assert {name: value for name, value in differences.items() if not value < 1e-9} == {}


def test_did_by_two_processes_is_the_run_of_one_and_one_goes_on_with_it(
    data, environment, by_two, tmp_path
):
    # Large changes: in the small ones of `signed`, rounding is most of what an untrained G shows.
    did = ("train.log_every=1", "method.overlap=absolute", "train.batch_size=8")
    longer, shorter = config_of(data, *did), config_of(data, *did, steps=2)
    process = by_two(shorter, tmp_path / "run")
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert out == f"{tmp_path / 'run'}\n"  # the first process alone speaks
    assert err.count("getting ready") == 1
    assert "cpu (1 thread), fp32, 2 processes" in err
    assert sorted(path.name for path in (tmp_path / "run").iterdir() if path.name[0] != ".") == [
        *("checkpoint.safetensors", "config.yaml", "log.jsonl")
    ]

    train.run(longer, tmp_path / "run", resume=True, data_dir=Path(environment["DID_DATA_DIR"]))

    straight = train.run(longer, tmp_path / "one", data_dir=Path(environment["DID_DATA_DIR"]))
    assert_same_run(tmp_path / "run", straight.path)


def test_two_processes_go_on_with_a_vae_of_one(data, environment, by_two, tmp_path):
    data_dir = Path(environment["DID_DATA_DIR"])
    config = config_of(data, *VAE, "train.log_every=1")
    short = config_of(data, *VAE, "train.log_every=1", steps=2)
    train.run(short, tmp_path / "run", data_dir=data_dir)

    process = by_two(config, tmp_path / "run", "--resume")
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert out == f"{tmp_path / 'run'}\n"

    assert_same_run(tmp_path / "run", train.run(config, tmp_path / "one", data_dir=data_dir).path)


def test_sigterm_saves_one_step_that_all_have_done(data, by_two, tmp_path):
    process = by_two(config_of(data, *VAE, steps=100_000), tmp_path / "run")
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "run" / checkpoints.FILE_NAME).exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert out == ""
    assert err.count("saved; go on with did train --resume --out") == 1
    step = checkpoints.load(tmp_path / "run" / checkpoints.FILE_NAME).step
    assert f"stopped at step {step}, saved" in err


FAILING = """
import os
from didcli.cli import main
from didcli.engine import processes
from didcli.engine.setup import Setup
from didcli.errors import DataError

processes.SECONDS_TO_BE_ENDED = 3600.0

def step(self, number, real=Setup.step):
    if number == 3 and os.environ["RANK"] == "1":
        raise DataError("image 7 cannot be read", hint="Mend it.")
    return real(self, number)

Setup.step = step
main()
"""


def test_an_error_of_one_process_ends_all_and_is_the_one_that_is_told(data, by_two, tmp_path):
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    process = by_two(config_of(data, *VAE, steps=9), tmp_path / "run", program=(str(script),))
    out, err = process.communicate(
        timeout=PATIENCE
    )  # the other one is ended, as it waits for an hour
    assert process.returncode == 1
    assert out == ""
    assert err.count("\nhint: ") == 1
    assert "error: image 7 cannot be read\nhint: Mend it.\n" in err
    root_cause = err[err.index("Root Cause") :]  # in torchrun's own report
    assert "rank      : 1" in root_cause
    assert "exitcode  : 3" in root_cause
    assert checkpoints.load(tmp_path / "run" / checkpoints.FILE_NAME).step == 2


def test_a_batch_that_cannot_be_shared_out_is_a_usage_error_said_once(data, by_two, tmp_path):
    process = by_two(config_of(data, *VAE, "train.batch_size=5"), tmp_path / "run")
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert err.count("error: 5 images of a batch (train.batch_size) cannot be shared out") == 1
    assert "hint: Give a multiple of 2" in err
    assert "exitcode  : 2" in err[err.index("Root Cause") :]
    assert not (tmp_path / "run").exists()


def test_a_process_that_fails_after_another_raises_what_is_not_told(monkeypatch):
    class Store:
        def add(self, _key: str, _amount: int) -> int:
            return 2  # this process is the second one to fail

    for name in processes.VARIABLES:
        monkeypatch.setenv(name, "2")
    # Not torch.distributed.rendezvous, which is the function of that name.
    rendezvous = importlib.import_module("torch.distributed.rendezvous")
    monkeypatch.setattr(rendezvous, "rendezvous", lambda *_, **__: iter([(Store(), 1, 2)]))
    for name in ("init_process_group", "destroy_process_group"):
        monkeypatch.setattr(torch.distributed, name, lambda *_, **__: None)
    monkeypatch.setattr(processes, "SECONDS_TO_BE_ENDED", 0)
    with pytest.raises(FailedElsewhereError), processes.joined():
        raise DataError("image 7 cannot be read", hint="Mend it.")


def test_one_process_shares_and_gathers_nothing():
    rows = torch.arange(3.0)
    assert parallel.processes() == 1
    assert parallel.share(rows) is parallel.gather(rows) is parallel.mean(rows) is rows


def test_moments_are_those_of_all_values():
    values = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    mean, sd = parallel.moments(values)
    torch.testing.assert_close((mean, sd), (values.mean(), values.std()))


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3, 3)], ids=str)
def test_batch_norm_by_gathered_statistics_is_that_of_torch(shape, monkeypatch):
    kinds = {2: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d}
    expected, ours = kinds[len(shape)](4, momentum=0.3), parallel.BatchNorm(4, momentum=0.3)
    inputs = [torch.randn(shape, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    # Two processes with the same rows: statistics as of one, but for the unbiased variance.
    monkeypatch.setattr(parallel, "processes", lambda: 2)
    monkeypatch.setattr(parallel, "gather", lambda rows: rows.repeat(2, *[1] * (rows.ndim - 1)))
    outputs = [
        norm(values.requires_grad_()) for norm, values in zip((expected, ours), inputs, strict=True)
    ]
    for output in outputs:
        (output * weights).sum().backward()
    torch.testing.assert_close(outputs[1], outputs[0])
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.running_mean, expected.running_mean)
    assert expected.state_dict().keys() == ours.state_dict().keys()


def test_processes_have_a_gpu_each_or_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.choose_shared_device("auto", 1, 2) == torch.device("cuda:1")
    assert devices.choose_shared_device("cuda", 0, 2) == torch.device("cuda:0")
    assert devices.choose_shared_device("cpu", 1, 2) == torch.device("cpu")
    for asked, count in (("auto", 3), ("cuda:1", 2), ("mps", 1), ("tpu", 2)):
        with pytest.raises(UsageError, match="present: cuda:0, cuda:1, cpu"):
            devices.choose_shared_device(asked, 0, count)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert devices.choose_shared_device("auto", 1, 2) == torch.device("cpu")
