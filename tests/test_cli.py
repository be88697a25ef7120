"""The command as a user meets it: help, versions, exit codes. Every call is the real command."""

import dataclasses
import errno
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import TINY

from didcli.commands._group import COMMANDS as SUMMARIES
from didcli.commands._group import load
from didcli.config import load_file

COMMANDS = ("download", "train", "eval", "traverse", "export", "compare", "runs")
HEAVY = ("torch", "numpy", "pydantic", "rich", "sklearn", "PIL", "matplotlib", "requests")
SET = [f"--set={text}" for text in TINY]


@pytest.mark.parametrize("arguments", [["--help"], *([name, "-h"] for name in COMMANDS)], ids=str)
def test_help_imports_nothing_heavy(arguments):
    probe = (
        "import sys, didcli.cli\n"
        f"sys.argv = ['did', *{arguments!r}]\n"
        "try:\n    didcli.cli.main()\n"
        "except SystemExit as leaving:\n    assert leaving.code == 0, leaving.code\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "sys.exit(f'loaded {loaded}' if loaded else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", probe], check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "Usage: " in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_every_command_and_shows_examples_first(did, name):
    assert f"\n  {name} " in did("--help").stdout
    text = did(name, "--help").stdout
    assert text.index(f"did {name}") < text.index("Options:")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_gives_the_first_line_of_their_help_whole(name):
    limit = 80 - len("  traverse  ")
    assert load(name).get_short_help_str(limit) == SUMMARIES[name][1]


@pytest.mark.parametrize(
    "arguments", [["--help"], *([name, "--help"] for name in COMMANDS)], ids=str
)
def test_help_imports_no_command_but_the_one_that_is_called(arguments):
    probe = (
        "import sys, didcli.cli\n"
        f"sys.argv = ['did', *{arguments!r}]\n"
        "try:\n    didcli.cli.main()\n"
        "except SystemExit:\n    pass\n"
        f"print([name for name in {COMMANDS!r} if f'didcli.commands.{{name}}' in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", probe], check=True, capture_output=True, text=True
    )
    assert result.stdout.splitlines()[-1] == str(arguments[:-1])


def test_a_mistyped_command_is_met_with_the_nearest(did):
    result = did("trian")
    assert result.returncode == 2
    assert "Did you mean 'train'?" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["traverse", "--from", "prior", "--dim", "0", "--no-preview", "-o", "z0.png"],
        ["export", "--what", "codes", "--limit", "5", "-o", "codes.csv"],
        ["export", "--what", "run", "-o", "released"],
    ],
    ids=str,
)
def test_threads_are_as_many_as_are_asked_for(arguments, tiny_run, data_dir, tmp_path, monkeypatch):
    used = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    monkeypatch.setenv("DID_DATA_DIR", str(data_dir))
    monkeypatch.chdir(tmp_path)
    name, *options = arguments
    load(name).main([str(tiny_run), *options, "--threads", "3"], standalone_mode=False)
    assert used == [3]


@pytest.mark.parametrize("name", ["eval", "traverse", "export"])
def test_2_a_number_of_threads_that_there_cannot_be(did, name):
    assert_fails(did(name, "--threads", "-1"), 2, "invalid value for '--threads'")


def test_version(did):
    from didcli import __version__

    assert did("--version").stdout == f"did {__version__}\n"


def assert_fails(
    result: subprocess.CompletedProcess[str], code: int, *texts: str, listed: int = 0
) -> None:
    """An error is two or three plain lines on stderr: what is wrong, and a hint.

    listed: further lines, one for each of several problems that are told at once.
    """
    assert result.returncode == code, result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    lines = result.stderr[result.stderr.index("error: ") :].splitlines()
    assert 2 + listed <= len(lines) <= 3 + listed, result.stderr
    assert lines[0].startswith("error: ")
    assert lines[1 + listed].startswith("hint: ")
    for text in ("hint: ", *texts):
        assert text in result.stderr


def test_1_a_failure_that_another_process_tells_of_is_told_once():
    failing = (
        "import sys, didcli.cli, didcli.config\n"
        "from didcli.errors import FailedElsewhereError\n"
        "def resolve(*args, **kwargs): raise FailedElsewhereError('elsewhere', hint='there')\n"
        "didcli.config.resolve = resolve\n"
        "sys.argv = ['did', 'train', '-q']\n"
        "didcli.cli.main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", failing], check=False, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "")


def test_2_unknown_settings_are_listed_with_the_nearest(did):
    result = did("train", "--set", "method.lambda_hh=1", "--set", "train.stepz=5")
    nearest = ("Did you mean 'lambda_h'?", "Did you mean 'steps'?")
    assert_fails(result, 2, "2 problems", *nearest, listed=2)


def test_2_an_empty_name_is_no_preset(did):
    assert_fails(did("train", "--preset", ""), 2, "no preset ''")


