"""The user's own images, of every kind and in every state, become one set or one clear error."""

import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import PATIENCE
from PIL import Image

from didcli import config as settings
from didcli.data import images
from didcli.engine.runs import load_dataset
from didcli.errors import DataError, UsageError

RNG = np.random.default_rng(0)
GREY = RNG.integers(256, size=(6, 32, 32), dtype=np.uint8)
RGB = RNG.integers(256, size=(6, 32, 32, 3), dtype=np.uint8)
FACTORS = np.array([[10, -1], [20, -1], [30, 5], [10, 5], [20, -1], [30, 5]])


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def load(cache):
    """The images at a path, at 32 pixels."""

    def load(path, **options):
        return images.load(str(path), **{"image_size": 32, "data_dir": cache, **options})

    return load


@pytest.fixture
def folder(tmp_path):
    """Six grey pictures, two of them further down, and what is no picture."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    names = ["a.png", "b.bmp", "c.tif", "d.png", "more/e.png", "more/f.webp"]
    for name, pixels in zip(names, GREY, strict=True):
        options = {"lossless": True} if name.endswith("webp") else {}
        Image.fromarray(pixels).save(folder / name, **options)
    (folder / "notes.txt").write_text("nothing to see")
    return folder


def pixels(dataset):
    return dataset.images(np.arange(len(dataset)))


# ---------------------------------------------------------------------------- folders


def test_a_folder_is_read_in_order_and_known_by_its_name(folder, load):
    dataset = load(folder)
    assert dataset.name == "photos"
    assert dataset.image_shape == (1, 32, 32)
    assert len(dataset) == 6
    np.testing.assert_array_equal(pixels(dataset)[:, 0], GREY)  # webp writes grey as RGB
    assert dataset.factor_names == dataset.factor_sizes == dataset.notes == ()
    assert dataset.factors.shape == (6, 0)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_pictures_of_every_size_and_mode_become_squares(tmp_path, load, size):
    for number, mode in enumerate(["L", "RGB", "RGBA", "P", "1", "I;16", "CMYK", "LA"]):
        picture = Image.fromarray(RGB[0]).resize((20 + 30 * number, 200 - 20 * number))
        grey = mode == "I;16"
        suitable = Image.fromarray(np.full((50, 40), 257 * 99, np.uint16)) if grey else picture
        (suitable if grey else picture.convert(mode)).save(tmp_path / f"{number}.tif")
    dataset = load(tmp_path, image_size=size)
    assert pixels(dataset).shape == (8, 3, size, size)
    assert (pixels(dataset)[5] == 99).all()


def test_one_coloured_picture_makes_the_set_rgb(folder, load):
    Image.fromarray(RGB[0]).save(folder / "z.png")
    dataset = load(folder)
    assert dataset.image_shape == (3, 32, 32)
    np.testing.assert_array_equal(pixels(dataset)[:6, 1], GREY)
    np.testing.assert_array_equal(pixels(dataset)[6], RGB[0].transpose(2, 0, 1))


@pytest.mark.parametrize(("colour", "channels"), [("grey", 1), ("rgb", 3)])
def test_colour_may_be_chosen(folder, load, colour, channels):
    Image.fromarray(RGB[0]).save(folder / "z.png")
    assert load(folder, colour=colour).image_shape == (channels, 32, 32)


@pytest.fixture
def broken(folder):
    """Thirteen more that cannot be read."""
    whole = (folder / "a.png").read_bytes()
    for number in range(12):
        (folder / f"broken{number:02}.png").write_bytes(whole[: 40 * number])
    (folder / "page.jpg").write_text("<html>404</html>")
    return folder


def test_broken_pictures_are_named_counted_and_left_out(broken, load):
    for _ in range(2):  # found, and remembered
        dataset = load(broken)
        np.testing.assert_array_equal(pixels(dataset)[:, 0], GREY)
        (note,) = dataset.notes
        assert f"13 of 19 images in {broken} cannot be read: broken00.png, broken01.png" in note
        assert note.endswith("broken09.png and 3 more; left out")


def test_strict_refuses_them_by_name(broken, load):
    with pytest.raises(DataError, match=r"13 of 19 images .*: broken00\.png") as caught:
        load(broken, strict=True)
    assert caught.value.exit_code == 3
    assert "--strict" in caught.value.hint


def test_rows_are_those_of_readable_pictures(broken, load):
    dataset = load(broken)
    np.testing.assert_array_equal(dataset.images(np.array([5, 1]))[:, 0], GREY[[5, 1]])
    with pytest.raises(IndexError, match=r"row 6 is not within 0\.\.5"):
        dataset.images(np.array([6]))


@pytest.mark.parametrize("names", [["a.png"], ["a.png", "broken.png"]])
def test_fewer_than_two_pictures_are_refused(tmp_path, load, names):
    Image.fromarray(GREY[0]).save(tmp_path / "a.png")
    for name in names[1:]:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert "two or more" in caught.value.hint


@pytest.mark.parametrize("name", ["absent", "loop", "notes.txt", "empty"])
def test_a_path_without_images_is_a_data_error(tmp_path, load, name):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        load(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert ".npz" in caught.value.hint or ".png" in caught.value.hint


# ---------------------------------------------------------------------------- arrays


def write_npz(path, **arrays):
    np.savez_compressed(path.with_suffix(".npz"), **arrays)
    return path.with_suffix(".npz")


def write_hdf5(path, **arrays):
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        for name, values in arrays.items():
            texts = isinstance(values, np.ndarray) and values.dtype.kind == "U"
            file[name] = values.tolist() if texts else values
    return path.with_suffix(".h5")


def write_npy(path, images):
    np.save(path.with_suffix(".npy"), images)
    return path.with_suffix(".npy")


WRITERS = pytest.mark.parametrize("write", [write_npz, write_hdf5, write_npy])
LABELLED = pytest.mark.parametrize("write", [write_npz, write_hdf5])


@WRITERS
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (GREY, GREY[:, np.newaxis]),
        (GREY[..., np.newaxis], GREY[:, np.newaxis]),
        (GREY[:, np.newaxis], GREY[:, np.newaxis]),
        (RGB, RGB.transpose(0, 3, 1, 2)),
        (RGB.transpose(0, 3, 1, 2), RGB.transpose(0, 3, 1, 2)),
        (np.stack([GREY] * 3, axis=-1), GREY[:, np.newaxis]),
        (GREY > 99, np.where(GREY > 99, 255, 0)[:, np.newaxis]),
        (GREY / 255, GREY[:, np.newaxis]),
        ((GREY / 255).astype(">f4"), GREY[:, np.newaxis]),
        ((GREY / 255).astype(np.float16), GREY[:, np.newaxis]),
    ],
    ids=["HW", "HW1", "1HW", "HW3", "3HW", "grey as RGB", "bool", "float64", ">f4", "float16"],
)
def test_arrays_of_every_layout_become_the_same_images(tmp_path, load, write, given, expected):
    given = np.ascontiguousarray(given)
    dataset = load(write(tmp_path / "mine", images=given))
    np.testing.assert_array_equal(pixels(dataset), expected)


@WRITERS
def test_arrays_are_cropped_about_their_centre_and_averaged(tmp_path, load, write):
    wide = np.zeros((2, 64, 100), dtype=np.uint8)
    wide[:, :, 18:82:2] = 100  # of the 64 columns in the middle every other
    dataset = load(write(tmp_path / "wide", images=wide))
    assert (pixels(dataset) == 50).all()


def test_a_colour_array_may_be_made_grey(tmp_path, load):
    red = np.zeros((2, 8, 8, 3), np.uint8)
    red[..., 0] = 255
    dataset = load(write_npz(tmp_path / "red", images=red), colour="grey")
    assert (pixels(dataset) == 76).all()  # ITU-R 601 luma of red


@pytest.mark.parametrize("name", ["images", "imgs", "x"])
def test_the_array_is_found_by_its_name_or_as_the_only_one(tmp_path, load, name):
    assert len(load(write_npz(tmp_path / "a", **{name: GREY, "factors": FACTORS}))) == 6
    assert len(load(write_hdf5(tmp_path / "b", **{name: GREY, "factors": FACTORS}))) == 6


def test_an_array_among_others_is_not_guessed(tmp_path, load):
    with pytest.raises(DataError, match="expected an array 'images', or only one; found x, y"):
        load(write_npz(tmp_path / "a", x=GREY, y=GREY))


@WRITERS
@pytest.mark.parametrize(
    ("given", "match"),
    [
        (GREY.astype(np.int64), "is int64"),
        (GREY.astype(np.uint16), "is uint16"),
        (GREY[0], r"is uint8 \(32, 32\)"),
        (np.zeros((6, 8, 8, 4), np.uint8), r"is uint8 \(6, 8, 8, 4\)"),
        (np.zeros((6, 0, 8), np.uint8), r"is uint8 \(6, 0, 8\)"),
        (np.zeros((1, 8, 8), np.uint8), "has 1 images"),
        (GREY / 254, "not from 0 to 1"),
        (np.where(GREY > 200, np.nan, 0.5), "not from 0 to 1"),
        (GREY % 2, "brighter than 1 of 255"),
    ],
)
def test_other_shapes_and_types_are_refused(tmp_path, load, cache, write, given, match):
    path = write(tmp_path / "mine", images=given)
    with pytest.raises(DataError, match=match) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert not list(cache.glob("images-*"))


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".h5", ".hdf5"])
@pytest.mark.parametrize(
    "content",
    [b"", b"<html>404</html>" * 99, b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"\x93NUMPY\x01\x00"],
)
def test_a_file_of_another_kind_is_refused(tmp_path, load, suffix, content):
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not what it should be"):
        load(path)


@WRITERS
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_a_truncated_file_is_refused(tmp_path, load, write, part):
    path = write(tmp_path / "mine", images=GREY)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(part * len(raw))])
    with pytest.raises(DataError):
        load(path)


class Trap:
    """Unpickling one of these fails the test."""

    def __reduce__(self):
        return pytest.fail, ("it was unpickled",)


@pytest.mark.parametrize("write", [write_npz, write_npy])
def test_objects_are_never_unpickled(tmp_path, load, write):
    trap = np.array([Trap()] * 6, dtype=object).reshape(6, 1, 1)
    with pytest.raises(DataError, match="is object"):
        load(write(tmp_path / "mine", images=trap))


@pytest.mark.parametrize("name", ["images", "factors"])
def test_links_to_other_files_are_not_followed(tmp_path, load, name):
    secret = write_hdf5(tmp_path / "secret", images=GREY, factors=FACTORS)
    path = write_hdf5(tmp_path / "mine", other=GREY)
    with h5py.File(path, "a") as file:
        file[name] = h5py.ExternalLink(secret.name, f"/{name}")
    dataset = load(path)
    assert dataset.factor_names == ()
    np.testing.assert_array_equal(pixels(dataset)[:, 0], GREY)


def bomb(path, declared: str, size: int):
    """An npz whose array of that shape is `size` zeros, a thousandth of it packed."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {declared}, }}\n".encode()
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("images.npy", "w", force_zip64=True) as member,
    ):
        member.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        for _ in range(size // 2**20):
            member.write(bytes(2**20))
    return path


@pytest.mark.parametrize(
    ("declared", "match"),
    [
        ("(6, 32, 32)", "expected 6,144 bytes, got 33,554,432"),
        ("(6, 2000000000, 2000000000)", r"is uint8 \(6, 2000000000"),
        ("(10**12, 32, 32)", "is not what it should be"),
        ("(999999999999, 32, 32)", "has 999,999,999,999 images"),
    ],
)
def test_a_bomb_is_not_unpacked(tmp_path, load, cache, declared, match):
    path = bomb(tmp_path / "bomb.npz", declared, 2**25)
    tracemalloc.start()
    with pytest.raises(DataError, match=match):
        load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22
    assert not list(cache.glob("images-*"))


def test_a_chunk_that_unpacks_to_more_is_refused(tmp_path, load):
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=GREY, chunks=(2, 8, 8), compression="gzip")
        file["images"].id.write_direct_chunk((2, 0, 0), zlib.compress(bytes(10_000_000), 9))
    with pytest.raises(DataError, match="larger than it can be"):
        load(path)


