"""Comparisons on a dataset of 600 images, whose jobs run in this process: `in_process`."""

import dataclasses
import json
import re
import shutil
import statistics

import pytest
import typer
from conftest import TINY
from PIL import Image
from random_run import make_dataset

from didcli import cli
from didcli.engine import checkpoint as checkpoints
from didcli.engine import (
    compare,
    comparison_jobs,
    comparison_plan,
    comparison_report,
    comparison_runs,
    comparison_table,
    train,
)
from didcli.engine.comparison_jobs import State
from didcli.engine.comparison_spec import EvalOptions, Evaluation, read_spec
from didcli.engine.executors import TaskWatcher
from didcli.errors import DidError, RunConflictError, RunError, UsageError

SPEC = f"""
train: {{steps: 4}}
seeds: [0, 1, 2]
metrics: [mig]
eval: {{train_points: 100, test_points: 50}}
entries:
  - label: DiD
    method: did
    set: {{{", ".join(text.replace("=", ": ") for text in TINY)}}}
  - label: plain VAE
    method: vae
    train: {{batch_size: 4, picture_every: 0, log_every: 1, device: cpu, threads: 1}}
"""


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    monkeypatch.setattr("didcli.data.dsprites.load", lambda **_: make_dataset())


@pytest.fixture
def jobs_of(tmp_path):
    def jobs_of(text: str) -> list[comparison_jobs.Job]:
        (tmp_path / "spec.yaml").write_text(text)
        return comparison_jobs.spec_jobs(read_spec(tmp_path / "spec.yaml"), tmp_path / "out")

    return jobs_of


class InProcess:
    """Runs the commands of tasks one by one, and notes them: `did` without its process."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []

    def __call__(self, tasks, watcher) -> None:
        for task in tasks:
            if watcher.should_stop():
                return
            watcher.on_end(task, self.problem_of(task))

    def problem_of(self, task) -> str | None:
        command = typer.main.get_command(cli.app)
        for arguments in task.commands:
            self.done.append((arguments[0], task.name))
            try:
                command(list(arguments), standalone_mode=False)
            except DidError as error:
                return str(error)
        return None


def complete(jobs, watcher=None) -> tuple[InProcess, list[compare.Failure]]:
    execute = InProcess()
    return execute, compare.run(comparison_jobs.examine(jobs), execute, watcher or TaskWatcher())


def states(jobs) -> list[State]:
    return [standing.state for standing in comparison_jobs.examine(jobs)]


def checkpoint_bytes(job) -> bytes:
    return (job.folder / checkpoints.FILE_NAME).read_bytes()


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory):
    """A folder with `out`, in which every job of SPEC is done."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "spec.yaml").write_text(SPEC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("didcli.data.dsprites.load", lambda **_: make_dataset())
        complete(comparison_jobs.spec_jobs(read_spec(folder / "spec.yaml"), folder / "out"))
    return folder


@pytest.fixture
def finished(finished_once, jobs_of, tmp_path):
    """The jobs of SPEC, all done; a copy to write into."""
    shutil.copytree(finished_once / "out", tmp_path / "out")
    return jobs_of(SPEC)


def test_jobs_take_seeds_in_turn_and_have_folders_by_label_and_seed(jobs_of, tmp_path):
    jobs = jobs_of(SPEC)
    assert [job.name for job in jobs[:3]] == ["DiD, seed 0", "plain VAE, seed 0", "DiD, seed 1"]
    assert jobs[1].folder == tmp_path / "out" / "runs" / "plain-VAE-s0"
    assert [job.config.train.seed for job in jobs] == [0, 0, 1, 1, 2, 2]


def test_a_comparison_trains_and_scores_each_run_and_does_nothing_twice(jobs_of):
    jobs = jobs_of(SPEC)
    assert states(jobs) == [State.to_do] * 6
    execute, failures = complete(jobs)
    assert failures == []
    assert execute.done[:2] == [("train", "DiD, seed 0"), ("eval", "DiD, seed 0")]
    assert len(execute.done) == 12
    assert states(jobs) == [State.done] * 6

    before = [checkpoint_bytes(job) for job in jobs]
    again, _ = complete(jobs)
    assert again.done == []
    assert [checkpoint_bytes(job) for job in jobs] == before


def test_a_run_is_the_one_that_did_train_makes(finished, tmp_path):
    alone = train.run(finished[2].config, tmp_path / "alone")
    assert (alone.path / checkpoints.FILE_NAME).read_bytes() == checkpoint_bytes(finished[2])


