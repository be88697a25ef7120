import json
import shutil
import subprocess
import sys

import pytest

from didcli.engine import runs
from didcli.engine.listing import list_runs


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
    assert found["damaged"].problem == "damaged"


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
    assert any("scored" in line and "4/4" in line and "0.250" in line for line in table)
    assert max(map(len, table)) <= 80
    document = json.loads(did("runs", "--runs-dir", str(runs_dir), "--json").stdout)
    assert document["schema"] == 1
    assert len(document["runs"]) == 3
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
