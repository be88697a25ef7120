"""Which of the processor's cores a process computes on."""

import os

from didcli.io import cores


def test_threads_default_to_the_cores_of_this_process():
    assert cores.choose_threads(0) == cores.usable_cores() >= 1
    assert cores.choose_threads(3) == 3


def test_processes_on_one_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    assert [cores.choose_threads(0, count) for count in (1, 2, 3, 16)] == [8, 4, 2, 1]
    assert cores.choose_threads(3, 2) == 3


def test_where_a_process_cannot_be_bound_all_cores_are_its_own(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cores.usable_cores() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores.usable_cores() == 1
