"""FactorVAE: whose gradients reach whom, and that its discriminator finds a known TC."""

import pytest
import torch
from one_step import assert_gradients, build, gradients, images, negative_elbo, rng, weights

from didcli.methods import factor_vae
from didcli.nn import vae_losses
from didcli.nn.steps import descend

SMALL = {"discriminator_width": 16}


def test_its_gradients_are_those_of_the_papers_two_losses():
    """With D(z) the probability that z is as it is, not permuted: algorithm 2 of the paper."""
    method = build(factor_vae, gamma=5.0, **SMALL)
    got = gradients(method)

    generator = rng()
    loss, z = negative_elbo(method.vae, torch.randn(16, 3, generator=generator))
    order = torch.rand(16, 3, generator=generator).argsort(dim=0)
    permuted = torch.stack([z[order[:, d], d] for d in range(3)], dim=1)

    def probability(codes: torch.Tensor) -> torch.Tensor:
        return torch.softmax(method.d(codes), dim=1)[:, 0]

    p = probability(z)
    assert_gradients(got, loss + 5.0 * (p.log() - (1 - p).log()).mean(), "vae", method.vae)
    p, p_permuted = probability(z.detach()), probability(permuted.detach())
    discriminator = -0.5 * p.log().mean() - 0.5 * (1 - p_permuted).log().mean()
    assert_gradients(got, discriminator, "d", method.d)


def test_the_discriminators_step_leaves_the_encoders_gradients_alone():
    method = build(factor_vae, **SMALL)
    both = gradients(method)
    method.zero_grad()
    method.vae.update(images(), rng(), 0)  # the VAE's step alone
    for name, parameter in method.vae.named_parameters():
        assert torch.equal(both[f"vae.{name}"], parameter.grad)


def test_the_vaes_step_leaves_the_discriminators_gradients_alone():
    method = build(factor_vae, **SMALL)
    gradients(method)
    method.zero_grad()
    method.vae.update(images(), rng(), 0)
    assert all(parameter.grad is None for parameter in method.d.parameters())
    assert all(parameter.requires_grad for parameter in method.d.parameters())


def test_gradients_are_linear_in_gamma():
    zero, one, three = (gradients(build(factor_vae, gamma=g, **SMALL)) for g in (0.0, 1.0, 3.0))
    changed = 0.0
    for name in zero:
        difference = one[name] - zero[name]
        changed += difference.abs().sum().item()
        assert torch.allclose(three[name] - zero[name], 3.0 * difference, rtol=1e-2, atol=1e-5)
    assert changed > 0.0


def test_both_optimisers_are_moved_once_a_step():
    method = build(factor_vae, **SMALL)
    before = weights(method.d), weights(method.vae)
    method.train_step(images(), rng(), 0)
    assert not torch.equal(before[0], weights(method.d))
    assert not torch.equal(before[1], weights(method.vae))
    counts = {
        int(state["step"])
        for optimiser in method.optimisers.values()
        for state in optimiser.state.values()
    }
    assert counts == {1}


def test_the_published_discriminator_has_six_hidden_layers_of_a_thousand():
    torch.manual_seed(0)
    method = factor_vae.build(factor_vae.Config(), (1, 32, 32))
    shapes = [tuple(p.shape) for p in method.d.parameters() if p.ndim == 2]
    assert shapes == [(1000, 10), *[(1000, 1000)] * 5, (2, 1000)]


def test_the_discriminator_learns_the_tc_of_correlated_gaussians():
    method = build(factor_vae, latent_dim=2, discriminator_width=32, lr_discriminator=1e-3)
    generator = rng(5)
    for _ in range(400):
        codes = torch.randn(256, 2, generator=generator)
        codes[:, 1] = 0.8 * codes[:, 0] + 0.6 * codes[:, 1]
        joint = method.d(codes)
        permuted = method.d(vae_losses.permute_codes(codes, generator))
        loss = vae_losses.permutation_discriminator(joint, permuted)
        descend(loss, [method.optimisers["d"]])
    codes = torch.randn(20_000, 2, generator=generator)
    codes[:, 1] = 0.8 * codes[:, 0] + 0.6 * codes[:, 1]
    with torch.no_grad():
        found = vae_losses.log_density_ratio(method.d(codes)).item()
    assert found == pytest.approx(0.5108, abs=0.1)  # -1/2 log(1 - .8^2)
