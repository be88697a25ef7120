import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from didcli.commands.runs import HEADER, _age, _narrowed
from didcli.engine import checkpoint as checkpoints
from didcli.engine import runs
from didcli.engine.listing import list_runs
from didcli.io.columns import aligned


@pytest.fixture
def runs_dir(tiny_run, tmp_path):
    """A finished and scored run, one without a checkpoint yet, a damaged one, and no run."""
    scored = tmp_path / "scored"
    shutil.copytree(tiny_run, scored)
    run = {"checkpoint": runs.open_run(scored).digest, "step": 4, "data_source": "rendered v1"}
    report = {"run": run, "scores": {"mig": 0.25}, "protocol": {}}
    (scored / "eval.json").write_text(json.dumps(report))
    (tmp_path / "begun").mkdir()
    shutil.copy(tiny_run / "config.yaml", tmp_path / "begun")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "checkpoint.safetensors").write_bytes(b"\xff" * 99)
    (tmp_path / "notes").mkdir()
    return tmp_path


def by_name(runs_dir):
    return {entry.path.name: entry for entry in list_runs(runs_dir)}


def test_every_run_is_listed_as_it_stands(runs_dir):
    found = by_name(runs_dir)
    assert found.keys() == {"scored", "begun", "damaged"}
    scored = found["scored"]
    assert (scored.method, scored.data, scored.seed) == ("did", "dsprites", 0)
    assert (scored.step, scored.steps, scored.scores) == (4, 4, {"mig": 0.25})
    assert (found["begun"].step, found["begun"].scores) == (0, {})
    assert found["damaged"].problem.startswith(f"{runs_dir / 'damaged' / 'checkpoint.safetensors'}")
    assert (found["damaged"].step, found["damaged"].seed) == (None, None)


@pytest.mark.parametrize(
    "settings", ["method: {name: }", "method: {name: did}", "train: {seed: x}", "a: [", "[1]"]
)
def test_one_damaged_run_does_not_hide_the_others(runs_dir, settings, did):
    (runs_dir / "begun" / "config.yaml").write_text(settings)
    assert by_name(runs_dir)["begun"].problem
    table = did("runs", "--runs-dir", str(runs_dir)).stdout.splitlines()
    assert sorted(line.split()[0] for line in table) == ["begun", "damaged", "run", "scored"]
    assert ["damaged" in line for line in table].count(True) == 2


def test_on_a_narrow_terminal_names_are_cut_in_the_middle():
    name = "20260131-235959-infogan_cr-dsprites-s0"
    rows = [HEADER, (name, "infogan_cr", "dsprites", "0", "14000/14000", *["0.123"] * 3, "12 min")]
    narrow = aligned(_narrowed(rows, 80), left=3)
    assert max(map(len, narrow)) <= 80
    assert narrow[1].startswith("2026")
    assert narrow[1].split()[0].endswith("-s0")
    assert _narrowed(rows, 200) == rows


def test_the_run_that_was_written_last_comes_first(runs_dir):
    now = time.time()
    for name, age in (("scored", 500), ("begun", 20), ("damaged", 70)):
        for file in (runs_dir / name).iterdir():
            os.utime(file, (now - age, now - age))
    entries = list_runs(runs_dir)
    assert [entry.path.name for entry in entries] == ["begun", "damaged", "scored"]
    assert [entry.age_seconds for entry in entries] == pytest.approx([20, 70, 500], abs=30)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *[(-1, "0 s"), (0, "0 s"), (59, "59 s"), (60, "1 min"), (720, "12 min")],
        *[(59.7, "59 s"), (3_599, "59 min"), (86_399, "23 h")],
        *[(3_540, "59 min"), (3_600, "1 h"), (3 * 3_600, "3 h"), (9 * 86_400, "9 d")],
    ],
)
def test_an_age_is_in_the_largest_unit_that_fits(seconds, text):
    assert _age(seconds) == text


def test_scores_of_another_checkpoint_are_not_shown(runs_dir):
    report = json.loads((runs_dir / "scored" / "eval.json").read_text())
    report["run"]["checkpoint"] = "0" * 64
    (runs_dir / "scored" / "eval.json").write_text(json.dumps(report))
    assert by_name(runs_dir)["scored"].scores == {}


def test_a_run_whose_checkpoint_was_deleted_keeps_its_scores(runs_dir):
    scored = runs_dir / "scored"
    before = by_name(runs_dir)["scored"]
    (scored / "checkpoint.safetensors").unlink()
    after = by_name(runs_dir)["scored"]
    assert (after.step, after.steps, after.scores) == (4, 4, {"mig": 0.25})
    assert (after.method, after.source) == (before.method, before.source)


def test_the_table_and_the_json_of_the_command(did, runs_dir, tmp_path):
    checkpoint = runs_dir / "scored" / "checkpoint.safetensors"
    three_hours_ago = time.time() - 3 * 3_600 - 60
    os.utime(checkpoint, (three_hours_ago, three_hours_ago))
    table = did("runs", "--runs-dir", str(runs_dir)).stdout.splitlines()
    assert table[0].split() == [
        "run",
        "method",
        "data",
        "seed",
        "step",
        "MIG",
        "DCI-D",
        "SAP",
        "age",
    ]
    cells = table[-1].split()  # the oldest run
    assert cells == ["scored", "did", "dsprites", "0", "4/4", "0.250", "-", "-", "3", "h"]
    assert max(map(len, table)) <= 80
    document = json.loads(did("runs", "--runs-dir", str(runs_dir), "--json").stdout)
    assert document["schema"] == 1
    entries = document["runs"]
    assert len(entries) == 3
    age = entries[-1].pop("age_seconds")
    assert age == pytest.approx(3 * 3_600 + 60, abs=100)
    assert entries[-1] == {
        "path": str(runs_dir / "scored"),
        "method": "did",
        "data": "dsprites",
        "source": checkpoints.describe(checkpoint)["source"],
        "seed": 0,
        "step": 4,
        "steps": 4,
        "scores": {"mig": 0.25},
        "problem": "",
    }
    empty = did("runs", "--runs-dir", str(tmp_path / "none"))
    assert (empty.returncode, empty.stdout) == (0, "")
    assert "did train" in empty.stderr
    assert "reading" in empty.stderr
    quiet = did("runs", "--runs-dir", str(tmp_path / "none"), "-q")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_listing_runs_loads_no_torch(runs_dir):
    probe = (
        "import sys, didcli.cli\n"
        f"sys.argv = ['did', 'runs', '--runs-dir', {str(runs_dir)!r}]\n"
        "didcli.cli.main()\n"
        "sys.exit(str({'torch', 'numpy', 'h5py', 'rich'} & sys.modules.keys()))"
    )
    result = subprocess.run(
        [sys.executable, "-c", probe], check=False, capture_output=True, text=True
    )
    assert "0.250" in result.stdout
    assert result.stderr.splitlines()[-1] == "set()"
