import shutil

import pytest

from didcli.engine import run_settings, runs
from didcli.errors import RunError


def test_settings_are_those_of_the_checkpoint_or_of_their_file(tiny_run, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(tiny_run, folder)
    settings = runs.open_run(tiny_run).config
    (folder / "config.yaml").write_text("a: [")
    assert run_settings.settings_of(folder) == settings
    with pytest.raises(RunError, match="are lost") as caught:
        run_settings.read_settings(folder)
    assert "Delete config.yaml" in caught.value.hint
    (folder / "checkpoint.safetensors").unlink()
    with pytest.raises(RunError, match="are lost"):
        run_settings.settings_of(folder)
    (folder / "config.yaml").write_text(settings.to_yaml())
    assert run_settings.settings_of(folder) == settings
    (folder / "config.yaml").write_text(settings.to_yaml() + "later: {}\n")
    with pytest.raises(RunError, match="cannot be used"):
        run_settings.settings_of(folder)
