import csv
import io
import json
import shutil
from itertools import chain

import numpy as np
import pytest
from PIL import Image
from random_run import LATENT_DIM

from didcli.engine import encode, runs
from didcli.engine import export_codes as export
from didcli.engine.evaluate import read_code_table
from didcli.errors import DataError

NAMES = ("shape", "scale", "orientation", "pos_x", "pos_y")


@pytest.fixture(scope="module")
def codes(run, dataset):
    """(600, D): of the whole dataset."""
    return run.encode(dataset.images(np.arange(len(dataset))))


@pytest.fixture
def photos(tmp_path):
    """Five good images of several kinds and two broken ones, and what is no image."""
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    noise = Image.effect_noise((80, 64), 80)
    noise.save(folder / "b.png")
    noise.convert("RGB").save(folder / 'a, "ä" 雪.jpg')
    noise.save(folder / "deeper" / "c.WEBP", "WEBP")
    noise.resize((16, 99)).save(folder / "d.bmp")
    noise.save(folder / "e.gif")
    noise.save(folder / ".hidden" / "f.png")
    (folder / "broken.png").write_bytes((folder / "b.png").read_bytes()[:300])
    (folder / "page.jpg").write_text("<html>404</html>")
    (folder / "notes.txt").write_text("nothing to see")
    return folder


GOOD = ['a, "ä" 雪.jpg', "b.png", "d.bmp", "deeper/c.WEBP", "e.gif"]


def ignore(_done: int) -> None: ...


def whole(parts) -> bytes:
    return b"".join(parts)


@pytest.fixture
def source(run, dataset):
    return export.dataset_codes(run, dataset, 300, keep=False)


def test_csv_has_row_factors_and_codes_that_read_back_exactly(source, codes, dataset):
    text = whole(export.to_csv(source, ignore)).decode()
    header, *rows = csv.reader(io.StringIO(text))
    assert header == ["row", *NAMES, *(f"z{dim}" for dim in range(LATENT_DIM))]
    table = np.array(rows)
    assert table[:, 0].astype(int).tolist() == list(range(300))
    assert (table[:, 1:6].astype(int) == dataset.factors[:300]).all()
    assert (table[:, 6:].astype(np.float32) == codes[:300]).all()


def test_jsonl_has_one_object_a_row(source, codes, dataset):
    lines = whole(export.to_jsonl(source, ignore)).decode().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["row"] for row in rows] == list(range(300))
    assert {row["schema"] for row in rows} == {1}
    assert rows[77]["factors"] == dict(zip(NAMES, dataset.factors[77].tolist(), strict=True))
    assert (np.array([row["codes"] for row in rows], np.float32) == codes[:300]).all()


def test_npz_is_what_eval_reads(run, dataset, codes):
    source = export.dataset_codes(run, dataset, None, keep=False)
    content = whole(export.to_npz(source, ignore))
    table = read_code_table(io.BytesIO(content), "codes.npz")
    assert (table.codes == codes).all()
    assert (table.factors == dataset.factors).all()
    assert table.factor_sizes == dataset.factor_sizes
    assert table.factor_names == NAMES


def test_text_comes_in_parts_and_progress_is_told(run, dataset, monkeypatch):
    monkeypatch.setattr(export, "ROWS_AT_ONCE", 256)
    seen = []
    source = export.dataset_codes(run, dataset, None, keep=False)
    parts = export.to_jsonl(source, seen.append)
    assert seen == []
    assert next(parts).count(b"\n") == 256
    assert seen == [256]
    assert sum(part.count(b"\n") for part in parts) == 600 - 256
    assert seen == [256, 512, 600]


