import gzip
import hashlib
import struct

import numpy as np
import pytest
from PIL import Image
from published_files import with_sha256

from didcli.data import smallnorb
from didcli.errors import DataError, UsageError
from didcli.io import norb
from didcli.scoring.table import code_table

TINY = (2, 4, 3, 2, 2)
"""Categories, toys of each, elevations, azimuths, lightings."""
HALF = 48
MAGIC = {"u1": 0x1E3D4C55, "i4": 0x1E3D4C54, "f4": 0x1E3D4C51, "f8": 0x1E3D4C53}


def matrix(values: np.ndarray, order: str = "<") -> bytes:
    """As on the page of the dataset: magic number, dimensions, at least three sizes, elements."""
    sizes = [*values.shape, *[1] * (3 - values.ndim)]
    magic = MAGIC[values.dtype.str[1:]]
    header = struct.pack(f"{order}Ii{len(sizes)}i", magic, values.ndim, *sizes)
    return header + values.astype(values.dtype.newbyteorder(order)).tobytes()


def factors(toys: tuple[int, int]) -> np.ndarray:
    """(48, 5) of two toys of each category, shuffled, azimuths counted in twos as published."""
    every = [f for f in np.ndindex(*TINY) if f[1] in toys]
    table = np.array(every, np.int32)[np.random.default_rng(toys[0]).permutation(len(every))]
    return table * [1, 1, 1, 2, 1]


def photograph(row: np.ndarray, camera: int) -> np.ndarray:
    """(96, 96): a grey that tells the factors, and on the right image another."""
    return np.full((96, 96), row @ [100, 20, 5, 1, 1] + 1 + 50 * camera, np.uint8)


def contents(toys: tuple[int, int]) -> list[bytes]:
    """dat, cat and info of one half of the set."""
    table = factors(toys).astype("i4")
    pairs = np.stack([[photograph(row, camera) for camera in (0, 1)] for row in table])
    return [matrix(pairs), matrix(table[:, 0]), matrix(table[:, 1:])]


@pytest.fixture
def files():
    return contents((1, 3)) + contents((0, 2))


def write(folder, files: list[bytes]):
    paths = [folder / f"{k}.mat.gz" for k in range(6)]
    for path, content in zip(paths, files, strict=True):
        path.write_bytes(gzip.compress(content, 1))
    return paths


def read(paths):
    return np.concatenate(list(smallnorb.images(paths, TINY)))


def test_training_and_test_files_together_are_the_complete_grid(tmp_path, files):
    images = read(write(tmp_path, files)).reshape(*TINY, 64, 64)
    for row in np.ndindex(*TINY):
        grey = photograph(np.array(row) * [1, 1, 1, 2, 1], camera=0)[0, 0]
        assert (images[row] == grey).all()


