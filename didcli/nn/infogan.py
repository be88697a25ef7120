"""The InfoGAN that InfoGAN and InfoGAN-CR share: its networks, and a step of its training.

As published with InfoGAN-CR for dSprites: Lin et al. 2020, https://arxiv.org/abs/1906.06034,
code at https://github.com/fjxmlzn/InfoGAN-CR.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from didcli.nn import losses, parallel
from didcli.nn.codes import uniform
from didcli.nn.decoders import image_decoder
from didcli.nn.networks import CLASSIC_CHANNELS, SLOPE, Family, conv_trunk
from didcli.nn.settings import Count, Momentum, Rate, Size, Weight
from didcli.nn.steps import adam, descend, evaluating, frozen

FEATURES = 128
"""Units of every hidden fully connected layer."""
INITIAL_SD = 0.02
"""Standard deviation of the published initial weights."""
MOMENTUM = 0.1
"""Share of the batch in batch norm's running statistics."""

Module = TypeVar("Module", bound=nn.Module)
Term = Callable[[nn.Module], Tensor]
"""A generator -> a scalar to be added to its loss."""


@dataclass(frozen=True)
class InfoGanConfig:
    """The settings of InfoGAN; the defaults are those of InfoGAN-CR's authors for dSprites."""

    latent_dim: Count = 5
    """n, the number of codes c, which Q recovers; all are uniform, none categorical."""
    noise_dim: Size = 5
    """m, the number of dimensions of z, which Q does not look at."""
    information: Weight = 0.05
    """Weight of -E[ log q(c|x) ], in the loss of G and in that of D and Q."""
    networks: Family = "classic"
    """`classic` is the published pair; the others have no batch norm and a linear output, as in
    DiD."""
    width: Count = 32
    """Channels of the first convolution of each network (not `classic`)."""
    lr_generator: Rate = 1e-3
    lr_discriminator: Rate = 2e-3
    """Learning rate of D and Q."""
    beta1: Momentum = 0.5
    beta2: Momentum = 0.999
    """Decay of Adam's second moment, as beta1 is of its first, for all networks."""
    generator_steps: Count = 2
    """Updates of G in a training step, on the same codes; D and Q have one."""


