"""DIP-VAE-I and -II, Kumar et al. 2018, https://arxiv.org/abs/1711.00848

    L = -log p(x|z) + KL( q(z|x) || N(0, I) )
        + lambda_od sum_{i != j} S_ij^2 + lambda_d sum_i (S_ii - 1)^2

summed over pixels and codes, in nats. S is a covariance over the batch, divided by B:

    S = Cov[ mean(x) ]                               variant i
    S = Cov[ mean(x) ] + E[ diag exp(log_var(x)) ]   variant ii, the covariance of q(z)

lambda_d is a multiple of lambda_od: 10 times for variant i (figure 1 of the paper), once for
variant ii, as in the reference study, Locatello et al. 2019, https://arxiv.org/abs/1811.12359
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

LAMBDA_D_FACTORS = {"i": 10.0, "ii": 1.0}
"""lambda_d / lambda_od of each variant, by default."""


@dataclass(frozen=True)
class Config(VaeConfig):
    variant: Literal["i", "ii"] = "i"
    lambda_od: Weight = 10.0
    """Weight of the entries of S off its diagonal, which should be 0."""
    lambda_d_factor: Weight | None = None
    """lambda_d / lambda_od, lambda_d being the weight of the entries on the diagonal, which should
    be 1. By default the variant's: 10 for i, 1 for ii."""


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
        penalty = losses.identity_penalty(matrix, config.lambda_od, lambda_d(config))
    return kl + penalty, {"dip": penalty}


def lambda_d(config: Config) -> float:
    """The weight of the entries on the diagonal of S."""
    factor = config.lambda_d_factor
    return config.lambda_od * (LAMBDA_D_FACTORS[config.variant] if factor is None else factor)
