import itertools
import shutil

import h5py
import numpy as np
import pytest
from drawn_images import dsprites_images
from published_files import with_sha256

from didcli.data import dsprites
from didcli.errors import DataError

TINY = (2, 2, 3, 4, 4)
CLASSES = np.array([(0, *digits) for digits in itertools.product(*map(range, TINY))], dtype="<i8")
IMAGES = np.random.default_rng(0).integers(2, size=(len(CLASSES), 64, 64), dtype=np.uint8)


class Trap:
    """Unpickling one of these fails the test: the official npz has a pickled entry."""

    def __reduce__(self):
        return pytest.fail, ("metadata was unpickled",)


def write_hdf5(path, images=IMAGES, classes=CLASSES):
    with h5py.File(path, "w") as file:
        file.create_dataset("imgs", data=images, chunks=(24, 2, 4), compression="gzip")
        file["latents/classes"] = classes
        file["latents/values"] = classes.astype("<f8")


def write_npz(path, images=IMAGES, classes=CLASSES):
    np.savez_compressed(
        path,
        metadata=np.array([Trap()], dtype=object),
        imgs=images,
        latents_classes=classes,
        latents_values=classes.astype("<f8"),
    )


LAYOUTS = pytest.mark.parametrize(
    ("write", "read", "name"),
    [
        (write_hdf5, dsprites.hdf5_images, "tiny.hdf5"),
        (write_npz, dsprites.npz_images, "tiny.npz"),
    ],
)


# ---------------------------------------------------------------------------- the whole, rendered


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dsprites")
    yield folder
    shutil.rmtree(folder)  # pytest would keep 377 MB of each of the last three sessions


@pytest.fixture(scope="module")
def progress():
    return []


@pytest.fixture(scope="module")
def rendered(data_dir, progress):
    return dsprites.load("auto", data_dir, lambda done, total: progress.append((done, total)))


def test_the_whole_set_is_there(rendered):
    assert len(rendered) == 737_280
    assert rendered.source == "rendered v1"
    assert rendered.name == "dsprites"
    assert rendered.image_shape == (1, 64, 64)
    assert rendered.factor_names == ("shape", "scale", "orientation", "pos_x", "pos_y")
    assert rendered.factor_sizes == (3, 6, 40, 32, 32)


def test_the_first_time_tells_how_far_it_is(rendered, progress):
    assert len(rendered)
    done = [images for images, _ in progress]
    assert done == sorted(done)
    assert len(done) > 100
    assert progress[-1] == (737_280, 737_280)


def test_factors_count_up_the_last_one_fastest(rendered):
    factors = rendered.factors
    assert factors.shape == (737_280, 5)
    assert factors.dtype == np.int64
    every = itertools.product(range(3), range(6), range(40), range(32), range(32))
    assert factors[::997].tolist() == [list(f) for f in itertools.islice(every, 0, None, 997)]
    assert rendered.factors is factors


def test_images_are_those_that_the_renderer_draws(rendered):
    rows = np.random.default_rng(1).integers(737_280, size=20)
    images = rendered.images(rows)
    assert images.shape == (20, 1, 64, 64)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images[:, 0], 255 * dsprites_images(rows))


def test_the_second_time_nothing_is_rendered(data_dir, rendered):
    def never(*_):
        pytest.fail("nothing is to be made")

    again = dsprites.load("rendered", data_dir, never)
    rows = np.arange(0, 737_280, 10_007)
    np.testing.assert_array_equal(again.images(rows), rendered.images(rows))


# ---------------------------------------------------------------------------- official files


@LAYOUTS
def test_official_layouts_are_packed_and_checked(tmp_path, write, read, name):
    write(tmp_path / name)
    packed = np.concatenate(list(read(tmp_path / name, TINY)))
    np.testing.assert_array_equal(np.unpackbits(packed, axis=1).reshape(-1, 64, 64), IMAGES)


@pytest.mark.parametrize(("write", "name"), [(write_hdf5, "tiny.hdf5"), (write_npz, "tiny.npz")])
def test_an_official_file_is_converted_once_and_named(tmp_path, write, name):
    write(tmp_path / name)
    file = with_sha256(tmp_path / name)
    progress = []
    for _ in range(2):
        dataset = dsprites.from_official(
            tmp_path, file, lambda done, total: progress.append((done, total)), TINY
        )
        assert dataset.source == f"official sha256:{file.sha256}"
        np.testing.assert_array_equal(dataset.images(np.arange(192))[:, 0], 255 * IMAGES)
    assert progress == [(192, 192)]


@LAYOUTS
def test_rows_in_another_order_are_refused(tmp_path, write, read, name):
    write(tmp_path / name, classes=np.roll(CLASSES, 1, axis=0))
    with pytest.raises(DataError, match=r"expected row 0 to have labels \[0, 0, 0, 0, 0, 0\], got"):
        list(read(tmp_path / name, TINY))


@LAYOUTS
def test_pixels_other_than_0_and_1_are_refused(tmp_path, write, read, name):
    images = IMAGES.copy()
    images[-1, -1, -1] = 2
    write(tmp_path / name, images)
    with pytest.raises(DataError, match="pixels of 2, expected 0 and 1") as caught:
        list(read(tmp_path / name, TINY))
    assert "did download dsprites --force" in caught.value.hint


@LAYOUTS
@pytest.mark.parametrize(
    "change",
    [
        {"images": IMAGES[:100]},
        {"images": IMAGES.astype(np.float32)},
        {"images": IMAGES[:, :32]},
        {"classes": CLASSES[:, 1:]},
        {"classes": CLASSES.astype(np.int32)},
        {"classes": CLASSES[:50]},
    ],
)
def test_other_shapes_and_types_are_refused(tmp_path, write, read, name, change):
    write(tmp_path / name, **change)
    with pytest.raises(DataError, match=r"classes: expected int64|imgs: expected uint8") as caught:
        list(read(tmp_path / name, TINY))
    assert "did download dsprites --force" in caught.value.hint


def test_a_bad_official_file_leaves_nothing_behind(tmp_path):
    images = IMAGES.copy()
    images[-1] = 9
    write_npz(tmp_path / "tiny.npz", images)
    with pytest.raises(DataError):
        dsprites.from_official(tmp_path, with_sha256(tmp_path / "tiny.npz"), None, TINY)
    assert not list(tmp_path.glob("*.bits"))
    assert not list(tmp_path.glob(".*.tmp"))


def test_sources_can_be_verified():
    for file in dsprites.SOURCES:
        assert file.url.endswith(f"/{file.name}")
        assert file.sha256 or (file.md5 and file.git_blob_sha1)
