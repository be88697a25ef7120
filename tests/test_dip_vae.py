"""DIP-VAE: both penalties on codes whose covariance is known."""

import math

import pytest
import torch
from one_step import assert_gradients, build, gradients, images, negative_elbo, rng

from didcli import config as settings
from didcli.methods import dip_vae
from didcli.nn.vae import Posterior


def posterior(log_var: float) -> Posterior:
    """Four images; the covariance of their means is [[4, 3], [3, 9]]."""
    first = torch.tensor([2.0, 2.0, -2.0, -2.0])
    second = torch.tensor([1.0, -1.0, 1.0, -1.0])
    means = torch.stack((first, 0.75 * first + math.sqrt(6.75) * second), dim=1) + 10.0
    return Posterior(means, torch.full_like(means, log_var), means)


def test_variant_i_penalises_the_covariance_of_the_means():
    config = dip_vae.Config(variant="i", lambda_od=2.0, lambda_d_factor=2.5)
    kl = torch.tensor(1.5)
    value, logs = dip_vae.regulariser(config, posterior(log_var=0.3), kl, 0)
    expected = 2.0 * (3.0**2 + 3.0**2) + 5.0 * ((4.0 - 1) ** 2 + (9.0 - 1) ** 2)
    assert logs["dip"].item() == pytest.approx(expected, rel=1e-5)
    assert value.item() == pytest.approx(1.5 + expected, rel=1e-5)


def test_variant_ii_adds_the_mean_variance_of_the_posteriors():
    config = dip_vae.Config(variant="ii", lambda_od=2.0, lambda_d_factor=2.5)
    _, logs = dip_vae.regulariser(config, posterior(log_var=math.log(2.0)), torch.tensor(0.0), 0)
    expected = 2.0 * (3.0**2 + 3.0**2) + 5.0 * ((6.0 - 1) ** 2 + (11.0 - 1) ** 2)
    assert logs["dip"].item() == pytest.approx(expected, rel=1e-5)


def test_variant_ii_is_nothing_where_the_aggregate_posterior_has_the_covariance_of_the_prior():
    means = 0.6 * torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    codes = Posterior(means, torch.full_like(means, math.log(0.64)), means)
    config = dip_vae.Config(variant="ii")
    _, logs = dip_vae.regulariser(config, codes, torch.tensor(0.0), 0)
    assert logs["dip"].item() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        ([], 100.0),
        (["method.lambda_od=1"], 10.0),
        (["method.variant=ii"], 10.0),
        (["method.variant=ii", "method.lambda_od=50"], 50.0),
        (["method.lambda_d_factor=0"], 0.0),
        (["method.lambda_od=4", "method.lambda_d_factor=3"], 12.0),
    ],
)
@pytest.mark.parametrize("preset", ["did-dsprites", "dip_vae_i-dsprites"])
def test_the_weight_of_the_diagonal_follows_that_of_the_rest_and_the_variant(
    preset, assignments, expected
):
    """By 10 in variant i, 1 in variant ii: lambda_d_factor of the reference study's dip_vae."""
    resolved = settings.resolve(preset, assignments=["method.name=dip_vae", *assignments])
    assert dip_vae.lambda_d(resolved.method.settings) == expected


def test_the_covariance_is_in_float32_under_autocast():
    config = dip_vae.Config(variant="i")
    _, exact = dip_vae.regulariser(config, posterior(0.0), torch.tensor(0.0), 0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, logs = dip_vae.regulariser(config, posterior(0.0), torch.tensor(0.0), 0)
    assert logs["dip"].item() == exact["dip"].item()


@pytest.mark.parametrize("variant", ["i", "ii"])
def test_gradients_flow_through_means_and_variances(variant):
    method = build(dip_vae, variant=variant, lambda_od=3.0, lambda_d_factor=2.0)
    found = gradients(method)
    loss, _ = negative_elbo(method, torch.randn(16, 3, generator=rng()))
    mean, log_var = method.e(images()).chunk(2, dim=1)
    covariance = torch.cov(mean.T, correction=0)
    if variant == "ii":
        covariance = covariance + torch.diag(log_var.exp().mean(dim=0))
    diagonal = torch.eye(3).bool()
    loss = loss + 3.0 * covariance[~diagonal].square().sum()
    loss = loss + 6.0 * (covariance[diagonal] - 1).square().sum()
    assert_gradients(found, loss, "", method)
