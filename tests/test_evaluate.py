"""The evaluator, and what it asks of every metric."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from code_tables import FEW, SIZES, grid, ignorant, noisy, numbered, perfect, with_codes
from random_run import make_dataset, make_run

from didcli import registry
from didcli.engine import evaluate as engine
from didcli.engine import runs
from didcli.engine.evaluate import code_table, evaluate
from didcli.errors import DataError, UnknownNameError, UsageError
from didcli.scoring.protocol import EvaluationProtocol, Result, UndefinedError

METRICS = registry.names("metrics")
KEYS = {
    *("mig", "sap", "dci_disentanglement", "dci_completeness", "dci_informativeness"),
    *("beta_vae", "factor_vae", "modularity", "explicitness", "irs", "infom", "infoe", "infoc"),
}
INTERVENTIONAL = {"beta_vae", "factor_vae", "irs"}
QUICK = ["mig", "irs"]


def run_metric(name: str, table: engine.CodeTable, seed: int = 0) -> Result:
    return registry.load("metrics", name).score(table, np.random.RandomState(seed), FEW)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_reports_the_scores_it_declares_in_range(name):
    for table in (perfect(), noisy(), ignorant()):
        scores = run_metric(name, table).scores
        assert tuple(scores) == registry.load("metrics", name).SCORES
        assert all(-1e-9 <= value <= 1 + 1e-9 for value in scores.values())


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_a_function_of_codes_and_seed(name):
    assert run_metric(name, noisy(), 3).scores == run_metric(name, noisy(), 3).scores


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_ignores_the_order_of_latents(name):
    table = noisy()
    other = with_codes(table, table.codes[:, [4, 2, 0, 1, 3]])
    assert run_metric(name, other).scores == pytest.approx(run_metric(name, table).scores, abs=0.02)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_ignores_the_order_of_rows(name):
    table = noisy()
    order = np.random.default_rng(0).permutation(60)
    other = code_table(table.codes[order], table.factors[order], SIZES)
    assert run_metric(name, other).scores == pytest.approx(run_metric(name, table).scores, abs=0.01)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_allows_an_incomplete_grid_or_says_why_not(name):
    table = code_table(noisy().codes[5:], grid()[5:], SIZES)
    if name in INTERVENTIONAL:
        with pytest.raises(UndefinedError, match="needs each combination"):
            run_metric(name, table)
    else:
        assert all(map(np.isfinite, run_metric(name, table).scores.values()))


@pytest.mark.parametrize("name", [*METRICS, "dci by scikit-learn"])
def test_a_factor_that_numbers_the_rows_is_no_reason_for_warnings(name):
    # scikit-learn guesses that so many classes are the numbers of a regression.
    backend = "sklearn" if name.endswith("scikit-learn") else "exact"
    few = EvaluationProtocol(train_points=30, test_points=20, dci_backend=backend)
    assert evaluate(numbered(), [name.split()[0]], few)["scores"]  # pytest makes warnings errors


def test_the_report_of_all_metrics():
    report = evaluate(noisy(), protocol=FEW)
    assert report["schema"] == 1
    assert set(report["scores"]) == KEYS
    assert set(report["details"]) == set(METRICS)
    assert report["protocol"]["train_points"] == 600
    assert report["data"]["factor_sizes"] == list(SIZES)
    assert report["versions"]["scikit-learn"]
    json.dumps(report, allow_nan=False)


def test_matrices_are_latents_by_factors():
    details = evaluate(noisy(), protocol=FEW)["details"]
    for metric, key in (
        ("mig", "mutual_information"),
        ("sap", "predictability"),
        ("dci", "importance"),
        ("irs", "robustness"),
        ("factor_vae", "votes"),
        ("infomec", "normalised_information"),
    ):
        assert np.shape(details[metric][key]) == (5, 3), key


def test_scores_are_fresh_streams_whatever_else_is_asked_for():
    alone = evaluate(noisy(), ["sap"], FEW)["scores"]["sap"]
    assert evaluate(noisy(), ["mig", "irs", "sap"], FEW)["scores"]["sap"] == alone


def test_several_seeds_give_mean_and_deviation():
    protocol = EvaluationProtocol(train_points=200, test_points=100, eval_seed=5, eval_seeds=3)
    report = evaluate(noisy(), ["mig"], protocol)
    alone = [
        evaluate(noisy(), ["mig"], EvaluationProtocol(train_points=200, eval_seed=seed))["scores"]
        for seed in (5, 6, 7)
    ]
    values = [scores["mig"] for scores in alone]
    assert report["scores_per_seed"]["mig"] == values
    assert report["scores"]["mig"] == pytest.approx(np.mean(values))
    assert report["scores_sd"]["mig"] == pytest.approx(np.std(values, ddof=1))


def test_shuffled_codes_show_the_level_of_chance():
    report = evaluate(perfect((6, 5, 8)), ["mig", "beta_vae"], FEW, shuffled=True)
    assert report["scores"]["mig"] > 0.9
    assert report["chance"]["mig"] < 0.1
    assert report["chance"]["beta_vae"] < report["scores"]["beta_vae"] - 0.4


def test_an_undefined_score_is_none_with_a_note():
    table = code_table(noisy().codes[5:], grid()[5:], SIZES)
    report = evaluate(table, QUICK, FEW)
    assert report["scores"]["irs"] is None
    assert report["scores"]["mig"] > 0
    assert any(note.startswith("irs: not defined: it intervenes") for note in report["notes"])
    assert "irs" not in report["details"]


def test_one_of_several_scores_may_be_undefined():
    report = evaluate(numbered(), ["modularity"], replace(FEW, disjoint=True))
    assert report["scores"]["explicitness"] is None
    assert report["scores"]["modularity"] > 0
    said = [note for note in report["notes"] if note.startswith("modularity: ")]
    assert len(said) == 1
    assert said[0].startswith("modularity: explicitness is not defined: among the 300 test points")
    assert report["details"]["modularity"]["explicitness_per_factor"][0] is None


def test_a_score_that_is_not_finite_becomes_none_with_a_note(monkeypatch):
    mig = registry.load("metrics", "mig")
    monkeypatch.setattr(mig, "score", lambda *_: Result({"mig": float("nan")}, {"x": np.inf}))
    report = evaluate(noisy(), ["mig"], FEW)
    assert report["scores"] == {"mig": None}
    assert report["details"]["mig"] == {"x": None}
    assert "mig: mig is not defined: it came out as nan" in report["notes"]


@pytest.mark.parametrize(
    ("table", "field", "value", "words"),
    [
        (
            with_codes(noisy(), np.column_stack([noisy().codes, np.full(60, 0.3)])),
            *("constant_latents", [5], "constant latents (5)"),
        ),
        (
            with_codes(noisy(), noisy().codes * np.array([1, 1, 1, 0.01, 1])),
            *("near_dead_latents", [3], "near-dead latents (3)"),
        ),
        (
            code_table(noisy().codes, np.insert(grid(), 0, 0, axis=1)),
            *("dropped_factors", ["factor 0"], "left out factors that take one value: factor 0"),
        ),
        (
            code_table(noisy().codes[5:], grid()[5:], SIZES),
            *("complete_grid", False, "not a complete grid"),
        ),
    ],
)
def test_traps_are_fields_and_words(table, field, value, words):
    report = evaluate(table, ["mig"], FEW)
    assert report["data"][field] == value
    assert any(words in note for note in report["notes"])


def test_correlated_factors_are_named():
    kept = (grid()[:, 0] % 3 == grid()[:, 1]) | (grid()[:, 2] == 0)
    table = code_table(noisy().codes[kept], grid()[kept], SIZES, ("shape", "size", "angle"))
    report = evaluate(table, ["mig"], FEW)
    assert report["data"]["strongest_factor_correlation"] > 0.2
    assert any("'shape' and 'size' share" in note for note in report["notes"])


def test_an_overlap_of_training_and_test_points_is_said_and_can_be_avoided():
    report = evaluate(noisy(), ["mig"], FEW)
    assert report["data"]["test_points_seen_in_training"] > 0.99
    assert any("--disjoint" in note for note in report["notes"])
    apart = EvaluationProtocol(train_points=600, test_points=300, disjoint=True)
    report = evaluate(noisy(), ["mig"], apart)
    assert report["data"]["test_points_seen_in_training"] == 0
    assert not any("--disjoint" in note for note in report["notes"])


def test_a_sound_table_scored_twice_has_no_notes():
    table = noisy((10, 10, 10, 12))
    protocol = EvaluationProtocol(train_points=600, test_points=300, eval_seeds=2)
    assert evaluate(table, ["mig"], protocol)["notes"] == []


def test_one_evaluation_seed_is_said_to_be_one():
    assert any("--eval-seeds" in note for note in evaluate(noisy(), ["mig"], FEW)["notes"])


def test_near_dead_latents_bring_the_level_of_chance_of_modularity():
    table = with_codes(noisy(), noisy().codes * np.array([1, 1, 1, 0.01, 1]))
    report = evaluate(table, ["mig", "modularity"], FEW)
    assert set(report["chance"]) == {"modularity", "explicitness"}
    assert "chance" not in evaluate(noisy(), ["modularity"], FEW)


def test_unknown_metric_and_senseless_protocols_are_refused():
    with pytest.raises(UnknownNameError) as caught:
        evaluate(noisy(), ["migg"], FEW)
    assert "mig" in caught.value.hint
    for bad in ({"train_points": 1}, {"eval_seeds": 0}, {"eval_seed": -1}, {"threads": 0}):
        with pytest.raises(UsageError):
            evaluate(noisy(), ["mig"], EvaluationProtocol(**bad))


def test_progress_counts_scores():
    told = []
    evaluate(noisy(), QUICK, FEW, on_progress=lambda *step: told.append(step))
    assert told == [
        ("Scoring", 0, 2, "mig"),
        ("Scoring", 1, 2, "irs"),
        ("Scoring", 2, 2, ""),
    ]


def test_a_run_is_scored_and_its_report_kept(tmp_path, monkeypatch):
    run = runs.open_run(make_run(tmp_path / "run"), device="cpu")
    monkeypatch.setattr(run, "dataset", lambda *_: make_dataset())
    report = engine.evaluate_run(run, QUICK, FEW)
    assert report["run"]["checkpoint"] == run.digest
    assert report["run"]["step"] == 7
    assert report["run"]["data_source"] == "random"
    assert report["versions"]["torch"]
    assert json.loads((run.path / "eval.json").read_text(encoding="utf-8")) == report


def test_scores_of_other_metrics_stay_in_the_report(tmp_path, monkeypatch):
    run = runs.open_run(make_run(tmp_path / "run"), device="cpu")
    monkeypatch.setattr(run, "dataset", lambda *_: make_dataset())
    first = engine.evaluate_run(run, ["mig"], FEW)
    second = engine.evaluate_run(run, ["irs"], replace(FEW, threads=2))
    assert second["scores"].keys() == {"irs"}  # what is printed is what was asked for
    kept = json.loads((run.path / "eval.json").read_text(encoding="utf-8"))
    assert kept["scores"] == {**first["scores"], **second["scores"]}
    assert kept["details"].keys() == {"mig", "irs"}
    assert len(kept["notes"]) == len(set(kept["notes"]))
    assert set(kept["notes"]) == {*first["notes"], *second["notes"]}

    third = engine.evaluate_run(run, ["irs"], replace(FEW, eval_seed=1))
    assert json.loads((run.path / "eval.json").read_text(encoding="utf-8")) == third


def test_scores_of_other_labels_are_replaced(tmp_path, monkeypatch):
    run = runs.open_run(make_run(tmp_path / "run"), device="cpu")
    dataset = make_dataset()
    monkeypatch.setattr(run, "dataset", lambda *_: dataset)
    assert "factors_sha256" not in engine.evaluate_run(run, ["mig"], FEW)["run"]  # a grid in order
    dataset.factors = dataset.factors[::-1]  # a user's table of labels, mended
    mended = engine.evaluate_run(run, ["sap"], FEW)
    kept = json.loads((run.path / "eval.json").read_text(encoding="utf-8"))
    assert kept == mended
    assert kept["scores"].keys() == {"sap"}
    engine.evaluate_run(run, ["mig"], FEW)
    kept = json.loads((run.path / "eval.json").read_text(encoding="utf-8"))
    assert kept["scores"].keys() == {"sap", "mig"}  # of the same labels


def test_labels_of_more_combinations_than_can_be_numbered_are_known_by_their_digest(
    tmp_path, monkeypatch
):
    run = runs.open_run(make_run(tmp_path / "run"), device="cpu")
    dataset = make_dataset()
    dataset.factors = np.repeat(np.arange(len(dataset))[:, None], 8, axis=1)
    dataset.factor_names, dataset.factor_sizes = tuple("abcdefgh"), (len(dataset),) * 8
    monkeypatch.setattr(run, "dataset", lambda *_: dataset)
    assert len(engine.evaluate_run(run, ["modularity"], FEW)["run"]["factors_sha256"]) == 64


def test_what_is_to_be_known_of_the_dataset_is_said_and_kept(tmp_path, monkeypatch):
    run = runs.open_run(make_run(tmp_path / "run"), device="cpu")
    dataset = make_dataset()
    dataset.notes = ("1 of 24 images cannot be read",)
    monkeypatch.setattr(run, "dataset", lambda *_: dataset)
    report = engine.evaluate_run(run, ["mig"], FEW)
    assert report["notes"][0] == "1 of 24 images cannot be read"
    kept = json.loads((run.path / "eval.json").read_text(encoding="utf-8"))
    assert kept["run"]["data_notes"] == ["1 of 24 images cannot be read"]


def test_scores_that_cannot_be_kept_are_not_lost(tmp_path, monkeypatch):
    run = runs.open_run(make_run(tmp_path / "run"), device="cpu")
    monkeypatch.setattr(run, "dataset", lambda *_: make_dataset())
    (run.path / "eval.json").mkdir()  # nothing can be written in its place
    report = engine.evaluate_run(run, QUICK, FEW)
    assert report["scores"]["mig"] is not None
    assert any("not kept in the run folder: cannot write" in note for note in report["notes"])


def npz(**arrays) -> io.BytesIO:
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    return file


def test_codes_are_read_from_npz():
    table = noisy()
    file = npz(codes=table.codes, factors=table.factors, factor_names=["a", "b", "c"])
    read = engine.read_code_table(file, "z.npz")
    assert (read.codes == table.codes).all()
    assert read.factor_sizes == SIZES
    assert read.factor_names == ("a", "b", "c")


def test_a_pickle_is_not_opened():
    file = npz(codes=np.array([object()] * 4), factors=grid())
    with pytest.raises(DataError, match=r"z\.npz is not .*: expected real numbers"):
        engine.read_code_table(file, "z.npz")


@pytest.mark.parametrize(
    "content", [b"", b"<html>404</html>", b"PK\x03\x04 cut short", npz(z=np.ones(3)).getvalue()]
)
def test_what_is_no_file_of_codes_is_refused(content):
    with pytest.raises(DataError, match=r"z\.npz is not what it should be") as caught:
        engine.read_code_table(io.BytesIO(content), "z.npz")
    assert "numpy.savez" in caught.value.hint


def test_a_damaged_member_is_refused():
    content = bytearray(npz(codes=noisy().codes, factors=grid()).getvalue())
    content[len(content) // 3] ^= 255
    with pytest.raises(DataError):
        engine.read_code_table(io.BytesIO(bytes(content)), "z.npz")


def test_codes_and_factors_may_be_transposed():
    table = noisy()
    file = npz(codes=np.asfortranarray(table.codes), factors=np.asfortranarray(table.factors))
    assert (engine.read_code_table(file, "z.npz").codes == table.codes).all()


@pytest.mark.parametrize("sizes", [[4.0, 3.0, np.nan], [4, 3, 5.5], [b"4", b"3", b"5"], 4])
def test_sizes_that_are_no_whole_numbers_are_refused(sizes):
    file = npz(codes=noisy().codes, factors=grid(), factor_sizes=sizes)
    with pytest.raises(DataError, match=r"whole numbers|real numbers"):
        engine.read_code_table(file, "z.npz")


def test_a_bomb_is_not_unpacked(monkeypatch):
    monkeypatch.setattr(engine, "LARGEST_ARRAY", 10_000)
    file = io.BytesIO()
    np.savez_compressed(file, codes=np.zeros((1000, 10), np.float32), factors=np.zeros((1000, 2)))
    assert len(file.getvalue()) < 10_000
    with pytest.raises(DataError, match=r"codes: expected real numbers in 10,000 bytes at most"):
        engine.read_code_table(io.BytesIO(file.getvalue()), "z.npz")


def test_versions_name_every_blas_whatever_their_order(monkeypatch):
    def library(version):
        return {"user_api": "blas", "internal_api": "openblas", "version": version}

    both = [library("0.3.31"), {"user_api": "openmp"}, library("0.3.30")]
    for order in (both, both[::-1]):
        monkeypatch.setattr("didcli.engine.evaluate.threadpool_info", lambda found=order: found)
        report = evaluate(noisy(), ["mig"], FEW)
        assert report["versions"]["blas"] == "openblas 0.3.30, openblas 0.3.31"
