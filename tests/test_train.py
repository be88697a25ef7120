"""The training loop: resuming gives the bytes of the run that was never stopped."""

import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import PATIENCE, TINY

from didcli.config import RunConfig, resolve
from didcli.data import dsprites
from didcli.engine import checkpoint as checkpoints
from didcli.engine import run_folder, runs, train
from didcli.engine.evaluate import evaluate_run
from didcli.engine.setup import Setup, step_generator
from didcli.errors import DataError, DivergedError, RunError, UsageError


def longer(config: RunConfig, **changes) -> RunConfig:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **changes))


def read_log(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / run_folder.LOG_NAME).read_text().splitlines()]


def checkpoint_bytes(folder) -> bytes:
    return (folder / "checkpoint.safetensors").read_bytes()


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_stopping_anywhere_and_resuming_gives_the_same_bytes(
    tiny_run, tiny_config, data_dir, tmp_path, stop_after
):
    steps = iter(range(1, 9))
    stop = train.TrainWatcher(should_stop=lambda: next(steps) == stop_after)
    first = train.run(tiny_config, tmp_path / "run", data_dir=data_dir, watcher=stop)
    assert (first.step, first.finished) == (stop_after, False)

    second = train.run(tiny_config, tmp_path / "run", resume=True, data_dir=data_dir)

    assert (second.step, second.finished) == (4, True)
    assert checkpoint_bytes(tmp_path / "run") == checkpoint_bytes(tiny_run)
    assert [line["step"] for line in read_log(tmp_path / "run") if line["event"] == "log"] == [2, 4]


def test_a_longer_run_passes_through_the_shorter_one(tiny_config, data_dir, tmp_path):
    """Nothing in a step depends on how many there will be."""
    config = longer(tiny_config, steps=6)
    through = train.run(config, tmp_path / "through", data_dir=data_dir)
    train.run(tiny_config, tmp_path / "run", data_dir=data_dir)
    extended = train.run(config, tmp_path / "run", resume=True, data_dir=data_dir)
    assert checkpoint_bytes(through.path) == checkpoint_bytes(extended.path)


def test_a_run_that_begins_anew_forgets_what_is_no_report(tiny_config, data_dir, tmp_path):
    (tmp_path / "eval.json").write_text('{"scores": {')  # a disk was full
    (tmp_path / "eval.png").write_text("of the same scores")
    (tmp_path / "config.yaml").write_text(longer(tiny_config, seed=7).to_yaml())
    stop = train.TrainWatcher(should_stop=lambda: True)
    train.run(tiny_config, tmp_path, resume=True, data_dir=data_dir, watcher=stop)
    assert not (tmp_path / "eval.json").exists()
    assert not (tmp_path / "eval.png").exists()


def test_a_run_that_never_starts_leaves_no_folder(tmp_path):
    """A mistyped --data must not fill runs/ with folders that hold nothing."""
    missing = ["data.name=images", f"data.path={tmp_path / 'missing'}"]
    config = resolve(assignments=[*TINY, *missing])
    mine = tmp_path / "mine"
    mine.mkdir()
    for folder in (tmp_path / "new", mine):
        with pytest.raises(DataError, match="missing"):
            train.run(config, folder, data_dir=tmp_path)
    assert not (tmp_path / "new").exists()
    assert mine.exists()


def test_a_method_is_told_how_many_images_the_dataset_has(tmp_path):
    """beta-TCVAE weighs by it; its setting stays what it was, so that runs can be compared."""
    np.savez(tmp_path / "six.npz", images=np.arange(6 * 32 * 32, dtype=np.uint8).reshape(6, 32, 32))

    def trained(size: int, folder: str, **options) -> dict[str, torch.Tensor]:
        config = resolve(
            "beta_tcvae-dsprites",
            assignments=[
                *("data.name=images", f"data.path={tmp_path / 'six.npz'}", "data.image_size=32"),
                *("method.estimator=mss", f"method.dataset_size={size}", "method.latent_dim=2"),
                *("train.batch_size=4", "train.steps=2", "train.picture_every=0"),
                *("train.device=cpu", "train.threads=1", "train.precision=fp32"),
            ],
        )
        run = train.run(config, tmp_path / folder, data_dir=tmp_path, **options).path
        assert runs.open_run(run, "cpu").config == config
        return dict(checkpoints.load(run / checkpoints.FILE_NAME).tensors)

    given, known, wrong = trained(0, "given"), trained(6, "known"), trained(737_280, "wrong")
    assert all(torch.equal(given[name], known[name]) for name in known)
    assert not all(torch.equal(given[name], wrong[name]) for name in wrong)
    again = trained(0, "given", resume=True)
    assert all(torch.equal(given[name], again[name]) for name in given)


def test_resuming_a_finished_run_changes_nothing(tiny_run, tiny_config, data_dir, tmp_path):
    train.run(tiny_config, tmp_path / "run", data_dir=data_dir)
    outcome = train.run(tiny_config, tmp_path / "run", resume=True, data_dir=data_dir)
    assert outcome.finished
    assert checkpoint_bytes(tmp_path / "run") == checkpoint_bytes(tiny_run)


