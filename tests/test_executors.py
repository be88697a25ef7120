"""Real processes: `did --version` where any will do, training where it must be interrupted."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import PATIENCE

import didcli
from didcli.config import CONFIG_NAME
from didcli.engine import checkpoint as checkpoints
from didcli.engine import executors, run_folder
from didcli.engine.executors import Task, TaskWatcher, command_line, run_locally
from didcli.errors import UsageError

FINE = ("--version",)
WRONG = ("train", "--set", "nonsense")


@pytest.fixture
def told():
    ended, seen = {}, []
    watcher = TaskWatcher(
        on_wait=lambda running: seen.append([task.name for task in running]),
        on_end=lambda task, problem: ended.update({task.name: problem}),
    )
    return watcher, ended, seen


@pytest.fixture
def make_task(tmp_path):
    def make(name: str, *commands: tuple[str, ...]) -> Task:
        (tmp_path / name).mkdir()
        return Task(name, tmp_path / name, commands)

    return make


def test_tasks_go_on_after_a_failure_and_failures_say_why(told, make_task):
    watcher, ended, seen = told
    tasks = [make_task("a", FINE, FINE), make_task("b", WRONG, FINE), make_task("c", FINE)]
    run_locally(tasks, watcher, jobs=2)
    assert ended.keys() == {"a", "b", "c"}
    assert (ended["a"], ended["c"]) == (None, None)
    assert ended["b"] == "exit code 2: --set takes section.key=value, got 'nonsense'"
    assert max(map(len, seen)) == 2
    log = (tasks[0].folder / "job.log").read_text()
    assert log.count("$ did --version\ndid ") == 2
    assert (tasks[1].folder / "job.log").read_text().count("$ did") == 1  # its second did not run


def test_a_task_that_cannot_be_started_is_a_failure_and_the_others_go_on(told, make_task):
    watcher, ended, _ = told
    tasks = [make_task("a", FINE), make_task("b", FINE), make_task("c", FINE)]
    (tasks[1].folder / "job.log").mkdir()
    run_locally(tasks, watcher)
    assert (ended["a"], ended["c"]) == (None, None)
    assert "cannot be started: " in ended["b"]
    assert str(tasks[1].folder / "job.log") in ended["b"]


def test_a_second_command_that_cannot_be_started_is_a_failure(told, make_task, monkeypatch):
    watcher, ended, _ = told
    started = []

    def start(*arguments, **options):
        if started:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        started.append(popen(*arguments, **options))
        return started[-1]

    popen = subprocess.Popen
    monkeypatch.setattr(executors.subprocess, "Popen", start)
    run_locally([make_task("a", FINE, FINE)], watcher)
    assert "temporarily unavailable" in ended["a"]


def test_an_error_of_an_earlier_attempt_is_not_taken_for_this_one(told, make_task):
    watcher, ended, _ = told
    task = make_task("a", ("--nonsense",))
    (task.folder / "job.log").write_text("error: of yesterday\nhint: none\n")
    run_locally([task], watcher)
    assert "yesterday" not in ended["a"]
    assert ended["a"].startswith("exit code 2")


def wait_for(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


@pytest.fixture
def endless(make_task, tiny_run, tiny_config, data_dir):
    """A training that does not end by itself. tiny_run: so that the dataset is there."""
    folder = make_task("run").folder
    steps = dataclasses.replace(tiny_config.train, steps=1_000_000)
    config = dataclasses.replace(tiny_config, train=steps)
    (folder / CONFIG_NAME).write_text(config.to_yaml())
    settings = ("--config", str(folder / CONFIG_NAME), "--data-dir", str(data_dir))
    return Task("run", folder, (("train", *settings, "--out", str(folder), "--resume"), FINE))


def step_of(folder) -> int:
    return checkpoints.describe(folder / checkpoints.FILE_NAME)["step"]


def test_training_that_is_stopped_saves_and_is_neither_done_nor_failed(told, endless):
    watcher, ended, _ = told
    started = endless.folder / checkpoints.FILE_NAME
    stopping = TaskWatcher(on_end=watcher.on_end, should_stop=started.exists)
    run_locally([endless], stopping)
    assert ended == {}
    assert "stopped at step " in (endless.folder / "job.log").read_text()
    assert step_of(endless.folder) > 0
    with run_folder.locked(endless.folder):  # nobody is left in it
        pass


def test_a_process_that_is_killed_is_a_failure(told, endless, monkeypatch):
    watcher, ended, _ = told
    started = []

    def start(*arguments, **options):
        started.append(popen(*arguments, **options))
        return started[-1]

    popen = subprocess.Popen
    monkeypatch.setattr(executors.subprocess, "Popen", start)
    run_locally([endless], TaskWatcher(on_wait=lambda _: started[0].kill(), on_end=watcher.on_end))
    assert ended == {"run": "killed by signal 9"}
    assert len(started) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a process to its parent")
def test_processes_do_not_outlive_a_killed_parent_and_the_next_one_waits_for_them(endless, told):
    script = (
        "from pathlib import Path; from didcli.engine.executors import *\n"
        f"task = Task('run', Path({str(endless.folder)!r}), {endless.commands!r})\n"
        "run_locally([task], TaskWatcher())"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])
    started = endless.folder / checkpoints.FILE_NAME
    wait_for(lambda: started.exists() or parent.poll() is not None)
    parent.kill()
    parent.wait()
    # At once, while the orphan may still be saving: the new one waits for its lock.
    reached = step_of(endless.folder)
    watcher, ended, _ = told
    log = endless.folder / "job.log"
    again = TaskWatcher(
        on_end=watcher.on_end, should_stop=lambda: log.read_text().count("going on from step") > 0
    )
    run_locally([endless], again)
    assert ended == {}
    assert "going on from step " in log.read_text()
    assert step_of(endless.folder) > reached


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a process to its parent")
def test_a_process_whose_parent_is_gone_before_it_is_tied_ends_at_once():
    orphan = command_line(FINE, parent=os.getppid())
    result = subprocess.run(orphan, check=False, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (143, "", "")


def test_files_in_the_working_folder_are_not_taken_for_libraries(
    told, make_task, monkeypatch, tmp_path
):
    watcher, ended, _ = told
    for name in ("yaml.py", "typer.py", "didcli.py"):
        (tmp_path / name).write_text("raise SystemExit('not a library')")
    monkeypatch.chdir(tmp_path)
    run_locally([make_task("a", FINE)], watcher)
    assert ended == {"a": None}


def test_a_package_that_is_not_installed_is_found_where_it_was_loaded_from(
    told, make_task, monkeypatch, tmp_path
):
    watcher, ended, _ = told
    copy = shutil.copytree(Path(didcli.__file__).parent, tmp_path / "source" / "didcli")
    (copy / "__init__.py").write_text('__version__ = "of the copy"')
    monkeypatch.setattr(didcli, "__file__", str(copy / "__init__.py"))
    task = make_task("a", FINE)
    run_locally([task], watcher)
    assert ended == {"a": None}
    assert "did of the copy" in (task.folder / "job.log").read_text()


def test_without_ray_the_error_says_how_to_install_it(make_task, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="not installed") as caught:
        executors.run_on_ray([make_task("a", FINE)], TaskWatcher())
    assert "pip install 'didcli[ray]'" in caught.value.hint


def test_a_ray_that_does_not_start_is_no_bug_of_ours(make_task, monkeypatch):
    def init(**_):
        raise ConnectionError("no cluster\nat 10.0.0.1")

    broken = SimpleNamespace(is_initialized=lambda: False, init=init)
    monkeypatch.setitem(sys.modules, "ray", broken)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(UsageError, match=r"10\.0\.0\.1:6379\): no cluster at") as caught:
        executors.run_on_ray([make_task("a", FINE)], TaskWatcher())
    assert "RAY_ADDRESS" in caught.value.hint
    assert signal.getsignal(signal.SIGTERM) is handler


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


# Ray leaves files and processes to the end of the process.
of_ray = pytest.mark.filterwarnings("default")


@of_ray
def test_ray_runs_tasks_and_tells_of_failures(ray, told, make_task):
    watcher, ended, seen = told
    tasks = [make_task("a", FINE), make_task("b", WRONG), make_task("c", FINE, FINE)]
    executors.run_on_ray(tasks, watcher, jobs=2)
    assert ended["b"].startswith("exit code 2: --set takes")
    assert (ended["a"], ended["c"]) == (None, None)
    assert max(map(len, seen)) == 2


@of_ray
def test_ray_saves_what_is_under_way_when_it_is_stopped(ray, told, endless):
    watcher, ended, _ = told
    started = endless.folder / checkpoints.FILE_NAME
    executors.run_on_ray([endless], TaskWatcher(on_end=watcher.on_end, should_stop=started.exists))
    assert ended == {}
    assert "stopped at step " in (endless.folder / "job.log").read_text()


@of_ray
def test_ray_refuses_what_its_machines_can_never_give(ray, make_task):
    with pytest.raises(UsageError, match="takes 3 CPUs and 0 GPUs; the Ray cluster has 2 and 0"):
        executors.run_on_ray([make_task("a", FINE)], TaskWatcher(), cpus=3)
    with pytest.raises(UsageError, match="1 GPUs"):
        partial(executors.run_on_ray, gpus=1)([make_task("b", FINE)], TaskWatcher())
