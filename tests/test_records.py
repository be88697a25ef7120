import numpy as np
import pytest

from didcli.errors import StorageError
from didcli.io import records, space

CONTENT = records.Content("a test", count=5000, record_bytes=512)  # two and a half blocks


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(5000, 512), dtype=np.uint8)


@pytest.fixture
def path(tmp_path, values):
    path = tmp_path / "file"
    records.ensure(path, CONTENT, lambda: [values])
    return path


def never():
    pytest.fail("must not be made again")


def test_parts_of_any_length_read_back_in_order(tmp_path, values):
    progress = []
    parts = [values[:1], values[1:3000], values[3000:]]
    found = records.ensure(
        tmp_path / "file",
        CONTENT,
        lambda: parts,
        lambda done, total: progress.append((done, total)),
    )
    np.testing.assert_array_equal(found, values)
    assert progress == [(1, 5000), (3000, 5000), (5000, 5000)]


def test_a_second_call_maps_what_is_there(path, values):
    found = records.ensure(path, CONTENT, never)
    np.testing.assert_array_equal(found, values)
    assert not found.flags.writeable


def test_a_disk_without_room_is_told_of_before_anything_is_made(tmp_path, values, monkeypatch):
    usage = space.shutil._ntuple_diskusage(10**9, 10**9, 1000)
    with monkeypatch.context() as patch:
        patch.setattr(space.shutil, "disk_usage", lambda _: usage)
        with pytest.raises(
            StorageError, match=r"takes 2,560,000 bytes in .*, where 1,000 are free"
        ) as caught:
            records.ensure(tmp_path / "file", CONTENT, never)
    assert caught.value.exit_code == 7
    assert "--data-dir" in caught.value.hint
    assert not (tmp_path / "file").exists()
    records.ensure(tmp_path / "file", CONTENT, lambda: [values])
    # Once the records are there, they need no room.
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: usage)
    assert len(records.ensure(tmp_path / "file", CONTENT, never)) == 5000


@pytest.mark.parametrize(
    "other",
    [
        records.Content("a test v2", 5000, 512),
        records.Content("a test", 2500, 1024),
        records.Content("a test", 4999, 512),
    ],
)
def test_other_content_is_not_taken_for_this(path, other):
    assert records.read(path, other) is None


def cut(raw):
    return raw[:-1]


def lengthen(raw):
    return raw + b"\0"


def empty(_raw):
    return b""


def page(_raw):
    return b"<html>not found</html>"


def zeros(raw):
    return bytes(len(raw))


def flip(position):
    def flip_bit(raw):
        changed = bytearray(raw)
        changed[position] ^= 1
        return bytes(changed)

    return flip_bit


DAMAGES = [cut, lengthen, empty, page, zeros, *map(flip, (0, 30, 130, 4095, 4096, 2_000_000, -1))]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_made_again(path, values, damage):
    path.write_bytes(damage(path.read_bytes()))
    assert records.read(path, CONTENT) is None
    np.testing.assert_array_equal(records.ensure(path, CONTENT, lambda: [values]), values)
    assert records.read(path, CONTENT) is not None


@pytest.mark.parametrize(("position", "noticed"), [(4096, True), (2**20 + 4096, False), (-1, True)])
def test_of_a_long_file_some_blocks_are_compared(path, monkeypatch, position, noticed):
    monkeypatch.setattr(records, "BLOCKS_CHECKED", 2)  # the first and the last
    path.write_bytes(flip(position)(path.read_bytes()))
    assert (records.read(path, CONTENT) is None) == noticed


def test_a_map_outlives_the_file_it_was_made_of(path, values):
    """A process that trains keeps its data when another one finds the file damaged."""
    found = records.read(path, CONTENT)
    other = path.with_name("other")
    other.write_bytes(b"")
    other.replace(path)
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    "parts",
    [
        [np.zeros((4999, 512), np.uint8)],
        [np.zeros((5000, 512), np.uint8)] * 2,
        [np.zeros((5000, 511), np.uint8)],
        [np.zeros((5000, 512), np.int64)],
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path, parts):
    with pytest.raises(ValueError, match="records"):
        records.ensure(tmp_path / "file", CONTENT, lambda: parts)
    assert not (tmp_path / "file").exists()
