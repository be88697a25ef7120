import dataclasses
import json

import numpy as np
import pytest
import yaml
from random_run import LATENT_DIM, SOURCE, make_run
from typer.testing import CliRunner

from didcli import registry
from didcli.cli import app
from didcli.engine import checkpoint as checkpoints
from didcli.engine import listing, release, reports, run_folder, runs, traverse
from didcli.errors import RunConflictError, RunError, UsageError


@pytest.fixture
def run(tmp_path):
    return runs.open_run(make_run(tmp_path / "random"), "cpu")


def scored(run):
    """The report of an evaluation that gave one score, and one that has no value."""
    (run.path / reports.FILE_NAME).write_text(
        json.dumps(
            {
                "scores": {"mig": 0.25, "irs": None},
                "protocol": {"bins": 20},
                "details": {
                    "mig": {
                        "mutual_information": np.eye(LATENT_DIM, 5).tolist(),
                        "factor_entropy": [1.0] * 5,
                    }
                },
                "data": {"factor_names": list("abcde"), "factor_sizes": [2, 2, 2, 2, 2]},
                "run": {"path": str(run.path), "checkpoint": run.digest, "step": run.step},
            }
        )
    )


def test_a_released_run_computes_the_same_from_generator_and_encoder_alone(run, tmp_path):
    size = release.release(run, tmp_path / "out")
    released = runs.open_run(tmp_path / "out", "cpu")
    images = np.random.default_rng(1).integers(0, 256, (5, *run.image_shape), dtype=np.uint8)
    codes = np.random.default_rng(2).uniform(-1, 1, (5, LATENT_DIM))
    assert (released.encode(images) == run.encode(images)).all()
    assert (released.decode(codes) == run.decode(codes)).all()
    assert (released.config, released.step, released.source) == (run.config, run.step, run.source)
    loaded = checkpoints.load(tmp_path / "out" / checkpoints.FILE_NAME)
    assert {name.split(".")[0] for name in loaded.tensors} == {"g_ema", "e_ema"}
    assert size == (tmp_path / "out" / checkpoints.FILE_NAME).stat().st_size
    assert size < 0.5 * (run.path / checkpoints.FILE_NAME).stat().st_size
    [entry] = [e for e in listing.list_runs(tmp_path) if e.path.name == "out"]
    assert (entry.method, entry.step, entry.problem) == ("did", 7, "")


def test_training_does_not_go_on_from_a_released_run(run, tmp_path):
    release.release(run, tmp_path / "out")
    method = runs.build_method(run.config, run.image_shape)
    with pytest.raises(RunError, match="not what training needs") as caught:
        checkpoints.restore(method, checkpoints.load(tmp_path / "out" / checkpoints.FILE_NAME))
    assert "did train --config" in caught.value.hint


def test_scores_go_with_it_and_are_those_of_its_checkpoint(run, tmp_path):
    scored(run)
    release.release(run, tmp_path / "out")
    released = runs.open_run(tmp_path / "out", "cpu")
    report = json.loads((tmp_path / "out" / reports.FILE_NAME).read_text())
    assert report["run"] == {
        "path": "out",
        "checkpoint": released.digest,
        "step": 7,
    }
    known = traverse.read_knowledge(tmp_path / "out", released.digest, LATENT_DIM)
    assert known == traverse.read_knowledge(run.path, run.digest, LATENT_DIM)
    assert known[2] == traverse.Knowledge("c", 1.0)


def test_scores_of_another_checkpoint_stay_behind(run, tmp_path):
    scored(run)
    path = run.path / reports.FILE_NAME
    path.write_text(path.read_text().replace(run.digest, "0" * 64))
    release.release(run, tmp_path / "out")
    assert not (tmp_path / "out" / reports.FILE_NAME).exists()
    assert "model-index" not in (tmp_path / "out" / run_folder.CARD_NAME).read_text()


