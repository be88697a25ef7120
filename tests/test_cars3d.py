import hashlib
import io
import struct
import tarfile
import tracemalloc
import zlib

import numpy as np
import pytest
import scipy.io
from PIL import Image
from published_files import with_md5

from didcli.data import cars3d
from didcli.errors import DataError, UsageError

TINY = (2, 3, 4)
"""Elevations, azimuths, cars."""
NAMES = ["car_003_mesh", "car_001_mesh", "car_010_mesh", "car_002_mesh"]
"""In the order of a tiny archive, which is not that of the names."""


def view(elevation: int, azimuth: int, car: int) -> np.ndarray:
    """(128, 128, 3): colours that tell which view this is."""
    colour = (10 * elevation + 5, 10 * azimuth + 5, 10 * car + 5)
    return np.broadcast_to(np.array(colour, np.uint8), (128, 128, 3))


def mat(car: int, **changes) -> bytes:
    """A car as the official archive has it: im (128, 128, 3, azimuths, elevations), and masks."""
    elevations, azimuths, _ = TINY
    im = np.empty((128, 128, 3, azimuths, elevations), np.uint8)
    for elevation, azimuth in np.ndindex(elevations, azimuths):
        im[..., azimuth, elevation] = view(elevation, azimuth, car)
    mask = np.ones((128, 128, azimuths, elevations), np.uint8)
    buffer = io.BytesIO()
    arrays = {"im": im, "mask": mask, **changes}
    scipy.io.savemat(
        buffer, {k: v for k, v in arrays.items() if v is not None}, do_compression=True
    )
    return buffer.getvalue()


def write(path, cars: dict[str, bytes]):
    """An archive with what else is in the official one."""
    others = {"data/shapes48.mat": b"another set", "data/cars/list.txt": b"car_001_mesh\n"}
    with tarfile.open(path, "w:gz") as archive:
        for name, content in {**others, **cars}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def official(**changes):
    """The members of a tiny archive; changes: of the arrays of its second car."""
    number = {name: car for car, name in enumerate(sorted(NAMES))}
    cars = {f"data/cars/{name}.mat": mat(number[name]) for name in NAMES}
    return {**cars, f"data/cars/{NAMES[1]}.mat": mat(number[NAMES[1]], **changes)}


def read(path):
    return np.concatenate(list(cars3d.archive_images(path, TINY)))


def test_the_set_has_the_factors_of_the_literature():
    assert cars3d.FACTOR_NAMES == ("elevation", "azimuth", "object")
    assert cars3d.FACTOR_SIZES == (4, 24, 183)


def test_the_official_layout_becomes_a_grid_in_the_order_of_its_factors(tmp_path):
    path = write(tmp_path / "cars.tar.gz", official())
    images = read(path).reshape(*TINY, 3, 64, 64)
    for elevation, azimuth, car in np.ndindex(*TINY):
        expected = view(elevation, azimuth, car)[:64, :64].transpose(2, 0, 1)
        np.testing.assert_array_equal(images[elevation, azimuth, car], expected)


def test_images_are_resized_as_in_disentanglement_lib(tmp_path):
    rng = np.random.default_rng(0)
    im = rng.integers(256, size=(128, 128, 3, TINY[1], TINY[0]), dtype=np.uint8)
    path = write(tmp_path / "cars.tar.gz", official(im=im))
    picture = Image.fromarray(im[..., 2, 1])
    picture.thumbnail((64, 64), Image.Resampling.LANCZOS)
    car = sorted(NAMES).index(NAMES[1])
    actual = read(path).reshape(*TINY, 3, 64, 64)[1, 2, car]
    np.testing.assert_array_equal(actual, np.asarray(picture).transpose(2, 0, 1))


def test_the_archive_is_converted_once_and_named(tmp_path):
    file = with_md5(write(tmp_path / "cars.tar.gz", official()))
    sha256 = hashlib.sha256((tmp_path / file.name).read_bytes()).hexdigest()
    progress = []
    for _ in range(2):
        dataset = cars3d.from_official(
            tmp_path, file, lambda *done: progress.append(done), factor_sizes=TINY
        )
        assert dataset.source == f"official sha256:{sha256}"
        assert dataset.factors.tolist() == [list(f) for f in np.ndindex(*TINY)]
        image = dataset.images(np.array([23]))[0]
        np.testing.assert_array_equal(image[:, 0, 0], view(1, 2, 3)[0, 0])
    assert progress == [(4 * step, 24) for step in range(1, 7)]


@pytest.mark.parametrize(
    "changes",
    [
        {"im": None},
        {"im": np.zeros((128, 128, 3, 3, 3), np.uint8)},
        {"im": np.zeros((128, 128, 3, 3, 2))},
        {"im": np.full((2, 2), "cells", dtype=object)},
        {"im": {"a": 1}},
    ],
)
def test_other_shapes_and_types_are_refused(tmp_path, changes):
    path = write(tmp_path / "cars.tar.gz", official(**changes))
    with pytest.raises(DataError, match=r"car_001_mesh.mat is not what .*expected im of") as caught:
        read(path)
    assert caught.value.hint == "Fetch it: did download cars3d"