def test_a_partial_run_goes_on_to_the_same_bytes(jobs_of, finished, tmp_path):
    partial = dataclasses.replace(finished[0], folder=tmp_path / "partial")
    steps = iter(range(1, 9))
    train.run(
        partial.config,
        partial.folder,
        watcher=train.TrainWatcher(should_stop=lambda: next(steps) == 2),
    )
    assert states([partial]) == [State.partial]
    execute, _ = complete([partial])
    assert [command for command, _ in execute.done] == ["train", "eval"]
    assert checkpoint_bytes(partial) == checkpoint_bytes(finished[0])


def test_a_stopped_comparison_goes_on_where_it_was(jobs_of):
    jobs = jobs_of(SPEC)
    ended = []
    stop_after_two = TaskWatcher(
        on_end=lambda task, _: ended.append(task.name), should_stop=lambda: len(ended) == 2
    )
    complete(jobs, stop_after_two)
    assert states(jobs) == [State.done] * 2 + [State.to_do] * 4
    execute, _ = complete(jobs)
    assert {name for _, name in execute.done} == {job.name for job in jobs[2:]}
    assert states(jobs) == [State.done] * 6


def test_scores_that_could_not_be_kept_are_a_failure(finished):
    report = finished[0].folder / "eval.json"
    report.unlink()
    report.mkdir()  # nothing can be written in its place
    _, failures = complete(finished)
    assert [each.job.name for each in failures] == [finished[0].name]
    assert "could not be kept" in failures[0].problem


def test_one_that_fails_is_reported_and_the_others_go_on(jobs_of):
    jobs = jobs_of(SPEC + "    set: {method.lr: 1e18}\n")
    _, failures = complete(jobs)
    assert [failure.job.name for failure in failures] == [
        f"plain VAE, seed {seed}" for seed in range(3)
    ]
    assert "diverged" in failures[0].problem
    assert failures[0].log == failures[0].job.folder / "job.log"
    assert [state for state in states(jobs) if state is State.done] == [State.done] * 3
    comparison = compare.collect(comparison_jobs.examine(jobs))
    assert [(row.label, row.n) for row in comparison.rows] == [("DiD", 3), ("plain VAE", 0)]
    assert "3 of the 3 runs of plain VAE failed" in comparison.notes[0]
    assert comparison_report.document(comparison, jobs, failures)["failed"][0]["seed"] == 0


def test_scores_are_made_again_for_another_checkpoint_protocol_or_metric(jobs_of, finished):
    first, report = finished[0], finished[0].folder / "eval.json"
    more_points = dataclasses.replace(
        first, evaluation=Evaluation(("mig",), EvalOptions(train_points=101, test_points=50))
    )
    two_metrics = dataclasses.replace(
        first, evaluation=Evaluation(("mig", "irs"), first.evaluation.options)
    )
    assert states([first, more_points, two_metrics]) == [State.done, State.trained, State.trained]
    execute, _ = complete([two_metrics])
    assert execute.done == [("eval", "DiD, seed 0")]
    assert states([first, two_metrics]) == [State.done, State.done]  # a metric more does no harm
    of_another = json.loads(report.read_text())
    of_another["run"]["checkpoint"] = "0" * 64
    report.write_text(json.dumps(of_another))
    assert states([first]) == [State.trained]
    for damaged in ("", "[]", '{"scores": 3}'):
        report.write_text(damaged)
        assert states([first]) == [State.trained]


def test_threads_and_steps_may_change_and_what_makes_another_run_may_not(jobs_of, finished):
    for same, state in (("threads: 2", State.done), ("steps: 6", State.partial)):
        key = same.rstrip("0123456789")
        changed = jobs_of(re.sub(rf"{key}\d", same, SPEC))
        comparison_jobs.check_unchanged(changed)
        assert states(changed) == [state] * 6
    with pytest.raises(UsageError) as caught:
        comparison_jobs.check_unchanged(jobs_of(SPEC.replace("method.width: 4", "method.width: 8")))
    assert "DiD-s2: method.width: 4 -> 8" in str(caught.value)
    assert str(caught.value).count("method.width") == 3
    assert "plain" not in str(caught.value)
    with pytest.raises(UsageError, match=r"train\.steps: 4 are done -> 3"):
        comparison_jobs.check_unchanged(jobs_of(SPEC.replace("steps: 4", "steps: 3")))
    with pytest.raises(UsageError, match=r"train\.precision: 'auto' -> 'bf16'"):
        comparison_jobs.check_unchanged(
            jobs_of(SPEC.replace("{steps: 4}", "{steps: 4, precision: bf16}"))
        )


