"""What did train says of a training while it runs, and when a signal may stop it."""

import signal

import pytest

from didcli.commands._signals import exit_on_signals, graceful_stop
from didcli.commands._training import STOPPING, shown_training
from didcli.engine.train import Report


def test_device_warnings_and_progress_are_told_on_stderr(capfd):
    with shown_training(20, quiet=False) as view:
        watcher = view.watcher()
        watcher.on_start("did on dsprites, cpu", 0)
        watcher.on_step(1)
        watcher.on_warning("the generator has collapsed")
        watcher.on_step(20)
    said = capfd.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert lines[:3] == [
        "did on dsprites, cpu",
        "Training ...",
        "warning: the generator has collapsed",
    ]
    assert lines[3].startswith("Training: 20 steps in")


def test_a_resumed_training_says_from_where_it_goes_on(capfd):
    with shown_training(20, quiet=False) as view:
        view.watcher().on_start("did on dsprites, cpu", 12)
    assert "did on dsprites, cpu, going on from step 12" in capfd.readouterr().err


def test_the_first_losses_are_beside_the_progress(monkeypatch):
    notes = []
    with shown_training(20, quiet=True) as view:
        view.on_start("", 0)
        monkeypatch.setattr(view, "_update", lambda _step, note: notes.append(note))
        view.on_step(1)
        view.on_log(Report(2, {"a": 1.0, "b": 0.25, "c": 1e-6, "d": 4.0}, 1234.5))
        view.on_step(2)
    assert notes == ["", "1234 images/s, a 1 b 0.25 c 1e-06"]


def test_a_signal_asks_to_stop_once_training_has_started(capfd):
    before = signal.getsignal(signal.SIGTERM)
    with shown_training(20, quiet=False) as view:
        watcher = view.watcher()
        assert signal.getsignal(signal.SIGTERM) is before  # there is nothing to save yet
        watcher.on_start("", 0)
        assert not watcher.should_stop()
        signal.raise_signal(signal.SIGTERM)
        assert watcher.should_stop()
        assert view.stop.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
    assert STOPPING in capfd.readouterr().err


@pytest.mark.usefixtures("hangups_are_heard")
def test_a_terminal_that_closes_may_say_so_twice():
    with graceful_stop() as stop:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)  # the kernel's, and the shell's
        assert stop.signal == signal.SIGHUP
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("hangups_are_heard")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_is_ignored_stays_so(number):
    # As nohup leaves SIGHUP, and a script SIGINT for what it starts in the background.
    former = signal.signal(number, signal.SIG_IGN)
    try:
        exit_on_signals()
        with graceful_stop() as stop:
            signal.raise_signal(number)
        assert not stop.requested()
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, former)


def test_a_quiet_training_says_nothing(capfd):
    with shown_training(20, quiet=True) as view:
        watcher = view.watcher()
        watcher.on_start("did on dsprites, cpu", 0)
        watcher.on_step(20)
        watcher.on_warning("the generator has collapsed")
    assert capfd.readouterr() == ("", "")
