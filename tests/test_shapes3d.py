import itertools
import shutil

import h5py
import numpy as np
import pytest
from drawn_images import shapes3d_images
from published_files import with_sha256

from didcli.data import shapes3d
from didcli.errors import DataError

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
    np.testing.assert_array_equal(images, shapes3d_images(rows))


def test_the_second_time_nothing_is_rendered(data_dir, rendered):
    def never(*_):
        pytest.fail("nothing is to be made")

    again = shapes3d.load("rendered", data_dir, never)
    rows = np.arange(0, 480_000, 10_007)
    np.testing.assert_array_equal(again.images(rows), rendered.images(rows))


# ---------------------------------------------------------------------------- official files


def test_an_official_file_is_converted_once_and_named(tmp_path):
    write_hdf5(tmp_path / "tiny.h5")
    file = with_sha256(tmp_path / "tiny.h5")
    progress = []
    for _ in range(2):
        dataset = shapes3d.from_official(
            tmp_path, file, lambda done, total: progress.append((done, total)), TINY
        )
        assert dataset.source == f"official sha256:{file.sha256}"
        assert dataset.images(np.arange(96)).tobytes() == IMAGES.transpose(0, 3, 1, 2).tobytes()
    assert progress == [(96, 96)]


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
        shapes3d.from_official(tmp_path, with_sha256(tmp_path / "tiny.h5"), None, TINY)
    assert not list(tmp_path.glob("*.pixels"))
    assert not list(tmp_path.glob(".*.tmp"))


def test_the_source_can_be_verified():
    (file,) = shapes3d.SOURCES
    assert file.url.endswith(f"/{file.name}")
    assert file.sha256
    assert file.size == 267_573_662
