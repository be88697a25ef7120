import io
import os
import re
import subprocess
import sys
import textwrap

import pytest
from conftest import PATIENCE

from didcli.io.progress import amount, duration, is_animated, progress


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0, "B", "0 B"),
        (999, "B", "999 B"),
        (28_024_106, "B", "28.0 MB"),
        (5.9e9, "B", "5.9 GB"),
        (2e12, "B", "2.0 TB"),
        (15_000, "steps", "15,000 steps"),
        (9.25, "steps", "9.2 steps"),
        (95.0, "steps", "95 steps"),
        (3, "", "3"),
    ],
)
def test_amounts_are_short(value, unit, expected):
    assert amount(value, unit) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s"), (12_000, "3 h 20 min")],
)
def test_durations_have_two_parts_at_most(seconds, expected):
    assert duration(seconds) == expected


def test_without_a_terminal_a_line_comes_at_once_then_every_ten_seconds(capsys):
    clock = Clock()
    with progress("Fetching", total=1000, unit="steps", clock=clock) as update:
        assert capsys.readouterr().err == "Fetching ...\n"
        update(0)
        for second in range(1, 26):
            clock.now += 1
            update(10 * second, note="loss 0.5")
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "Fetching: 100 of 1,000 steps (10%), 10 steps/s, 1 min 30 s left, loss 0.5",
        "Fetching: 200 of 1,000 steps (20%), 10 steps/s, 1 min 20 s left, loss 0.5",
        "Fetching: 250 steps in 25 s",
    ]
    assert captured.out == ""


def test_the_speed_of_a_resumed_task_counts_from_where_it_went_on(capsys):
    clock = Clock()
    with progress("Fetching", total=30e6, unit="B", clock=clock) as update:
        update(20e6)
        clock.now += 10
        update(25e6)
    assert "25.0 MB of 30.0 MB (83%), 500.0 kB/s, 10 s left" in capsys.readouterr().err


def test_a_total_may_be_learnt_late_or_never(capsys):
    clock = Clock()
    with progress("Fetching", unit="B", clock=clock) as update:
        update(0)
        clock.now += 10
        update(5e6)
        clock.now += 10
        update(10e6, total=20e6)
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "Fetching: 5.0 MB, 500.0 kB/s"
    assert lines[2] == "Fetching: 10.0 MB of 20.0 MB (50%), 500.0 kB/s, 20 s left"


def test_a_task_that_starts_over_does_not_run_backwards(capsys):
    clock = Clock()
    with progress("Fetching", total=10, unit="B", clock=clock) as update:
        update(5)
        clock.now += 10
        update(0)
    assert "Fetching: 0 B of 10 B (0%)\n" in capsys.readouterr().err


def test_a_task_that_fails_does_not_claim_to_be_done(capsys):
    def interrupted() -> None:
        with progress("Fetching", total=2) as update:
            update(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert capsys.readouterr().err == "Fetching ...\n"


def test_quiet_says_nothing(capsys):
    with progress("Fetching", total=2, quiet=True) as update:
        update(1, total=3, note="nothing")
    assert capsys.readouterr() == ("", "")


def test_only_a_terminal_that_is_not_dumb_is_animated(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    assert is_animated(Terminal())
    assert not is_animated(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert not is_animated(Terminal())


# ---------------------------------------------------------------------------- a real terminal

PROGRAM = """
    import sys
    from didcli.io.progress import progress
    with progress("Fetching [x]", total=2, unit="steps") as update:
        for done in range(3):
            update(done, note="loss 0.5")
        print("data")
        print("a warning", file=sys.stderr)
"""


def run_on_a_terminal(program: str = PROGRAM, **environment: str) -> tuple[str, str]:
    """(stdout, what the terminal on stderr got) of a program."""
    pty = pytest.importorskip("pty", reason="needs a pseudo-terminal")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", **environment},
    )
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 65536):
            shown += block
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(ours)
    stdout, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    return stdout, shown.decode()


def test_a_terminal_gets_a_bar_and_stdout_only_data():
    stdout, shown = run_on_a_terminal()
    assert stdout == "data\n"
    assert shown.startswith("Fetching [x] ...")
    assert "━" in shown
    assert "2 of 2 steps (100%)" in shown
    assert "loss 0.5" in shown
    assert "a warning" in shown


def test_a_long_note_takes_neither_title_nor_bar():
    _, shown = run_on_a_terminal(PROGRAM.replace("loss 0.5", 9 * "loss 0.5 "), COLUMNS="80")
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    last = [line for line in re.split(r"[\r\n]+", text) if "100%" in line][-1]
    assert last.startswith("Fetching [x] ━━━━━━━━━━━━ 2 of 2 steps (100%)")
    assert last.rstrip().endswith("…")
    assert len(last.rstrip()) <= 80


def test_no_color_is_honoured():
    _, shown = run_on_a_terminal(NO_COLOR="1")
    assert "━" in shown
    assert "\x1b[3" not in shown


def test_a_dumb_terminal_gets_plain_lines():
    _, shown = run_on_a_terminal(TERM="dumb")
    assert "\x1b" not in shown
    assert shown.splitlines()[0] == "Fetching [x] ..."


def test_the_first_line_does_not_wait_for_rich(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setitem(sys.modules, "rich.console", None)  # importing it would fail
    with pytest.raises(ImportError), progress("Fetching"):
        pass
    assert terminal.getvalue() == "Fetching ..."
