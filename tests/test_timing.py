"""How long a step takes: asked for all over a run, and nothing written."""

import pytest
from conftest import TINY
from random_run import make_dataset

from didcli.config import resolve
from didcli.engine import timing
from didcli.engine.setup import Setup


def test_steps_are_timed_all_over_the_run(monkeypatch, tmp_path):
    """What comes in late, as most losses of DiD do, counts by its share of the run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("didcli.data.dsprites.load", lambda **_: make_dataset())
    clock = 0.0
    done = []
    real_step = Setup.step

    def step(self, number):
        nonlocal clock
        clock += 1.0 if number < 500 else 3.0
        done.append(number)
        return real_step(self, number)

    monkeypatch.setattr(Setup, "step", step)
    monkeypatch.setattr("time.perf_counter", lambda: clock)
    seconds = timing.seconds_per_step(resolve(assignments=[*TINY, "train.steps=1000"]))
    assert seconds == pytest.approx(2.0)
    assert {0, 125, 375, 625, 875} <= set(done)
    assert list(tmp_path.iterdir()) == []
