import hashlib
import json

import pytest
import torch

from didcli.engine import checkpoint as checkpoints
from didcli.errors import RunError, StorageError
from didcli.methods import did

SHAPE = (1, 32, 32)
DESCRIBED = {
    "step": 3,
    "config": {"method": {"name": "did"}},
    "source": "rendered v1",
    "image_shape": SHAPE,
    "versions": {"didcli": "0.0"},
}


def trained(seed: int = 0, steps: int = 2) -> did.Did:
    torch.manual_seed(seed)
    method = did.build(did.Config(width=4, latent_dim=3), SHAPE)
    method.to(memory_format=torch.channels_last)
    for step in range(steps):
        images = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(step))
        method.train_step(images, torch.Generator().manual_seed(step), step)
    return method


@pytest.fixture
def path(tmp_path):
    return tmp_path / checkpoints.FILE_NAME


@pytest.fixture
def saved(path):
    checkpoints.save(path, trained(), **DESCRIBED)
    return path


def test_equal_states_are_equal_bytes(saved, tmp_path):
    again = tmp_path / "again.safetensors"
    checkpoints.save(again, trained(), **DESCRIBED)
    assert again.read_bytes() == saved.read_bytes()
    other = tmp_path / "other.safetensors"
    checkpoints.save(other, trained(seed=1), **DESCRIBED)
    assert other.read_bytes() != saved.read_bytes()


def test_restoring_gives_every_weight_and_every_moment_back(saved):
    loaded = checkpoints.load(saved)
    fresh = trained(seed=5, steps=0)
    checkpoints.restore(fresh, loaded)
    original, restored = checkpoints.state(trained()), checkpoints.state(fresh)
    assert restored.keys() == original.keys()
    assert all(torch.equal(original[name], restored[name]) for name in original)
    assert {name.split(".")[0] for name in original} == {
        "g",
        "d",
        "e",
        "h",
        "g_ema",
        "e_ema",
        "opt",
    }
    assert any(name.endswith("exp_avg_sq") for name in original)


def test_a_restored_method_goes_on_as_the_original_would(saved, tmp_path):
    fresh = trained(seed=5, steps=0)
    checkpoints.restore(fresh, checkpoints.load(saved))
    original = trained()
    for method in (fresh, original):
        images = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(9))
        method.train_step(images, torch.Generator().manual_seed(9), 2)
    a, b = checkpoints.state(fresh), checkpoints.state(original)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_what_was_said_of_the_run_comes_back(saved):
    loaded = checkpoints.load(saved)
    assert loaded.step == 3
    assert loaded.config == DESCRIBED["config"]
    assert loaded.source == "rendered v1"
    assert loaded.image_shape == SHAPE
    assert len(loaded.digest) == 64


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
def test_truncated_files_are_refused(saved, share):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(RunError, match="is damaged"):
        checkpoints.load(saved)


def test_a_folder_without_a_checkpoint_is_told_by_what_it_has(saved, tmp_path):
    def hint(folder):
        with pytest.raises(RunError, match="no checkpoint at") as caught:
            checkpoints.load(folder / checkpoints.FILE_NAME)
        return caught.value.hint

    run, other = tmp_path / "runs" / "one", tmp_path / "other"
    run.mkdir(parents=True)
    saved.rename(run / checkpoints.FILE_NAME)
    other.mkdir()
    assert f"such as {run}." in hint(run.parent)
    assert "did train makes one" in hint(other)
    (other / "config.yaml").write_text("")
    assert f"did train --resume --out {other}" in hint(other)


def test_to_train_a_damaged_run_again_takes_its_own_settings(saved):
    saved.write_bytes(b"")
    with pytest.raises(RunError) as caught:
        checkpoints.load(saved)
    assert "did train --force --out" in caught.value.hint
    saved.with_name("config.yaml").write_text("")
    with pytest.raises(RunError) as caught:
        checkpoints.load(saved)
    assert f"did train --config {saved.parent / 'config.yaml'} --force --out" in caught.value.hint


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99999])
def test_a_flipped_bit_among_the_tensors_is_found(saved, share):
    content = bytearray(saved.read_bytes())
    content[int(len(content) * share)] ^= 1
    saved.write_bytes(content)
    with pytest.raises(RunError, match="is damaged"):
        checkpoints.load(saved)


@pytest.mark.parametrize("content", [b"<html>404</html>", b"\xff" * 100, b"\0" * 64])
def test_other_files_are_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(RunError, match="is damaged"):
        checkpoints.load(path)


def test_a_newer_schema_says_which_version_wrote_it(path, monkeypatch):
    monkeypatch.setattr(checkpoints, "SCHEMA", 99)
    checkpoints.save(path, trained(), **DESCRIBED)
    monkeypatch.undo()
    with pytest.raises(RunError, match="schema 99, this version reads 1") as caught:
        checkpoints.load(path)
    assert "0.0" in caught.value.hint


def test_a_checkpoint_of_other_settings_does_not_fit(saved):
    other = did.build(did.Config(width=4, latent_dim=5), SHAPE)
    with pytest.raises(RunError, match="does not fit the method"):
        checkpoints.restore(other, checkpoints.load(saved))


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(saved, monkeypatch):
    before = saved.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        checkpoints.save(saved, trained(seed=1), **DESCRIBED)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_bytes_that_do_not_read_back_are_not_put_in_place(saved, monkeypatch):
    before = saved.read_bytes()
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda _path: b"something else")
    with pytest.raises(StorageError, match="does not read back"):
        checkpoints.save(saved, trained(seed=1), **DESCRIBED)
    monkeypatch.undo()
    assert saved.read_bytes() == before


def test_the_metadata_is_one_canonical_json_text(saved):
    content = saved.read_bytes()
    length = int.from_bytes(content[:8], "little")
    text = json.loads(content[8 : 8 + length])["__metadata__"]["did"]
    described = json.loads(text)
    checksum = described.pop("sha256")
    canonical = json.dumps(described, sort_keys=True, separators=(",", ":"))
    assert text == canonical[:-1] + f',"sha256":"{checksum}"}}'
    assert checksum == hashlib.sha256(canonical.encode()).hexdigest()


@pytest.mark.parametrize(
    ("said", "changed"), [(b'\\"step\\":3', b'\\"step\\":1'), (b"rendered v1", b"rendered v0")]
)
def test_a_flipped_bit_in_what_it_says_of_itself_is_found(saved, said, changed):
    content = saved.read_bytes()
    assert content.count(said) == 1
    saved.write_bytes(content.replace(said, changed))
    with pytest.raises(RunError, match="is damaged"):
        checkpoints.load(saved)


def test_a_checkpoint_from_before_there_was_that_checksum_is_read(path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_sealed", lambda text: text)
    checkpoints.save(path, trained(), **DESCRIBED)
    monkeypatch.undo()
    assert checkpoints.load(path).step == 3
