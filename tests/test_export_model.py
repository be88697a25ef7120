import io
import json
import subprocess
import sys
import zipfile
from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from random_run import LATENT_DIM, SMALL_DID, make_run

from didcli.engine import export_model as export
from didcli.engine.runs import open_run
from didcli.errors import RunError, UsageError


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


@pytest.mark.parametrize(("file_format", "load"), [("pt2", run_pt2), ("onnx", run_onnx)])
def test_codes_that_networks_see_as_points_leave_and_enter_the_files_as_codes(
    dataset, tmp_path, file_format, load
):
    method = SMALL_DID | {"circular": [0], "polar": {1: 3}}
    run = open_run(make_run(tmp_path / "points", method))
    images = dataset.images(np.arange(5))
    codes = run.encode(images)
    encoder = export.export_model(run, "encoder", file_format)
    given = images.astype(np.float32) / 255
    np.testing.assert_allclose(load(encoder.content, given), codes, rtol=0, atol=1e-5)
    generator = export.export_model(run, "generator", file_format)
    expected = run.method.decode(torch.from_numpy(codes)).numpy()
    np.testing.assert_allclose(load(generator.content, codes), expected, rtol=0, atol=1e-5)


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
            content = b"".join(archive.read(name) for name in archive.namelist())
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
