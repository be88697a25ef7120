import dataclasses
import inspect
import json
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from typing import get_type_hints

import numpy as np
import pytest
import torch
from code_tables import SIZES, grid, noisy
from conftest import PATIENCE
from PIL import Image

from didcli.commands._group import load
from didcli.commands.eval import evaluate
from didcli.engine import encode, runs
from didcli.scoring.protocol import EvaluationProtocol

FEW = ("--train-points", "300", "--test-points", "100", "--variance-points", "300")
KEYS = [
    *("mig", "sap", "dci_disentanglement", "dci_completeness", "dci_informativeness"),
    *("beta_vae", "factor_vae", "modularity", "explicitness", "irs", "infom", "infoe", "infoc"),
]


@pytest.fixture(scope="module")
def codes(tmp_path_factory):
    file = tmp_path_factory.mktemp("codes") / "z.npz"
    table = noisy()
    np.savez(file, codes=table.codes, factors=table.factors, factor_sizes=SIZES)
    return file


def test_options_have_the_choices_and_defaults_of_the_protocol():
    options, kinds = inspect.signature(evaluate).parameters, get_type_hints(evaluate)
    shared = [field for field in dataclasses.fields(EvaluationProtocol) if field.name in options]
    assert len(shared) == 9
    for field in shared:
        assert kinds[field.name] == field.type, field.name
        if field.name != "threads":  # 0, one per core
            assert options[field.name].default == field.default, field.name


