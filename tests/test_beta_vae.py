"""beta-VAE: that beta weights the KL; test_vae.py shows that it is the VAE at 1."""

import torch
from one_step import build, gradients

from didcli.methods import beta_vae


def test_gradients_are_linear_in_beta():
    one, two, four = (gradients(build(beta_vae, beta=beta)) for beta in (1.0, 2.0, 4.0))
    for name in one:
        difference = two[name] - one[name]
        assert torch.allclose(four[name] - one[name], 3.0 * difference, rtol=1e-3, atol=1e-4)
