"""FactorVAE, Kim & Mnih 2018, https://arxiv.org/abs/1802.05983

    L   = -log p(x|z) + KL( q(z|x) || N(0, I) ) + gamma TC        summed over pixels and codes
    TC  = E[ log D(z) - log(1 - D(z)) ]
    L_D = -1/2 E[ log D(z) ] - 1/2 E[ log(1 - D(z')) ]

in nats. D tells the codes z ~ q(z|x) of a batch from z', in which each code is permuted over the
batch on its own. The paper permutes the codes of a second batch; the code of the reference study
(https://github.com/google-research/disentanglement_lib) those of the batch itself, and so does
this: a step then sees as many images as a step of every other method, and no fewer for the VAE.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from didcli.nn import parallel
from didcli.nn import vae_losses as losses
from didcli.nn.networks import mlp
from didcli.nn.settings import Count, Momentum, Rate, Weight
from didcli.nn.steps import adam, descend, frozen
from didcli.nn.vae import Posterior, Vae, VaeConfig

HIDDEN_LAYERS = 6


@dataclass(frozen=True)
class Config(VaeConfig):
    gamma: Weight = 40.0
    """Weight of the total correlation; 0 is the VAE."""
    discriminator_width: Count = 1000
    """Units of each of the discriminator's six hidden layers."""
    lr_discriminator: Rate = 1e-4
    discriminator_beta1: Momentum = 0.5
    discriminator_beta2: Momentum = 0.9


class FactorVae(nn.Module):
    """Networks: vae.e, vae.g, and the discriminator d: (B, D) -> (B, 2) logits."""

    def __init__(self, config: Config, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.config = config
        self.vae = Vae(config, image_shape, self._regulariser)
        self.latent_dim, self.code_range = self.vae.latent_dim, self.vae.code_range
        self.d = mlp((config.latent_dim, *[config.discriminator_width] * HIDDEN_LAYERS, 2))
        betas = (config.discriminator_beta1, config.discriminator_beta2)
        self.optimisers = {
            **self.vae.optimisers,
            "d": adam(self.d, config.lr_discriminator, betas),
        }

    def train_step(self, images: Tensor, rng: torch.Generator, step: int) -> Mapping[str, Tensor]:
        posterior, logs = self.vae.update(images, rng, step)
        codes = posterior.codes  # detached: the discriminator's loss is not the encoder's
        permuted = parallel.share(losses.permute_codes(parallel.gather(codes), rng))
        logits = self.d(torch.cat((codes, permuted))).float()
        discriminator = losses.permutation_discriminator(*logits.chunk(2))
        descend(discriminator, [self.optimisers["d"]])
        return {**logs, "discriminator": discriminator.detach()}

    def encode(self, images: Tensor) -> Tensor:
        """The mean of q(z|x)."""
        return self.vae.encode(images)

    def decode(self, codes: Tensor) -> Tensor:
        """The mean of p(x|z)."""
        return self.vae.decode(codes)

    def _regulariser(
        self, posterior: Posterior, kl: Tensor, _step: int
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        with frozen(self.d):
            tc = losses.log_density_ratio(self.d(posterior.codes).float())
        return kl + self.config.gamma * tc, {"total_correlation": tc}


build = FactorVae
