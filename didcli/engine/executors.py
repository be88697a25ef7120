"""Where the commands of a comparison run: processes of this machine, or tasks of a Ray cluster.

Each command is a process of its own: what one leaves in memory, or dies of, is not the next one's.
A caller that ends tells them by SIGTERM, upon which training saves, and kills them only when that
takes long; under Linux they hear of a caller that is killed, too.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

import didcli
from didcli.engine import run_folder
from didcli.errors import UsageError

POLL_SECONDS = 0.2
GRACE_SECONDS = 60.0
"""Time for saving a checkpoint, before a process that was told to end is killed."""
ORPHAN_SECONDS = 60
"""Time to wait for a trainer that a killed comparison has left behind, and that is saving."""

# Takes, before the arguments of `did`, the folder that this package lies in (it need not be
# installed) and the number of the calling process. A comparison that is killed outright cannot tell
# its processes to end. Linux can: 1 is PR_SET_PDEATHSIG, which comes too late for a parent that is
# gone by then. Elsewhere they end with their command, and their lock keeps the next one out.
_PROGRAM = """
import os, runpy, sys
package_folder, parent = sys.argv.pop(1), int(sys.argv.pop(1))
if package_folder not in sys.path:
    sys.path.insert(0, package_folder)
if sys.platform == "linux":
    import ctypes, signal
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(128 + signal.SIGTERM)
runpy.run_module("didcli", run_name="__main__")
"""


@dataclass(frozen=True)
class Task:
    """Commands for one run folder, one after the other, each if the one before succeeded."""

    name: str
    """Name for people."""
    folder: Path
    """Run folder; it exists. What the commands print goes to its `job.log`."""
    commands: tuple[tuple[str, ...], ...]
    """Arguments of `did`; at least one command."""


@dataclass(frozen=True)
class TaskWatcher:
    """What the caller wants to hear of, and how it stops the tasks."""

    on_wait: Callable[[Sequence[Task]], None] = lambda _running: None
    """Called several times a second with the tasks under way."""
    on_end: Callable[[Task, str | None], None] = lambda _task, _problem: None
    """Called with each task that has ended, and what went wrong with it, if anything did."""
    should_stop: Callable[[], bool] = lambda: False
    """Asked several times a second; tasks under way are then told to end, without `on_end`."""


Execute = Callable[[Sequence[Task], TaskWatcher], None]
"""Runs tasks until all have ended, or it is told to stop."""


def run_locally(tasks: Sequence[Task], watcher: TaskWatcher, *, jobs: int = 1) -> None:
    """Run tasks as processes of this machine, `jobs` at a time."""
    waiting, running = deque(tasks), list[_Running]()
    try:
        while (waiting or running) and not watcher.should_stop():
            while waiting and len(running) < jobs:
                running.append(_Running(waiting.popleft()))
            time.sleep(POLL_SECONDS)
            for each in [each for each in running if each.has_ended()]:
                running.remove(each)
                watcher.on_end(each.task, each.problem())
            watcher.on_wait([each.task for each in running])
    finally:
        _end(running)


def run_on_ray(
    tasks: Sequence[Task],
    watcher: TaskWatcher,
    *,
    jobs: int | None = None,
    cpus: int = 1,
    gpus: int | None = None,
) -> None:
    """Run tasks on the Ray cluster that RAY_ADDRESS names or this machine is part of; where there
    is none, on one that is started here and ends with this call.

    Run folders must be reachable under the same path from every machine of the cluster.
    jobs: at a time; None is as many as the resources allow. cpus, gpus: that one task takes; None
    is a GPU where the cluster has one.
    Raises UsageError when Ray is not installed or does not start, or the cluster can never give so
    much.
    """
    ray = import_ray()
    started_here = not ray.is_initialized()
    if started_here:
        _start_ray(ray)
    try:
        there = ray.cluster_resources()
        gpus = int(there.get("GPU", 0) > 0) if gpus is None else gpus
        if cpus > there.get("CPU", 0) or gpus > there.get("GPU", 0):
            raise UsageError(
                f"a job takes {cpus} CPUs and {gpus} GPUs; the Ray cluster has "
                f"{there.get('CPU', 0):.0f} and {there.get('GPU', 0):.0f}",
                hint="Ask for less with --threads-per-job and --device cpu, or add machines.",
            )
        remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(_run_alone)
        _watch_ray(ray, remote, tasks, watcher, jobs or len(tasks))
    finally:
        if started_here:
            ray.shutdown()


def _watch_ray(
    ray: Any, remote: Any, tasks: Sequence[Task], watcher: TaskWatcher, at_a_time: int
) -> None:
    waiting, pending = deque(tasks), dict[Any, Task]()
    try:
        while (waiting or pending) and not watcher.should_stop():
            while waiting and len(pending) < at_a_time:
                task = waiting.popleft()
                pending[remote.remote(task)] = task
            ended, _ = ray.wait(list(pending), num_returns=1, timeout=POLL_SECONDS)
            for reference in ended:
                task = pending.pop(reference)
                try:
                    problem = ray.get(reference)
                except ray.exceptions.RayError as error:  # a machine was lost, a worker killed
                    problem = f"Ray: {' '.join(str(error).split())}"
                watcher.on_end(task, problem)
            watcher.on_wait(list(pending.values()))
    finally:
        for reference in pending:
            ray.cancel(reference)  # is KeyboardInterrupt to the task, which ends its process
        if pending:
            ray.wait(list(pending), num_returns=len(pending), timeout=GRACE_SECONDS)


def _run_alone(task: Task) -> str | None:
    """What a Ray worker does: run one task; what went wrong, or None."""
    problems: list[str | None] = []
    run_locally([task], TaskWatcher(on_end=lambda _task, problem: problems.append(problem)))
    return problems[0]


def command_line(arguments: Sequence[str], parent: int) -> list[str]:
    """What starts `did` with the arguments as a child of the process `parent`, and ends with it."""
    package_folder = str(Path(didcli.__file__).parent.parent)
    # -P: without it, what lies in the folder that the user is in goes before every library.
    return [sys.executable, "-P", "-c", _PROGRAM, package_folder, str(parent), *arguments]


class _Running:
    """A task under way."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._left = deque(task.commands)
        self._patience = time.monotonic() + ORPHAN_SECONDS
        self._start_of_log = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._not_started: str | None = None
        self._go_on()

    def has_ended(self) -> bool:
        """Whether all is done or one command failed; starts the next one where one is due."""
        code = self._process.poll() if self._process else 0
        if code == 0 and self._left and not self._not_started:
            self._go_on()
            return False
        return code is not None

    def problem(self) -> str | None:
        """What went wrong with a task that has ended."""
        if self._not_started:
            return self._not_started
        code = self._process.returncode if self._process else 0
        if code == 0:
            return None
        said = _last_error(self.task.folder / run_folder.JOB_LOG_NAME, self._start_of_log)
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return f"{how}: {said}" if said else how

    def terminate(self) -> None:
        if self._process:
            self._process.terminate()

    def wait(self, seconds: float) -> None:
        """Raises TimeoutExpired."""
        if self._process:
            self._process.wait(seconds)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def _go_on(self) -> None:
        """Start the next command, or wait for the next call where an orphan holds the folder.

        A folder that cannot be written, or a machine without room for a process, is a failure of
        this task, and the others go on.
        """
        try:
            # Not for ever: the command itself says that the folder is in use.
            if time.monotonic() < self._patience and _is_held(self.task.folder):
                return
            with (self.task.folder / run_folder.JOB_LOG_NAME).open("ab") as log:
                self._start(self._left.popleft(), log)
        except OSError as error:
            self._not_started = f"cannot be started: {error}"

    def _start(self, arguments: Sequence[str], log: IO[bytes]) -> None:
        self._start_of_log = log.tell()
        log.write(f"$ did {' '.join(arguments)}\n".encode())
        log.flush()
        self._process = subprocess.Popen(
            command_line(arguments, os.getpid()),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Ctrl-C in a terminal would reach it as well, and the SIGTERM that follows would be
            # its second signal, which does not wait for a checkpoint.
            start_new_session=True,
        )


