"""DIP-VAE-I and -II, Kumar et al. 2018, https://arxiv.org/abs/1711.00848

    L = -log p(x|z) + KL( q(z|x) || N(0, I) )
        + lambda_od sum_{i != j} S_ij^2 + lambda_d sum_i (S_ii - 1)^2

summed over pixels and codes, in nats. S is a covariance over the batch, divided by B:

    S = Cov[ mean(x) ]                               variant i
    S = Cov[ mean(x) ] + E[ diag exp(log_var(x)) ]   variant ii, the covariance of q(z)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from didcli.nn import parallel
from didcli.nn import vae_losses as losses
from didcli.nn.settings import Weight
from didcli.nn.vae import Posterior, Vae, VaeConfig


@dataclass(frozen=True)
class Config(VaeConfig):
    variant: Literal["i", "ii"] = "i"
    lambda_od: Weight = 10.0
    """Weight of the entries of S off its diagonal, which should be 0."""
    lambda_d: Weight = 100.0
    """Weight of the entries on its diagonal, which should be 1."""


def build(config: Config, image_shape: tuple[int, int, int]) -> Vae:
    return Vae(config, image_shape, partial(regulariser, config))


def regulariser(
    config: Config, posterior: Posterior, kl: Tensor, _step: int
) -> tuple[Tensor, Mapping[str, Tensor]]:
    # In float32: autocast would take the covariance in bfloat16.
    with torch.autocast(kl.device.type, enabled=False):
        matrix = losses.covariance(parallel.gather(posterior.mean))
        if config.variant == "ii":
            variance = parallel.gather(posterior.log_var).exp()
            matrix = matrix + torch.diag(variance.mean(dim=0))
        penalty = losses.identity_penalty(matrix, config.lambda_od, config.lambda_d)
    return kl + penalty, {"dip": penalty}
