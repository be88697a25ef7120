"""Independent formulas: the standard library's statistics, and resampling by enumeration."""

import csv
import io
import itertools
import json
import statistics

import numpy as np
import pytest

from didcli.engine import comparison_table as tables
from didcli.engine.comparison_table import Scored, bootstrap_interval, compare

OURS = {0: 0.41, 1: 0.37, 2: 0.48, 3: 0.40}
THEIRS = {3: 0.30, 1: 0.35, 2: 0.25, 7: 0.98}


def runs_of(label: str, values: dict[int, float | None], score: str = "mig") -> list[Scored]:
    return [Scored(label, seed, f"{label}-s{seed}", {score: v}) for seed, v in values.items()]


@pytest.fixture
def comparison():
    return compare(["ours", "theirs"], runs_of("theirs", THEIRS) + runs_of("ours", OURS), ["mig"])


def test_runs_that_are_missing_are_said():
    """A method whose bad seeds diverge would look better than it is."""
    found = compare(["a", "b"], runs_of("a", {0: 0.5, 2: 0.7}), ["mig"], {"a": 3, "b": 1})
    assert [note.split(" failed")[0] for note in found.notes] == [
        "1 of the 3 runs of a",
        "1 of the 1 runs of b",
    ]
    assert compare(["a"], runs_of("a", {0: 0.5}), ["mig"], {"a": 1}).notes == ()


def test_mean_sd_and_best_are_those_of_the_standard_library(comparison):
    ours, theirs = comparison.rows
    for row, values in ((ours, OURS.values()), (theirs, THEIRS.values())):
        assert row.n == 4
        assert row.mean == pytest.approx(statistics.mean(values))
        assert row.sd == pytest.approx(statistics.stdev(values))  # n - 1
        assert row.best == max(values)


def test_differences_are_paired_by_seed(comparison):
    ours, theirs = comparison.rows
    assert ours.difference is None
    paired = [0.35 - 0.37, 0.25 - 0.48, 0.30 - 0.40]  # seeds 0 and 7 have no partner
    assert theirs.difference.pairs == 3
    assert theirs.difference.mean == pytest.approx(statistics.mean(paired))
    assert (theirs.difference.low, theirs.difference.high) == bootstrap_interval(np.array(paired))


@pytest.mark.parametrize("n", [4, 5])
def test_the_interval_is_that_of_all_resamples(n):
    """All n^n resamples, each equally likely, have the quantiles that 10,000 of them estimate."""
    differences = np.random.default_rng(n).normal(0.1, 0.05, n)
    means = sorted(map(statistics.mean, itertools.product(differences.tolist(), repeat=n)))
    low, high = bootstrap_interval(differences)
    assert low == pytest.approx(means[int(0.025 * len(means))], abs=0.004)
    assert high == pytest.approx(means[int(0.975 * len(means))], abs=0.004)


def test_the_interval_equals_a_loop_over_the_same_resamples():
    differences = [0.3, -0.1, 0.2, 0.05]
    rng = np.random.default_rng(5)
    rows = rng.integers(4, size=(1000, 4)).tolist()
    means = sorted(sum(differences[i] for i in row) / 4 for row in rows)

    def quantile(q: float) -> float:
        whole, part = divmod(q * (len(means) - 1), 1)
        return means[int(whole)] + part * (means[int(whole) + 1] - means[int(whole)])

    low, high = bootstrap_interval(np.array(differences), resamples=1000, seed=5)
    assert low == pytest.approx(quantile(0.025))
    assert high == pytest.approx(quantile(0.975))


def test_the_interval_is_the_same_at_every_call_and_moves_with_the_data():
    differences = np.array([0.1, 0.3, 0.2, 0.6])
    low, high = bootstrap_interval(differences)
    assert bootstrap_interval(differences) == (low, high)
    assert bootstrap_interval(differences + 1.0) == pytest.approx((low + 1.0, high + 1.0))
    assert bootstrap_interval(np.full(4, 0.25)) == pytest.approx((0.25, 0.25))


def test_the_interval_covers_a_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [bootstrap_interval(rng.normal(size=40), resamples=500) for _ in range(300)]
    assert np.mean([low <= 0 <= high for low, high in intervals]) == pytest.approx(0.94, abs=0.03)


def test_three_pairs_have_an_interval_and_a_warning_two_have_none():
    few = compare(
        ["a", "b"], runs_of("a", {0: 0.1, 1: 0.2}) + runs_of("b", {0: 0.3, 1: 0.3}), ["mig"]
    )
    assert few.rows[1].difference.mean == pytest.approx(0.15)
    assert (few.rows[1].difference.low, few.rows[1].difference.high) == (None, None)
    assert few.notes == ("there is no interval for fewer than 3 pairs of runs",)
    assert "+0.150" in tables.to_text(few)
    assert "[+" not in tables.to_text(few)

    three = {0: 0.1, 1: 0.2, 2: 0.3}
    more = compare(["a", "b"], runs_of("a", three) + runs_of("b", three), ["mig"])
    assert more.notes[0].startswith("an interval from few pairs (here 3) is too narrow")
    many = dict.fromkeys(range(10), 0.5)
    assert compare(["a", "b"], runs_of("a", many) + runs_of("b", many), ["mig"]).notes == ()