def _end(running: Sequence[_Running]) -> None:
    """Tell them all to end, and wait; kill what takes too long, or at a second signal."""
    try:
        for each in running:
            each.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        with contextlib.suppress(subprocess.TimeoutExpired):
            for each in running:
                each.wait(max(deadline - time.monotonic(), 0.0))
    finally:
        for each in running:
            each.kill()


def _is_held(folder: Path) -> bool:
    """Whether a trainer is at work in the folder."""
    try:
        with FileLock(folder / run_folder.LOCK_NAME, timeout=0):
            return False
    except Timeout:
        return True


def _last_error(log: Path, start: int) -> str | None:
    """What the last error in the log says, from byte `start` on, in one line."""
    try:
        text = log.read_bytes()[start:].decode(errors="replace")
    except OSError:
        return None
    _, found, after = text.rpartition("error: ")
    message = after.partition("\nhint: ")[0]
    return " ".join(message.split()) if found else None


def _start_ray(ray: Any) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(include_dashboard=False, log_to_driver=False)
    # Ray has no exception of its own for it: ConnectionError, RuntimeError, ValueError, Exception.
    except Exception as error:
        where = os.environ.get("RAY_ADDRESS", "on this machine")
        raise UsageError(
            f"Ray did not start ({where}): {' '.join(str(error).split())}",
            hint="ray status says whether the cluster of RAY_ADDRESS is there; without that "
            "variable one is started here. Or leave out --executor.",
        ) from error
    finally:
        signal.signal(signal.SIGTERM, handler)  # Ray's own would exit at once


def import_ray() -> Any:
    """Raises UsageError when Ray is not installed."""
    try:
        import ray
    except ImportError:
        raise UsageError(
            "--executor ray needs Ray, which is not installed",
            hint="pip install 'didcli[ray]', or leave out --executor.",
        ) from None
    return ray
