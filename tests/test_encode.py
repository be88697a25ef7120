import numpy as np
import pytest
import torch
from random_run import LATENT_DIM, make_dataset, make_run

from didcli.engine import encode, runs
from didcli.errors import DataError, StorageError

DATASET = make_dataset()
IMAGES = DATASET.images(np.arange(len(DATASET)))


@pytest.fixture
def run(tmp_path):
    return runs.open_run(make_run(tmp_path / "run"), device="cpu")


def mean_and_top(images):
    """An encoder in two lines: mean brightness, and that of the upper half."""
    return images.reshape(len(images), 2, -1).mean(axis=2, dtype=np.float32)


def test_every_image_is_encoded_in_order(monkeypatch):
    monkeypatch.setattr(encode, "BATCH_SIZE", 37)
    told = []
    codes = encode.encode_images(mean_and_top, DATASET, lambda *done: told.append(done))
    assert codes == pytest.approx(mean_and_top(DATASET.images(np.arange(600))))
    assert told[0] == (37, 600)
    assert told[-1] == (600, 600)


def test_a_run_s_codes_are_those_of_its_encoder(run):
    codes = encode.encode_dataset(run, DATASET)
    assert codes.shape == (600, LATENT_DIM)
    assert codes.dtype == np.float32
    rows = np.array([3, 599])
    assert codes[rows] == pytest.approx(run.encode(DATASET.images(rows)), abs=1e-4)


def test_codes_are_kept_and_read_again(run, monkeypatch):
    first = encode.encode_dataset(run, DATASET)
    monkeypatch.setattr(run, "encode", lambda _: pytest.fail("encoded again"))
    assert (encode.encode_dataset(run, DATASET) == first).all()


def test_a_sample_is_encoded_by_itself_unless_codes_are_kept(run, monkeypatch):
    rows, whole, seen = np.array([3, 7, 599]), encode.encode_images(run.encode, DATASET), []
    monkeypatch.setattr(DATASET, "images", lambda rows: seen.extend(rows) or IMAGES[rows])
    sample = encode.encode_sample(run, DATASET, rows)
    assert sample == pytest.approx(whole[rows], abs=1e-4)
    assert set(seen) == set(rows)
    assert not list(run.path.glob("codes-*"))
    kept = encode.encode_dataset(run, DATASET)
    monkeypatch.setattr(run, "encode", lambda _: pytest.fail("encoded again"))
    assert (encode.encode_sample(run, DATASET, rows) == kept[rows]).all()


def test_codes_of_an_older_checkpoint_are_deleted(run):
    encode.encode_dataset(run, DATASET)
    (kept,) = run.path.glob("codes-*")
    run.digest = "0" * 64
    encode.encode_dataset(run, DATASET)
    assert not kept.exists()
    assert [file.name for file in run.path.glob("codes-*")] == [f"codes-{'0' * 12}.safetensors"]


def test_codes_of_the_user_s_own_are_left_alone(run):
    mine = run.path / "codes-mine.safetensors"
    mine.write_text("mine")
    encode.encode_dataset(run, DATASET)
    assert mine.read_text() == "mine"


def test_old_codes_that_cannot_be_deleted_cost_only_their_room(run):
    old = run.path / f"codes-{'0' * 12}.safetensors"
    old.mkdir()  # nothing unlinks a folder
    assert encode.encode_dataset(run, DATASET).shape == (600, LATENT_DIM)
    assert old.exists()


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_a_damaged_file_is_made_anew(run, damage):
    expected = encode.encode_dataset(run, DATASET)
    (kept,) = run.path.glob("codes-*")
    content = bytearray(kept.read_bytes())
    content[-5] ^= 64
    damaged = {"cut": content[:-100], "flip": content, "empty": b"", "text": b"not codes at all"}
    kept.write_bytes(damaged[damage])
    assert (encode.encode_dataset(run, DATASET) == expected).all()
    assert kept.read_bytes()[-5] == content[-5] ^ 64


def test_codes_of_other_images_are_not_taken_for_these(run):
    encode.encode_dataset(run, DATASET)
    other = make_dataset()
    other.source = "another source"
    calls = []
    encode.encode_dataset(run, other, lambda *done: calls.append(done))
    assert calls


def test_a_folder_that_cannot_be_written_to_costs_only_time(run, monkeypatch):
    def refuse(*_):
        raise StorageError("read-only", hint="")

    monkeypatch.setattr(encode, "write_bytes", refuse)
    assert encode.encode_dataset(run, DATASET).shape == (600, LATENT_DIM)


def test_an_encoder_left_in_training_mode_is_found_out():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(4096))

    def encoder(images):
        with torch.no_grad():
            return network(torch.from_numpy(images).float())[:, :3].numpy()

    with pytest.raises(DataError, match="gives the same image different codes") as caught:
        encode.encode_images(encoder, DATASET)
    assert "evaluation mode" in caught.value.hint
    network.eval()
    assert encode.encode_images(encoder, DATASET).shape == (600, 3)


def test_an_encoder_that_samples_is_found_out():
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="different codes"):
        encode.encode_images(lambda images: rng.normal(size=(len(images), 2)), DATASET)


def test_an_angle_that_rounding_takes_across_the_cut_is_no_other_code():
    def encoder(images):
        codes = np.column_stack([mean_and_top(images), np.zeros(len(images), np.float32)])
        cut = (images == DATASET.images(np.array([0]))).all(axis=(1, 2, 3))
        codes[cut, 2] = 1.0 if len(images) == len(DATASET) else -1.0
        return codes

    assert encode.encode_images(encoder, DATASET).shape == (600, 3)


def test_an_encoder_that_changes_a_few_images_in_ten_is_found_out():
    def encoder(images):
        codes = mean_and_top(images)
        codes[::4] += len(images)
        return codes

    with pytest.raises(DataError, match="different codes"):
        encode.encode_images(encoder, DATASET)


def test_codes_of_another_torch_or_device_are_not_taken_for_these(run, monkeypatch):
    encode.encode_dataset(run, DATASET)
    monkeypatch.setattr(encode, "version", lambda _: "99.0")
    calls = []
    encode.encode_dataset(run, DATASET, lambda *done: calls.append(done))
    assert calls


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (lambda images: np.full((len(images), 2), np.nan), "not finite, from images 0 to 599"),
        (lambda images: np.zeros(len(images)), r"shape \(600,\) from 600 images"),
        (lambda images: np.zeros((1, len(images))), r"shape \(1, 600\) from 600 images"),
    ],
)
def test_what_are_no_codes_is_refused(encoder, message):
    with pytest.raises(DataError, match=message):
        encode.encode_images(encoder, DATASET)
