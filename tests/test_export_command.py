import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from random_run import LATENT_DIM, SOURCE, make_dataset, make_run
from typer.testing import CliRunner

from didcli.cli import app
from didcli.commands.export import FORMATS, ExportFormat, ExportJob, What, plan
from didcli.engine import export_model, runs
from didcli.errors import DataError, RunError, StorageError, UsageError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "random")


@pytest.fixture
def dataset(monkeypatch):
    """The dataset of random images stands in for dSprites."""
    dataset = make_dataset()
    monkeypatch.setattr(runs, "load_dataset", lambda *_, **__: dataset)
    return dataset


@pytest.fixture
def photos(tmp_path):
    """1000 images, and one that is broken."""
    folder = tmp_path / "Bilder"
    folder.mkdir()
    for number in range(1000):
        Image.new("L", (64, 64), number % 256).save(folder / f"{number:04}-ü.bmp")
    (folder / "0500-ü.bmp").write_bytes(b"BM")
    return folder


def call(*arguments):
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def test_all_is_the_default_and_goes_to_the_run_folder_in_formats_that_need_no_extra():
    assert plan(None, None, None, with_images=False) == [
        ExportJob(What.encoder, ExportFormat.pt2, None),
        ExportJob(What.generator, ExportFormat.pt2, None),
        ExportJob(What.codes, ExportFormat.npz, None),
    ]


def test_for_all_a_format_applies_to_what_can_be_written_so_and_o_is_a_folder(tmp_path):
    jobs = plan(What.all, ExportFormat.onnx, str(tmp_path), with_images=False)
    names = ("encoder.onnx", "generator.onnx", "codes.npz")
    assert [job.output for job in jobs] == [str(tmp_path / name) for name in names]


@pytest.mark.parametrize(
    ("what", "asked", "output", "chosen"),
    [
        (What.codes, None, None, ExportFormat.npz),
        (What.codes, None, "x.CSV", ExportFormat.csv),
        (What.codes, ExportFormat.jsonl, "-", ExportFormat.jsonl),
        (What.codes, ExportFormat.jsonl, "x.csv", ExportFormat.jsonl),
        (What.encoder, None, "x.onnx", ExportFormat.onnx),
        (What.generator, None, "x", ExportFormat.pt2),
    ],
)
def test_the_format_is_the_one_asked_for_else_the_suffix_else_the_default(
    what, asked, output, chosen
):
    assert plan(what, asked, output, with_images=False) == [ExportJob(what, chosen, output)]


@pytest.mark.parametrize(("what", "name"), [(What.codes, "c.parquet"), (What.encoder, "e.pth")])
def test_a_suffix_of_another_format_is_refused(what, name):
    with pytest.raises(UsageError, match=f"-o {name} names no format of {what}") as caught:
        plan(what, None, name, with_images=False)
    assert "--format" in caught.value.hint
    assert plan(what, FORMATS[what][0], name, with_images=False)  # one is free to


