import dataclasses
import shutil

import numpy as np
import pytest
import torch
from random_run import make_dataset

from didcli.data import dsprites
from didcli.engine import runs
from didcli.errors import DataError, RunError


def test_a_run_encodes_and_decodes(tiny_run):
    run = runs.open_run(tiny_run)
    images = np.random.default_rng(0).integers(0, 256, (300, 1, 64, 64), dtype=np.uint8)
    codes = run.encode(images)
    assert codes.shape == (300, 3)
    assert codes.dtype == np.float32
    decoded = run.decode(codes[:5])
    assert decoded.shape == (5, 1, 64, 64)
    assert decoded.dtype == np.uint8
    assert run.step == 4
    assert run.config.method.settings.width == 4
    assert run.source == "rendered v1"
    assert not run.method.training


def test_codes_do_not_depend_on_the_company_of_an_image(tiny_run):
    run = runs.open_run(tiny_run, "cpu")
    images = np.random.default_rng(0).integers(0, 256, (260, 1, 64, 64), dtype=np.uint8)
    assert np.allclose(run.encode(images)[256:], run.encode(images[256:]), atol=1e-5)


def test_decoding_is_the_method_s_image_in_bytes(tiny_run):
    run = runs.open_run(tiny_run, "cpu")
    codes = np.zeros((2, 3), np.float32)
    exact = run.method.decode(torch.from_numpy(codes)).numpy() * 255
    assert np.abs(run.decode(codes) - exact).max() <= 0.5 + 1e-4


@pytest.mark.parametrize(
    "images", [np.zeros((1, 1, 32, 32), np.uint8), np.zeros((1, 1, 64, 64), np.float32)]
)
def test_images_of_another_shape_or_type_are_refused(tiny_run, images):
    with pytest.raises(DataError, match=r"uint8 images of shape \(B, 1, 64, 64\)"):
        runs.open_run(tiny_run).encode(images)


@pytest.mark.parametrize("codes", [np.zeros((1, 4)), np.zeros(3), np.full((1, 3), np.nan)])
def test_codes_of_another_shape_or_not_finite_are_refused(tiny_run, codes):
    with pytest.raises(DataError, match=r"finite codes of shape \(B, 3\)"):
        runs.open_run(tiny_run).decode(codes)


def test_no_images_give_no_codes(tiny_run):
    run = runs.open_run(tiny_run)
    assert run.encode(np.empty((0, 1, 64, 64), np.uint8)).shape == (0, 3)
    assert run.decode(np.empty((0, 3))).shape == (0, 1, 64, 64)


def test_without_a_folder_the_error_says_how_to_make_one(tmp_path):
    with pytest.raises(RunError, match="no run folder") as caught:
        runs.open_run(tmp_path / "absent")
    assert "did train" in caught.value.hint


def test_a_run_of_an_unknown_method_is_refused_as_a_run(tiny_run, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(tiny_run, folder)
    monkeypatch.setattr("didcli.registry.names", lambda _kind: ["other"])
    with pytest.raises(RunError, match="cannot be used"):
        runs.open_run(folder)


def test_auto_stays_the_images_that_the_run_began_with(tiny_run, monkeypatch):
    """Whoever downloads the official file later must not have its old runs scored on it."""
    asked = []

    def load(source, **_):
        asked.append(source)
        if source == "official":
            raise DataError("no official file", hint="fetch it")
        return make_dataset()

    monkeypatch.setattr(dsprites, "load", load)
    run = runs.open_run(tiny_run, "cpu")
    assert run.config.data.settings.source == "auto"
    assert run.source.startswith("rendered v")
    (note,) = run.dataset().notes
    assert asked == ["rendered"]
    assert note == f"the run was trained on {run.source}, and these images are random"
    run.source = "random"
    assert run.dataset().notes == ()
    assert asked[1:] == ["auto"]

    run.source = "official sha256:ab"  # of a colleague who has the file
    assert "trained on official sha256:ab" in run.dataset().notes[0]
    assert asked[2:] == ["official", "auto"]

    own = dataclasses.replace(run.config.data.settings, source="official")
    data = dataclasses.replace(run.config.data, settings=own)
    run.config = dataclasses.replace(run.config, data=data)
    with pytest.raises(DataError, match="no official file"):
        run.dataset()  # it was asked for by name: no others will do
    assert asked[4:] == ["official"]


def test_a_method_need_not_switch_gradients_off(tiny_run, monkeypatch):
    run = runs.open_run(tiny_run, "cpu")
    weight = torch.ones(1, requires_grad=True)
    monkeypatch.setattr(run.method, "encode", lambda images: images[:, 0, 0, :3] * weight)
    monkeypatch.setattr(run.method, "decode", lambda codes: codes[:, :1, None, None] * weight)
    assert run.encode(np.full((2, 1, 64, 64), 255, np.uint8)).tolist() == [[1.0] * 3] * 2
    assert run.decode(np.ones((2, 3))).max() == 255
