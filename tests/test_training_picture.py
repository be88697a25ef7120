import numpy as np
import torch
from random_run import LATENT_DIM, make_dataset

from didcli.engine import training_picture, traverse
from didcli.io.pictures import GAP, LINE

SIDE = 128
"""Of an image of 64 pixels, enlarged."""


def test_the_training_picture_shows_reals_their_reconstructions_and_every_dimension(run):
    dataset = make_dataset()
    picture = training_picture.draw(run.method, dataset, torch.device("cpu"))
    pixels = np.asarray(picture)
    pitch = SIDE + GAP
    gutter = pixels.shape[1] - 9 * pitch
    caption = LINE + GAP
    assert pixels.shape[0] == GAP + (2 + LATENT_DIM) * pitch + GAP + LINE + caption
    assert pixels[-caption:].min() < 99

    def image(top: int, column: int) -> np.ndarray:
        left = gutter + column * pitch
        return pixels[top : top + SIDE : 2, left : left + SIDE : 2, 0].astype(int)

    rows = np.array(traverse.random_rows(9, len(dataset), training_picture.SEED))
    reals = dataset.images(rows)
    codes = run.encode(reals)
    for column in range(9):
        assert (image(GAP, column) == reals[column, 0]).all()
        rebuilt = run.decode(codes)[column, 0]
        assert np.abs(image(GAP + pitch, column) - rebuilt).max() <= 1
    moved = traverse.traverse(run, [5], traverse.evenly_spaced(-1, 1, 9), codes[:1])
    last = pixels.shape[0] - pitch - caption
    for column in range(9):
        assert np.abs(image(last, column) - moved.images[0, 0, column, 0]).max() <= 1


def test_the_training_picture_is_the_same_each_time_and_takes_a_small_dataset(run):
    dataset = make_dataset()
    device = torch.device("cpu")
    first = training_picture.draw(run.method, dataset, device)
    assert first.tobytes() == training_picture.draw(run.method, dataset, device).tobytes()
    small = make_dataset((1, 1, 2, 2, 1))
    assert training_picture.draw(run.method, small, device).size == first.size


def test_a_model_that_diverged_is_drawn_without_an_error(run, monkeypatch):
    broken = torch.full((9 + 9 * LATENT_DIM, 1, 64, 64), float("nan"))
    monkeypatch.setattr(run.method, "decode", lambda _codes: broken)
    training_picture.draw(run.method, make_dataset(), torch.device("cpu"))
