import hashlib
import itertools
import re
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from didcli.data import shapes3d
from didcli.errors import DataError, StorageError, UsageError
from didcli.io.remote import RemoteFile

TINY = (2, 1, 3, 2, 4, 2)
DIGITS = np.array(list(itertools.product(*map(range, TINY))))
# As the official file has them: hues, sizes, numbers of shapes, degrees.
LABELS = np.column_stack(
    [
        *(DIGITS[:, :3] / 10).T,
        0.75 + DIGITS[:, 3] / 14,
        DIGITS[:, 4],
        -30 + DIGITS[:, 5] * 60 / 14,
    ]
)
IMAGES = np.random.default_rng(0).integers(256, size=(len(DIGITS), 64, 64, 3), dtype=np.uint8)


def write_hdf5(path, images=IMAGES, labels=LABELS):
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, chunks=(24, 4, 4, 1), compression="gzip")
        file["labels"] = labels


def published(path):
    """What its publisher would say of the file at `path`."""
    raw = path.read_bytes()
    return RemoteFile("", path.name, len(raw), hashlib.sha256(raw).hexdigest(), None, None, "")


def pixels_of(path):
    return np.concatenate(list(shapes3d.hdf5_images(path, TINY))).reshape(-1, 3, 64, 64)


# ---------------------------------------------------------------------------- the whole, rendered


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes3d")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def progress():
    return []


@pytest.fixture(scope="module")
def rendered(data_dir, progress):
    return shapes3d.load("auto", data_dir, lambda done, total: progress.append((done, total)))


def test_the_whole_set_is_there(rendered):
    assert len(rendered) == 480_000
    assert rendered.source == "rendered v1"
    assert rendered.name == "shapes3d"
    assert rendered.image_shape == (3, 64, 64)
    assert rendered.factor_names == (
        *("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation"),
    )
    assert rendered.factor_sizes == (10, 10, 10, 8, 4, 15)


def test_the_first_time_tells_how_far_it_is_in_images(rendered, progress):
    assert len(rendered)
    done = [images for images, _ in progress]
    assert done == sorted(done)
    assert len(done) > 100
    assert progress[-1] == (480_000, 480_000)


def test_it_takes_the_disk_of_a_table_and_not_of_its_images(rendered, data_dir):
    assert len(rendered)
    (table,) = data_dir.glob("shapes3d-rendered-v1.bits")
    assert table.stat().st_size < 60e6


def test_factors_count_up_the_last_one_fastest(rendered):
    factors = rendered.factors
    assert factors.shape == (480_000, 6)
    assert factors.dtype == np.int64
    every = itertools.product(*map(range, (10, 10, 10, 8, 4, 15)))
    assert factors[::997].tolist() == [list(f) for f in itertools.islice(every, 0, None, 997)]
    assert rendered.factors is factors


def test_images_are_those_that_the_renderer_draws(rendered):
    rows = np.random.default_rng(1).integers(480_000, size=12)
    images = rendered.images(rows)
    assert images.shape == (12, 3, 64, 64)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, shapes3d.renderer.images(rows))


def test_the_second_time_is_ready_within_a_second(data_dir, rendered):
    def never(*_):
        pytest.fail("nothing is to be made")

    started = time.perf_counter()
    again = shapes3d.load("rendered", data_dir, never)
    assert time.perf_counter() - started < 1
    rows = np.arange(0, 480_000, 10_007)
    np.testing.assert_array_equal(again.images(rows), rendered.images(rows))


def test_a_batch_takes_less_than_a_millisecond_or_two(rendered):
    rng = np.random.default_rng(2)

    def seconds():
        rows = rng.integers(480_000, size=64)
        started = time.perf_counter()
        rendered.images(rows)
        return time.perf_counter() - started

    # Half a millisecond on one core; the bound leaves room for a machine with other work.
    assert np.median([seconds() for _ in range(200)]) < 2e-3


# ---------------------------------------------------------------------------- rows