def test_the_left_image_is_resized_as_in_disentanglement_lib(tmp_path, files):
    noise = np.random.default_rng(0).integers(256, size=(HALF, 2, 96, 96), dtype=np.uint8)
    files[0] = matrix(noise)
    images = read(write(tmp_path, files)).reshape(*TINY, 64, 64)
    first = factors((1, 3))[0] // [1, 1, 1, 2, 1]
    small = Image.fromarray(noise[0, 0]).resize((64, 64), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(images[tuple(first)], np.asarray(small))


@pytest.mark.parametrize(
    ("instance", "shown"), [("factor", [0, 1, 2, 3, 4]), ("hidden", [0, 2, 3, 4])]
)
def test_the_toy_is_a_factor_unless_hidden(tmp_path, files, instance, shown):
    remote = tuple(with_sha256(path) for path in write(tmp_path, files))
    progress = []
    for _ in range(2):
        dataset = smallnorb.from_official(
            tmp_path, remote, instance, lambda *done: progress.append(done), TINY
        )
    assert progress == [(96, 96)]
    assert dataset.image_shape == (1, 64, 64)
    assert dataset.factor_names == tuple(smallnorb.FACTOR_NAMES[k] for k in shown)
    assert dataset.factor_sizes == tuple(TINY[k] for k in shown)
    expected = np.array(list(np.ndindex(*TINY)))[:, shown]
    np.testing.assert_array_equal(dataset.factors, expected)
    table = code_table(np.zeros((96, 2)), dataset.factors, dataset.factor_sizes)
    assert table.is_complete_grid is (instance == "factor")


def test_the_source_names_all_six_files(tmp_path, files):
    remote = tuple(with_sha256(path) for path in write(tmp_path, files))
    listing = "".join(f"{file.sha256}\n" for file in remote)
    dataset = smallnorb.from_official(tmp_path, remote, factor_sizes=TINY)
    expected = hashlib.sha256(listing.encode()).hexdigest()
    assert dataset.source == f"official sha256:{expected}"


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize(
    "damage",
    [lambda raw: b"", lambda raw: b"<html></html>", lambda raw: raw[:-30]],
    ids=["empty", "a page", "cut"],
)
def test_a_damaged_file_is_refused_with_and_without_its_digest(tmp_path, files, number, damage):
    paths = write(tmp_path, files)
    remote = tuple(with_sha256(path) for path in paths)
    paths[number].write_bytes(damage(paths[number].read_bytes()))
    with pytest.raises(DataError, match="is not what it should be"):
        read(paths)
    with pytest.raises(DataError, match="is not the published file") as caught:
        smallnorb.from_official(tmp_path, remote, factor_sizes=TINY)
    assert caught.value.hint == "Fetch it: did download smallnorb"
    assert not list(tmp_path.glob("*.pixels"))


def changed(number: int, values: np.ndarray):
    return number, matrix(values)


@pytest.mark.parametrize(
    ("number", "content"),
    [
        changed(0, np.zeros((HALF, 2, 96, 95), np.uint8)),
        changed(0, np.zeros((HALF - 1, 2, 96, 96), np.uint8)),
        changed(0, np.zeros((HALF, 2, 96, 96), np.int32)),
        changed(1, np.zeros((HALF, 1), np.int32)),
        changed(1, np.zeros(HALF)),
        changed(2, np.zeros((HALF, 5), np.int32)),
        (1, matrix(np.zeros(HALF, np.int32), ">")),
        (1, matrix(np.zeros(HALF, np.int32)) + b"\0"),
        (1, matrix(np.zeros(HALF, np.int32))[:-1]),
        (1, struct.pack("<Ii3i", MAGIC["i4"], 1, 2**31 - 1, 1, 1)),
        (1, struct.pack("<Ii3i", MAGIC["i4"], 2**31 - 1, HALF, 1, 1)),
        (1, struct.pack("<Ii3i", MAGIC["i4"], -1, HALF, 1, 1)),
        (1, matrix(np.zeros(HALF, np.int32)) + bytes(2**26)),
    ],
)
def test_other_matrices_are_refused(tmp_path, files, number, content):
    files[number] = content
    with pytest.raises(DataError, match="is not what it should be"):
        read(write(tmp_path, files))


@pytest.mark.parametrize(
    ("number", "values", "match"),
    [
        (1, np.full(HALF, 2, np.int32), "factors beyond"),
        (1, np.full(HALF, -1, np.int32), "factors beyond"),
        (2, factors((1, 3))[:, 1:].astype(np.int32) // [1, 1, 1, 2], "has no image of the toy"),
    ],
)
def test_factors_that_are_not_a_complete_grid_are_refused(tmp_path, files, number, values, match):
    files[number] = matrix(values.astype(np.int32))
    with pytest.raises(DataError, match=match):
        read(write(tmp_path, files))


@pytest.mark.parametrize("dtype", ["u1", "i4", "f4", "f8"])
def test_matrices_of_every_type_come_in_slabs(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(norb, "SLAB_BYTES", 100)
    values = np.arange(70, dtype=dtype).reshape(10, 7)
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(matrix(values)))
    slabs = list(norb.slabs(path, (10, 7), norb.MAGIC[MAGIC[dtype]], ""))
    np.testing.assert_array_equal(np.concatenate(slabs), values)
    assert (len(slabs) > 1) is (dtype != "u1")


def test_absent_files_say_how_to_get_them(tmp_path):
    with pytest.raises(DataError, match=r"there is no .*training-dat\.mat\.gz") as caught:
        smallnorb.load(data_dir=tmp_path)
    assert "did download smallnorb" in caught.value.hint
    for options in ({"source": "rendered"}, {"instance": "maybe"}):
        with pytest.raises(UsageError):
            smallnorb.load(**options, data_dir=tmp_path)


def test_every_file_can_be_verified():
    for file in smallnorb.FILES:
        assert len(file.sha256) == 64
        assert file.size
        assert file.url.endswith(f"/norb-v1.0-small/{file.name}")