def test_other_seeds_are_other_runs(tiny_run, tiny_config, data_dir, tmp_path):
    other = train.run(longer(tiny_config, seed=1), tmp_path / "run", data_dir=data_dir)
    assert checkpoint_bytes(other.path) != checkpoint_bytes(tiny_run)


def test_the_folder_describes_itself(tiny_run, tiny_config):
    assert resolve(file=tiny_run / "config.yaml") == tiny_config
    first, *lines = read_log(tiny_run)
    assert first["event"] == "start"
    assert first["source"] == "rendered v1"
    assert first["versions"]["torch"] == torch.__version__
    assert [line["step"] for line in lines] == [2, 4]
    assert {"critic", "generator", "encoding", "contrast", "images_per_second"} <= lines[0].keys()


def test_a_run_may_not_shrink(tiny_config, data_dir, tmp_path):
    train.run(tiny_config, tmp_path / "run", data_dir=data_dir)
    with pytest.raises(RunError, match="has done 4 steps, more than the 2"):
        train.run(longer(tiny_config, steps=2), tmp_path / "run", resume=True, data_dir=data_dir)


def test_a_run_does_not_go_on_with_other_images(tiny_config, data_dir, tmp_path, monkeypatch):
    train.run(tiny_config, tmp_path / "run", data_dir=data_dir)
    others = dsprites.load(data_dir=data_dir)
    others.source = "rendered v999"
    monkeypatch.setattr(dsprites, "load", lambda **_: others)
    with pytest.raises(RunError, match="rendered v999"):
        train.run(longer(tiny_config, steps=9), tmp_path / "run", resume=True, data_dir=data_dir)


def test_a_run_goes_on_with_its_images_when_others_have_come(
    tiny_config, data_dir, tmp_path, monkeypatch
):
    asked = []
    real_load = dsprites.load

    def load(source, **options):
        asked.append(source)
        return real_load(source=source, **options)

    monkeypatch.setattr(dsprites, "load", load)
    train.run(tiny_config, tmp_path / "run", data_dir=data_dir)
    train.run(longer(tiny_config, steps=9), tmp_path / "run", resume=True, data_dir=data_dir)
    assert asked == ["auto", "rendered"]


def test_divergence_keeps_the_last_good_checkpoint(tiny_config, data_dir, tmp_path, monkeypatch):
    real_step = Setup.step

    def step(self, number: int):
        losses = dict(real_step(self, number))
        return losses | ({"critic": torch.tensor(math.nan)} if number >= 3 else {})

    monkeypatch.setattr(Setup, "step", step)
    with pytest.raises(DivergedError, match=r"diverged by step 4: critic nan"):
        train.run(longer(tiny_config, steps=8), tmp_path / "run", data_dir=data_dir)
    assert runs.open_run(tmp_path / "run").step == 2
    assert read_log(tmp_path / "run")[-1]["event"] == "diverged"


def test_weights_that_are_lost_are_not_saved_over_good_ones(
    tiny_config, data_dir, tmp_path, monkeypatch
):
    """Losses are of the weights before the update: they are the last to tell."""
    real_step = Setup.step

    def step(self, number: int):
        losses = real_step(self, number)
        if number == 3:
            self.module.e.head[3].bias.data[0] = math.nan
        return losses

    monkeypatch.setattr(Setup, "step", step)
    with pytest.raises(DivergedError, match=r"diverged by step 4: e\.head\.3\.bias") as caught:
        train.run(tiny_config, tmp_path / "run", data_dir=data_dir)
    assert runs.open_run(tmp_path / "run").step == 2
    assert "config.yaml --set method." in caught.value.hint
    assert "is kept" in caught.value.hint


def test_divergence_before_the_first_checkpoint_promises_none(
    tiny_config, data_dir, tmp_path, monkeypatch
):
    monkeypatch.setattr(Setup, "step", lambda *_: {"critic": torch.tensor(math.inf)})
    with pytest.raises(DivergedError) as caught:
        train.run(tiny_config, tmp_path / "run", data_dir=data_dir)
    assert "kept" not in caught.value.hint


def test_a_run_does_not_go_on_under_the_settings_of_another(tiny_config, data_dir, tmp_path):
    train.run(tiny_config, tmp_path / "run", data_dir=data_dir)
    before = checkpoint_bytes(tmp_path / "run")
    other = longer(tiny_config, steps=9, seed=7)
    with pytest.raises(UsageError, match=r"train\.seed: 0 -> 7"):
        train.run(other, tmp_path / "run", resume=True, data_dir=data_dir)
    assert checkpoint_bytes(tmp_path / "run") == before


def test_a_collapsed_generator_is_seen_through_the_noise(data_dir):
    """Of the settings, the noise is the only thing that could hide it."""
    dataset = dsprites.load(data_dir=data_dir)
    images = runs.to_unit_range(dataset.images(np.arange(0, 64_000, 1000)), torch.device("cpu"))
    method = runs.build_method(resolve(assignments=["method.instance_noise=0.2"]), (1, 64, 64))
    for weights in method.g.parameters():
        weights.data.zero_()
    losses = method.train_step(images, torch.Generator().manual_seed(0), 5000)
    values = {name: float(value) for name, value in losses.items()}
    assert "has collapsed" in train.collapse(5000, values)


