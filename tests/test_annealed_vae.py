"""AnnealedVAE: its capacity, and that the KL is drawn to it from both sides."""

import pytest
import torch
from one_step import build, images, rng

from didcli.methods import annealed_vae


def test_the_capacity_rises_linearly_and_stays():
    config = annealed_vae.Config(c_max=20.0, annealing_steps=1000)
    steps = (0, 250, 500, 1000, 300_000)
    assert [annealed_vae.capacity(config, step) for step in steps] == [0.0, 5.0, 10.0, 20.0, 20.0]


@pytest.mark.parametrize("kl", [3.0, 10.0])
def test_the_regulariser_is_gamma_times_the_distance_from_the_capacity(kl):
    config = annealed_vae.Config(gamma=7.0, c_max=10.0, annealing_steps=100)
    value, logs = annealed_vae.regulariser(config, None, torch.tensor(kl), step=50)
    assert value.item() == 7.0 * abs(kl - 5.0)
    assert logs["capacity"].item() == 5.0


@pytest.mark.parametrize("target", [1.0, 8.0])
def test_training_brings_the_kl_to_the_capacity(target):
    method = build(annealed_vae, c_max=target, annealing_steps=1, lr=2e-3)
    kl = [method.train_step(images(), rng(step), step)["kl"] for step in range(1, 200)]
    # It swings about the capacity, as the slope of a distance does not fall off near 0.
    assert torch.stack(kl[-50:]).mean().item() == pytest.approx(target, abs=0.4)
