"""beta-VAE, Higgins et al. 2017, https://openreview.net/forum?id=Sy2fzU9gl

L = -log p(x|z) + beta KL( q(z|x) || N(0, I) )        summed over pixels and codes, in nats
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from didcli.nn.settings import Weight
from didcli.nn.vae import Posterior, Vae, VaeConfig


@dataclass(frozen=True)
class Config(VaeConfig):
    beta: Weight = 4.0
    """Weight of the KL; 1 is the VAE."""


def build(config: Config, image_shape: tuple[int, int, int]) -> Vae:
    return Vae(config, image_shape, partial(regulariser, config))


def regulariser(
    config: Config, _posterior: Posterior, kl: Tensor, _step: int
) -> tuple[Tensor, Mapping[str, Tensor]]:
    return config.beta * kl, {}