def test_settings_may_come_from_stdin(did, tiny_config, data_dir, tmp_path):
    settings = dataclasses.replace(
        tiny_config, train=dataclasses.replace(tiny_config.train, steps=2)
    )
    did_train = ("train", "--config", "-", "--out", str(tmp_path / "run"))
    result = did(*did_train, "--data-dir", str(data_dir), input=settings.to_yaml())
    assert result.returncode == 0, result.stderr
    assert load_file(tmp_path / "run" / "config.yaml") == settings.to_dict()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("train: {stepz: 5}", "train.stepz: no such setting"),
        ("[1, 2]", "stdin is not a mapping of sections"),
        ("a: [", "cannot read stdin as YAML"),
        ("", "stdin has no settings for --config -"),
    ],
)
def test_2_settings_from_stdin_are_checked_as_those_of_a_file(did, text, problem):
    result = did("train", "--config", "-", input=text)
    assert_fails(result, 2, problem, listed=int("stepz" in text))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["train", "--stepz", "5"], "no such option: --stepz"),
        (["train", "--set"], "'--set' requires an argument"),
        (["traverse", "--steps", "1"], "invalid value for '--steps'"),
        (["traverse", "--from", "priors"], "invalid value for '--from': 'priors' is not one of"),
        (["compare"], "missing argument 'SPEC|RUN'"),
    ],
)
def test_2_what_the_parser_refuses_is_an_error_with_a_hint(did, arguments, problem):
    assert_fails(did(*arguments), 2, problem, f"hint: did {arguments[0]} --help")


def test_without_a_command_there_is_the_help(did):
    result = did()
    assert result.returncode == 2
    assert "Usage: did " in result.stderr
    assert_fails(did("-v"), 2, "missing command", "hint: did --help")


def test_2_an_absent_device_names_those_present(did):
    assert_fails(did("train", "--device", "cuda:7"), 2, "present: ", "cpu")
    assert_fails(did("train", "--device", "tpu"), 2, "'tpu'", "auto, cpu, cuda")


def test_2_a_wrong_dimension_says_which_there_are(did, tiny_run):
    assert_fails(did("traverse", str(tiny_run), "--dim", "99"), 2, "0 to 2")


def test_2_contradicting_flags(did, tmp_path):
    assert_fails(did("train", "--resume", "--force", "--out", str(tmp_path / "x")), 2, "--force")
    assert_fails(did("train", "--force", "--runs-dir", str(tmp_path)), 2, "there is no --out")


def test_2_resuming_with_other_settings_names_them(did, tiny_run, tiny_config):
    result = did("train", "--resume", "--out", str(tiny_run), "--set", "method.lambda_h=9")
    change = f"method.lambda_h: {tiny_config.method.settings.lambda_h} -> 9.0"
    assert_fails(result, 2, change, listed=1)


def test_3_the_official_data_are_absent(did, tmp_path):
    result = did("train", "--set", "data.source=official", "--runs-dir", str(tmp_path), *SET)
    assert_fails(result, 3, "did download dsprites")
    assert list(tmp_path.iterdir()) == []  # nor a folder for a run that never began


def test_3_codes_that_are_not_finite(did, tmp_path):
    import numpy as np

    factors = np.arange(24).reshape(12, 2)
    np.savez(tmp_path / "z.npz", codes=np.full((12, 2), np.nan), factors=factors)
    assert_fails(did("eval", "--codes", str(tmp_path / "z.npz")), 3, "24 codes are not finite")


def test_4_a_run_that_is_not_there(did, tmp_path):
    assert_fails(did("eval", "--runs-dir", str(tmp_path)), 4, "no run under")
    assert_fails(did("traverse", str(tmp_path / "absent")), 4, "no run folder")


def test_4_a_damaged_checkpoint(did, tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "run")
    with (tmp_path / "run" / "checkpoint.safetensors").open("r+b") as file:
        file.truncate(1000)
    for command in ("eval", "traverse", "export"):
        assert_fails(did(command, str(tmp_path / "run")), 4, "is damaged")


def test_5_divergence(did, tmp_path):
    result = did(
        *("train", "--steps", "200", "--out", str(tmp_path / "run"), *SET),
        *("--set", "method.lr_critic=1e18", "--set", "method.lr_generator=1e18"),
    )
    assert_fails(result, 5, "diverged")


def test_6_a_folder_that_holds_a_run(did, tiny_run):
    assert_fails(did("train", "--out", str(tiny_run)), 6, "already holds a run", "--resume")


def test_7_a_disk_that_is_full(did, tmp_path):
    """/dev/full takes no byte; a file size limit of 64 KiB stands in for it within a folder."""
    out = str(tmp_path / "run")
    limited = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "from didcli.cli import main\n"
        f"sys.argv = ['did', 'train', '--steps', '2', '--out', {out!r}, *{SET!r}]\n"
        "main()"
    )
    environment = {**os.environ, "DID_DATA_DIR": str(data_folder(did))}
    result = subprocess.run(
        [sys.executable, "-c", limited],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert_fails(result, 7, "cannot write")


def test_7_a_lack_of_memory():
    starved = (
        "import sys, didcli.cli, didcli.config\n"
        "def resolve(*args, **kwargs): import torch; torch.empty(2**60)\n"
        "didcli.config.resolve = resolve\n"
        "sys.argv = ['did', 'train']\n"
        "didcli.cli.main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", starved], check=False, capture_output=True, text=True
    )
    assert_fails(result, 7, "error: out of memory: ", "train.batch_size")


