"""eval.json: whose scores it has, and what else may stand in the file."""

import hashlib
import json
import math

import pytest

from didcli.engine import reports
from didcli.io.atomic import write_bytes

RUN = {"checkpoint": "ab12", "step": 4}
REPORT = {"run": RUN, "scores": {"mig": 0.25, "sap": None}, "protocol": {"bins": 20}}


def test_a_report_belongs_to_its_checkpoint_or_to_one_that_was_deleted(tmp_path):
    assert reports.read_report(tmp_path) is None
    reports.write_report(tmp_path, REPORT)
    assert reports.read_report(tmp_path) == REPORT
    assert reports.read_report(tmp_path, "ab12") == REPORT
    assert reports.read_report(tmp_path, "cd34") is None
    assert reports.steps_scored(tmp_path) == 4
    (tmp_path / "checkpoint.safetensors").write_bytes(b"another one")
    assert reports.read_report(tmp_path) is None
    assert reports.steps_scored(tmp_path) == 0


def test_a_checkpoint_is_read_once_for_as_long_as_it_stays(tmp_path, monkeypatch):
    taken = []

    def file_digest(file, name):
        taken.append(name)
        return hashlib.new(name, file.read())

    monkeypatch.setattr(reports.hashlib, "file_digest", file_digest)
    for content in (b"one", b"two"):
        write_bytes(tmp_path / "checkpoint.safetensors", content)
        run = {**RUN, "checkpoint": hashlib.sha256(content).hexdigest()}
        reports.write_report(tmp_path, {**REPORT, "run": run})
        assert reports.read_report(tmp_path) is not None
        assert reports.read_report(tmp_path) is not None
        assert reports.steps_scored(tmp_path) == 4
    assert taken == ["sha256", "sha256"]


@pytest.mark.parametrize(
    "content",
    [
        [1],
        "abc",
        None,
        {},
        {**REPORT, "run": []},
        {**REPORT, "run": {**RUN, "checkpoint": []}},
        {**REPORT, "run": {**RUN, "step": True}},
        {**REPORT, "run": {**RUN, "step": -4}},
        {**REPORT, "run": {"checkpoint": "ab12"}},
        {**REPORT, "run": {**RUN, "data_notes": None}},
        {**REPORT, "scores": []},
        {**REPORT, "scores": {"mig": "high"}},
        {**REPORT, "scores": {"mig": math.nan}},
        {**REPORT, "scores": {"mig": math.inf}},
        {**REPORT, "protocol": None},
    ],
    ids=str,
)
def test_what_is_no_report_counts_as_none(tmp_path, content):
    (tmp_path / reports.FILE_NAME).write_text(json.dumps(content))
    assert reports.read_report(tmp_path) is None
    assert reports.steps_scored(tmp_path) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"run": {**RUN, "step": 8}},
        {"run": {**RUN, "data_source": "official"}},
        {"run": {**RUN, "checkpoint": "cd34"}},
        {"protocol": {"bins": 10}},
        {"versions": {"numpy": "3"}},
        {"data": {"rows": 7}},
    ],
    ids=str,
)
def test_scores_of_another_evaluation_are_replaced(tmp_path, change):
    reports.keep_report(tmp_path, REPORT)
    other = {**REPORT, "scores": {"irs": 0.5}, **change}
    reports.keep_report(tmp_path, other)
    assert reports.read_report(tmp_path) == other


def test_where_a_run_lies_does_not_matter_to_its_scores(tmp_path):
    reports.keep_report(tmp_path, {**REPORT, "run": {**RUN, "path": "runs/a"}})
    reports.keep_report(
        tmp_path, {**REPORT, "scores": {"irs": 0.5}, "run": {**RUN, "path": "/mnt/runs/a"}}
    )
    report = reports.read_report(tmp_path)
    assert report["scores"] == {**REPORT["scores"], "irs": 0.5}
    assert report["run"]["path"] == "/mnt/runs/a"
