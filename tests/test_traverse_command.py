import io
import json
import os
import pty
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from random_run import LATENT_DIM, make_dataset, make_run
from typer.testing import CliRunner

from didcli.cli import app
from didcli.engine import reports, runs, traverse
from didcli.errors import DataError, RunError, StorageError, UsageError


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "runs" / "random")


@pytest.fixture
def with_data(monkeypatch):
    """The dataset of random images stands in for dSprites."""
    monkeypatch.setattr(runs, "load_dataset", lambda *_, **__: make_dataset())


@pytest.fixture
def without_data(monkeypatch):
    def missing(*_, **__):
        raise DataError("no dSprites here", hint="did download dsprites")

    monkeypatch.setattr(runs, "load_dataset", missing)


def call(*arguments):
    return CliRunner().invoke(app, ["traverse", *map(str, arguments)])


def file_format(path):
    with Image.open(path) as picture:
        picture.load()
        return picture.format


def test_the_path_of_the_picture_alone_goes_to_stdout(run, with_data):
    result = call(run, "--dim", 3)
    assert result.exit_code == 0
    assert result.stdout == f"{run / 'traverse-dim3.png'}\n"
    assert file_format(run / "traverse-dim3.png") == "PNG"
    assert f"run {run}, step 7, cpu" in result.stderr


def test_the_latest_run_is_taken_when_none_is_named(run, with_data):
    result = call("--runs-dir", run.parent, "-q")
    assert result.stdout == f"{run / 'traverse.png'}\n"
    assert result.stderr == ""


@pytest.mark.parametrize(("suffix", "kind"), [("png", "PNG"), ("GIF", "GIF")])
def test_the_suffix_of_the_output_chooses_the_format(run, tmp_path, with_data, suffix, kind):
    path = tmp_path / f"bild-ä.{suffix}"
    assert call(run, "-o", path, "--steps", 3, "--dim", 0).exit_code == 0
    assert file_format(path) == kind


def test_a_page_is_written_whole(run, tmp_path, with_data):
    call(run, "-o", tmp_path / "page.html", "--dim", "1-2", "--anchors", 1)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert text.count("data:image/png;base64,") == 2 * 21
    assert "<title>random, step 7, dsprites (random): what each dimension does</title>" in text


def test_json_says_what_is_in_the_picture(run, with_data):
    result = call(run, "--dim", "2,0", "--steps", 3, "--range", "-2,2", "--rows", "5,17", "--json")
    report = json.loads(result.stdout)
    opened = runs.open_run(run, "cpu")
    expected = opened.encode(make_dataset().images(np.array([5, 17])))
    np.testing.assert_allclose(report["anchors"].pop("codes"), expected, rtol=0, atol=1e-6)
    assert report == {
        "schema": 1,
        "run": str(run),
        "step": 7,
        "data_source": "random",
        "output": str(run / "traverse-dim2-0.png"),
        "format": "png",
        "dims": [2, 0],
        "labels": ["dim 2", "dim 0"],
        "values": [-2.0, 0.0, 2.0],
        "anchors": {"from": "data", "rows": [5, 17]},
    }


def test_labels_name_the_factor_once_the_run_has_been_evaluated(run, with_data):
    information = np.eye(LATENT_DIM, 5) * 0.41
    report = {
        "run": {"checkpoint": runs.open_run(run, "cpu").digest, "step": 3},
        "scores": {"mig": 0.41},
        "protocol": {"bins": 20},
        "data": {"factor_names": ["shape", "scale", "orientation", "pos_x", "pos_y"]},
        "details": {
            "mig": {"mutual_information": information.tolist(), "factor_entropy": [1.0] * 5}
        },
    }
    (run / reports.FILE_NAME).write_text(json.dumps(report))
    result = json.loads(call(run, "--dim", 3, "--json").stdout)
    assert result["labels"] == ["dim 3: pos_x (0.41)"]


def test_the_seed_fixes_the_anchors(run, with_data):
    def rows(*arguments):
        result = call(run, "--json", "--dim", 0, "--steps", 2, *arguments)
        return json.loads(result.stdout)["anchors"]["rows"]

    assert rows() == rows("--seed", 0) == list(traverse.random_rows(3, 600, 0))
    assert rows("--seed", 1) != rows()
    assert len(rows("--anchors", 5)) == 5


def test_what_is_to_be_known_of_the_dataset_is_said(run, monkeypatch):
    dataset = make_dataset()
    dataset.notes = ("1 of 24 images cannot be read",)
    monkeypatch.setattr(runs, "load_dataset", lambda *_, **__: dataset)
    assert "note: 1 of 24 images cannot be read" in call(run, "--dim", 3).stderr