@pytest.mark.parametrize(
    ("members", "match"),
    [
        ({}, "has 0 cars, expected 4"),
        (dict(list(official().items())[:3]), "has 3 cars, expected 4"),
        ({**official(), "data/cars/e.mat": mat(0)}, "has more than 4 cars"),
        ({**official(), "data/cars/car_001_mesh.mat": b""}, "is not what it should be"),
        ({**official(), "data/cars/car_001_mesh.mat": mat(0)[:400]}, "is not what it should be"),
        ({"data/cars/a.mat": bytes(2**26 + 1)}, "too many for a car"),
    ],
)
def test_an_archive_of_something_else_is_refused(tmp_path, members, match):
    with pytest.raises(DataError, match=match):
        read(write(tmp_path / "cars.tar.gz", members))


@pytest.mark.parametrize(
    "damage",
    [lambda raw: b"", lambda raw: b"<html></html>", lambda raw: raw[: len(raw) // 2]],
    ids=["empty", "a page", "cut"],
)
def test_a_damaged_archive_is_refused_with_and_without_its_digest(tmp_path, damage):
    path = write(tmp_path / "cars.tar.gz", official())
    file = with_md5(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="is not what it should be"):
        read(path)
    with pytest.raises(DataError, match="is not the published file: expected MD5"):
        cars3d.from_official(tmp_path, file, factor_sizes=TINY)
    assert not list(tmp_path.glob("*.pixels"))


def packed(variable: bytes) -> bytes:
    content = zlib.compress(variable, 9)
    return struct.pack("<II", 15, len(content)) + content


def variables(content: bytes) -> list[bytes]:
    """The variables of a .mat file, unpacked."""
    found = []
    position = 128
    while position < len(content):
        length = struct.unpack_from("<I", content, position + 4)[0]
        found.append(zlib.decompress(content[position + 8 :][:length]))
        position += 8 + length
    return found


@pytest.mark.parametrize("kept", [0, 2**20, 2**27])
@pytest.mark.parametrize("claimed", [2**27, 2**32 - 1])
def test_a_variable_that_claims_more_than_it_has_is_not_allocated_for(tmp_path, kept, claimed):
    """scipy would make room for as many bytes as the pixels are said to have."""
    whole = mat(1)
    im = variables(whole)[0]
    pixels = im.index(struct.pack("<II", 2, 128 * 128 * 3 * 6))
    bomb = im[:pixels] + struct.pack("<II", 2, claimed) + bytes(kept)
    members = official() | {"data/cars/car_001_mesh.mat": whole[:128] + packed(bomb)}
    path = write(tmp_path / "cars.tar.gz", members)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"car_001_mesh\.mat is not what it should be"):
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # What is unpacked in between, never what is claimed.
    assert peak < 3 * cars3d._LARGEST_MEMBER


def test_variables_together_are_no_larger_than_a_car(tmp_path, monkeypatch):
    monkeypatch.setattr(cars3d, "_LARGEST_MEMBER", 2**19)
    path = write(tmp_path / "cars.tar.gz", official())
    assert len(read(path)) == 24
    path = write(tmp_path / "cars.tar.gz", official(mask=np.zeros(2**18, np.uint8)))
    with pytest.raises(DataError, match="too large for a car"):
        read(path)


@pytest.mark.parametrize("form", ["4", "5"])
def test_files_that_are_not_packed_are_read_if_of_version_5(tmp_path, form):
    buffer = io.BytesIO()
    im = variables(mat(1))[0]
    if form == "5":
        buffer.write(mat(1)[:128] + im)
    else:
        scipy.io.savemat(buffer, {"im": np.zeros((2, 2))}, format="4")
    members = official() | {"data/cars/car_001_mesh.mat": buffer.getvalue()}
    path = write(tmp_path / "cars.tar.gz", members)
    if form == "5":
        assert len(read(path)) == 24
    else:
        with pytest.raises(DataError, match=r"expected a \.mat file of version 5"):
            read(path)


def test_a_link_in_the_archive_is_not_followed(tmp_path):
    path = tmp_path / "cars.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("data/cars/a.mat")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(DataError, match="has 0 cars"):
        read(path)


def test_an_absent_archive_says_how_to_get_it(tmp_path):
    for source in ("auto", "official"):
        with pytest.raises(
            DataError, match=r"there is no .*nips2015-analogy-data\.tar\.gz"
        ) as caught:
            cars3d.load(source, tmp_path)
        assert "did download cars3d" in caught.value.hint
    with pytest.raises(UsageError, match="no 'rendered' among the sources"):
        cars3d.load("rendered", tmp_path)
