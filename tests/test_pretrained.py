"""The models in examples/pretrained are what their cards and reports say."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from didcli.engine import checkpoint as checkpoints
from didcli.engine import reports, runs
from didcli.engine.evaluate import evaluate
from didcli.scoring.table import code_table

FOLDER = Path(__file__).parent.parent / "examples" / "pretrained"
MODELS = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())


@pytest.fixture(scope="module", params=MODELS)
def run(request):
    return runs.open_run(FOLDER / request.param, "cpu")


def test_it_is_small_and_its_report_is_of_this_checkpoint(run):
    assert (run.path / checkpoints.FILE_NAME).stat().st_size < 4_000_000
    report = json.loads((run.path / reports.FILE_NAME).read_text())
    assert report["run"]["checkpoint"] == run.digest
    card = (run.path / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    [result] = front["model-index"][0]["results"]
    stated = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert stated["mig"] == pytest.approx(report["scores"]["mig"], abs=1e-4)
    assert set(stated) == {key for key, value in report["scores"].items() if value is not None}


def test_few_images_score_about_what_the_report_says(run, data_dir):
    dataset = run.dataset(data_dir)
    rows = np.random.default_rng(0).integers(len(dataset), size=10_000)
    codes = run.encode(dataset.images(rows))
    table = code_table(codes, dataset.factors[rows], dataset.factor_sizes, dataset.factor_names)
    report = json.loads((run.path / reports.FILE_NAME).read_text())
    scores = evaluate(table, ["mig"])["scores"]
    assert scores["mig"] == pytest.approx(report["scores"]["mig"], abs=0.03)


def test_what_it_draws_of_a_real_image_is_near_to_it(run, data_dir):
    dataset = run.dataset(data_dir)
    images = dataset.images(np.random.default_rng(1).integers(len(dataset), size=64))
    again = run.decode(run.encode(images).clip(*run.code_range))
    error = np.square(again.astype(float) - images).mean()
    others = np.square(again[::-1].astype(float) - images).mean()
    assert error < 0.35 * others