class InfoGan(nn.Module):
    """Networks: the generator g, and d, which is D and Q on a shared trunk."""

    def __init__(self, config: InfoGanConfig, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.config = config
        self.latent_dim = config.latent_dim
        self.code_range = (-1.0, 1.0)
        self.g = generator(config, image_shape)
        self.d = Discriminator(config, image_shape)
        betas = (config.beta1, config.beta2)
        self.optimisers = {
            "g": adam(self.g, config.lr_generator, betas),
            "d": adam(self.d, config.lr_discriminator, betas),
        }

    def train_step(
        self,
        images: Tensor,
        rng: torch.Generator,
        step: int,  # noqa: ARG002 (nothing here has a schedule)
    ) -> Mapping[str, Tensor]:
        return self.update(images, rng)

    def update(
        self, images: Tensor, rng: torch.Generator, term: Term | None = None
    ) -> dict[str, Tensor]:
        """One step of D and Q, then `generator_steps` of G; detached scalars to log.

        term: a further term of G's loss, computed anew for each of its steps.
        """
        cfg = self.config
        whole = len(images) * parallel.processes()
        inputs = parallel.share(draw_inputs(cfg, whole, images.device, rng))
        codes = inputs[:, : cfg.latent_dim]

        # Discriminator and Q.
        fakes = self.g(inputs)
        scores, means = self.d(torch.cat((images, fakes.detach())))
        critic = losses.nonsaturating_discriminator(*scores.chunk(2))
        information = unit_gaussian_nll(codes, means[len(images) :])
        descend(critic + cfg.information * information, [self.optimisers["d"]])

        # Generator. Its first update takes the images that D has just seen.
        for count in range(cfg.generator_steps):
            if count > 0:
                fakes = self.g(inputs)
            with frozen(self.d):
                scores, means = self.d(fakes)
            adversarial = losses.nonsaturating_generator(scores)
            information = unit_gaussian_nll(codes, means)
            total = adversarial + cfg.information * information
            if term is not None:
                total = total + term(self.g)
            descend(total, [self.optimisers["g"]])

        logs = {"critic": critic, "generator": adversarial, "information": information}
        logs["fake_mean"], logs["fake_sd"] = parallel.moments(fakes)
        logs["real_mean"], logs["real_sd"] = parallel.moments(images)
        return {name: value.detach() for name, value in logs.items()}

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """The mean of q(c|x)."""
        with evaluating(self.d):
            _, means = self.d(images)
        codes: Tensor = means
        return codes

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Images of codes, with the noise z held at 0, its mean."""
        z = codes.new_zeros((len(codes), self.config.noise_dim))
        with evaluating(self.g):
            images: Tensor = self.g(torch.cat((codes, z), dim=1))
        return images.clamp(0.0, 1.0)


class Discriminator(nn.Module):
    """(B, C, S, S) -> scores of D (B,), and the mean of q(c|x) = N(mean, I), (B, n). float32.

    Every layer is spectrally normal, Q's last one too: InfoGANDiscriminator in gan/network.py of
    the authors' InfoGAN-CR_CdSprites, InfoGAN-CR_3D_teapot and InfoGAN-CR_CelebA.
    """

    def __init__(self, config: InfoGanConfig, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.trunk = critic_trunk(image_shape, width=config.width, family=config.networks)
        self.score = spectrally_normal(nn.Linear(FEATURES, 1))
        self.q = spectrally_normal(
            nn.Sequential(
                nn.Linear(FEATURES, FEATURES),
                nn.LeakyReLU(SLOPE),
                nn.Linear(FEATURES, config.latent_dim),
            )
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(images)
        return self.score(features).squeeze(1).float(), self.q(features).float()


class Generator(nn.Module):
    """The published generator: (B, inputs) -> (B, C, S, S) float32 in [0, 1].

    Batch norm follows the nonlinearity of each hidden layer; the output is a sigmoid.
    """

    def __init__(self, image_shape: tuple[int, int, int], inputs: int) -> None:
        super().__init__()
        channels, size, _ = image_shape
        side = size // 16
        widths = tuple(reversed(CLASSIC_CHANNELS))
        layers: list[nn.Module] = []
        for before, after in pairwise((inputs, FEATURES, widths[0] * side**2)):
            layers += [
                nn.Linear(before, after),
                nn.ReLU(),
                parallel.BatchNorm(after, momentum=MOMENTUM),
            ]
        layers.append(nn.Unflatten(1, (widths[0], side, side)))
        for before, after in pairwise(widths):
            layers += [
                nn.ConvTranspose2d(before, after, 4, stride=2, padding=1),
                nn.LeakyReLU(SLOPE),
                parallel.BatchNorm(after, momentum=MOMENTUM),
            ]
        layers.append(nn.ConvTranspose2d(widths[-1], channels, 4, stride=2, padding=1))
        self.layers = with_published_weights(nn.Sequential(*layers))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.sigmoid(self.layers(inputs).float())


def generator(config: InfoGanConfig, image_shape: tuple[int, int, int]) -> nn.Module:
    """G of a family: (B, n + m) -> (B, C, S, S) float32."""
    inputs = config.latent_dim + config.noise_dim
    if config.networks == "classic":
        return Generator(image_shape, inputs)
    return image_decoder(image_shape, inputs, width=config.width, family=config.networks)


def critic_trunk(image_shape: tuple[int, int, int], *, width: int, family: Family) -> nn.Sequential:
    """Convolutions and a fully connected layer with leaky ReLUs, every layer spectrally normal.

    (B, C, S, S) -> (B, 128); `width` applies to other families than `classic`.
    """
    convolutions, features = conv_trunk(image_shape, width=width, family=family)
    # GANs have leaky ReLUs in the classic stack, too.
    layers = [nn.LeakyReLU(SLOPE) if isinstance(x, nn.ReLU) else x for x in convolutions]
    trunk = nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, FEATURES), nn.LeakyReLU(SLOPE))
    return spectrally_normal(trunk)


def spectrally_normal(module: Module) -> Module:
    """Divide the weights of a module's convolutions and fully connected layers by their largest
    singular value, estimated by one power iteration a forward pass in training mode. In place.

    Miyato et al. 2018, https://arxiv.org/abs/1802.05957
    """
    # Published initial weights first: the power iteration starts from the weights there are.
    for layer in list(with_published_weights(module).modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            spectral_norm(layer)
    return module


def with_published_weights(module: Module) -> Module:
    """Draw weights of convolutions and fully connected layers from N(0, .02^2), biases 0. In
    place."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, std=INITIAL_SD)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module


def draw_inputs(
    config: InfoGanConfig, count: int, device: torch.device, rng: torch.Generator
) -> Tensor:
    """Codes c and noise z, from U[-1, 1]: (B, n + m)."""
    return uniform((count, config.latent_dim + config.noise_dim), device, rng)


def unit_gaussian_nll(codes: Tensor, mean: Tensor) -> Tensor:
    """-log N(codes; mean, I) in nats, summed over codes, averaged over images.

    Up to the entropy of the codes, an upper bound of -I(c; x). codes, mean: (B, n). Returns a
    scalar. Chen et al. 2016, equation 5, https://arxiv.org/abs/1606.03657
    """
    per_code = 0.5 * ((codes - mean).square() + math.log(2.0 * math.pi))
    return per_code.sum(dim=1).mean()
