import os
import shutil

import pytest

from didcli.engine import run_folder, traversal_files
from didcli.errors import RunConflictError, RunError, StorageError


def test_the_latest_run_is_the_one_saved_last(tiny_run, tmp_path):
    for name, age in [("b", 100), ("a", 10), ("c", 1000)]:
        shutil.copytree(tiny_run, tmp_path / name)
        written = (tmp_path / name / "checkpoint.safetensors").stat().st_mtime - age
        os.utime(tmp_path / name / "checkpoint.safetensors", (written, written))
    assert run_folder.find_run(None, tmp_path) == tmp_path / "a"
    assert run_folder.find_run(tmp_path / "c", tmp_path) == tmp_path / "c"


def test_without_runs_the_error_says_how_to_make_one(tmp_path):
    with pytest.raises(RunError, match="no run under") as caught:
        run_folder.find_run(None, tmp_path)
    assert "did train" in caught.value.hint


def test_a_folder_that_holds_a_run_is_claimed_only_on_purpose(tiny_run, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(tiny_run, folder)
    with pytest.raises(RunConflictError, match="already holds a run") as caught:
        run_folder.claim(folder, resume=False, force=False)
    assert "--resume" in caught.value.hint
    run_folder.claim(folder, resume=True, force=False)
    run_folder.claim(folder, resume=False, force=True)


def test_a_folder_of_other_files_is_never_claimed(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    for resume, force in [(False, False), (True, False), (False, True)]:
        with pytest.raises(RunConflictError, match="other files"):
            run_folder.claim(tmp_path, resume=resume, force=force)
    with pytest.raises(RunConflictError, match="is a file"):
        run_folder.claim(tmp_path / "thesis.tex", resume=False, force=True)


def test_clearing_takes_only_what_a_run_wrote(tiny_run, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(tiny_run, folder)
    mine = {"notes.txt", "encoder.py", "codes.txt", "traverse.py", "README.md"}
    written = {"eval.png", "encoder.pt2", "codes.csv", "codes-0123456789ab.safetensors"}
    written |= {
        traversal_files.file_name((1, 3), 6, "gif"),
        traversal_files.file_name(range(6), 6, "png"),
        traversal_files.file_name(range(100), 200, "png"),
    }
    for name in mine | written | {"job.log", ".eval.json.99.tmp"}:
        (folder / name).write_text("text")
    run_folder.clear(folder)
    assert {file.name for file in folder.iterdir()} - {run_folder.LOCK_NAME} == mine


def test_what_a_killed_process_left_half_written_does_not_block_a_folder(tmp_path):
    (tmp_path / ".config.yaml.99.tmp").write_text("meth")
    run_folder.claim(tmp_path, resume=False, force=False)


def test_runs_begun_in_the_same_second_get_folders_of_their_own(tiny_config, tmp_path):
    folders = [run_folder.new_folder(tiny_config, tmp_path / "runs") for _ in range(3)]
    assert len(set(folders)) == 3
    assert all(folder.is_dir() for folder in folders)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot make the run folder"):
        run_folder.new_folder(tiny_config, tmp_path / "file")


def test_two_trainers_do_not_share_a_folder(tmp_path):
    with (
        run_folder.locked(tmp_path),
        pytest.raises(RunConflictError, match="in use"),
        run_folder.locked(tmp_path),
    ):
        pass
    with run_folder.locked(tmp_path):  # free again
        pass