@pytest.fixture
def tiny(tmp_path):
    write_hdf5(tmp_path / "tiny.h5")
    return shapes3d.from_official(tmp_path, published(tmp_path / "tiny.h5"), None, TINY)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_rows_come_in_the_order_asked_for(tiny, dtype):
    rows = np.array([5, 0, 95, 5], dtype=dtype)
    np.testing.assert_array_equal(tiny.images(rows), IMAGES[rows].transpose(0, 3, 1, 2))
    assert tiny.images(rows[:0]).shape == (0, 3, 64, 64)


def test_images_may_be_written_to(tiny):
    tiny.images(np.array([3]))[:] = 7
    np.testing.assert_array_equal(tiny.images(np.array([3]))[0, 1], IMAGES[3, :, :, 1])


@pytest.mark.parametrize("row", [-1, 96, 10**12])
def test_rows_outside_the_set_are_named(tiny, row):
    with pytest.raises(IndexError, match=rf"row {row} is not within 0\.\.95"):
        tiny.images(np.array([0, row]))


@pytest.mark.parametrize("rows", [np.array([1.0]), np.array([True]), np.zeros((2, 2), int)])
def test_rows_that_are_not_a_vector_of_integers_are_refused(tiny, rows):
    with pytest.raises(TypeError, match="expected rows"):
        tiny.images(rows)


def test_factors_cannot_be_written_to(tiny):
    assert tiny.factors.tolist() == DIGITS.tolist()
    with pytest.raises(ValueError, match="read-only"):
        tiny.factors[0, 0] = 1


def resident():
    """Bytes of mapped files that count as memory of this process."""
    (line,) = re.findall(r"RssFile:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(line)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to measure by")
def test_memory_of_what_was_read_is_given_back(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes3d, "_RESIDENT_IMAGES", 64)
    records = np.lib.format.open_memmap(
        tmp_path / "large.npy", mode="w+", dtype=np.uint8, shape=(6000, 12288)
    )
    records[:] = np.arange(6000)[:, np.newaxis]
    del records
    pixels = np.asarray(np.load(tmp_path / "large.npy", mmap_mode="r"))
    read = shapes3d._Mapped(pixels)
    before = resident()
    for start in range(0, 6000, 50):
        images = read(np.arange(start, start + 50))
        assert (images[:, 2, 63, 63] == np.arange(start, start + 50) % 256).all()
    assert resident() - before < 15e6  # of 74


# ---------------------------------------------------------------------------- official files


def test_an_official_file_is_converted_once_and_named(tmp_path):
    write_hdf5(tmp_path / "tiny.h5")
    file = published(tmp_path / "tiny.h5")
    progress = []
    for _ in range(2):
        dataset = shapes3d.from_official(
            tmp_path, file, lambda done, total: progress.append((done, total)), TINY
        )
        assert dataset.source == f"official sha256:{file.sha256}"
        assert dataset.images(np.arange(96)).tobytes() == IMAGES.transpose(0, 3, 1, 2).tobytes()
    assert progress == [(96, 96)]


def test_slabs_are_converted_in_small_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes3d, "_PART_IMAGES", 20)
    write_hdf5(tmp_path / "tiny.h5")
    parts = [len(part) for part in shapes3d.hdf5_images(tmp_path / "tiny.h5", TINY)]
    assert parts == [20, 20, 20, 20, 16]
    np.testing.assert_array_equal(pixels_of(tmp_path / "tiny.h5"), IMAGES.transpose(0, 3, 1, 2))


def test_rows_in_another_order_are_refused(tmp_path):
    write_hdf5(tmp_path / "tiny.h5", labels=np.roll(LABELS, 1, axis=0))
    with pytest.raises(DataError, match=r"expected row 0 to have labels \[0\.0, 0\.0, 0\.0, 0\.75"):
        pixels_of(tmp_path / "tiny.h5")


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.1001])
def test_labels_that_are_not_those_of_the_set_are_refused(tmp_path, value):
    labels = LABELS.copy()
    labels[-1, 2] = value
    write_hdf5(tmp_path / "tiny.h5", labels=labels)
    with pytest.raises(DataError, match="expected row 95 to have labels"):
        pixels_of(tmp_path / "tiny.h5")