def test_what_has_no_checkpoint_yet_may_change(jobs_of):
    jobs = jobs_of(SPEC)
    complete(jobs, TaskWatcher(should_stop=lambda: True))
    assert (jobs[0].folder / "config.yaml").exists()
    others = jobs_of(SPEC.replace("method.width: 4", "method.width: 8"))
    comparison_jobs.check_unchanged(others)
    assert states(others) == [State.to_do] * 6


def test_a_run_that_is_done_needs_no_checkpoint(jobs_of, finished, tmp_path):
    """A comparison is kept in settings and scores, by which it goes on as before."""
    folders = [job.folder for job in finished]
    before = compare.collect(comparison_jobs.examine(finished))
    for folder in folders:
        (folder / checkpoints.FILE_NAME).unlink()
    assert states(finished) == [State.done] * 6
    assert complete(finished)[0].done == []
    assert compare.collect(comparison_jobs.examine(finished)) == before
    assert states(comparison_runs.existing_jobs(folders)) == [State.done] * 6
    missing = comparison_report.write_traversals(tmp_path / "out", before, "cpu")
    assert missing.startswith("traversals were not drawn of runs without a checkpoint: ")

    with pytest.raises(UsageError, match=r"method\.width: 4 -> 8"):
        comparison_jobs.check_unchanged(jobs_of(SPEC.replace("method.width: 4", "method.width: 8")))
    with pytest.raises(UsageError, match=r"train\.steps: 4 are done -> 3"):
        comparison_jobs.check_unchanged(jobs_of(SPEC.replace("steps: 4", "steps: 3")))
    # What has more to do, or to score, has nothing to go on from, and is not thrown away unasked.
    for more in (("steps: 4", "steps: 6"), ("[mig]", "[mig, sap]"), ("points: 50", "points: 60")):
        changed = jobs_of(SPEC.replace(*more))
        with pytest.raises(UsageError, match=r"its checkpoint is gone") as caught:
            comparison_jobs.check_unchanged(changed)
        assert "its eval.json is deleted" in caught.value.hint
        assert states(changed) == [State.to_do] * 6
    (folders[0] / "config.yaml").write_text("a: [")
    with pytest.raises(RunError, match=f"settings of {folders[0]} are lost"):
        comparison_runs.existing_jobs(folders)
    (folders[0] / "config.yaml").unlink()
    with pytest.raises(RunError, match=f"settings of {folders[0]} are lost"):
        comparison_jobs.check_unchanged(finished)  # whose scores are these?


def test_a_damaged_run_is_left_to_did_train_to_explain(finished):
    (finished[0].folder / checkpoints.FILE_NAME).write_bytes(b"\xff" * 99)
    assert states(finished[:1]) == [State.to_do]
    _, (failure,) = complete(finished)
    assert "is damaged" in failure.problem


def test_a_folder_that_cannot_be_made_is_a_failure_and_the_others_go_on(jobs_of):
    jobs = jobs_of(SPEC)
    jobs[1].folder.parent.mkdir(parents=True)
    jobs[1].folder.write_text("not a folder")
    execute, (failure,) = complete(jobs)
    assert failure.job is jobs[1]
    assert "cannot make the folder" in failure.problem
    assert len(execute.done) == 10
    assert states(jobs).count(State.done) == 5


def test_runs_on_other_images_are_not_compared(finished):
    report = finished[0].folder / "eval.json"
    report.write_text(report.read_text().replace('"data_source": "random"', '"data_source": "x"'))
    with pytest.raises(RunError, match="on different images"):
        compare.collect(comparison_jobs.examine(finished))


def test_what_is_to_be_known_of_the_dataset_is_said_once(finished):
    before = compare.collect(comparison_jobs.examine(finished)).notes
    for job in finished:
        report = json.loads((job.folder / "eval.json").read_text())
        assert report["run"]["data_notes"] == []
        report["run"]["data_notes"] = ["1 of 24 images cannot be read"]
        (job.folder / "eval.json").write_text(json.dumps(report))
    after = compare.collect(comparison_jobs.examine(finished)).notes
    assert after == ("1 of 24 images cannot be read", *before)


