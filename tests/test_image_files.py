import io
import os
import sys

import numpy as np
import pytest
from PIL import Image

from didcli.errors import DataError
from didcli.io import image_files


def encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def test_reading_crops_about_the_centre_and_averages(tmp_path):
    pixels = np.zeros((40, 100), dtype=np.uint8)
    pixels[:, 30:50], pixels[:, 50:70] = 100, 200  # the 40 columns in the middle
    path = tmp_path / "wide.png"
    path.write_bytes(encoded(Image.fromarray(pixels), "PNG"))
    image = image_files.read_image(path, (1, 4, 4))
    assert image.dtype == np.uint8
    assert image.tolist() == [[[100, 100, 200, 200]] * 4]


@pytest.mark.parametrize(
    ("image", "channels", "expected"),
    [
        (Image.new("RGB", (9, 9), (255, 0, 0)), 1, [76]),  # ITU-R 601 luma of red
        (Image.new("L", (9, 9), 90), 3, [90, 90, 90]),
        (Image.new("RGBA", (9, 9), (200, 100, 50, 0)), 3, [0, 0, 0]),
        (Image.new("LA", (9, 9), (200, 255)), 1, [200]),
        (Image.fromarray(np.full((9, 9), 257 * 33, np.uint16)), 1, [33]),
        (Image.new("1", (9, 9), 1), 1, [255]),
        (Image.new("CMYK", (9, 9), (0, 0, 0, 0)), 3, [255, 255, 255]),
    ],
    ids=["colour", "grey", "transparent", "opaque", "16 bits", "1 bit", "CMYK"],
)
def test_any_kind_of_image_becomes_grey_or_rgb(tmp_path, image, channels, expected):
    path = tmp_path / "image.tif"
    path.write_bytes(encoded(image, "TIFF"))
    assert image_files.read_image(path, (channels, 3, 3))[:, 1, 1].tolist() == expected


def test_a_photo_held_sideways_is_turned_upright(tmp_path):
    photo = Image.new("L", (20, 20), 0)
    photo.paste(255, (0, 0, 20, 10))  # the upper half as stored is the right half of the scene
    orientation = Image.Exif()
    orientation[0x0112] = 6
    path = tmp_path / "photo.png"
    photo.save(path, exif=orientation)
    assert image_files.read_image(path, (1, 2, 2)).tolist() == [[[0, 255], [0, 255]]]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>404</html>",
        encoded(Image.effect_noise((64, 64), 50), "PNG")[:-200],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ],
    ids=["empty", "a page", "cut short", "a program"],
)
def test_what_is_no_image_is_a_data_error_that_names_it(tmp_path, content):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not an image") as caught:
        image_files.read_image(path, (1, 64, 64))
    assert "broken.png" in caught.value.hint


@pytest.mark.filterwarnings("default")  # as users have it: an error of pytest's would hide a miss
def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    path.write_bytes(encoded(Image.new("L", (64, 64)), "PNG"))
    for limit in (2000, 3000):  # Pillow raises above twice the limit, and warns above it
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DataError, match="too large"):
            image_files.read_image(path, (1, 64, 64))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    (folder / "deep" / "deeper").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for name in ("b.png", "a.JPG", "deep/deeper/c.webp", ".hidden/d.png", "._e.png", "f.txt"):
        (folder / name).touch()
    return folder


def names(folder):
    return [path.relative_to(folder).as_posix() for path in image_files.find(folder)]


def test_images_are_found_at_any_depth_in_order(folder):
    assert names(folder) == ["a.JPG", "b.png", "deep/deeper/c.webp"]


def test_links_to_folders_are_followed_and_those_in_circles_once(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "g.png").touch()
    (folder / "deep" / "back").symlink_to(folder)
    (folder / "z").symlink_to(elsewhere)
    (folder / "dangling.png").symlink_to(folder / "absent")
    (folder / "itself.png").symlink_to("itself.png")
    assert names(folder) == ["a.JPG", "b.png", "deep/deeper/c.webp", "z/g.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_looked_into_is_named(folder):
    (folder / "deep").chmod(0)
    with pytest.raises(DataError, match=r"cannot look into .*deep"):
        image_files.find(folder)
    (folder / "deep").chmod(0o700)


@pytest.mark.parametrize("name", ["absent", "loop", "f.txt"])
def test_what_is_no_folder_is_a_data_error(folder, name):
    (folder / "loop").symlink_to("loop")
    with pytest.raises(DataError, match="no folder"):
        image_files.find(folder / name)


def test_a_folder_without_images_says_what_it_looks_for(tmp_path):
    with pytest.raises(DataError, match="no images in") as caught:
        image_files.find(tmp_path)
    assert ".png" in caught.value.hint


def test_a_large_photograph_is_decoded_smaller_and_looks_the_same(tmp_path):
    path = tmp_path / "large.jpg"
    ramp = np.linspace(0, 255, 1024, dtype=np.uint8)
    Image.fromarray(np.broadcast_to(ramp, (1024, 1024)).copy()).save(path, quality=95)
    image = image_files.read_image(path, (3, 32, 32))
    expected = ramp.reshape(32, 32).mean(axis=1)
    assert abs(image.astype(float) - expected).max() < 2


def test_remarks_of_pillow_are_not_passed_on(tmp_path, recwarn):
    path = tmp_path / "palette.gif"
    image = Image.new("P", (8, 8))
    image.save(path.with_suffix(".png"), transparency=b"\x00" * 3)
    image_files.read_image(path.with_suffix(".png"), (3, 8, 8))
    assert not recwarn


@pytest.mark.parametrize("kind", ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"])
def test_no_damage_gets_past_as_another_error(tmp_path, kind):
    """Bits flipped and bytes cut, at random: an image or a DataError, nothing else."""
    raw = encoded(Image.effect_noise((24, 24), 60).convert("RGB"), kind)
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged"
    refused = 0
    for _ in range(30):
        damaged = np.frombuffer(raw, np.uint8).copy()
        where = rng.integers(min(len(raw), 200), size=4)
        damaged[where] = rng.integers(256, size=4)
        path.write_bytes(damaged[: rng.integers(len(raw) // 2, len(raw) + 1)].tobytes())
        try:
            assert image_files.read_image(path, (3, 8, 8)).shape == (3, 8, 8)
        except DataError:
            refused += 1
    assert refused > 5


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_a_name_that_is_no_utf_8_can_be_printed(tmp_path):
    path = tmp_path / "caf\udce9.png"
    path.touch()
    (found,) = tmp_path.iterdir()
    assert image_files.printable(found.relative_to(tmp_path)) == r"caf\xe9.png"