@pytest.mark.parametrize(
    "change",
    [
        {"images": IMAGES[:50]},
        {"images": IMAGES.astype(np.float32)},
        {"images": IMAGES[:, :32]},
        {"images": IMAGES[..., :1]},
        {"labels": LABELS[:, 1:]},
        {"labels": LABELS.astype(np.float32)},
        {"labels": LABELS[:50]},
    ],
)
def test_other_shapes_and_types_are_refused(tmp_path, change):
    write_hdf5(tmp_path / "tiny.h5", **change)
    with pytest.raises(
        DataError, match=r"images: expected uint8|labels: expected float64"
    ) as error:
        pixels_of(tmp_path / "tiny.h5")
    assert "did download shapes3d --force" in error.value.hint


@pytest.mark.parametrize("kept", [0, 100, 5_000, -1])
def test_a_truncated_file_is_refused(tmp_path, kept):
    write_hdf5(tmp_path / "tiny.h5")
    raw = (tmp_path / "tiny.h5").read_bytes()
    (tmp_path / "tiny.h5").write_bytes(raw[:kept])
    with pytest.raises(DataError, match=r"tiny\.h5 is not what it should be"):
        pixels_of(tmp_path / "tiny.h5")


@pytest.mark.parametrize("link", [h5py.ExternalLink("other.h5", "images"), h5py.SoftLink("/other")])
def test_links_are_not_followed(tmp_path, link):
    write_hdf5(tmp_path / "other.h5")
    write_hdf5(tmp_path / "tiny.h5")
    with h5py.File(tmp_path / "tiny.h5", "a") as file:
        file.move("images", "other")
        file["images"] = link
    with pytest.raises(DataError, match="images is a link"):
        pixels_of(tmp_path / "tiny.h5")


def test_a_bad_official_file_leaves_nothing_behind(tmp_path):
    write_hdf5(tmp_path / "tiny.h5", images=IMAGES[:50])
    with pytest.raises(DataError):
        shapes3d.from_official(tmp_path, published(tmp_path / "tiny.h5"), None, TINY)
    assert not list(tmp_path.glob("*.pixels"))
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(tmp_path, monkeypatch):
    write_hdf5(tmp_path / "tiny.h5")
    file = published(tmp_path / "tiny.h5")
    usage = SimpleNamespace(total=10**9, used=10**9 - 1000, free=1000)
    monkeypatch.setattr(shapes3d.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        StorageError, match=r"take 1,179,648 bytes in .*, where 1,000 are free"
    ) as e:
        shapes3d.from_official(tmp_path, file, None, TINY)
    assert e.value.exit_code == 7
    assert "--data-dir" in e.value.hint
    assert not list(tmp_path.glob("*.pixels"))
    # Once the images are there, they need no room.
    monkeypatch.undo()
    shapes3d.from_official(tmp_path, file, None, TINY)
    monkeypatch.setattr(shapes3d.shutil, "disk_usage", lambda _: usage)
    assert len(shapes3d.from_official(tmp_path, file, None, TINY)) == 96


@pytest.mark.parametrize("source", ["auto", "official"])
@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html>sign in</html>"])
def test_a_damaged_official_file_is_never_passed_over(tmp_path, source, content):
    (tmp_path / "3dshapes.h5").write_bytes(content)
    with pytest.raises(DataError, match="is not the published file: expected") as caught:
        shapes3d.load(source, tmp_path)
    assert caught.value.exit_code == 3
    assert "did download shapes3d --force" in caught.value.hint


def test_an_absent_official_file_says_how_to_get_it_or_do_without(tmp_path):
    with pytest.raises(DataError, match="no official 3DShapes file in") as caught:
        shapes3d.load("official", tmp_path)
    assert "did download shapes3d" in caught.value.hint
    assert "--source rendered" in caught.value.hint


def test_an_unknown_source_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no 'web' among the sources"):
        shapes3d.load("web", tmp_path)


def test_a_folder_that_cannot_be_used_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError) as caught:
        shapes3d.load("rendered", tmp_path / "file" / "inside")
    assert caught.value.exit_code == 7
    assert "--data-dir" in caught.value.hint


def test_the_source_can_be_verified():
    (file,) = shapes3d.SOURCES
    assert file.url.endswith(f"/{file.name}")
    assert file.sha256
    assert file.size == 267_573_662
