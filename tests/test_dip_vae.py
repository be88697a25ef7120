"""DIP-VAE: both penalties on codes whose covariance is known."""

import math

import pytest
import torch

from didcli.methods import dip_vae
from didcli.nn.vae import Posterior


def posterior(log_var: float) -> Posterior:
    """Four images; the covariance of their means is [[4, 3], [3, 9]]."""
    first = torch.tensor([2.0, 2.0, -2.0, -2.0])
    second = torch.tensor([1.0, -1.0, 1.0, -1.0])
    means = torch.stack((first, 0.75 * first + math.sqrt(6.75) * second), dim=1) + 10.0
    return Posterior(means, torch.full_like(means, log_var), means)


def test_variant_i_penalises_the_covariance_of_the_means():
    config = dip_vae.Config(variant="i", lambda_od=2.0, lambda_d=5.0)
    kl = torch.tensor(1.5)
    value, logs = dip_vae.regulariser(config, posterior(log_var=0.3), kl, 0)
    expected = 2.0 * (3.0**2 + 3.0**2) + 5.0 * ((4.0 - 1) ** 2 + (9.0 - 1) ** 2)
    assert logs["dip"].item() == pytest.approx(expected, rel=1e-5)
    assert value.item() == pytest.approx(1.5 + expected, rel=1e-5)


def test_variant_ii_adds_the_mean_variance_of_the_posteriors():
    config = dip_vae.Config(variant="ii", lambda_od=2.0, lambda_d=5.0)
    _, logs = dip_vae.regulariser(config, posterior(log_var=math.log(2.0)), torch.tensor(0.0), 0)
    expected = 2.0 * (3.0**2 + 3.0**2) + 5.0 * ((6.0 - 1) ** 2 + (11.0 - 1) ** 2)
    assert logs["dip"].item() == pytest.approx(expected, rel=1e-5)


def test_variant_ii_is_nothing_where_the_aggregate_posterior_has_the_covariance_of_the_prior():
    means = 0.6 * torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    codes = Posterior(means, torch.full_like(means, math.log(0.64)), means)
    config = dip_vae.Config(variant="ii")
    _, logs = dip_vae.regulariser(config, codes, torch.tensor(0.0), 0)
    assert logs["dip"].item() == pytest.approx(0.0, abs=1e-9)


def test_the_covariance_is_in_float32_under_autocast():
    config = dip_vae.Config(variant="i")
    _, exact = dip_vae.regulariser(config, posterior(0.0), torch.tensor(0.0), 0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, logs = dip_vae.regulariser(config, posterior(0.0), torch.tensor(0.0), 0)
    assert logs["dip"].item() == exact["dip"].item()
