"""beta-TCVAE: its two estimators in its loss; their formulas are tested in test_vae_losses.py."""

import math

import pytest
import torch
from one_step import assert_gradients, build, gradients, images, negative_elbo, rng
from torch.distributions import Normal

from didcli.errors import UsageError
from didcli.methods import beta_tcvae
from didcli.nn.vae import sample_posterior


@pytest.mark.parametrize("estimator", ["mws", "mss"])
def test_the_regulariser_is_kl_plus_beta_minus_one_tc(estimator):
    """TC by loops, from the posterior: with weights of 1/B, or of appendix C.2 for N = 50."""
    config = beta_tcvae.Config(beta=5.0, estimator=estimator, dataset_size=50)
    posterior = sample_posterior(torch.randn(8, 6, generator=rng(3)), rng())
    weight = {"mws": {}, "mss": {0: 1 / 50, 1: (50 - 7) / (50 * 7)}}[estimator]
    other = {"mws": 1 / 8, "mss": 1 / 7}[estimator]
    tc = 0.0
    for i, code in enumerate(posterior.codes):
        joint, marginals = 0.0, [0.0] * 3
        for j in range(8):
            q = Normal(posterior.mean[j], torch.exp(0.5 * posterior.log_var[j]))
            densities = q.log_prob(code).exp().tolist()
            w = weight.get((j - i) % 8, other)
            joint += w * math.prod(densities)
            marginals = [m + w * density for m, density in zip(marginals, densities, strict=True)]
        tc += (math.log(joint) - sum(map(math.log, marginals))) / 8

    value, logs = beta_tcvae.regulariser(config, posterior, torch.tensor(1.5), 0)
    assert logs["total_correlation"].item() == pytest.approx(tc, rel=1e-4)
    assert value.item() == pytest.approx(1.5 + 4.0 * tc, rel=1e-4)


def test_the_size_of_the_dataset_matters_to_stratified_sampling_alone():
    for estimator, matters in (("mws", False), ("mss", True)):
        small, large = (
            gradients(build(beta_tcvae, estimator=estimator, dataset_size=size))
            for size in (16, 100_000)
        )
        same = all(torch.allclose(small[name], large[name], atol=1e-5) for name in small)
        assert same != matters


def test_a_dataset_smaller_than_a_batch_is_a_wrong_setting():
    method = build(beta_tcvae, estimator="mss", dataset_size=8)
    with pytest.raises(UsageError, match="a batch of 16 images cannot be from a dataset of 8"):
        method.train_step(images(16), rng(), 0)


def test_gradients_of_the_tc_flow_through_codes_and_posteriors():
    method = build(beta_tcvae, beta=5.0)
    with torch.no_grad():
        method.e.head[-1].weight[:3] *= 30.0  # means far apart, so that codes have a TC
    found = gradients(method)
    loss, codes = negative_elbo(method, torch.randn(16, 3, generator=rng()))
    mean, log_var = method.e(images()).chunk(2, dim=1)
    density = Normal(mean, torch.exp(0.5 * log_var)).log_prob(codes[:, None]).exp()  # (i, j, d)
    joint, marginals = density.prod(dim=2).mean(dim=1), density.mean(dim=1)
    tc = (joint.log() - marginals.log().sum(dim=1)).mean()
    assert_gradients(found, loss + 4.0 * tc, "", method)