def test_the_card_can_be_read_by_people_and_programs(run, tmp_path):
    scored(run)
    release.release(run, tmp_path / "out")
    card = (tmp_path / "out" / run_folder.CARD_NAME).read_text()
    _, front, text = card.split("---\n", 2)
    fields = yaml.safe_load(front)
    assert fields["library_name"] == "didcli"
    assert fields["datasets"] == ["dsprites"]
    [result] = fields["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "mig", "value": 0.25}]
    assert f"Training images: {SOURCE}, 1 x 64 x 64. 6 codes in [-1, 1]." in text
    assert "| mig | 0.2500 |" in text
    assert str(tmp_path) not in card
    assert "did train --config out/config.yaml" in text


def test_a_folder_with_something_in_it_is_left_alone(run, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(RunConflictError):
        release.release(run, tmp_path / "full")
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["notes.txt"]


def test_what_computes_something_else_is_said(run, tmp_path, monkeypatch):
    used = release.used_weights(run)
    some = {name for name in used if not name.startswith("e_ema.head")}
    monkeypatch.setattr(release, "used_weights", lambda _: some)
    for parameter in run.method.e_ema.head.parameters():
        parameter.data.add_(1.0)
    with pytest.raises(RunError, match="does not compute what"):
        release.release(run, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    monkeypatch.undo()
    release.release(run, tmp_path / "out")


def test_a_weight_that_is_missing_and_was_not_left_out_is_an_error(run, tmp_path):
    release.release(run, tmp_path / "out")
    loaded = checkpoints.load(tmp_path / "out" / checkpoints.FILE_NAME)
    some = {name: value for name, value in loaded.tensors.items() if not name.startswith("e_ema")}
    damaged = dataclasses.replace(loaded, tensors=some)
    method = runs.build_method(run.config, run.image_shape)
    with pytest.raises(RunError, match="does not fit the method: e_ema"):
        checkpoints.restore(method, damaged, optimisers=False)


@pytest.mark.parametrize("name", [n for n in registry.names("methods") if n != "did"])
def test_a_run_of_any_method_can_be_released(name, tmp_path):
    """The folder is compared with the run before `release` returns."""
    original = runs.open_run(make_run(tmp_path / "run", {"name": name}), "cpu")
    size = release.release(original, tmp_path / "out")
    assert 0 < size <= (original.path / checkpoints.FILE_NAME).stat().st_size + 10_000
    assert runs.open_run(tmp_path / "out", "cpu").config == original.config
    # Also where encode and decode use every weight: the optimisers' states are missing.
    method = runs.build_method(original.config, original.image_shape)
    with pytest.raises(RunError, match="not what training needs"):
        checkpoints.restore(method, checkpoints.load(tmp_path / "out" / checkpoints.FILE_NAME))


def test_the_command_prints_the_folder(run, tmp_path):
    result = CliRunner().invoke(
        app, ["export", str(run.path), "--what", "run", "-o", str(tmp_path / "out")]
    )
    assert result.stdout == f"{tmp_path / 'out'}\n"
    assert "it computes the same" in result.stderr
    options = ["--what", "run", "-o", str(tmp_path / "again"), "--json"]
    report = json.loads(CliRunner().invoke(app, ["export", str(run.path), *options]).stdout)
    [file] = report["files"]
    assert (file["what"], file["path"]) == ("run", str(tmp_path / "again"))
    assert file["bytes"] == (tmp_path / "again" / checkpoints.FILE_NAME).stat().st_size


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ([], "exported as a folder"),
        (["-o", "-"], "exported as a folder"),
        (["-o", "x", "--format", "npz"], "--format: not for --what run"),
        (["-o", "x", "--images", ".", "--limit", "3"], "--images, --limit: not for --what run"),
    ],
    ids=str,
)
def test_the_command_wants_a_folder(run, options, problem):
    result = CliRunner().invoke(app, ["export", str(run.path), "--what", "run", *options])
    assert isinstance(result.exception, UsageError)
    assert problem in str(result.exception)