def test_without_the_dataset_codes_are_drawn_and_it_is_said(run, without_data):
    result = call(run, "--json", "--anchors", 2)
    assert "no real images to start from (no dSprites here)" in result.stderr
    anchors = json.loads(result.stdout)["anchors"]
    assert (anchors["from"], anchors["rows"]) == ("prior", [])
    assert np.shape(anchors["codes"]) == (2, LATENT_DIM)
    assert "no real images" not in call(run, "--from", "prior").stderr


@pytest.mark.parametrize("asked", [("--from", "data"), ("--rows", "1")])
def test_without_the_dataset_asking_for_images_is_an_error(run, without_data, asked):
    assert isinstance(call(run, *asked).exception, DataError)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--dim", "99"], "no dimension 99"),
        (["--range", "1,-1"], "the range goes from 1 to -1"),
        (["--range", "x"], "--range takes two numbers"),
        (["--rows", "600"], "no row 600"),
        (["--rows", "x"], "--rows takes numbers"),
        (["--rows", "1", "--anchors", "2"], "--rows chooses images"),
        (["--rows", "1", "--from", "prior"], "--rows chooses images"),
        (["-o", "picture.bmp"], "cannot tell from its name"),
        (["-o", "-", "--json"], "both write to stdout"),
        (["--device", "tpu"], "'tpu' is not there"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(run, with_data, arguments, problem):
    result = call(run, *arguments)
    assert isinstance(result.exception, UsageError)
    assert problem in str(result.exception)
    assert result.stdout == ""


def test_an_output_that_cannot_be_written_is_found_before_the_work(run, tmp_path, with_data):
    for path in (tmp_path / "absent" / "x.png", run / "checkpoint.safetensors" / "x.png"):
        assert isinstance(call(run, "-o", path).exception, StorageError)
    (tmp_path / "folder.png").mkdir()
    assert isinstance(call(run, "-o", tmp_path / "folder.png").exception, StorageError)


def test_a_run_that_is_missing_or_damaged_is_a_run_error(run, tmp_path):
    assert isinstance(call(tmp_path / "none").exception, RunError)
    assert isinstance(call("--runs-dir", tmp_path / "none").exception, RunError)
    checkpoint = run / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    assert isinstance(call(run).exception, RunError)


def test_the_real_command_writes_png_bytes_to_a_pipe(run):
    command = [sys.executable, "-m", "didcli", "traverse", str(run), "--from", "prior"]
    result = subprocess.run([*command, "-o", "-", "-q"], capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    assert file_format(io.BytesIO(result.stdout)) == "PNG"


def test_the_real_command_exits_2_and_says_which_dimensions_there_are(run, did):
    result = did("traverse", str(run), "--dim", "99", "-q")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == (
        "error: there is no dimension 99\n"
        "hint: The run has dimensions 0 to 5: --dim 5, --dim 0-5, --dim 0,5\n"
    )


def on_terminal(arguments, environment, *, stdout_too=False):
    """What a terminal of 80 columns shows of stderr, and the exit code."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "didcli", "traverse", *map(str, arguments)]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=theirs if stdout_too else subprocess.DEVNULL,
        stderr=theirs,
        env={**os.environ, "NO_COLOR": "", "COLORTERM": "", **environment},
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux's way of saying that the other end is closed
                break
            if not part:
                break
            shown += part
        os.close(ours)
    return shown.decode(), process.returncode


def test_a_colour_terminal_gets_a_preview(run):
    shown, code = on_terminal([run, "--from", "prior"], {"TERM": "xterm-256color"})
    assert code == 0
    assert "\x1b[38;5;" in shown
    # The pseudo-terminal has no size, so 80 x 24 is taken: three dimensions of seven lines.
    assert [f"dim {dim}" in shown for dim in range(4)] == [True, True, True, False]
    assert "and 3 more in the picture" in shown


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        ([], {"TERM": "dumb"}),
        ([], {"TERM": "xterm-256color", "NO_COLOR": "1"}),
        (["-q"], {"TERM": "xterm-256color"}),
        (["--no-preview"], {"TERM": "xterm-256color"}),
    ],
)
def test_nothing_else_does(run, arguments, environment, monkeypatch):
    from didcli.commands import traverse as command
    from didcli.io import preview

    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self):
            return True

    drawn = []
    monkeypatch.setattr(command.os, "environ", environment)
    monkeypatch.setattr(preview, "lines", lambda *_: drawn.append(1) or [])
    monkeypatch.setattr(preview, "colours", lambda _, e, real=preview.colours: real(Terminal(), e))
    assert call(run, "--from", "prior", "--dim", 0, *arguments).exit_code == 0
    assert not drawn


def test_binary_is_not_written_to_a_terminal(run):
    shown, code = on_terminal([run, "-o", "-"], {"TERM": "dumb"}, stdout_too=True)
    assert code == 2
    assert "stdout is a terminal" in shown
