import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from random_run import make_dataset, make_run
from sklearn.linear_model import Lasso

from didcli.engine import runs, select
from didcli.errors import UsageError

RNG = np.random.default_rng(0)
SOURCES = RNG.normal(size=(500, 3))

HADAMARD = [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]


def model(mixing: np.ndarray, dead: int = 1) -> np.ndarray:
    """Latents that mix three sources, and near-dead ones."""
    noise = 1e-3 * RNG.normal(size=(500, dead))
    return np.hstack([SOURCES @ mixing, noise]).astype(np.float32)


def test_relative_strength_equals_the_formula_in_a_loop():
    weights = np.random.default_rng(1).random((4, 3))
    by_column = [max(c) ** 2 / sum(c) for c in weights.T.tolist()]
    by_row = [max(r) ** 2 / sum(r) for r in weights.tolist()]
    expected = (sum(by_column) / 3 + sum(by_row) / 4) / 2
    assert select.relative_strength(weights) == pytest.approx(expected, abs=1e-12)


def test_relative_strength_of_a_permutation_is_one_and_of_nothing_zero():
    assert select.relative_strength(np.eye(4)[[2, 0, 3, 1]]) == 1.0
    assert select.relative_strength(np.zeros((2, 3))) == 0.0
    assert select.relative_strength(np.zeros((0, 0))) == 0.0


def test_udr_prefers_models_that_agree_up_to_order_sign_and_scale():
    rotation, _ = np.linalg.qr(RNG.normal(size=(3, 3)))
    plain, turned = model(np.eye(3)), model(rotation)
    permuted = model(np.array([[0, -2, 0], [0, 0, 1], [3, 0, 0]]), dead=3)
    agreement = select.udr([plain, permuted, turned, model(np.diag([1, -1, 2]))])
    assert agreement.scores.argmin() == 2
    assert agreement.scores[[0, 1, 3]].min() > 0.75  # Lasso takes a tenth off every weight
    assert (np.diag(agreement.pairwise) == 0).all()


def test_udr_does_not_care_where_a_circle_begins_nor_which_way_it_turns():
    rng = np.random.default_rng(0)
    truth = rng.uniform(-1, 1, size=(2000, 4))  # the first two are angles

    def seen(turns, signs):
        codes = truth.copy()
        codes[:, :2] = (signs * truth[:, :2] + turns + 1) % 2 - 1
        return codes.astype(np.float32)

    models = [seen((0, 0), (1, 1)), seen((0.5, 1.3), (1, -1)), seen((0.25, 0.8), (-1, 1))]
    around = [(0, 1)] * 3
    agreement = select.udr(models, around)
    # Lasso takes alpha = .1 off each weight, off two of them where a turn shares one out.
    assert agreement.scores == pytest.approx([0.88] * 3, abs=0.03)
    mixed = select.udr([*models[:2], (truth @ np.array(HADAMARD) / 2).astype(np.float32)], around)
    assert mixed.scores[2] < 0.5
    assert (select.udr(models).scores < 0.7).all()  # as numbers, they would not know each other


def test_an_arc_is_not_stretched_to_a_circle():
    rng = np.random.default_rng(1)
    arc = np.column_stack([rng.uniform(-0.1, 0.1, 500), rng.uniform(-1, 1, 500)]).astype(np.float32)
    scores = select.udr([arc, arc], [(0,), (0,)]).scores
    # Lasso takes alpha / variance off a weight: the arc's is 2 along it, and next to 0 across it.
    assert scores == pytest.approx([((1 - 0.1 / 2) + (1 - 0.1)) / 2] * 2, abs=0.01)


def test_centrality_is_the_mean_mutual_score():
    pairwise = np.array([[1, 0.8, 0.2], [0.6, 1, 0.4], [0.3, 0.1, 0.9]])
    mutual = {(0, 1): 0.7, (0, 2): 0.25, (1, 2): 0.25}
    expected = [
        (mutual[0, 1] + mutual[0, 2]) / 2,
        (mutual[0, 1] + mutual[1, 2]) / 2,
        (mutual[0, 2] + mutual[1, 2]) / 2,
    ]
    assert select.centrality(pairwise).scores == pytest.approx(expected)


def test_a_group_has_one_active_latent_fixed():
    codes, fixed = select.fixed_latent_codes(model(np.eye(3)), np.random.default_rng(0))
    assert codes.shape == (select.GROUPS, select.GROUP_SIZE, 4)
    constant = (codes == codes[:, :1]).all(axis=1)
    assert (constant.argmax(axis=1) == fixed).all()
    assert constant.sum() == select.GROUPS
    assert set(fixed.tolist()) == {0, 1, 2}


def test_a_model_that_recovers_what_was_fixed_scores_one():
    codes, fixed = select.fixed_latent_codes(model(np.eye(3)), np.random.default_rng(0))
    assert select.factor_vae_of_groups(codes[:, :, [2, 0, 1]], fixed) == 1.0
    noise = np.random.default_rng(1).normal(size=codes.shape).astype(np.float32)
    assert select.factor_vae_of_groups(noise, fixed) < 0.5
    assert select.factor_vae_of_groups(np.zeros_like(codes), fixed) == 0.0


@pytest.fixture
def three_runs(tmp_path, monkeypatch):
    """Two of one seed, which agree best, and another between them."""
    monkeypatch.setattr(select, "GROUPS", 96)
    monkeypatch.setattr(select, "GROUP_SIZE", 16)
    opened = [
        runs.open_run(make_run(tmp_path / name, seed=seed), "cpu")
        for name, seed in [("a", 0), ("b", 1), ("c", 0)]
    ]
    for run in opened:
        monkeypatch.setattr(run, "dataset", lambda *_: make_dataset())
    return opened


