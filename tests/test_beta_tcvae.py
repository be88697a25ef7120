"""beta-TCVAE: its two estimators in its loss; their formulas are tested in test_vae_losses.py."""

import pytest
import torch
from one_step import build, gradients, images, rng

from didcli.errors import UsageError
from didcli.methods import beta_tcvae
from didcli.nn import vae_losses
from didcli.nn.vae import sample_posterior


@pytest.mark.parametrize("estimator", ["mws", "mss"])
def test_the_regulariser_is_kl_plus_beta_minus_one_tc(estimator):
    config = beta_tcvae.Config(beta=5.0, estimator=estimator, dataset_size=50)
    posterior = sample_posterior(torch.randn(8, 6, generator=rng(3)), rng())
    kl = vae_losses.gaussian_kl(posterior.mean, posterior.log_var)
    value, logs = beta_tcvae.regulariser(config, posterior, kl, 0)
    assert value.item() == pytest.approx((kl + 4.0 * logs["total_correlation"]).item())


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
