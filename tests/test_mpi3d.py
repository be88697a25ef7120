import hashlib
from dataclasses import replace

import numpy as np
import pytest
from published_files import with_md5

from didcli.data import _stored, mpi3d
from didcli.errors import DataError, UsageError

TINY = (2, 2, 2, 1, 1, 3, 2)
IMAGES = np.random.default_rng(0).integers(256, size=(48, 64, 64, 3), dtype=np.uint8)


def published(path):
    return replace(with_md5(path), digests_of_older_copy=True)


@pytest.fixture(params=[np.savez, np.savez_compressed])
def path(tmp_path, request):
    path = tmp_path / "mpi3d_toy.npz"
    request.param(path, images=IMAGES)
    return path


def load(path, file, **options):
    return mpi3d.from_official(path.parent, file, "toy", factor_sizes=TINY, **options)


def test_there_is_a_file_for_each_kind():
    for kind, file in zip(mpi3d.KINDS, mpi3d.SOURCES, strict=True):
        assert file.name == f"mpi3d_{kind}.npz"
        assert file.url.endswith(f"/{file.name}")
        assert file.digests_of_older_copy
    assert np.prod(mpi3d.FACTOR_SIZES) == 1_036_800


def test_the_official_layout_is_converted_once_and_named(path, monkeypatch):
    monkeypatch.setattr(_stored, "PART_IMAGES", 32)
    progress = []
    for _ in range(2):
        dataset = load(path, published(path), on_progress=lambda *done: progress.append(done))
        np.testing.assert_array_equal(dataset.images(np.arange(48)), IMAGES.transpose(0, 3, 1, 2))
    assert progress == [(32, 48), (48, 48)]
    assert dataset.source == f"official sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert dataset.notes == ()
    assert dataset.name == "mpi3d_toy"
    assert dataset.image_shape == (3, 64, 64)
    assert dataset.factors.tolist() == [list(f) for f in np.ndindex(*TINY)]
    assert dataset.factor_names[-2:] == ("horizontal_axis", "vertical_axis")


def test_another_copy_is_accepted_and_says_so(path):
    file = replace(published(path), md5="0" * 32)
    dataset = load(path, file)
    (note,) = dataset.notes
    assert f"expected MD5 {'0' * 32}, got {published(path).md5}" in note
    assert "cannot be verified" in note
    assert dataset.source == f"unverified sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_a_file_that_is_not_there_need_not_be_forced(tmp_path):
    with pytest.raises(DataError, match="there is no") as caught:
        load(tmp_path / "mpi3d_toy.npz", mpi3d.SOURCES[0])
    assert caught.value.hint == "Fetch it: did download mpi3d --kind toy"


def test_another_copy_is_checked_to_be_the_set(tmp_path):
    path = tmp_path / "mpi3d_toy.npz"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DataError, match="is not what it should be") as caught:
        load(path, mpi3d.SOURCES[0])
    assert caught.value.hint == "Fetch it: did download mpi3d --kind toy --force"
    assert not list(tmp_path.glob("*.pixels"))


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"images": IMAGES[:47]}, r"expected uint8 \(48, 64, 64, 3\), got uint8 \(47, 64, 64, 3\)"),
        ({"images": IMAGES.transpose(0, 3, 1, 2)}, r"got uint8 \(48, 3, 64, 64\)"),
        ({"images": IMAGES.astype(np.float32)}, "got float32"),
        ({"images": IMAGES.astype(object)}, "got object"),
        ({"imgs": IMAGES}, "there is no images"),
    ],
)
def test_other_shapes_and_types_are_refused(tmp_path, arrays, match):
    path = tmp_path / "mpi3d_toy.npz"
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=match):
        load(path, published(path))


@pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_refused(path, part):
    raw = path.read_bytes()
    path.write_bytes(raw[: int(part * len(raw))])
    with pytest.raises(DataError, match="is not what it should be"):
        load(path, published(path))


@pytest.mark.parametrize("kind", mpi3d.KINDS)
def test_an_absent_file_says_how_to_get_it(tmp_path, kind):
    with pytest.raises(DataError, match=f"there is no .*mpi3d_{kind}.npz") as caught:
        mpi3d.load(kind, data_dir=tmp_path)
    assert f"did download mpi3d --kind {kind}" in caught.value.hint


@pytest.mark.parametrize(("option", "value"), [("kind", "complex"), ("source", "rendered")])
def test_other_kinds_and_sources_are_usage_errors(tmp_path, option, value):
    with pytest.raises(UsageError, match=f"no '{value}' among the {option}s of mpi3d") as caught:
        mpi3d.load(**{option: value}, data_dir=tmp_path)
    assert "Choose from: " in caught.value.hint