def test_the_codes_of_a_whole_dataset_are_kept_for_eval_unless_streamed(
    run, dataset, codes, tmp_path
):
    copy = runs.open_run(shutil.copytree(run.path, tmp_path / "copy"), "cpu")

    def kept():
        return list(copy.path.glob("codes-*"))

    whole(export.to_csv(export.dataset_codes(copy, dataset, 10, keep=True), ignore))
    whole(export.to_csv(export.dataset_codes(copy, dataset, None, keep=False), ignore))
    assert kept() == []
    text = whole(export.to_csv(export.dataset_codes(copy, dataset, None, keep=True), ignore))
    assert len(kept()) == 1
    assert (encode.encode_dataset(copy, dataset) == codes).all()
    assert text == whole(
        export.to_csv(export.dataset_codes(copy, dataset, None, keep=False), ignore)
    )


def test_a_limit_above_the_size_is_the_size(run, dataset):
    assert export.dataset_codes(run, dataset, 10**6, keep=False).total == 600


@pytest.mark.parametrize("write", [export.to_csv, export.to_jsonl, export.to_npz])
def test_codes_that_are_not_finite_are_refused(run, dataset, write, monkeypatch):
    broken = np.full((10, LATENT_DIM), np.nan, np.float32)
    monkeypatch.setattr(run, "encode", lambda _images: broken)
    with pytest.raises(DataError, match="rows 0 to 9 of dsprites are not finite"):
        whole(write(export.dataset_codes(run, dataset, 10, keep=False), ignore))


def test_numbers_are_the_shortest_that_read_back():
    values = np.array([[0.1, -0.0, 1e-7, 16777216.0, 1 / 3]], np.float32)
    (texts,) = export._shortest(values)
    assert texts[0] == "0.1"
    assert (np.array([json.loads(text) for text in texts], np.float32) == values[0]).all()


def test_a_folder_of_images_is_encoded_in_order_and_broken_files_are_named(run, photos):
    skipped = []
    source = export.folder_codes(run, photos, None, lambda name, why: skipped.append((name, why)))
    assert source.total == 7
    lines = whole(export.to_jsonl(source, ignore)).decode().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["file"] for row in rows] == GOOD
    assert all(row.keys() == {"schema", "file", "codes"} for row in rows)
    assert [name for name, _ in skipped] == ["broken.png", "page.jpg"]
    assert all("not an image" in why for _, why in skipped)
    # 80 x 64 is cropped about its centre to 64 x 64, and the run is grey.
    with Image.open(photos / "b.png") as image:
        pixels = np.array(image)[np.newaxis, np.newaxis, :, 8:-8]
    expected = run.encode(np.ascontiguousarray(pixels))[0]
    np.testing.assert_allclose(rows[1]["codes"], expected, rtol=0, atol=1e-5)


def test_a_folder_becomes_csv_with_any_name_and_npz_with_names(run, photos):
    source = export.folder_codes(run, photos, None, lambda *_: None)
    header, *rows = csv.reader(io.StringIO(whole(export.to_csv(source, ignore)).decode()))
    assert header[:2] == ["file", "z0"]
    assert [row[0] for row in rows] == GOOD
    with np.load(io.BytesIO(whole(export.to_npz(source, ignore)))) as arrays:
        assert sorted(arrays) == ["codes", "files"]
        assert arrays["files"].tolist() == GOOD
        assert (arrays["codes"] == np.array([row[1:] for row in rows], np.float32)).all()


def test_a_limit_takes_the_first_files(run, photos):
    source = export.folder_codes(run, photos, 2, lambda *_: None)
    assert source.total == 2
    assert list(chain(*(rows.keys for rows in source.batches(ignore)))) == GOOD[:2]


def test_a_folder_without_images_or_with_none_that_can_be_read_is_a_data_error(run, tmp_path):
    with pytest.raises(DataError, match="no folder"):
        export.folder_codes(run, tmp_path / "none", None, lambda *_: None)
    with pytest.raises(DataError, match="no images in"):
        export.folder_codes(run, tmp_path, None, lambda *_: None)
    (tmp_path / "x.png").write_bytes(b"")
    source = export.folder_codes(run, tmp_path, None, lambda *_: None)
    with pytest.raises(DataError, match="none of the 1 images"):
        whole(export.to_npz(source, ignore))
