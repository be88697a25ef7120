"""The VAE, and that every other method of its family is it when its own weight is nothing."""

import copy
from typing import get_args

import pytest
import torch
from one_step import (
    SHAPE,
    assert_gradients,
    build,
    gradients,
    images,
    negative_elbo,
    rng,
    weights,
)

from didcli.methods import annealed_vae, beta_tcvae, beta_vae, dip_vae, factor_vae, vae
from didcli.nn import networks
from didcli.nn.vae import sample_posterior


def test_its_gradients_are_those_of_the_negative_elbo():
    method = build(vae)
    got = gradients(method)
    loss, _ = negative_elbo(method, torch.randn(16, 3, generator=rng()))
    assert_gradients(got, loss, "", method)


@pytest.mark.parametrize(
    ("module", "changes"),
    [
        (beta_vae, {"beta": 1.0}),
        (beta_tcvae, {"beta": 1.0}),
        (beta_tcvae, {"beta": 1.0, "estimator": "mss", "dataset_size": 100}),
        (annealed_vae, {"gamma": 1.0, "c_max": 0.0}),
        (dip_vae, {"lambda_od": 0.0}),
        (factor_vae, {"gamma": 0.0}),
    ],
    ids=lambda value: str(getattr(value, "__name__", value)),
)
def test_each_of_its_family_is_the_vae_when_its_own_weight_is_nothing(module, changes):
    expected = gradients(build(vae))
    found = gradients(build(module, **changes))
    for name, gradient in expected.items():
        same = found[f"vae.{name}" if module is factor_vae else name]
        assert torch.allclose(same, gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("module", "changes"),
    [
        (beta_vae, {"beta": 2.0}),
        (beta_tcvae, {"beta": 2.0}),
        (annealed_vae, {"gamma": 2.0, "c_max": 0.0}),
        (dip_vae, {}),
        (factor_vae, {}),
    ],
    ids=lambda value: str(getattr(value, "__name__", value)),
)
def test_with_its_weight_the_encoder_alone_is_told_something_else(module, changes):
    """A regulariser looks at the posterior: the decoder's gradients are those of the VAE."""
    prefix = "vae." if module is factor_vae else ""
    expected, found = gradients(build(vae)), gradients(build(module, **changes))
    changed = {
        name.split(".")[0]
        for name, gradient in expected.items()
        if not torch.allclose(found[prefix + name], gradient, rtol=1e-5, atol=1e-6)
    }
    assert changed == {"e"}


def test_samples_have_the_mean_and_the_variance_of_the_posterior():
    parameters = torch.tensor([[1.0, -2.0, 0.0, -2.0]]).repeat(100_000, 1)
    posterior = sample_posterior(parameters, rng())
    assert posterior.codes.mean(dim=0).tolist() == pytest.approx([1.0, -2.0], abs=0.02)
    expected = torch.tensor([0.0, -2.0]).exp().tolist()
    assert posterior.codes.var(dim=0).tolist() == pytest.approx(expected, rel=0.02)


def test_encode_gives_the_mean_and_decode_the_probability_of_white():
    method = build(vae)
    mean, _ = method.e(images()).chunk(2, dim=1)
    assert torch.equal(method.encode(images()), mean)
    assert torch.equal(method.decode(mean), torch.sigmoid(method.g(mean)))


def test_training_lowers_the_loss():
    method = build(vae, lr=1e-3)
    first = method.train_step(images(), rng(0), 0)
    for step in range(1, 60):
        last = method.train_step(images(), rng(step), step)
    assert last["loss"] < 0.8 * first["loss"]
    assert last["loss"] == pytest.approx(float(last["reconstruction"] + last["kl"]), rel=1e-5)


@pytest.mark.parametrize(
    "module", [vae, beta_tcvae, factor_vae], ids=lambda module: module.__name__.split(".")[-1]
)
def test_a_copy_trains_on_its_own(module):
    method = build(module)
    twin = copy.deepcopy(method)
    before = weights(method)
    twin.train_step(images(), rng(), 0)
    assert torch.equal(weights(method), before)


@pytest.mark.parametrize("family", get_args(networks.Family))
def test_every_family_of_networks_fits(family):
    method = build(vae, networks=family)
    logs = method.train_step(images(), rng(), 0)
    assert torch.isfinite(logs["loss"])
    assert method.decode(method.encode(images())).shape == (16, *SHAPE)


def test_losses_stay_in_float32_under_autocast():
    method = build(vae)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logs = method.train_step(images(), rng(), 0)
    assert {value.dtype for value in logs.values()} == {torch.float32}
