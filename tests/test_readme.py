"""The README tells the truth: its commands exist, and CI runs the ones it gives."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_ci_installs_and_tests_as_the_readme_says():
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    command = next(line for line in README.splitlines() if "&& pytest" in line)
    *_, install, test = command.split(" && ")
    assert install == "pip install torch==2.13.0 '.[dev]'"
    assert install in ci
    assert ci.rstrip().endswith(f"\n{test}")


def test_options_in_the_readme_exist(did):
    named = {
        (command, option)
        for line in re.findall(r"`(did [^`]+)`|^ {4}(did .+)$", README, flags=re.MULTILINE)
        for command, rest in re.findall(
            r"did (\w+)((?:(?!did \w|[|&]).)*)", "".join(line).split("#")[0]
        )
        for option in re.findall(r"(--[a-z-]+)", rest)
    }
    assert ("traverse", "--dim") in named
    helps = {command: did(command, "--help").stdout for command, _ in named}
    for command, option in named:
        assert option in helps[command], f"did {command} has no {option}"


def test_python_in_the_readme_runs(tiny_run, data_dir, monkeypatch, tmp_path):
    code = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL).group(1)
    monkeypatch.setenv("DID_DATA_DIR", str(data_dir))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").symlink_to(tiny_run)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["codes"].shape == (64, 3)
    assert names["images"].shape == (64, 1, 64, 64)


@pytest.mark.parametrize("path", re.findall(r"\]\(((?!http)[^)]+)\)", README))
def test_links_of_the_readme_lead_somewhere(path):
    file, _, heading = path.partition("#")
    assert (ROOT / file).exists()
    if heading:
        titles = re.findall(r"^#+ (.*)$", (ROOT / (file or "README.md")).read_text(), re.MULTILINE)
        assert heading in [title.lower().replace(" ", "-") for title in titles]
