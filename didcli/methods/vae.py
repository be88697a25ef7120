"""The variational autoencoder, Kingma & Welling 2014, https://arxiv.org/abs/1312.6114

L = -log p(x|z) + KL( q(z|x) || N(0, I) )        summed over pixels and codes, in nats
"""

from collections.abc import Mapping

from torch import Tensor

from didcli.nn.vae import Posterior, Vae, VaeConfig

Config = VaeConfig


def build(config: Config, image_shape: tuple[int, int, int]) -> Vae:
    return Vae(config, image_shape, regulariser)


def regulariser(
    _posterior: Posterior, kl: Tensor, _step: int
) -> tuple[Tensor, Mapping[str, Tensor]]:
    return kl, {}
