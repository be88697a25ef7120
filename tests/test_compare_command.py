"""`did compare` as a user meets it, in real processes that find 600 random images for dSprites."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from conftest import PATIENCE, TINY
from random_run import make_dataset

from didcli import cli
from didcli.config import resolve
from didcli.engine import checkpoint as checkpoints
from didcli.engine import runs, train
from didcli.errors import DataError, RunConflictError, UsageError

SPEC = f"""
train: {{steps: 4}}
seeds: [1]
metrics: [mig]
eval: {{train_points: 100, test_points: 50}}
entries:
  - label: DiD
    method: did
    set: {{{", ".join(text.replace("=", ": ") for text in TINY)}}}
"""
BROKEN = """
  - label: broken
    method: vae
    train: {device: cpu, threads: 1}
    set: {method.lr: 1e18}
"""


@pytest.fixture(scope="module")
def compare(did, tmp_path_factory):
    """Runs `did compare` where the dataset is that of random_run."""
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(
        "import didcli.data.dsprites\n"
        "from random_run import make_dataset\n"
        "didcli.data.dsprites.load = lambda **_: make_dataset()\n"
    )
    inherited = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join([str(site), str(Path(__file__).parent), inherited])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}

    def run(*arguments: object, start=did, **options):
        return start("compare", *map(str, arguments), env=environment, **options)

    return run


@pytest.fixture(scope="module")
def compared(compare, tmp_path_factory):
    """The folder of a comparison in which one method fails, and what the command said."""
    folder = tmp_path_factory.mktemp("compared")
    (folder / "spec.yaml").write_text(SPEC + BROKEN)
    return folder, compare(folder / "spec.yaml", "--out", folder / "out", "--jobs", "2")


def test_what_succeeds_is_compared_and_what_fails_is_named_with_its_log(compared):
    folder, result = compared
    assert result.returncode == 4, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "Mean ± sd (best) of n runs"
    assert lines[2].split()[:2] == ["DiD", "1"]
    assert lines[3].split() == ["broken", "0", "-"]
    assert "error: 1 of 2 runs failed:" in result.stderr
    log = folder / "out" / "runs" / "broken-s1" / "job.log"
    assert "broken, seed 1: exit code 5: training diverged by step 4" in result.stderr
    assert f"({log})" in result.stderr
    assert "hint: " in result.stderr
    assert "Traceback" not in result.stderr
    assert log.read_text().startswith("$ did train --config ")
    written = {file.name for file in (folder / "out").iterdir()}
    assert {"spec.yaml", "table.md", "table.csv", "results.json", "scores.png"} <= written
    assert [file.name for file in (folder / "out" / "traversals").iterdir()] == ["DiD.png"]
    failed = json.loads((folder / "out" / "results.json").read_text())["failed"]
    assert [(run["label"], run["seed"]) for run in failed] == [("broken", 1)]


@pytest.fixture
def few_images(monkeypatch):
    monkeypatch.setattr("didcli.data.dsprites.load", lambda **_: make_dataset())


def compare_here(*arguments: object) -> None:
    """The command in this process, which has torch already."""
    command = typer.main.get_command(cli.app)
    command(["compare", *map(str, arguments)], standalone_mode=False)


def test_a_dry_run_shows_how_far_each_run_is_and_changes_nothing(compared, few_images, capsys):
    folder, _ = compared
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    compare_here(folder / "spec.yaml", "--out", folder / "out", "--dry-run")
    header, *lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert header == ["method", "state", "seed", "step", "s/step", "left"]
    assert lines[0][:4] == ["DiD", "done", "1", "4/4"]
    assert lines[1][:5] == ["broken", "to", "do", "1", "0/4"]
    assert float(lines[1][5]) > 0
    assert lines[-1][:6] == ["2", "runs:", "1", "done,", "1", "to"]

    compare_here(folder / "spec.yaml", "--out", folder / "out", "--dry-run", "--json", "-q")
    said = capsys.readouterr()
    assert said.err == ""
    plan = json.loads(said.out)
    assert plan["jobs"][0]["state"] == "done"
    assert plan["jobs"][0]["seconds_per_step"] > 0
    speed = plan["jobs"][1]["seconds_per_step"]
    assert plan["training_seconds_left"] == pytest.approx(4 * speed)
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before


def test_a_dry_run_says_what_cannot_be_timed_and_why(compared, monkeypatch, capsys, tmp_path):
    folder, _ = compared
    with pytest.raises(UsageError, match=r"'cuda:7' is not there"):
        compare_here(folder / "spec.yaml", "--out", tmp_path, "--dry-run", "--device", "cuda:7")

    def absent(**_):
        raise DataError("no images here", hint="fetch them")

    monkeypatch.setattr("didcli.data.dsprites.load", absent)
    compare_here(folder / "spec.yaml", "--out", folder / "out", "--dry-run")
    said = capsys.readouterr()
    assert "broken cannot be timed: no images here\nhint: fetch them" in said.err
    assert said.out.splitlines()[2].split()[-2:] == ["-", "-"]


def test_a_specification_has_a_folder_of_its_own(compared, few_images, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(SPEC)
    shutil.copytree(compared[0] / "out", Path("comparisons") / "mine")
    compare_here("mine.yaml", "-q")
    assert (Path("comparisons") / "mine" / "spec.yaml").read_text() == SPEC


def test_a_comparison_that_is_done_needs_no_device_but_the_one_asked_for(
    compared, few_images, capsys, tmp_path
):
    folder, _ = compared
    done = folder / "out" / "runs" / "DiD-s1"
    kept = tmp_path / "out" / "runs" / "DiD-s1"
    kept.mkdir(parents=True)
    shutil.copy(done / "eval.json", kept)
    settings = (done / "config.yaml").read_text()
    (kept / "config.yaml").write_text(settings.replace("device: cpu", "device: cuda:7"))
    (tmp_path / "spec.yaml").write_text(SPEC.replace("device: cpu", "device: cuda:7"))
    (tmp_path / "out" / "spec.yaml").touch()
    compare_here(tmp_path / "spec.yaml", "--out", tmp_path / "out", "-q")
    assert "DiD" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"'cuda:7' is not there"):
        compare_here(tmp_path / "spec.yaml", "--out", tmp_path / "out", "-q", "--device", "cuda:7")


def test_a_specification_from_stdin(compared, few_images, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(SPEC.encode())))
    compare_here("-", "--out", tmp_path, "--dry-run", "--json", "-q")
    assert json.loads(capsys.readouterr().out)["jobs"][0]["label"] == "DiD"
    with pytest.raises(UsageError, match="without a name needs a folder"):
        compare_here("-", "--dry-run")


def test_a_stdin_of_other_bytes_is_no_specification(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"entries: [\xff]")))
    with pytest.raises(UsageError, match="cannot read stdin as YAML: 'utf-8'"):
        compare_here("-", "--out", tmp_path)


@pytest.fixture
def pair(compared, few_images, tmp_path):
    """The folders of two runs that are done."""
    done = compared[0] / "out" / "runs" / "DiD-s1"
    same = resolve(file=done / "config.yaml", flags={"train": {"seed": 0}})
    other = train.run(same, tmp_path / "other").path
    report = json.loads((done / "eval.json").read_text())
    report["run"]["checkpoint"] = runs.open_run(other, "cpu").digest
    (other / "eval.json").write_text(json.dumps(report))
    return done, other


def test_existing_runs_as_json(pair, capsys, tmp_path):
    compare_here(*pair, "--json", "-q", "--out", tmp_path / "out")
    said = capsys.readouterr()
    assert said.err == ""
    document = json.loads(said.out)
    assert document["schema"] == 1
    assert document["methods"] == ["did"]
    assert document["summary"][0]["n"] == 2
    assert [run["seed"] for run in document["runs"]] == [1, 0]
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == document
    assert (tmp_path / "out" / "runs.txt").read_text().splitlines() == list(map(str, pair))


def test_existing_runs_are_compared_into_a_folder_again_but_over_nothing_else(pair, tmp_path):
    for _ in range(2):
        compare_here(*pair, "-q", "--out", tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "results.json").write_text("mine")
    with pytest.raises(RunConflictError, match="holds other files"):
        compare_here(*pair, "-q", "--out", tmp_path / "mine")
    assert [file.read_text() for file in (tmp_path / "mine").iterdir()] == ["mine"]


def test_ctrl_c_saves_what_is_under_way(compare, tmp_path):
    """As a terminal does it: SIGINT to the whole foreground group."""
    (tmp_path / "spec.yaml").write_text(SPEC.replace("steps: 4", "steps: 1000000"))

    def start(*arguments, **options) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "didcli", *arguments]
        return subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, start_new_session=True, **options
        )

    process = compare(tmp_path / "spec.yaml", "--out", tmp_path / "out", start=start)
    checkpoint = tmp_path / "out" / "runs" / "DiD-s1" / checkpoints.FILE_NAME
    deadline = time.monotonic() + PATIENCE
    while not checkpoint.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    assert "stopped, saved; the same command goes on" in said
    step = checkpoints.describe(checkpoint)["step"]
    assert f"stopped at step {step}, saved" in (checkpoint.parent / "job.log").read_text()
    assert not (tmp_path / "out" / "table.md").exists()


def test_a_ray_that_the_command_starts_itself(compare, tmp_path):
    pytest.importorskip("ray")
    (tmp_path / "spec.yaml").write_text(SPEC)
    arguments = (tmp_path / "spec.yaml", "--out", tmp_path / "out", "--executor", "ray")
    result = compare(*arguments, "--json", "-q")
    assert result.returncode == 0, result.stderr
    assert [run["label"] for run in json.loads(result.stdout)["runs"]] == ["DiD"]
    again = compare(*arguments, "--dry-run")
    assert again.stdout.splitlines()[-1] == "1 runs: 1 done"


def test_a_changed_specification_is_refused_before_anything_is_written(compared, few_images):
    folder, _ = compared
    (folder / "changed.yaml").write_text(SPEC.replace("method.width: 4", "method.width: 8"))
    with pytest.raises(UsageError, match=r"method\.width: 4 -> 8"):
        compare_here(folder / "changed.yaml", "--out", folder / "out")
    assert (folder / "out" / "spec.yaml").read_text() == SPEC + BROKEN


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("absent.yaml",), 2, "there is no absent.yaml"),
        (("spec.yaml", "--out", "x", "--executor", "slurm"), 2, "'slurm' is not one of"),
        (("spec.yaml", "--out", "x", "--jobs", "0"), 2, "'--jobs'"),
        (("spec.yaml", "--out", "x", "--device", "cuda:7"), 2, "present: "),
        (("spec.yaml", "--out", "notes"), 6, "holds other files"),
        (("spec.yaml", "--out", "notes", "--dry-run"), 6, "holds other files"),
        (("spec.yaml", "notes"), 2, "a specification is compared alone, got spec.yaml among 2"),
        (("notes",), 2, "notes is one folder"),
        (("old",), 2, "did compare old/spec.yaml --out old"),
        (("notes", "nowhere"), 4, "holds no trained run"),
    ],
)
def test_errors(did, tmp_path, arguments, code, message):
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.tex").touch()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "spec.yaml").touch()
    result = did("compare", *arguments, cwd=tmp_path)
    assert result.returncode == code, result.stderr
    assert message in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