def test_all_metrics_of_a_file_as_json(did, codes):
    result = did("eval", "--codes", str(codes), *FEW, "--eval-seed", "0", "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["schema"] == 1
    assert sorted(report["scores"]) == sorted(KEYS)
    assert all(isinstance(score, float) for score in report["scores"].values())
    assert {"protocol", "versions", "notes"} <= set(report)
    for note in report["notes"]:
        assert f"note: {note}" in result.stderr


def test_a_table_for_people_fits_eighty_columns(did, codes):
    result = did(
        *("eval", "--codes", str(codes), "--metrics", "mig,irs", *FEW),
        *("--eval-seeds", "2", "--shuffled"),
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "60 rows, 5 latents" in lines[0]
    head, *scores = [line.split() for line in lines[3:6]]
    assert head == ["score", "sd", "chance"]
    assert [line[0] for line in scores] == ["mig", "irs"]
    assert lines[7].split() == ["factor", "latent", "knows", "gap"]
    assert [line.split()[2] for line in lines[8:]] == ["0", "1", "2"]
    assert all(len(line) <= 80 for line in lines[1:])


def test_codes_from_stdin(codes):
    command = [sys.executable, "-m", "didcli", "eval", "--codes", "-", "--metrics", "mig", "-q"]
    with codes.open("rb") as file:
        result = subprocess.run([*command, "--json"], check=True, capture_output=True, stdin=file)
    assert json.loads(result.stdout)["scores"]["mig"] > 0.1
    assert result.stderr == b""


def test_an_incomplete_grid_gives_null_and_a_note(did, tmp_path):
    file = tmp_path / "part.npz"
    np.savez(file, codes=noisy().codes[3:], factors=grid()[3:])
    result = did("eval", "--codes", str(file), "--metrics", "mig,irs", *FEW, "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["scores"]["irs"] is None
    assert "note: irs: not defined: it intervenes" in result.stderr


@pytest.fixture
def encoded_run(tiny_run, data_dir, tmp_path, monkeypatch):
    """A run that need not encode its images: codes of that checkpoint are in its folder."""
    folder = shutil.copytree(tiny_run, tmp_path / "runs" / "tiny")
    run = runs.open_run(folder, "cpu")
    dataset = run.dataset(data_dir)
    codes = np.random.default_rng(0).normal(size=(len(dataset), run.latent_dim)).astype(np.float32)
    codes[:, 1] = dataset.factors[:, 3]
    monkeypatch.setattr(encode, "encode_images", lambda *_: codes)
    encode.encode_dataset(run, dataset)
    return folder


def test_the_latest_run_is_scored_drawn_and_keeps_its_report(did, encoded_run):
    result = did(
        *("eval", "--runs-dir", str(encoded_run.parent), "--metrics", "mig,factor_vae", *FEW),
        *("--plot", "--device", "cpu"),
    )
    assert result.returncode == 0, result.stderr
    assert f"run {encoded_run}" in result.stderr
    assert "not defined" not in result.stdout
    report = json.loads((encoded_run / "eval.json").read_text(encoding="utf-8"))
    assert report["data"]["factor_names"] == ["shape", "scale", "orientation", "pos_x", "pos_y"]
    assert np.argmax(report["details"]["mig"]["mutual_information"][1]) == 3
    with Image.open(encoded_run / "eval.png") as picture:
        assert picture.width > 300


def test_a_picture_that_cannot_be_written_does_not_lose_the_scores(did, codes, tmp_path):
    (tmp_path / "eval.png").mkdir()
    result = did(
        *("eval", "--codes", str(codes), "--metrics", "mig", *FEW, "--plot", "--json"),
        cwd=tmp_path,
    )
    assert result.returncode == 7, result.stderr
    assert "cannot write eval.png" in result.stderr
    assert json.loads(result.stdout)["scores"]["mig"] > 0.1


def test_runs_are_ranked_without_labels(did, encoded_run):
    other = shutil.copytree(encoded_run, encoded_run.with_name("other"))
    result = did("eval", "--select", "udr", str(encoded_run), str(other), "--device", "cpu")
    assert result.returncode == 0, result.stderr
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert {path for _, path in lines} == {str(encoded_run), str(other)}
    assert float(lines[0][0]) > 0.7


def test_runs_are_ranked_by_as_many_threads_as_are_asked_for(encoded_run, data_dir, monkeypatch):
    other = shutil.copytree(encoded_run, encoded_run.with_name("other"))
    used = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    command = ["--select", "udr", str(encoded_run), str(other), "--threads", "3"]
    load("eval").main([*command, "--data-dir", str(data_dir)], standalone_mode=False)
    assert used == [3]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_scoring_at_once(codes, number, code):
    # With trees that take a second each, what it waits for shows.
    program = (
        "import os, sys, time\n"
        "import didcli.cli\n"
        "from didcli.metrics import _trees\n"
        # One write: the two threads' lines must not mix.
        "_trees.add_tree = lambda *_: os.write(1, b'growing\\n') and time.sleep(1)\n"
        f"sys.argv = ['did', 'eval', '--codes', {str(codes)!r}, '--metrics', 'dci']\n"
        "sys.argv += ['--threads', '2']\n"
        "didcli.cli.main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            first = process.stdout.readline()
            time.sleep(0.2)  # a signal while the main thread lies down to wait would not wake it
            process.send_signal(number)
            _, said = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert first == "growing\n", said
    assert process.returncode == code, said
    assert said.endswith("interrupted\n") == (number == signal.SIGINT)
    assert "error" not in said


def damaged(codes, tmp_path):
    file = tmp_path / "bad.npz"
    file.write_bytes(codes.read_bytes()[:200])
    return ("--codes", str(file))


def cannot_be_unpacked(codes, tmp_path):
    """Its deflate stream is no such stream: zlib says so, not zipfile."""
    file = tmp_path / "bad.npz"
    with np.load(codes) as arrays:
        np.savez_compressed(file, **arrays)
    content = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        start = archive.getinfo("codes.npy").header_offset
    content[start + 100 : start + 140] = b"\xff" * 40
    file.write_bytes(content)
    return ("--codes", str(file))


def not_finite(_, tmp_path):
    file = tmp_path / "nan.npz"
    np.savez(file, codes=np.full((60, 2), np.nan), factors=grid())
    return ("--codes", str(file))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (lambda z, _: ("--codes", str(z), "--metrics", "migg"), 2, "Did you mean 'mig'?"),
        (lambda z, _: ("--codes", str(z), "--metrics", ","), 2, "--metrics names none"),
        (lambda z, _: ("--codes", str(z), "--train-points", "0"), 2, "train points must be at"),
        (lambda z, _: ("--codes", str(z), "run"), 2, "two things to score"),
        (
            lambda z, tmp: ("--codes", str(z), "--device", "cpu", "--data-dir", str(tmp)),
            2,
            "--device, --data-dir: not for --codes",
        ),
        (lambda z, _: ("--codes", str(z), "--sap", "both"), 2, "'both' is not one of"),
        (lambda z, _: ("--codes", str(z), "--plot", "--metrics", "sap"), 2, "mig and dci"),
        (lambda *_: ("a", "b"), 2, "one run at a time"),
        (lambda *_: ("--select", "udr"), 2, "two runs or more"),
        (
            lambda *_: ("--select", "udr", "a", "b", "--shuffled", "--sap", "discrete", "--plot"),
            2,
            "--sap, --shuffled, --plot: not for --select",
        ),
        (lambda *_: ("--codes", "nowhere.npz"), 3, "cannot read nowhere.npz"),
        (damaged, 3, "is not what it should be"),
        (cannot_be_unpacked, 3, "is not what it should be: Error -3 while decompressing"),
        (not_finite, 3, "120 codes are not finite"),
        (lambda _, tmp: ("--runs-dir", str(tmp)), 4, "no run under"),
        (lambda *_: ("no/such/run",), 4, "no run folder"),
    ],
)
def test_errors(did, codes, tmp_path, arguments, code, message):
    result = did("eval", *arguments(codes, tmp_path))
    assert result.returncode == code, result.stderr
    assert message in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