def data_folder(did) -> Path:
    """The folder in which the fixture `did` keeps its data, with dSprites rendered."""
    result = did("download", "dsprites", "--source", "rendered")
    assert result.returncode == 0, result.stderr
    return Path(result.stdout.strip()).parent


def test_141_a_closed_pipe_ends_quietly(did, tiny_run):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        command = [sys.executable, "-m", "didcli", "export", str(tiny_run)]
        result = subprocess.run(
            [*command, "--what", "codes", "--format", "csv", "-o", "-", "--limit", "5000", "-q"],
            stdout=closed,
            stderr=subprocess.PIPE,
            env={**os.environ, "DID_DATA_DIR": str(data_folder(did))},
            text=True,
            check=False,
        )
    assert result.returncode == 128 + signal.SIGPIPE
    assert result.stderr == ""


def test_a_stderr_that_nobody_reads_any_more_ends_no_training(did, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    out = tmp_path / "run"
    command = [sys.executable, "-m", "didcli", "train", "--steps", "4", "--out", str(out), *SET]
    with os.fdopen(writer, "wb") as closed:
        result = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=closed,
            env={**os.environ, "DID_DATA_DIR": str(data_folder(did))},
            text=True,
            check=False,
        )
    assert (result.returncode, result.stdout) == (0, f"{out}\n")
    assert (out / "checkpoint.safetensors").exists()


def test_1_a_bug_is_called_one_and_debug_shows_where():
    broken = (
        "import sys, didcli.config\n"
        "def fail(*args, **kwargs): raise RuntimeError('oops')\n"
        "import didcli.cli\n"
        "didcli.config.resolve = fail\n"
        "sys.argv = ['did', *sys.argv[1:]]\n"
        "didcli.cli.main()"
    )
    plain, before, after = (
        subprocess.run(
            [sys.executable, "-c", broken, *arguments], check=False, capture_output=True, text=True
        )
        for arguments in (["train"], ["--debug", "train"], ["train", "--debug"])
    )
    assert_fails(plain, 1, "RuntimeError: oops", "--debug")
    for result in (before, after):
        assert result.returncode == 1
        assert "Traceback" in result.stderr


@pytest.mark.parametrize(
    ("number", "hint"),
    [(errno.ENOSPC, "free some space"), (errno.ENOENT, "path"), (errno.EIO, "--debug")],
)
def test_7_an_error_of_the_system_names_the_file_and_what_may_mend_it(number, hint):
    broken = (
        "import sys, didcli.config\n"
        f"def fail(*args, **kwargs): raise OSError({number}, 'oops', 'that.file')\n"
        "import didcli.cli\n"
        "didcli.config.resolve = fail\n"
        "sys.argv = ['did', 'train']\n"
        "didcli.cli.main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", broken], check=False, capture_output=True, text=True
    )
    assert_fails(result, 7, "oops: that.file", hint)


@pytest.mark.parametrize("arguments", [["-v", "runs"], ["runs", "--verbose"]], ids=str)
def test_verbose_says_which_versions_are_at_work(did, tmp_path, arguments):
    result = did(*arguments, "--runs-dir", str(tmp_path), "--json")
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith("did ")
    assert f"numpy {importlib.metadata.version('numpy')}" in result.stderr
    assert json.loads(result.stdout)["runs"] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_verbose_and_debug_are_among_the_options_of_every_command(did, name):
    text = did(name, "--help").stdout
    assert "-v, --verbose" in text
    assert "--debug" in text


def test_train_prints_the_run_folder_alone_on_stdout(did, tmp_path):
    result = did("train", "--steps", "2", "--runs-dir", str(tmp_path), *SET)
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).parent == tmp_path
    assert result.stdout.count("\n") == 1
    assert "rendered v1" in result.stderr
    quiet = did("train", "--steps", "2", "--runs-dir", str(tmp_path / "other"), "-q", *SET)
    assert quiet.stderr == ""


def test_resume_without_a_folder_starts_nothing_where_there_is_no_run(did, tmp_path):
    result = did("train", "--runs-dir", str(tmp_path / "mistyped"), "--resume")
    assert result.returncode == 4
    assert f"error: no run under {tmp_path / 'mistyped'} to go on with" in result.stderr
    assert "without --resume a new one begins" in result.stderr
    assert not list(tmp_path.iterdir())


def test_resume_without_a_folder_goes_on_with_the_latest_run(did, tmp_path):
    first = did("train", "--steps", "2", "--runs-dir", str(tmp_path), *SET).stdout
    second = did("train", "--steps", "4", "--runs-dir", str(tmp_path), "--resume")
    assert second.stdout == first, second.stderr
    assert "going on from step 2" in second.stderr
