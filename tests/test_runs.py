import dataclasses
import os
import shutil

import numpy as np
import pytest
import torch
from random_run import make_dataset

from didcli.data import dsprites
from didcli.engine import runs, traverse
from didcli.errors import DataError, RunConflictError, RunError, StorageError


def test_a_run_encodes_and_decodes(tiny_run):
    run = runs.open_run(tiny_run)
    images = np.random.default_rng(0).integers(0, 256, (300, 1, 64, 64), dtype=np.uint8)
    codes = run.encode(images)
    assert codes.shape == (300, 3)
    assert codes.dtype == np.float32
    decoded = run.decode(codes[:5])
    assert decoded.shape == (5, 1, 64, 64)
    assert decoded.dtype == np.uint8
    assert run.step == 4
    assert run.config.method.settings.width == 4
    assert run.source == "rendered v1"
    assert not run.method.training


def test_codes_do_not_depend_on_the_company_of_an_image(tiny_run):
    run = runs.open_run(tiny_run, "cpu")
    images = np.random.default_rng(0).integers(0, 256, (260, 1, 64, 64), dtype=np.uint8)
    assert np.allclose(run.encode(images)[256:], run.encode(images[256:]), atol=1e-5)


def test_decoding_is_the_method_s_image_in_bytes(tiny_run):
    run = runs.open_run(tiny_run, "cpu")
    codes = np.zeros((2, 3), np.float32)
    exact = run.method.decode(torch.from_numpy(codes)).numpy() * 255
    assert np.abs(run.decode(codes) - exact).max() <= 0.5 + 1e-4


@pytest.mark.parametrize(
    "images", [np.zeros((1, 1, 32, 32), np.uint8), np.zeros((1, 1, 64, 64), np.float32)]
)
def test_images_of_another_shape_or_type_are_refused(tiny_run, images):
    with pytest.raises(DataError, match=r"uint8 images of shape \(B, 1, 64, 64\)"):
        runs.open_run(tiny_run).encode(images)


@pytest.mark.parametrize("codes", [np.zeros((1, 4)), np.zeros(3), np.full((1, 3), np.nan)])
def test_codes_of_another_shape_or_not_finite_are_refused(tiny_run, codes):
    with pytest.raises(DataError, match=r"finite codes of shape \(B, 3\)"):
        runs.open_run(tiny_run).decode(codes)


def test_no_images_give_no_codes(tiny_run):
    run = runs.open_run(tiny_run)
    assert run.encode(np.empty((0, 1, 64, 64), np.uint8)).shape == (0, 3)
    assert run.decode(np.empty((0, 3))).shape == (0, 1, 64, 64)


def test_the_latest_run_is_the_one_saved_last(tiny_run, tmp_path):
    for name, age in [("b", 100), ("a", 10), ("c", 1000)]:
        shutil.copytree(tiny_run, tmp_path / name)
        written = (tmp_path / name / "checkpoint.safetensors").stat().st_mtime - age
        os.utime(tmp_path / name / "checkpoint.safetensors", (written, written))
    assert runs.find_run(None, tmp_path) == tmp_path / "a"
    assert runs.find_run(tmp_path / "c", tmp_path) == tmp_path / "c"


def test_without_runs_the_error_says_how_to_make_one(tmp_path):
    with pytest.raises(RunError, match="no run under") as caught:
        runs.find_run(None, tmp_path)
    assert "did train" in caught.value.hint
    with pytest.raises(RunError, match="no run folder"):
        runs.open_run(tmp_path / "absent")


