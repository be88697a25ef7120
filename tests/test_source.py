"""Sets that are published and can be drawn as well: which of the two a user gets."""

import pytest

from didcli import registry
from didcli.data import dsprites, shapes3d
from didcli.errors import DataError, StorageError, UsageError

FILES = [(module, file) for module in (dsprites, shapes3d) for file in module.SOURCES]
each_set = pytest.mark.parametrize("module", [dsprites, shapes3d])


def name_of(module):
    return module.__name__.rpartition(".")[2]


@pytest.mark.parametrize("source", ["auto", "official"])
@pytest.mark.parametrize(("module", "file"), FILES, ids=[file.name for _, file in FILES])
@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html>sign in</html>"])
def test_a_damaged_official_file_is_never_passed_over(tmp_path, source, module, file, content):
    (tmp_path / file.name).write_bytes(content)
    with pytest.raises(DataError, match="is not the published file: expected") as caught:
        module.load(source, tmp_path)
    assert caught.value.exit_code == 3
    assert f"did download {name_of(module)} --force" in caught.value.hint


@pytest.mark.parametrize("name", ["cars3d", "dsprites", "mpi3d", "shapes3d", "smallnorb"])
def test_a_page_in_place_of_a_file_ends_training_with_one_error(did, tmp_path, name):
    for files in registry.load("data", name).SOURCES:
        for file in files if isinstance(files, tuple) else (files,):
            (tmp_path / file.name).write_bytes(b"<!DOCTYPE html><html>sign in</html>")
    result = did("train", "--data", name, "--steps", "1", "--data-dir", str(tmp_path))
    assert result.returncode == 3
    said = [line for line in result.stderr.splitlines() if line.startswith(("error", "hint"))]
    error, hint = said
    assert str(tmp_path) in error
    assert "is not the published file" in error or "is not what it should be" in error
    assert f"did download {name}" in hint
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("*.pixels"))


@each_set
def test_an_absent_official_file_says_how_to_get_it_or_do_without(tmp_path, module):
    name = name_of(module)
    with pytest.raises(DataError, match=f"no official file of {name} in") as caught:
        module.load("official", tmp_path)
    assert f"did download {name}" in caught.value.hint
    assert "--source rendered" in caught.value.hint


@each_set
def test_an_unknown_source_is_a_usage_error(tmp_path, module):
    with pytest.raises(UsageError, match=f"no 'web' among the sources of {name_of(module)}"):
        module.load("web", tmp_path)


@each_set
def test_a_folder_that_cannot_be_used_is_a_storage_error(tmp_path, module):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError) as caught:
        module.load("rendered", tmp_path / "file" / "inside")
    assert caught.value.exit_code == 7
    assert "--data-dir" in caught.value.hint
    assert "DID_DATA_DIR" in caught.value.hint