def test_a_score_that_is_not_defined_is_left_out_and_said():
    found = compare(["a"], runs_of("a", {0: 0.5, 1: None, 2: 0.7}), ["mig"])
    assert (found.rows[0].n, found.rows[0].mean) == (2, pytest.approx(0.6))
    assert found.notes == (
        "mig is not defined for 1 of the 3 runs of a; its mean is over the others",
    )


def test_a_difference_of_fewer_pairs_than_its_row_says_so():
    runs = [
        Scored(label, seed, "x", {"mig": 0.1 * seed, "sap": None if seed > cut else 0.2})
        for label, cut in (("a", 9), ("b", 1))
        for seed in range(4)
    ]
    text = tables.to_text(compare(["a", "b"], runs, ["mig", "sap"]))
    assert text.splitlines()[-1].split()[:2] == ["b", "4"]
    assert text.endswith("+0.000 (n = 2)")
    assert text.count("(n = ") == 1


def test_methods_of_which_no_run_or_one_run_succeeded():
    found = compare(["a", "b", "c"], runs_of("b", {0: 0.5}), ["mig"])
    none, one, _ = found.rows
    assert (none.n, none.mean, none.sd, none.best) == (0, None, None, None)
    assert (one.n, one.mean, one.sd, one.difference) == (1, 0.5, None, None)
    lines = tables.to_text(found).splitlines()
    assert [line.split() for line in lines[2:5]] == [
        ["a", "0", "-"],
        ["b", "1", "0.500", "(0.500)"],
        ["c", "0", "-"],
    ]


@pytest.mark.parametrize(
    ("values", "median"),
    [({0: 0.3, 1: 0.1, 2: 0.2}, 2), ({0: 0.3, 1: 0.1, 2: 0.2, 3: 0.9}, 2), ({4: 0.5}, 4)],
)
def test_the_median_run_is_in_the_middle_the_lower_of_two(values, median):
    runs = [*runs_of("a", {**values, 8: None}), *runs_of("b", {9: 0.25})]
    assert tables.median_run(runs, "a", "mig").seed == median
    assert tables.median_run(runs, "c", "mig") is None


def test_the_table_for_people_fits_a_hundred_columns():
    scores = ["mig", "dci_disentanglement", "dci_completeness", "sap", "factor_vae", "infom"]
    labels = ["DiD", "beta_vae beta=16 lr=0.001"]
    runs = [
        Scored(label, seed, "x", {score: 0.1 * seed + 0.01 * len(score) for score in scores})
        for label in labels
        for seed in range(3)
    ]
    text = tables.to_text(compare(labels, runs, scores))
    assert max(map(len, text.splitlines())) <= 100
    assert all(text.count(score) == 2 for score in scores)
    assert "0.130 ± 0.100 (0.230)" in text
    assert "+0.000 [+0.000, +0.000]" in text


def test_markdown_has_both_tables_and_escapes_labels(comparison):
    text = tables.to_markdown(comparison)
    lines = text.splitlines()
    assert lines[:4] == [
        "| method | n | mig |",
        "| --- | ---: | ---: |",
        "| ours | 4 | 0.415 ± 0.047 (0.480) |",
        "| theirs | 4 | 0.470 ± 0.342 (0.980) |",
    ]
    assert "Mean difference to ours [95% interval], n pairs of equal seed." in lines
    assert "| theirs | 3 | -0.117 [-0.230, -0.020] |" in lines
    assert lines[-1].startswith("- an interval from few pairs")
    assert "a\\|b" in tables.to_markdown(compare(["a|b"], runs_of("a|b", OURS), ["mig"]))


def test_csv_has_a_line_for_each_method_and_score(comparison):
    ours, theirs = csv.DictReader(io.StringIO(tables.to_csv(comparison)))
    assert (ours["method"], ours["score"], ours["n"]) == ("ours", "mig", "4")
    assert float(ours["sd"]) == pytest.approx(statistics.stdev(OURS.values()))
    assert ours["difference"] == ours["low"] == ours["pairs"] == ""
    assert theirs["pairs"] == "3"


def test_what_goes_into_json_has_no_nan():
    found = compare(["a", "b"], runs_of("b", {0: None}), ["mig"])
    plain = tables.to_plain(found)
    json.dumps(plain, allow_nan=False)
    assert plain["first"] == "a"
    assert plain["runs"] == [{"label": "b", "seed": 0, "path": "b-s0", "scores": {"mig": None}}]
    assert plain["summary"][1]["n"] == 0