# ---------------------------------------------------------------------------- factors

NAMES = np.array(["size", "färbung"])


def check_labels(dataset, names=("size", "färbung")):
    assert dataset.factor_names == names
    assert dataset.factor_sizes == (3, 2)
    assert dataset.factors.dtype == np.int64
    assert dataset.factors.tolist() == [[0, 0], [1, 0], [2, 1], [0, 1], [1, 0], [2, 1]]


@LABELLED
def test_factors_in_the_file_are_numbered_from_0(tmp_path, load, write):
    check_labels(load(write(tmp_path / "mine", images=GREY, factors=FACTORS, factor_names=NAMES)))
    unnamed = write(tmp_path / "unnamed", images=GREY, factors=FACTORS)
    check_labels(load(unnamed), names=("factor 0", "factor 1"))


@LABELLED
@pytest.mark.parametrize(
    "arrays",
    [
        {"factors": FACTORS[:5]},
        {"factors": FACTORS.ravel()},
        {"factors": FACTORS / 2},
        {"factors": FACTORS[:, :0]},
        {"factors": np.zeros((6, 257), int)},
        {"factors": FACTORS, "factor_names": NAMES[:1]},
        {"factors": FACTORS, "factor_names": FACTORS[0]},
        {"factors": FACTORS, "factor_names": NAMES.reshape(1, 2)},
    ],
)
def test_factors_that_do_not_fit_are_refused(tmp_path, load, write, arrays):
    with pytest.raises(DataError, match="factor"):
        load(write(tmp_path / "mine", images=GREY, **arrays))