def test_a_run_of_an_unknown_method_is_refused_as_a_run(tiny_run, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(tiny_run, folder)
    monkeypatch.setattr("didcli.registry.names", lambda _kind: ["other"])
    with pytest.raises(RunError, match="cannot be used"):
        runs.open_run(folder)


def test_auto_stays_the_images_that_the_run_began_with(tiny_run, monkeypatch):
    """Whoever downloads the official file later must not have its old runs scored on it."""
    asked = []

    def load(source, **_):
        asked.append(source)
        if source == "official":
            raise DataError("no official file", hint="fetch it")
        return make_dataset()

    monkeypatch.setattr(dsprites, "load", load)
    run = runs.open_run(tiny_run, "cpu")
    assert run.config.data.settings.source == "auto"
    assert run.source.startswith("rendered v")
    (note,) = run.dataset().notes
    assert asked == ["rendered"]
    assert note == f"the run was trained on {run.source}, and these images are random"
    run.source = "random"
    assert run.dataset().notes == ()
    assert asked[1:] == ["auto"]

    run.source = "official sha256:ab"  # of a colleague who has the file
    assert "trained on official sha256:ab" in run.dataset().notes[0]
    assert asked[2:] == ["official", "auto"]

    own = dataclasses.replace(run.config.data.settings, source="official")
    data = dataclasses.replace(run.config.data, settings=own)
    run.config = dataclasses.replace(run.config, data=data)
    with pytest.raises(DataError, match="no official file"):
        run.dataset()  # it was asked for by name: no others will do
    assert asked[4:] == ["official"]


def test_settings_are_those_of_the_checkpoint_or_of_their_file(tiny_run, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(tiny_run, folder)
    settings = runs.open_run(tiny_run).config
    (folder / "config.yaml").write_text("a: [")
    assert runs.settings_of(folder) == settings
    with pytest.raises(RunError, match="are lost") as caught:
        runs.read_settings(folder)
    assert "Delete config.yaml" in caught.value.hint
    (folder / "checkpoint.safetensors").unlink()
    with pytest.raises(RunError, match="are lost"):
        runs.settings_of(folder)
    (folder / "config.yaml").write_text(settings.to_yaml())
    assert runs.settings_of(folder) == settings
    (folder / "config.yaml").write_text(settings.to_yaml() + "later: {}\n")
    with pytest.raises(RunError, match="cannot be used"):
        runs.settings_of(folder)


def test_a_folder_that_holds_a_run_is_claimed_only_on_purpose(tiny_run, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(tiny_run, folder)
    with pytest.raises(RunConflictError, match="already holds a run") as caught:
        runs.claim(folder, resume=False, force=False)
    assert "--resume" in caught.value.hint
    runs.claim(folder, resume=True, force=False)
    runs.claim(folder, resume=False, force=True)


def test_a_folder_of_other_files_is_never_claimed(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    for resume, force in [(False, False), (True, False), (False, True)]:
        with pytest.raises(RunConflictError, match="other files"):
            runs.claim(tmp_path, resume=resume, force=force)
    with pytest.raises(RunConflictError, match="is a file"):
        runs.claim(tmp_path / "thesis.tex", resume=False, force=True)


def test_clearing_takes_only_what_a_run_wrote(tiny_run, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(tiny_run, folder)
    mine = {"notes.txt", "encoder.py", "codes.txt", "traverse.py", "README.md"}
    written = {"eval.png", "encoder.pt2", "codes.csv", "codes-0123456789ab.safetensors"}
    written |= {traverse.file_name((1, 3), 6, "gif"), traverse.file_name(range(6), 6, "png")}
    for name in mine | written | {"job.log", ".eval.json.99.tmp"}:
        (folder / name).write_text("text")
    runs.clear(folder)
    assert {file.name for file in folder.iterdir()} - {runs.LOCK_NAME} == mine


def test_what_a_killed_process_left_half_written_does_not_block_a_folder(tmp_path):
    (tmp_path / ".config.yaml.99.tmp").write_text("meth")
    runs.claim(tmp_path, resume=False, force=False)


def test_runs_begun_in_the_same_second_get_folders_of_their_own(tiny_config, tmp_path):
    folders = [runs.new_folder(tiny_config, tmp_path / "runs") for _ in range(3)]
    assert len(set(folders)) == 3
    assert all(folder.is_dir() for folder in folders)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot make the run folder"):
        runs.new_folder(tiny_config, tmp_path / "file")


def test_two_trainers_do_not_share_a_folder(tmp_path):
    with (
        runs.locked(tmp_path),
        pytest.raises(RunConflictError, match="in use"),
        runs.locked(tmp_path),
    ):
        pass
    with runs.locked(tmp_path):  # free again
        pass
