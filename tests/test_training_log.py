"""log.jsonl: what is kept of it when training goes on, and how far it says that a run is."""

from didcli.engine import run_folder, training_log

STEPS = (0, 100, 200, 300)


def write(folder, ending=""):
    text = "".join(f'{{"schema": 1, "step": {step}, "loss": 0.1}}\n' for step in STEPS)
    (folder / run_folder.LOG_NAME).write_text(text + ending)


def test_a_line_that_is_added_is_read_back_with_its_time(tmp_path):
    training_log.append(tmp_path, {"event": "log", "step": 7, "loss": 0.25})
    training_log.append(tmp_path, {"event": "warning", "step": 8, "text": "too é"})
    first, second = training_log.lines(tmp_path)
    assert first.items() >= {"schema": 1, "event": "log", "step": 7, "loss": 0.25}.items()
    assert second["text"] == "too é"
    assert 0 <= second["time"] - first["time"] < 60


def test_steps_that_are_done_again_are_dropped_and_a_line_cut_short_with_them(tmp_path):
    write(tmp_path, ending='{"schema": 1, "step": 3')
    before = (tmp_path / run_folder.LOG_NAME).read_text().splitlines()
    training_log.keep_until(tmp_path, 200)
    assert (tmp_path / run_folder.LOG_NAME).read_text().splitlines() == before[:3]


def test_a_run_that_begins_anew_has_an_empty_log(tmp_path):
    write(tmp_path)
    training_log.keep_until(tmp_path, 0)
    assert (tmp_path / run_folder.LOG_NAME).read_bytes() == b""


def test_step_reached_is_that_of_the_last_whole_line(tmp_path):
    assert training_log.step_reached(tmp_path) == 0
    write(tmp_path, ending='{"schema": 1, "step": 400, "lo')
    assert training_log.step_reached(tmp_path) == 300


def test_step_reached_reads_the_end_of_a_long_log_alone(tmp_path, monkeypatch):
    (tmp_path / run_folder.LOG_NAME).write_text('{"step": 999}\n{"step": 300}\n')
    monkeypatch.setattr(training_log, "TAIL_BYTES", 15)
    assert training_log.step_reached(tmp_path) == 300


def test_lines_that_are_no_objects_with_a_step_are_left_out(tmp_path):
    write(tmp_path, ending='[1]\n{"step": "500"}\n{"loss": 2}\nnull\n')
    assert [line["step"] for line in training_log.lines(tmp_path)] == list(STEPS)
    assert training_log.step_reached(tmp_path) == 300