def test_tables_say_which_images_and_whether_versions_differ(finished):
    before = compare.collect(comparison_jobs.examine(finished))
    assert before.data_source == "random"
    assert "- images: random" in comparison_table.to_markdown(before).splitlines()
    assert comparison_table.to_plain(before)["data_source"] == "random"
    report = json.loads((finished[0].folder / "eval.json").read_text())
    report["versions"]["scikit-learn"] = "0.1"
    (finished[0].folder / "eval.json").write_text(json.dumps(report))
    after = compare.collect(comparison_jobs.examine(finished))
    new = "the runs were scored by different versions of scikit-learn"
    assert after.notes == (new, *before.notes)


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        ("discrete", "sap (discrete) is the accuracy of a linear SVM"),
        ("continuous", "sap (continuous) is squared correlation"),
    ],
)
def test_a_table_says_which_sap_it_has(finished, kind, note):
    jobs = []
    for job in finished:
        report = json.loads((job.folder / "eval.json").read_text())
        report["scores"]["sap"] = 0.5
        report["protocol"]["sap"] = kind
        (job.folder / "eval.json").write_text(json.dumps(report))
        options = job.evaluation.options.model_copy(update={"sap": kind})
        evaluation = dataclasses.replace(job.evaluation, metrics=("mig", "sap"), options=options)
        jobs.append(dataclasses.replace(job, evaluation=evaluation))
    assert note in compare.collect(comparison_jobs.examine(jobs)).notes


def test_the_folder_is_held_and_keeps_what_the_comparison_is_of(tmp_path):
    out = tmp_path / "out"
    with (
        compare.claimed(out, compare.SPEC_NAME, "seeds: 1"),
        pytest.raises(RunConflictError, match="in use"),
        compare.claimed(out, compare.SPEC_NAME, "seeds: 2"),
    ):
        pass
    assert (out / "spec.yaml").read_text() == "seeds: 1"
    with compare.claimed(out, compare.SPEC_NAME, "seeds: 3"):
        assert (out / "spec.yaml").read_text() == "seeds: 3"


def test_a_folder_of_other_files_or_of_another_kind_of_comparison_is_refused(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "results.json").touch()
    with compare.claimed(tmp_path / "out", compare.SPEC_NAME, "seeds: 1"):
        pass
    for folder in ("notes", "out"):
        with (
            pytest.raises(RunConflictError, match="holds other files"),
            compare.claimed(tmp_path / folder, compare.RUNS_NAME, "a\nb\n"),
        ):
            pass


def test_a_spec_yaml_of_ones_own_does_not_give_away_what_lies_beside_it(tmp_path):
    (tmp_path / "spec.yaml").write_text("seeds: 1")
    compare.check_place(tmp_path, compare.SPEC_NAME)  # nothing to lose
    (tmp_path / ".spec.yaml.77.tmp").touch()  # left by a killed process
    compare.check_place(tmp_path, compare.SPEC_NAME)
    (tmp_path / "results.json").write_text("my thesis")
    with pytest.raises(RunConflictError, match="holds other files"):
        compare.check_place(tmp_path, compare.SPEC_NAME)


def test_another_comparison_in_the_folder_is_not_replaced(finished, jobs_of, tmp_path):
    out = tmp_path / "out"
    (out / "spec.yaml").write_text(SPEC)
    compare.check_place(out, compare.SPEC_NAME, [job.folder for job in finished])
    others = jobs_of(SPEC.replace("label: DiD", "label: A").replace("plain VAE", "B"))
    with pytest.raises(RunConflictError, match=r"another comparison: DiD-s0, DiD-s1, DiD-s2, \.\."):
        compare.check_place(out, compare.SPEC_NAME, [job.folder for job in others])


def test_threads_and_device_are_placed(jobs_of):
    job = jobs_of(SPEC)[0]
    placed = comparison_jobs.place(job, threads=lambda own: own + 2, device="cuda:1")
    assert (placed.config.train.threads, placed.config.train.device) == (3, "cuda:1")
    assert comparison_jobs.place(job, threads=lambda own: own, device=None) == job


def test_progress_counts_the_steps_of_runs_under_way(jobs_of):
    jobs = jobs_of(SPEC)[:3]
    for job, step in zip(jobs, (1, 4, 0), strict=True):  # of 4; the third has no log yet
        job.folder.mkdir(parents=True)
        if step:
            (job.folder / "log.jsonl").write_text(f'{{"step": {step}}}\n')
    seen = []

    def execute(tasks, watcher):
        seen.append(compare.runs_worth(standings)(tasks[:3]))

    standings = comparison_jobs.examine(jobs)
    compare.run(standings, execute, TaskWatcher())
    assert seen == [pytest.approx(compare.TRAINING_SHARE * (1 / 4 + 1))]
    assert compare.runs_worth(standings)([]) == 0