@WRITERS
def test_a_csv_beside_the_file_has_the_factors_row_by_row(tmp_path, load, write):
    path = write(tmp_path / "mine", images=GREY)
    lines = ["size,färbung", *(f"{a}, {b}" for a, b in FACTORS), ""]
    (tmp_path / "mine.csv").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    check_labels(load(path))


CSV = """file,size,färbung
more/e.png,20,-1
a.png,10,-1
not/there.png,99,99
more/f.webp,30,5
b.bmp,20,-1
c.tif,30,5
d.png,10,5
"""


def test_a_csv_in_the_folder_has_the_factors_by_file(folder, load):
    (folder / "factors.csv").write_text(CSV, encoding="utf-8")
    check_labels(load(folder))
    # Of a picture that cannot be read, they are left out with it.
    (folder / "0.png").write_bytes(b"")
    (folder / "factors.csv").write_text(f"{CSV}0.png,10,5\n", encoding="utf-8")
    check_labels(load(folder))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", "no column 'file'"),
        ("name,size\na.png,1\n", "no column 'file'"),
        ("file\na.png\n", "no column of factors"),
        ("file,size,size\n", "two columns have the same name"),
        (CSV.replace("a.png,10,-1\n", ""), "1 images have no row, the first is a.png"),
        (CSV + "a.png,10,-1\n", "two rows for a.png"),
        (CSV.replace("10,5", "1.5,5"), "invalid literal"),
        (CSV.replace("10,5", f"{10**30},5"), "is no table of factors"),
        (CSV.replace("10,5", "10"), "row 6 has 2 columns, the header 3"),
        (CSV + '"', "is no table of factors"),
        ("<html>404</html>", "no column 'file'"),
        (CSV + "\0" * 200_000, "is no table of factors"),
    ],
)
def test_a_csv_that_is_no_table_of_factors_is_refused(folder, load, content, match):
    (folder / "factors.csv").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=match) as caught:
        load(folder)
    assert "factors.csv" in str(caught.value)


