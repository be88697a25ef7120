"""The variational autoencoder that methods differ from by their regulariser alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from didcli.nn import parallel
from didcli.nn.decoders import image_decoder
from didcli.nn.networks import Family, ImageEncoder
from didcli.nn.settings import Count, Momentum, Rate
from didcli.nn.steps import adam, descend
from didcli.nn.vae_losses import bernoulli_nll, gaussian_kl

CODE_RANGE = (-2.0, 2.0)
"""Range of traversals: 95 % of the prior N(0, 1)."""


@dataclass(frozen=True)
class VaeConfig:
    """The settings of every VAE; the defaults are those of the reference study,
    Locatello et al. 2019, https://arxiv.org/abs/1811.12359"""

    latent_dim: Count = 10
    """D, the number of codes."""
    networks: Family = "classic"
    width: Count = 32
    """Channels of the first convolution of each network (not `classic`)."""
    lr: Rate = 1e-4
    """Learning rate of Adam, for encoder and decoder."""
    beta1: Momentum = 0.9
    beta2: Momentum = 0.999


class Posterior(NamedTuple):
    """q(z|x) = N(mean, diag exp(log_var)) of a batch, and one sample of each. All are (B, D)."""

    mean: Tensor
    log_var: Tensor
    codes: Tensor


Regulariser = Callable[[Posterior, Tensor, int], tuple[Tensor, Mapping[str, Tensor]]]
"""(posterior, its KL to the prior, step) -> what is added to the reconstruction loss, and further
scalars to log. Posterior and KL are of this process's share of the batch."""


class Vae(nn.Module):
    """Encoder e, decoder g; minimises  -log p(x|z) + regulariser.

    With the KL itself as the regulariser, that is the negative ELBO.
    """

    def __init__(
        self, config: VaeConfig, image_shape: tuple[int, int, int], regulariser: Regulariser
    ) -> None:
        super().__init__()
        self.latent_dim = config.latent_dim
        self.code_range = CODE_RANGE
        self.regulariser = regulariser
        sizes: dict[str, Any] = {"width": config.width, "family": config.networks}
        self.e = ImageEncoder(image_shape, 2 * config.latent_dim, **sizes)
        self.g = image_decoder(image_shape, config.latent_dim, **sizes)
        self.optimisers = {"vae": adam(self, config.lr, (config.beta1, config.beta2))}

    def train_step(self, images: Tensor, rng: torch.Generator, step: int) -> Mapping[str, Tensor]:
        _, logs = self.update(images, rng, step)
        return logs

    def update(
        self, images: Tensor, rng: torch.Generator, step: int
    ) -> tuple[Posterior, dict[str, Tensor]]:
        """Take a training step; return the posterior before it, detached, and scalars to log."""
        posterior = sample_posterior(self.e(images), rng)
        reconstruction = bernoulli_nll(self.g(posterior.codes), images)
        kl = gaussian_kl(posterior.mean, posterior.log_var)
        regulariser, further = self.regulariser(posterior, kl, step)
        loss = reconstruction + regulariser
        descend(loss, self.optimisers.values())
        logs = {"loss": loss, "reconstruction": reconstruction, "kl": kl, **further}
        detached = Posterior(*(part.detach() for part in posterior))
        return detached, {name: value.detach() for name, value in logs.items()}

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """The mean of q(z|x)."""
        mean: Tensor = self.e(images)[:, : self.latent_dim]
        return mean

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """The mean of p(x|z)."""
        return torch.sigmoid(self.g(codes))


def sample_posterior(parameters: Tensor, rng: torch.Generator) -> Posterior:
    """The posterior, with one sample that is differentiable in its parameters.

    parameters: (B, 2 D), means and then log variances.
    """
    mean, log_var = parameters.chunk(2, dim=1)
    size = (len(mean) * parallel.processes(), mean.shape[1])
    noise = parallel.share(torch.randn(size, generator=rng, device=mean.device))
    return Posterior(mean, log_var, mean + torch.exp(0.5 * log_var) * noise)