def test_a_collapsed_generator_is_said_and_a_healthy_one_is_not():
    healthy = {"fake_sd": 0.2, "real_sd": 0.2, "fake_mean": 0.04, "real_mean": 0.04}
    assert train.collapse(5000, healthy) is None
    assert "has collapsed by step 5000" in train.collapse(5000, healthy | {"fake_sd": 0.01})
    assert train.collapse(100, healthy | {"fake_sd": 0.01}) is None  # too early to judge
    assert train.collapse(5000, {"reconstruction": 1.0}) is None  # no generator's statistics


def test_the_generator_of_a_step_is_a_function_of_seed_and_step():
    cpu = torch.device("cpu")
    draw = lambda seed, step: torch.rand(4, generator=step_generator(seed, step, cpu))  # noqa: E731
    assert torch.equal(draw(1, 2), draw(1, 2))
    assert not torch.equal(draw(1, 2), draw(2, 1))
    assert not torch.equal(draw(1, 2), draw(1, 3))


def test_the_global_random_state_neither_matters_nor_changes(
    tiny_config, data_dir, tmp_path, tiny_run
):
    torch.manual_seed(123)
    np.random.seed(5)
    before = torch.random.get_rng_state()
    train.run(tiny_config, tmp_path / "run", data_dir=data_dir)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert checkpoint_bytes(tmp_path / "run") == checkpoint_bytes(tiny_run)


def test_a_run_that_is_scored_and_has_lost_its_checkpoint_is_not_trained_over(
    tiny_run, tiny_config, data_dir, tmp_path
):
    folder = shutil.copytree(tiny_run, tmp_path / "run")
    evaluate_run(runs.open_run(folder, "cpu"), ["modularity"], data_dir=data_dir)
    scores = (folder / "eval.json").read_bytes()
    (folder / "checkpoint.safetensors").unlink()
    with pytest.raises(RunError, match=r"is gone, and its eval\.json is of step 4"):
        train.run(tiny_config, folder, resume=True, data_dir=data_dir)
    assert (folder / "eval.json").read_bytes() == scores
    train.run(tiny_config, folder, force=True, data_dir=data_dir)
    assert checkpoint_bytes(folder) == checkpoint_bytes(tiny_run)


STOPPED = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}
"""Exit codes after signals upon which a run is saved."""


@pytest.mark.usefixtures("hangups_are_heard")
@pytest.mark.parametrize("number", [*STOPPED, signal.SIGKILL])
def test_a_killed_process_resumes_to_the_same_bytes(did, data_dir, tiny_config, tmp_path, number):
    too_many = 4000
    settings = [f"--set={text}" for text in [*TINY, f"train.steps={too_many}"]]
    command = [sys.executable, "-m", "didcli", "train", "--out", str(tmp_path / "run"), *settings]
    environment = {**os.environ, "DID_DATA_DIR": str(data_dir), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "run" / "checkpoint.safetensors").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)

    assert process.returncode == STOPPED.get(number, -9), err
    assert out == ""
    assert err.count("stopping after this step") == (number != signal.SIGKILL)
    stopped = runs.open_run(tmp_path / "run").step
    assert 0 < stopped < too_many

    steps = stopped + 5
    resumed = did("train", "--resume", "--out", str(tmp_path / "run"), "--steps", str(steps))
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout == f"{tmp_path / 'run'}\n"
    straight = train.run(longer(tiny_config, steps=steps), tmp_path / "straight", data_dir=data_dir)
    assert checkpoint_bytes(tmp_path / "run") == checkpoint_bytes(straight.path)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_while_the_dataset_is_made_ends_at_once(tmp_path, number, code):
    command = [sys.executable, "-m", "didcli", "train", "--data-dir", str(tmp_path / "data")]
    command += ["--runs-dir", str(tmp_path / "runs"), *(f"--set={text}" for text in TINY)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        while "Preparing the dataset" not in (line := process.stderr.readline()):
            assert line, "it ended"
        process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == code, said
    assert "error" not in said
    assert "stop" not in said  # nor is there a step to be saved
    assert not list((tmp_path / "runs").iterdir())
    assert not [path for path in (tmp_path / "data").iterdir() if path.suffix != ".lock"]


@pytest.mark.parametrize(("fake_sd", "said"), [(0.049, True), (0.051, False)])
def test_a_collapse_is_less_than_a_quarter_of_the_spread(fake_sd, said):
    values = {"fake_sd": fake_sd, "real_sd": 0.2, "fake_mean": 0.0, "real_mean": 0.0}
    assert (train.collapse(1000, values) is not None) == said


def test_throughput_counts_images_and_not_steps(monkeypatch):
    clock = train._Clock(batch_size=4, last_step=10, last_time=100.0)
    monkeypatch.setattr("time.perf_counter", lambda: 104.0)
    assert clock.report(20, {}).images_per_second == 10.0