@pytest.mark.parametrize("criterion", ["udr", "centrality"])
def test_runs_are_ranked(three_runs, criterion):
    told = []
    report = select.select(three_runs, criterion, on_progress=lambda *step: told.append(step))
    assert report["criterion"] == criterion
    assert report["best"] == report["runs"][0]["path"]
    assert [Path(run["path"]).name for run in report["runs"]][2] == "b"
    assert [run["training_seed"] for run in report["runs"]] == [0, 0, 1]
    scores = [run["score"] for run in report["runs"]]
    assert scores[1] > scores[2]
    assert scores == sorted(scores, reverse=True)
    assert np.shape(report["pairwise"]) == (3, 3)
    assert report["notes"] == []
    assert told[-1][1] == told[-1][2]


def test_runs_say_which_of_their_codes_are_angles(three_runs):
    as_numbers = select.select(three_runs, "udr")["pairwise"]
    for run in three_runs:
        run.angles = (0,)
    assert select.select(three_runs, "udr")["pairwise"] != as_numbers


def test_a_dataset_that_has_to_be_made_first_shows_how_far_it_is(three_runs, monkeypatch):
    def make(_data_dir, on_progress):
        on_progress(600, 600)
        return make_dataset()

    monkeypatch.setattr(three_runs[0], "dataset", make)
    told = []
    select.select(three_runs, "udr", on_progress=lambda *step: told.append(step))
    assert told[0] == ("Preparing the dataset, once", 600, 600, "")


def test_what_is_to_be_known_of_the_dataset_is_said(three_runs, monkeypatch):
    dataset = make_dataset()
    dataset.notes = ("1 of 24 images cannot be read",)
    for run in three_runs:
        monkeypatch.setattr(run, "dataset", lambda *_: dataset)
    assert select.select(three_runs, "udr")["notes"] == ["1 of 24 images cannot be read"]


@pytest.mark.parametrize("criterion", ["udr", "centrality"])
def test_a_collapsed_run_scores_nothing_with_a_note(three_runs, criterion):
    collapsed = three_runs[0].method
    for weights in collapsed.e_ema.parameters():
        weights.data.zero_()
    report = select.select(three_runs, criterion)
    scores = {Path(run["path"]).name: run["score"] for run in report["runs"]}
    assert scores["a"] == min(scores.values()) == 0
    assert report["notes"] == [
        f"{three_runs[0].path} has collapsed: all its latents are constant; it agrees with nothing"
    ]


def test_a_run_named_twice_is_refused(three_runs):
    with pytest.raises(UsageError, match="named twice"):
        select.select([*three_runs, three_runs[0]], "udr")


def test_runs_that_differ_in_more_than_their_seed_are_said(three_runs):
    config = three_runs[0].config
    faster = dataclasses.replace(config, train=dataclasses.replace(config.train, threads=3))
    three_runs[0].config = faster
    assert select.select(three_runs, "udr")["notes"] == []
    three_runs[0].config = dataclasses.replace(
        config, train=dataclasses.replace(config.train, batch_size=8)
    )
    assert "more than their seed" in select.select(three_runs, "udr")["notes"][0]


def test_one_run_a_negative_seed_and_runs_on_other_data_are_refused(three_runs, monkeypatch):
    with pytest.raises(UsageError, match="one run alone"):
        select.select(three_runs[:1], "udr")
    with pytest.raises(UsageError, match="seed must be 0 or more, got -1"):
        select.select(three_runs, "udr", seed=-1)
    other = make_dataset()
    other.source = "elsewhere"
    monkeypatch.setattr(three_runs[1], "dataset", lambda *_: other)
    monkeypatch.setattr(select, "encode_sample", lambda *_: pytest.fail("encoded first"))
    with pytest.raises(UsageError, match="different data: dsprites elsewhere, dsprites random"):
        select.select(three_runs, "udr")


def test_groups_fix_an_active_latent_wherever_the_dead_ones_are():
    codes = np.random.default_rng(0).normal(size=(500, 3)) * [1e-3, 1, 1]
    groups, fixed = select.fixed_latent_codes(codes.astype(np.float32), np.random.default_rng(0))
    constant = (groups == groups[:, :1]).all(axis=1)
    assert (constant.argmax(axis=1) == 1 + fixed).all()
    assert not constant[:, 0].any()


def test_udr_scores_a_model_by_how_well_the_others_predict_it():
    generator = np.random.default_rng(0)
    sources = generator.normal(size=(500, 3))
    codes = [sources @ generator.normal(size=(3, latents)) for latents in (2, 3, 4)]
    codes = [(each - each.mean(axis=0)) / each.std(axis=0) for each in codes]
    expected = []
    for own in range(3):
        agreement = []
        for other in {0, 1, 2} - {own}:
            lasso = abs(Lasso(alpha=0.1).fit(codes[other], codes[own]).coef_)
            sides = [
                np.mean([max(row) ** 2 / sum(row) if sum(row) else 0 for row in side.tolist()])
                for side in (lasso, lasso.T)
            ]
            agreement.append(np.mean(sides))
        expected.append(np.median(agreement))
    found = select.udr([each.astype(np.float32) for each in codes]).scores
    assert found == pytest.approx(expected, abs=1e-4)


def test_cross_scores_have_encoders_as_rows():
    good, blind = (
        SimpleNamespace(path=Path(name), decode=lambda codes: codes, encode=encode)
        for name, encode in (("good", lambda images: images), ("blind", lambda images: 0 * images))
    )
    codes = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    scores = select._cross_scores(
        [good, blind], [codes, codes], np.random.default_rng(0), lambda *_: None
    )
    assert scores.tolist() == [[1, 1], [0, 0]]