def test_a_csv_of_more_rows_than_images_is_refused(tmp_path, load):
    path = write_npy(tmp_path / "mine", images=GREY)
    (tmp_path / "mine.csv").write_text("size\n" + "1\n" * 7)
    with pytest.raises(DataError, match="more rows than there are images, 6"):
        load(path)


# ---------------------------------------------------------------------------- kept once


def test_a_set_is_converted_once(folder, load):
    progress = []
    for _ in range(2):
        load(folder, on_progress=lambda *done: progress.append(done))
    assert progress == [(6, 6)]


def invert(folder):
    Image.fromarray(255 - GREY[0]).save(folder / "a.png")
    os.utime(folder / "a.png", ns=(1, 1))  # it is as large as before: maybe within one tick


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: Image.fromarray(GREY[0]).save(folder / "another.png"),
        lambda folder: (folder / "a.png").unlink(),
        lambda folder: (folder / "a.png").rename(folder / "z.png"),
        invert,
    ],
)
def test_another_input_is_another_set(folder, load, change):
    before = load(folder)
    change(folder)
    after = load(folder)
    assert after.source != before.source
    assert not np.array_equal(pixels(after), pixels(before))


def test_the_source_is_that_of_the_pixels_wherever_they_lie(tmp_path, folder, load):
    source = load(folder).source
    assert source.startswith("images sha256:")
    assert load(folder.rename(tmp_path / "moved")).source == source
    assert load(tmp_path / "moved", image_size=64).source != source