def test_speed_comes_from_logs_and_before_there_are_any_from_a_few_steps(jobs_of, finished):
    timed = []
    # A log that is damaged in one place, as by a full disk, says what its other lines say.
    with (finished[0].folder / "log.jsonl").open("ab") as log:
        log.write(b'{"event": "\xff')
    logged = comparison_plan.seconds_per_step(
        comparison_jobs.examine(finished), on_timing=timed.append
    )
    assert timed == []
    lines = [
        json.loads(line)
        for job in finished
        if job.label == "plain VAE"
        for line in (job.folder / "log.jsonl").read_text().splitlines()
    ]
    measured = [4 / line["images_per_second"] for line in lines if line["event"] == "log"]
    assert logged["plain VAE"] == pytest.approx(statistics.median(measured), rel=1e-6)

    more = jobs_of(SPEC + "  - {label: new, method: vae, train: {batch_size: 4, threads: 1}}\n")
    speeds = comparison_plan.seconds_per_step(comparison_jobs.examine(more), on_timing=timed.append)
    assert timed == ["new"]
    assert 0 < speeds["new"] < 5
    left = comparison_plan.seconds_left(comparison_jobs.examine(more), speeds)
    assert left == pytest.approx(3 * 4 * speeds["new"])
    assert (
        comparison_plan.seconds_left(comparison_jobs.examine(more), speeds | {"new": None}) is None
    )


def test_the_speed_of_what_cannot_start_is_not_known(jobs_of):
    failed = []
    speeds = comparison_plan.seconds_per_step(
        comparison_jobs.examine(jobs_of(SPEC.replace("log_every: 1, device: cpu", "device: mps"))),
        on_failure=lambda label, error: failed.append((label, str(error))),
    )
    ((label, problem),) = failed
    assert label == "plain VAE"
    assert "mps" in problem
    assert speeds["plain VAE"] is None
    assert speeds["DiD"] > 0


def test_tables_pictures_and_traversals_are_written(finished, tmp_path):
    comparison = compare.collect(comparison_jobs.examine(finished))
    assert comparison.labels == ("DiD", "plain VAE")
    expected = json.loads((finished[0].folder / "eval.json").read_text())["scores"]
    assert comparison.runs[0].scores == expected
    results = comparison_report.document(comparison, finished, [])
    out = tmp_path / "out"
    comparison_report.write_tables(out, comparison, results)
    assert comparison_report.write_traversals(out, comparison, "cpu") is None
    assert json.loads((out / "results.json").read_text()) == json.loads(json.dumps(results))
    assert results["protocol"]["train_points"] == 100
    assert results["settings"]["DiD"]["method"]["width"] == 4
    assert "seed" not in results["settings"]["DiD"]["train"]
    assert results["median_runs"]["DiD"] in {str(job.folder) for job in finished}
    assert "| DiD | 3 | " in (out / "table.md").read_text()
    assert (out / "table.csv").read_text().startswith("method,score,n,mean")
    for picture in ("scores.png", "traversals/DiD.png", "traversals/plain-VAE.png"):
        with Image.open(out / picture) as image:
            assert image.width > 300


def test_the_traversals_of_a_method_are_those_of_its_median_run(finished, tmp_path, monkeypatch):
    for job in finished:
        report = json.loads((job.folder / "eval.json").read_text())
        report["scores"]["mig"] = {0: 0.1, 1: 0.3, 2: 0.2}[job.config.train.seed]
        (job.folder / "eval.json").write_text(json.dumps(report))
    comparison = compare.collect(comparison_jobs.examine(finished))
    monkeypatch.setattr(comparison_report, "_traversal", lambda run, _: run.path.name.encode())
    (tmp_path / "traversals").mkdir()
    (tmp_path / "traversals" / "of-a-method-that-was-renamed.png").touch()
    assert comparison_report.write_traversals(tmp_path, comparison, "cpu") is None
    drawn = {path.stem: path.read_text() for path in (tmp_path / "traversals").iterdir()}
    assert drawn == {"DiD": "DiD-s2", "plain-VAE": "plain-VAE-s2"}


def test_existing_runs_are_grouped_by_all_but_their_seed(finished):
    folders = [job.folder for job in finished]
    jobs = comparison_runs.existing_jobs(folders)
    assert [job.label for job in jobs] == ["did", "vae"] * 3
    assert states(jobs) == [State.done] * 6
    comparison = compare.collect(comparison_jobs.examine(jobs))
    assert [(row.label, row.n) for row in comparison.rows] == [("did", 3), ("vae", 3)]
    assert comparison.rows[1].difference.pairs == 3


