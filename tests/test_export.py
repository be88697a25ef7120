import csv
import io
import json
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from itertools import chain

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from random_run import LATENT_DIM, make_dataset, make_run

from didcli.engine import encode, export, runs
from didcli.engine.evaluate import read_code_table
from didcli.errors import DataError, RunError, UsageError

NAMES = ("shape", "scale", "orientation", "pos_x", "pos_y")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> runs.Run:
    return runs.open_run(make_run(tmp_path_factory.mktemp("runs") / "random"), "cpu")


@pytest.fixture(scope="module")
def dataset():
    return make_dataset()


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


@pytest.fixture(scope="module")
def exported(run):
    """Exports each network in each format once."""
    return cache(lambda part, file_format: export.export_model(run, part, file_format))


def run_pt2(content: bytes, given: np.ndarray) -> np.ndarray:
    model = torch.export.load(io.BytesIO(content)).module()
    with torch.no_grad():
        return model(torch.from_numpy(given)).numpy()


def run_onnx(content: bytes, given: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: given})[0]


@pytest.mark.parametrize(("file_format", "load"), [("pt2", run_pt2), ("onnx", run_onnx)])
@pytest.mark.parametrize("part", ["encoder", "generator"])
def test_an_exported_network_computes_what_the_run_does_for_any_batch(
    run, dataset, exported, part, file_format, load, capfd
):
    model = exported(part, file_format)
    assert capfd.readouterr() == ("", "")
    assert 0 <= model.max_difference <= 1e-5
    for batch in (1, 7):  # 7 is none of those that the exporter has tried
        if part == "encoder":
            images = dataset.images(np.arange(batch))
            given, expected = images.astype(np.float32) / 255, run.encode(images)
        else:
            given = np.random.default_rng(0).uniform(-1, 1, (batch, 6)).astype(np.float32)
            expected = run.method.decode(torch.from_numpy(given)).numpy()
        actual = load(model.content, given)
        assert actual.dtype == np.float32
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def test_a_pt2_file_needs_nothing_but_torch(exported, tmp_path):
    (tmp_path / "model.pt2").write_bytes(exported("encoder", "pt2").content)
    script = """
import json, sys, torch
with open("model.pt2", "rb") as file:
    extra = {"did.json": ""}
    model = torch.export.load(file, extra_files=extra).module()
print(json.loads(extra["did.json"])["method"], *model(torch.zeros(3, 1, 64, 64)).shape)
sys.exit("didcli" in sys.modules)
"""
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout == "did 3 6\n"


def test_an_onnx_file_names_its_ends_its_batch_and_where_it_comes_from(run, exported):
    model = onnx.load_model_from_string(exported("encoder", "onnx").content)
    onnx.checker.check_model(model, full_check=True)
    for value, name, sizes in (
        (model.graph.input[0], "images", [1, 64, 64]),
        (model.graph.output[0], "codes", [LATENT_DIM]),
    ):
        assert value.name == name
        dims = value.type.tensor_type.shape.dim
        assert dims[0].dim_param == "batch"
        assert [dim.dim_value for dim in dims[1:]] == sizes
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts["checkpoint"] == run.digest
    assert json.loads(facts["code_range"]) == [-1, 1]


@pytest.mark.parametrize("file_format", ["pt2", "onnx"])
def test_a_file_holds_no_other_network_and_no_folder_of_this_machine(run, exported, file_format):
    content = exported("encoder", file_format).content
    weights = sum(each.numel() * 4 for each in run.method.e_ema.parameters())
    assert weights < len(content) < 1.5 * weights
    if file_format == "pt2":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            content = whole(archive.read(name) for name in archive.namelist())
    assert b".py" not in content


def test_exporting_leaves_the_run_as_it_was(run):
    names = [name for name, _ in run.method.named_parameters()]
    export.export_model(run, "generator", "pt2")
    assert [name for name, _ in run.method.named_parameters()] == names


def test_a_network_that_computes_something_else_is_refused(run, monkeypatch):
    real = export._to_pt2

    def damaged(program, facts):
        for weight in program.state_dict.values():
            weight.data = weight.data + 0.1
        return real(program, facts)

    monkeypatch.setattr(export, "_to_pt2", damaged)
    with pytest.raises(RunError, match=r"encoder\.pt2 differs from the run by up to"):
        export.export_model(run, "encoder", "pt2")


def test_the_difference_is_the_largest_one_and_nan_or_another_shape_is_refused():
    ours = [torch.zeros(1, 2), torch.ones(2, 2)]
    theirs = [torch.zeros(1, 2), torch.tensor([[1.0, 1.0], [1.0, 1.00005]])]
    assert export.check_equal(ours, theirs, what="x") == pytest.approx(5e-5, rel=1e-2)
    with pytest.raises(RunError, match="differs from the run by up to nan"):
        export.check_equal(ours, [ours[0], ours[1] * float("nan")], what="x")
    with pytest.raises(RunError, match=r"shape \(1, 2\) where the run gives \(2, 2\)"):
        export.check_equal(ours, [ours[0], ours[0]], what="x")


def test_missing_onnx_packages_are_named_with_the_command_that_installs_them(run, monkeypatch):
    find = export.importlib.util.find_spec
    monkeypatch.setattr(
        export.importlib.util, "find_spec", lambda name: None if "onnx" in name else find(name)
    )
    with pytest.raises(UsageError, match="needs onnx, onnxruntime, onnxscript") as caught:
        export.export_model(run, "encoder", "onnx")
    assert "pip install 'didcli[onnx]'" in caught.value.hint


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
