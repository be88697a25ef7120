"""InfoGAN-CR, Lin et al. 2020, https://arxiv.org/abs/1906.06034

InfoGAN (see `didcli.methods.infogan`) with a contrastive regulariser:

    x, x'  = G of two codes that share entry k, all others drawn twice; k uniform, the same noise
    L_CR   = -E[ log softmax(H(x, x'))_k ]        in nats
    L_G   += alpha(step) L_CR, and H minimises L_CR

H tells pairs apart by what stays the same, where DiD's H does by what changes. alpha is 0 until
`cr_from`. The authors train H before that, too, and draw its weights anew at that step: until then
it reaches nothing, so here it waits with the weights that it was built with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn import functional as F

from didcli.nn import parallel
from didcli.nn.infogan import (
    FEATURES,
    InfoGan,
    InfoGanConfig,
    critic_trunk,
    draw_inputs,
    with_published_weights,
)
from didcli.nn.networks import Family
from didcli.nn.settings import Rate, Weight
from didcli.nn.steps import adam, descend, frozen


@dataclass(frozen=True)
class Config(InfoGanConfig):
    cr: Weight = 2.0
    """alpha, the weight of L_CR in G's loss from step `cr_from` on."""
    cr_from: Annotated[int, Ge(0)] = 288_000
    """Step at which the weight goes from 0 to alpha, and H begins to learn."""
    lr_cr: Rate = 2e-3
    """Learning rate of H."""


class InfoGanCr(nn.Module):
    """Networks: gan.g, gan.d, and the classifier h of pairs."""

    def __init__(self, config: Config, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.config = config
        self.gan = InfoGan(config, image_shape)
        self.latent_dim, self.code_range = self.gan.latent_dim, self.gan.code_range
        self.h = PairClassifier(
            image_shape, config.latent_dim, width=config.width, family=config.networks
        )
        betas = (config.beta1, config.beta2)
        self.optimisers = {**self.gan.optimisers, "h": adam(self.h, config.lr_cr, betas)}

    def train_step(self, images: Tensor, rng: torch.Generator, step: int) -> Mapping[str, Tensor]:
        cfg = self.config
        if step < cfg.cr_from:
            return self.gan.update(images, rng)
        whole = len(images) * parallel.processes()
        drawn = draw_sharing_pairs(cfg, whole, images.device, rng)
        first, second, shared = (parallel.share(part) for part in drawn)

        # Classifier.
        with torch.no_grad():
            pair = self.gan.g(first), self.gan.g(second)
        logits = self.h(*pair)
        contrast = F.cross_entropy(logits, shared)
        descend(contrast, [self.optimisers["h"]])

        # Discriminator and generator.
        def regulariser(g: nn.Module) -> Tensor:
            with frozen(self.h):
                return cfg.cr * F.cross_entropy(self.h(g(first), g(second)), shared)

        logs = self.gan.update(images, rng, regulariser)
        accuracy = (logits.argmax(dim=1) == shared).float().mean()
        return {**logs, "contrast": contrast.detach(), "h_accuracy": accuracy}

    def encode(self, images: Tensor) -> Tensor:
        """The mean of q(c|x)."""
        return self.gan.encode(images)

    def decode(self, codes: Tensor) -> Tensor:
        """Images of codes, with the noise z held at 0, its mean."""
        return self.gan.decode(codes)


class PairClassifier(nn.Module):
    """H: two batches of images (B, C, S, S) -> logits (B, n), float32, of the code they share."""

    def __init__(
        self, image_shape: tuple[int, int, int], outputs: int, *, width: int, family: Family
    ) -> None:
        super().__init__()
        channels, height, breadth = image_shape
        self.trunk = critic_trunk((2 * channels, height, breadth), width=width, family=family)
        self.head = with_published_weights(nn.Linear(FEATURES, outputs))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        output: Tensor = self.head(self.trunk(torch.cat((first, second), dim=1)))
        return output.float()


def draw_sharing_pairs(
    config: Config, count: int, device: torch.device, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Two inputs of G (B, n + m) which share one code and the noise, and which code: (B,)."""
    first = draw_inputs(config, count, device, rng)
    second = draw_inputs(config, count, device, rng)
    shared = torch.randint(config.latent_dim, (count,), generator=rng, device=device)
    dimensions = torch.arange(first.shape[1], device=device)
    kept = (dimensions == shared[:, None]) | (dimensions >= config.latent_dim)
    return first, torch.where(kept, first, second), shared


build = InfoGanCr