def test_a_folder_of_images_means_codes():
    assert plan(None, None, None, with_images=True) == [
        ExportJob(What.codes, ExportFormat.npz, None)
    ]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--what", "encoder", "--format", "csv"], "encoder cannot be written as csv"),
        (["--what", "codes", "-o", "codes.onnx"], "codes cannot be written as onnx"),
        (["-o", "-"], "all makes three files"),
        (["-o", "encoder.onnx"], "all makes three files"),
        (["--what", "encoder", "--images", "."], "--images is for codes"),
        (["--what", "encoder", "--limit", "5"], "--limit is for codes"),
        (["--what", "codes", "--format", "csv", "-o", "-", "--json"], "both write to stdout"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(run, arguments, problem):
    result = call(run, *arguments)
    assert isinstance(result.exception, UsageError)
    assert problem in str(result.exception)
    assert result.stdout == ""


def test_everything_is_written_and_only_paths_go_to_stdout(run, dataset, tmp_path):
    result = call(run, "-o", tmp_path / "out" / "x", "--limit", 20)
    assert result.exit_code == 0
    paths = [
        tmp_path / "out" / "x" / name for name in ("encoder.pt2", "generator.pt2", "codes.npz")
    ]
    assert result.stdout.splitlines() == list(map(str, paths))
    assert "encoder: read back, it differs from the run by at most" in result.stderr
    assert "generator: read back, it differs from the run by at most" in result.stderr
    images = torch.from_numpy(dataset.images(np.arange(20))).float() / 255
    codes = torch.export.load(paths[0]).module()(images)
    with np.load(paths[2]) as arrays:
        np.testing.assert_allclose(arrays["codes"], codes.numpy(), rtol=0, atol=1e-5)
    assert torch.export.load(paths[1]).module()(codes).shape == images.shape


def test_json_says_what_was_written_and_how_far_off_it_is(run, tmp_path):
    path = tmp_path / "g.onnx"
    result = call(run, "--what", "generator", "-o", path, "--json")
    report = json.loads(result.stdout)
    (file,) = report.pop("files")
    assert report == {"schema": 1, "run": str(run), "step": 7}
    assert 0 <= file.pop("max_difference") < 1e-4
    assert file == {
        "what": "generator",
        "format": "onnx",
        "path": str(path),
        "bytes": path.stat().st_size,
    }


def test_codes_go_to_stdout_in_any_format(run, dataset):
    arguments = (run, "--what", "codes", "-o", "-", "--limit", 10, "--threads", 1, "--format")
    expected = runs.open_run(run, "cpu").encode(dataset.images(np.arange(10)))
    rows = [json.loads(line) for line in call(*arguments, "jsonl").stdout.splitlines()]
    table = list(csv.DictReader(io.StringIO(call(*arguments, "csv").stdout)))
    with np.load(io.BytesIO(call(*arguments, "npz").stdout_bytes)) as arrays:
        assert (arrays["codes"] == expected).all()
    assert (np.array([row["codes"] for row in rows], np.float32) == expected).all()
    columns = [[row[f"z{dim}"] for dim in range(LATENT_DIM)] for row in table]
    assert (np.array(columns).astype(np.float32) == expected).all()


def test_images_from_another_source_than_the_run_saw_are_named(run, dataset):
    arguments = (run, "--what", "codes", "--format", "csv", "-o", "-", "--limit", 1)
    assert "the run was trained on" not in call(*arguments).stderr
    dataset.source = "official"
    assert (
        f"the run was trained on {SOURCE}, and these images are official" in call(*arguments).stderr
    )


def test_broken_images_are_named_and_counted_even_in_json(run, photos, tmp_path):
    result = call(run, "--images", photos, "-o", tmp_path / "größe.csv", "--json", "--limit", 600)
    assert "skipped 0500-ü.bmp: not an image" in result.stderr
    assert "skipped 1 of 600 files that could not be read" in result.stderr
    (file,) = json.loads(result.stdout)["files"]
    assert (file["rows"], file["skipped"]) == (599, ["0500-ü.bmp"])
    assert (tmp_path / "größe.csv").read_text(encoding="utf-8").count("\n") == 600


def test_what_is_to_be_known_of_the_dataset_is_said_even_in_json(run, dataset, tmp_path):
    dataset.notes = ("1 of 24 images cannot be read",)
    result = call(run, "--what", "codes", "--limit", 9, "-o", tmp_path / "z.csv", "--json")
    assert "note: 1 of 24 images cannot be read" in result.stderr
    (file,) = json.loads(result.stdout)["files"]
    assert file["notes"] == ["1 of 24 images cannot be read"]


def test_no_images_and_no_dataset_are_data_errors(run, tmp_path, monkeypatch):
    def missing(*_, **__):
        raise DataError("no dSprites here", hint="did download dsprites")

    monkeypatch.setattr(runs, "load_dataset", missing)
    assert isinstance(call(run, "--images", tmp_path).exception, DataError)
    assert isinstance(call(run, "--what", "codes").exception, DataError)


def test_a_network_that_differs_is_not_written(run, tmp_path, monkeypatch):
    monkeypatch.setattr(export_model, "TOLERANCE", -1.0)
    result = call(run, "--what", "encoder", "-o", tmp_path / "e.pt2")
    assert isinstance(result.exception, RunError)
    assert not (tmp_path / "e.pt2").exists()


def test_an_output_that_cannot_be_written_is_found_before_the_work(run, tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "absent" / "x.pt2", tmp_path):
        assert isinstance(call(run, "--what", "encoder", "-o", path).exception, StorageError)
    assert isinstance(call(run, "-o", tmp_path / "file" / "x").exception, StorageError)


def test_a_damaged_run_is_a_run_error(tmp_path):
    assert isinstance(call(tmp_path / "none").exception, RunError)


def test_a_closed_pipe_ends_the_real_command_quietly(run, photos):
    command = [sys.executable, "-m", "didcli", "export", run, "--images", photos, "-q"]
    with subprocess.Popen(
        [*command, "--format", "jsonl", "-o", "-"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pipesize=4096,  # less than there is to say
    ) as process:
        first = json.loads(process.stdout.readline())
        process.stdout.close()
        errors = process.stderr.read().decode()
        process.wait()
    assert first["file"] == "0000-ü.bmp"
    assert process.returncode == 141
    assert "Traceback" not in errors
    assert "BrokenPipe" not in errors