@pytest.mark.parametrize("damage", ["pixels", "index", "no index", "no pixels"])
def test_what_was_kept_and_is_damaged_is_made_again(folder, load, cache, damage):
    before = pixels(load(folder))
    (index,), (kept,) = cache.glob("images-*.json"), cache.glob("images-*.pixels")
    if damage == "pixels":
        kept.write_bytes(kept.read_bytes()[:-1] + b"\0\0")
    elif damage == "index":
        index.write_text(index.read_text()[:20])
    else:
        (index if damage == "no index" else kept).unlink()
    np.testing.assert_array_equal(pixels(load(folder)), before)
    assert index.exists()
    assert kept.exists()


def test_two_processes_at_once_convert_once(folder, cache):
    script = (
        "import sys; from didcli.data import images; from pathlib import Path\n"
        "done = []\n"
        "images.load(sys.argv[1], 32, data_dir=Path(sys.argv[2]), on_progress="
        "lambda *a: done.append(a))\n"
        "print(len(done))"
    )
    command = [sys.executable, "-c", script, str(folder), str(cache)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(process.communicate(timeout=PATIENCE)[0].strip() for process in both)
    assert said == ["0", "1"]


def test_a_set_of_many_pictures_is_converted_in_parts(tmp_path, load, monkeypatch):
    monkeypatch.setattr(images, "_PART_IMAGES", 4)
    progress = []
    path = write_npz(tmp_path / "mine", images=GREY)
    dataset = load(path, on_progress=lambda *done: progress.append(done))
    assert progress == [(4, 6), (6, 6)]
    np.testing.assert_array_equal(pixels(dataset)[:, 0], GREY)


# ---------------------------------------------------------------------------- settings


def test_a_path_is_kept_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert images.Config(path="faces").path == str(tmp_path / "faces")
    assert images.Config(path="~/faces").path == str(tmp_path / "home" / "faces")
    resolved = settings.resolve(flags={"data": {"name": "images", "path": "faces"}})
    assert settings.build([resolved.to_dict()]) == resolved


def test_a_home_that_is_not_there_is_said(tmp_path):
    with pytest.raises(UsageError, match=r"data\.path: ~nobody-here/faces is in no home directory"):
        settings.resolve(flags={"data": {"name": "images", "path": "~nobody-here/faces"}})
    with pytest.raises(UsageError, match="~nobody-here is in no home directory"):
        images.load("~nobody-here", data_dir=tmp_path)


@pytest.mark.parametrize(
    "assignment",
    ["data.image_size=48", "data.colour=blue", "data.strict=1", "data.path=5", "data.path="],
)
def test_settings_that_cannot_be_meant_are_refused(assignment):
    with pytest.raises(UsageError, match=assignment.split("=", maxsplit=1)[0]):
        settings.resolve(
            assignments=["data.name=images", "data.path=x", assignment],
        )


def test_without_a_path_the_settings_say_so():
    with pytest.raises(UsageError, match=r"data\.path: say where the images are"):
        settings.resolve(flags={"data": {"name": "images"}})


@pytest.mark.parametrize(
    ("options", "message", "known"),
    [
        ({"image_size": 48}, "no 48 among the sizes of images", "32, 64, 128"),
        ({"colour": "blue"}, "no 'blue' among the colours of images", "auto, grey, rgb"),
    ],
)
def test_load_refuses_what_the_settings_refuse(folder, load, options, message, known):
    with pytest.raises(UsageError, match=message) as caught:
        load(folder, **options)
    assert caught.value.hint == f"Choose from: {known}."


# ---------------------------------------------------------------------------- end to end

EXAMPLE = Path(__file__).parent.parent / "examples" / "own_images.py"
QUICK = [
    *("--steps", "2", "--threads", "1", "--device", "cpu"),
    *("--set", "method.width=4", "--set", "train.batch_size=4", "--set", "train.picture_every=2"),
]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """What examples/own_images.md begins with, and a picture that is broken."""
    folder = tmp_path_factory.mktemp("own") / "digits"
    subprocess.run([sys.executable, str(EXAMPLE), str(folder)], check=True)
    (folder / "broken.png").write_bytes(b"\x89PNG")
    with (folder / "factors.csv").open("a") as file:
        file.write("broken.png,0,0\n")
    return folder


@pytest.fixture(scope="module")
def digits_run(did, digits, tmp_path_factory):
    """A run on them, in a folder from which the relative path no longer works."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    options = ["--data", "./digits", "--image-size", "32", "--out", str(out), *QUICK]
    result = did("train", *options, cwd=digits.parent)
    assert result.returncode == 0, result.stderr
    assert "warning: 1 of 1798 images" in result.stderr
    return out


def test_a_run_remembers_where_its_images_are(digits_run, digits):
    config = settings.build([settings.load_file(digits_run / "config.yaml")])
    assert config.data.settings.path == str(digits)
    assert (digits_run / "traversal.png").exists()
    log = (digits_run / "log.jsonl").read_text().splitlines()
    assert json.loads(log[0])["source"].startswith("images sha256:")
    assert json.loads(log[1])["event"] == "warning"


def test_eval_says_that_it_needs_factors(did, digits, digits_run):
    table = (digits / "factors.csv").rename(digits / "elsewhere.csv")
    try:
        result = did("eval", str(digits_run))
    finally:
        table.rename(digits / "factors.csv")
    assert result.returncode == 3
    assert "the factors of 'digits' are not known" in result.stderr


def test_traverse_and_export_work_on_them(did, digits_run):
    result = did("traverse", str(digits_run), "--dim", "0", "--rows", "0,1796")
    assert result.returncode == 0, result.stderr
    result = did("export", str(digits_run), "--what", "codes", "--format", "csv", "-o", "-")
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 1798
    assert result.stdout.startswith("row,digit,ink,z0,z1")


def test_with_factors_it_is_scored(did, digits_run):
    result = did("eval", str(digits_run), "--metrics", "mig", "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["data"]["factor_names"] == ["digit", "ink"]
    assert report["run"]["data_source"].startswith("images sha256:")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--data", "./absent"], 3, "there is no folder or file"),
        (["--data", "absent.npz"], 3, "there is no folder or file"),
        (["--data", "absent"], 2, "no 'absent' in data"),
        (["--data", "dsprites", "--image-size", "32"], 2, "data.image_size: no such setting"),
        (["--data", "digits", "--image-size", "48"], 2, "data.image_size"),
        (["--data", "digits", "--strict"], 3, "1 of 1798 images"),
        (["--data", "digits", "--set", "data.colour=pink"], 2, "data.colour"),
        (["--data", "cars3d"], 3, "did download cars3d"),
        (["--data", "mpi3d", "--set", "data.kind=real"], 3, "did download mpi3d --kind real"),
    ],
)
def test_what_cannot_be_meant_is_refused(did, digits, options, code, message):
    result = did("train", *options, *QUICK, cwd=digits.parent)
    assert result.returncode == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_run_loads_its_images_again(digits_run):
    config = settings.build([settings.load_file(digits_run / "config.yaml")])
    assert len(load_dataset(config, digits_run.parent)) == 1797
