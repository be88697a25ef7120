"""did train --tensorboard: event files that say what log.jsonl says."""

import json
import struct
import sys
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from didcli.commands._tensorboard import event_files
from didcli.engine.train import Report, TrainWatcher
from didcli.errors import UsageError

SMALL = [
    *("--device", "cpu", "--threads", "1", "--precision", "fp32", "--quiet"),
    *("--set", "method.width=4", "--set", "train.batch_size=4"),
    *("--set", "train.log_every=1", "--set", "train.picture_every=0"),
]
RATE = "images_per_second"
"""Rounded to a tenth in log.jsonl."""


def events(folder: Path) -> list[Event]:
    """Of all files, in order. A record is its length (8 bytes), a checksum (4), the event, a
    checksum (4)."""
    found = []
    for file in sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime):
        content = file.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            found.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return found


def scalars(folder: Path) -> list[tuple[int, str, float]]:
    return [
        (event.step, value.tag, value.simple_value)
        for event in events(folder)
        for value in event.summary.value
    ]


def test_event_files_say_what_the_log_says(did, tmp_path):
    run = tmp_path / "run"
    command = ("train", "--method", "vae", "--out", str(run), *SMALL, "--tensorboard")
    first = did(*command, "--steps", "2")
    assert first.returncode == 0, first.stderr
    second = did(*command, "--steps", "3", "--resume")
    assert second.returncode == 0, second.stderr

    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    expected = [
        (line["step"], name, value)
        for line in log
        if line["event"] == "log"
        for name, value in line.items()
        if name not in {"schema", "event", "step", "time"}
    ]
    assert {step for step, _, _ in expected} == {1, 2, 3}
    written = {(step, name): value for step, name, value in scalars(run)}
    assert written == {
        (step, name): pytest.approx(value, rel=1e-6, abs=0.06 if name == RATE else 0.0)
        for step, name, value in expected
    }

    fresh = did(*command, "--steps", "1", "--force")
    assert fresh.returncode == 0, fresh.stderr
    assert {step for step, _, _ in scalars(run)} == {1}, "--force left files of the former run"


def test_a_resumed_run_takes_back_what_it_does_again(tmp_path):
    told = []
    inner = TrainWatcher(on_start=lambda text, step: told.append((text, step)), on_log=told.append)
    report = Report(11, {"loss": 0.25}, 100.0)
    with event_files(inner, tmp_path) as watcher:
        assert not list(tmp_path.iterdir()), "nothing is written before training starts"
        watcher.on_start("vae on dsprites", 10)
        watcher.on_log(report)
    assert told == [("vae on dsprites", 10), report]
    restarts = [e.step for e in events(tmp_path) if e.session_log.status == SessionLog.START]
    assert restarts == [11], "TensorBoard forgets what was said of step 11 and later"
    assert scalars(tmp_path) == [(11, "loss", 0.25), (11, RATE, 100.0)]


def test_without_the_package_it_is_refused_with_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with (
        pytest.raises(UsageError, match="needs tensorboardX") as caught,
        event_files(TrainWatcher(), tmp_path),
    ):
        pass
    assert "didcli[tensorboard]" in caught.value.hint