def test_existing_runs_without_scores_are_scored_like_the_others(finished):
    report = finished[0].folder / "eval.json"
    before = json.loads(report.read_text())
    report.unlink()
    jobs = comparison_runs.existing_jobs([job.folder for job in finished])
    execute, _ = complete(jobs)
    assert execute.done == [("eval", "did, seed 0")]
    assert json.loads(report.read_text())["scores"] == before["scores"]


def test_existing_runs_that_cannot_be_compared(finished, tmp_path):
    folders = [job.folder for job in finished]
    with pytest.raises(UsageError, match="same settings and the same seed"):
        comparison_runs.existing_jobs([folders[0], folders[1], folders[0]])
    with pytest.raises(RunError, match="no trained run"):
        comparison_runs.existing_jobs([folders[0], tmp_path / "absent"])
    report = json.loads((folders[1] / "eval.json").read_text())
    report["protocol"]["bins"] = 10
    (folders[1] / "eval.json").write_text(json.dumps(report))
    with pytest.raises(UsageError, match="not scored in one way: bins") as caught:
        comparison_runs.existing_jobs(folders)
    assert f"did eval {folders[1]} --metrics mig --train-points 100" in caught.value.hint
    with pytest.raises(UsageError, match="scored by another version of did: bins") as caught:
        comparison_runs.existing_jobs([folders[1]])
    assert "did eval RUN --metrics mig" in caught.value.hint
    report["protocol"]["train_points"] = "10"
    (folders[1] / "eval.json").write_text(json.dumps(report))
    with pytest.raises(RunError, match=r"eval\.json is damaged: protocol, train_points"):
        comparison_runs.existing_jobs([folders[1]])


def test_existing_runs_can_be_compared_without_the_device_they_were_trained_on(finished):
    for job in finished:
        settings = (job.folder / "config.yaml").read_text()
        (job.folder / "config.yaml").write_text(settings.replace("device: cpu", "device: cuda:3"))
        (job.folder / checkpoints.FILE_NAME).unlink()
    jobs = comparison_runs.existing_jobs([job.folder for job in finished])
    assert {job.config.train.device for job in jobs} == {"auto"}


def test_labels_of_existing_runs_are_what_tells_them_apart():
    def settings(seed, name="beta_vae", beta=4, steps=9, threads=1):
        return {
            "method.name": name,
            "method.beta": beta,
            "train.steps": steps,
            "train.seed": seed,
            "train.threads": threads,
        }

    found = comparison_runs.label_runs(
        [
            *(settings(0), settings(1, threads=2), settings(0, beta=8)),
            *(settings(0, beta=8, steps=5), settings(3, name="vae")),
        ]
    )
    assert found == [
        *("beta_vae beta=4 steps=9", "beta_vae beta=4 steps=9", "beta_vae beta=8 steps=9"),
        *("beta_vae beta=8 steps=5", "vae"),
    ]


def test_existing_runs_that_differ_in_many_settings_are_numbered():
    one = {"method.name": "did", **{f"method.{key}": 1 for key in "abcd"}, "train.seed": 0}
    two = {**one, **{f"method.{key}": 2 for key in "abcd"}}
    found = comparison_runs.label_runs([two, one, {**two, "train.seed": 1}])
    assert found == ["did #1", "did #2", "did #1"]
    schedule = {"method.name": "did", "method.opening": {3: {800: 0.0, 1200: 1.0}, 4: {800: 0.0}}}
    found = comparison_runs.label_runs([schedule, {**schedule, "method.opening": {}}])
    assert found == ["did #1", "did opening={}"]


def test_metrics_common_to_all_reports_are_compared(finished, tmp_path):
    report = json.loads((finished[0].folder / "eval.json").read_text())
    more = {**report, "scores": {**report["scores"], "irs": 0.5}}
    evaluation = comparison_runs.common_evaluation({tmp_path / "a": report, tmp_path / "b": more})
    assert evaluation.metrics == ("mig",)
    assert evaluation.options == EvalOptions(train_points=100, test_points=50)
    none = {**report, "scores": {}}
    with pytest.raises(UsageError, match="no metric has scored all"):
        comparison_runs.common_evaluation({tmp_path / "a": report, tmp_path / "b": none})
    assert "mig" in comparison_runs.common_evaluation({}).metrics
