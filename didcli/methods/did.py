"""Disentanglement in Difference, Zhang et al. 2025, https://arxiv.org/abs/2502.03123

The paper's: a generator G trained against a critic D under WGAN-GP; a Difference Encoder H that
tells apart what different dimensions change, by a contrastive loss L_H; a Sample Encoder E with
L_enc = ||E(G(c)) - c||^2, which is the representation. What the paper leaves open is decided
here as follows.

    c ~ U[-1, 1]^n      z ~ U[-1, 1]^m, optional noise: what no code should hold
    x  = G(c, z)        x' = G(c with c_i changed, z), i uniform over the n dimensions
    v  = H(x, x'), of unit length, so that "maximise the distance" is bounded
    L_H   = supervised InfoNCE over the batch, the label of a pair being i   (contrast=supcon)
          = E||v_same1 - v_same2||^2 - E||v_i - v_j||^2, i != j              (contrast=pairwise)
          = -E||v_i - v_j||^2, i != j, the paper's formula alone             (contrast=push)
    L_enc = mean (E(x) - c)^2
    L_O   = mean cos^2(G(c + d e_i) - G(c), G(c + d' e_j) - G(c)), i != j, d and d' small  (ours)
    L_G   = adversarial + lambda_h(step) L_H + lambda_e L_enc + lambda_o L_O
    H minimises L_H, E minimises L_enc, D minimises its adversarial loss plus a gradient penalty.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn
from torch.nn import functional as F

from didcli.nn import losses, parallel
from didcli.nn.decoders import image_decoder
from didcli.nn.difference import Difference, DifferenceEncoder
from didcli.nn.networks import Family, ImageEncoder
from didcli.nn.settings import Count, Momentum, Rate, Weight
from didcli.nn.steps import adam, descend, frozen, linear, move_average, scale_rates


@dataclass(frozen=True)
class Config:
    latent_dim: Annotated[int, Ge(2)] = 6
    """n, the codes. Near the number of factors: spare codes tear the images apart."""
    noise_dim: Annotated[int, Ge(0)] = 4
    """m, the dimensions of z, which no loss looks at."""
    categories: Annotated[int, Ge(0)] = 0
    """Values of code 0, evenly spaced in [-1, 1], where the data has a factor of so many kinds
    (such as shape); 0 makes it uniform like the other codes."""

    adversary: Literal["wgan-gp", "nonsaturating"] = "wgan-gp"
    """`wgan-gp` (the paper's), or the non-saturating loss with an R1 penalty."""
    penalty: Weight = 10.0
    """lambda_gp of WGAN-GP, or gamma of R1."""
    penalty_every: Count = 2
    """Steps from one gradient penalty to the next; its weight is scaled up to make up for it."""
    instance_noise: Weight = 0.1
    """Sd of the Gaussian noise on all that D, E and H see, in units of the image range [0, 1]."""

    lambda_h: Weight = 1.0
    """Weight of L_H in G's loss once it is ramped in; 0 leaves H out (InfoGAN by regression)."""
    lambda_h_from: Annotated[int, Ge(0)] = 500
    """Step at which the weight starts to rise from 0; H itself learns from the first step."""
    lambda_h_until: Annotated[int, Ge(0)] = 5000
    """Step at which the weight has risen, linearly, to lambda_h."""
    lambda_e: Weight = 1.0
    """Weight of L_enc in G's loss; 0 keeps L_enc from reaching G."""

    lambda_o: Weight = 0.0
    """Weight of L_O, the overlap of what two dimensions change in one image, in G's loss."""
    anchors: Count = 16
    """Images of the batch in which L_O compares two dimensions."""
    small_step: Annotated[float, Gt(0), Le(1)] = 0.1
    """Length of the steps that L_O compares, in either direction."""

    contrast: Literal["supcon", "pairwise", "push"] = "supcon"
    temperature: Rate = 0.2
    """Of supcon."""
    difference: Difference = "pixels"
    """How H sees a pair: the difference of pixels, of features, or both images side by side."""
    pool: Literal[0, 1, 2, 4] = 1
    """Grid over which H averages its features: 1 = what changed, not where; 0 = no averaging."""
    perturbation: Literal["step", "redraw"] = "step"
    """Whether c_i moves by a step or is drawn anew from U[-1, 1]."""
    step_min: Annotated[float, Gt(0), Lt(1)] = 0.3
    """Smallest step."""
    step_max: Annotated[float, Gt(0), Le(1)] = 1.0
    """Largest step: at most 1, so that one of the two directions stays within [-1, 1]."""
    pairs: Annotated[int, Ge(0)] = 32
    """Pairs that H sees in a step, at most one for each image of the batch; 0 is one for each."""

    networks: Family = "broadcast"
    width: Count = 32
    """Channels of the first convolution of each network (not `classic`)."""
    embedding: Count = 32
    """Length of H's output."""
    lr_generator: Rate = 4e-4
    lr_critic: Rate = 4e-4
    lr_encoders: Rate = 4e-4
    """Of E and H."""
    beta1: Momentum = 0.0
    beta2: Momentum = 0.9
    """Of Adam, for all networks."""
    decay_from: Annotated[int, Ge(0)] = 0
    """Step at which the learning rates start to fall, linearly."""
    decay_until: Annotated[int, Ge(0)] = 0
    """Step at which they have fallen to 2 %; 0 keeps them as they are."""
    ema: Momentum = 0.999
    """Decay of the moving averages of G's and E's weights, which `decode` and `encode` use."""

    def __post_init__(self) -> None:
        if self.categories == 1:
            raise ValueError("categories: a code of one value says nothing; give 0, or 2 and more")
        if self.step_min > self.step_max:
            raise ValueError(f"step_min: {self.step_min} is above step_max, {self.step_max}")
        for start, stop in (("lambda_h_from", "lambda_h_until"), ("decay_from", "decay_until")):
            first, last = getattr(self, start), getattr(self, stop)
            if last and first > last:
                raise ValueError(f"{start}: {first} is after {stop}, {last}")


class Did(nn.Module):
    """DiD on images of one shape. Networks: g, d, e, h, and the averages g_ema and e_ema."""

    def __init__(self, config: Config, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.config = config
        self.latent_dim = config.latent_dim
        self.code_range = (-1.0, 1.0)
        n, m = config.latent_dim, config.noise_dim
        sizes: dict[str, Any] = {"width": config.width, "family": config.networks}
        self.g = image_decoder(image_shape, n + m, **sizes)
        self.d = ImageEncoder(image_shape, 1, **sizes)
        self.e = ImageEncoder(image_shape, n, **sizes)
        self.h = DifferenceEncoder(
            image_shape,
            config.embedding,
            difference=config.difference,
            pool=config.pool,
            **sizes,
        )
        self.g_ema = copy.deepcopy(self.g).requires_grad_(False)
        self.e_ema = copy.deepcopy(self.e).requires_grad_(False)
        betas = (config.beta1, config.beta2)
        encoders = nn.ModuleDict({"e": self.e, "h": self.h})
        self.optimisers = {
            "g": adam(self.g, config.lr_generator, betas),
            "d": adam(self.d, config.lr_critic, betas),
            "eh": adam(encoders, config.lr_encoders, betas),
        }

    def train_step(self, images: Tensor, rng: torch.Generator, step: int) -> Mapping[str, Tensor]:
        cfg = self.config
        scale_rates(self.optimisers.values(), rate_factor(cfg, step))
        noisy = _InstanceNoise(cfg.instance_noise, rng)

        # Pairs. One pass through G makes both images of every pair; their first images also serve
        # as the fakes of both adversarial losses. Drawn for the batch of all processes.
        count = len(images)
        whole = count * parallel.processes()
        pairs = min(cfg.pairs or whole, whole) if cfg.lambda_h > 0 else 0
        parallel.check_divisible(pairs, "pairs (method.pairs)")
        codes, moved, changed = draw_pairs(cfg, whole, images.device, rng)
        z = _uniform((whole, cfg.noise_dim), images.device, rng)
        inputs = torch.cat((codes, z), dim=1)
        others = torch.cat((moved, z), dim=1)[:pairs]
        anchors = min(cfg.anchors, whole) if cfg.lambda_o > 0 else 0
        parallel.check_divisible(anchors, "anchors (method.anchors)")
        nearby = draw_neighbours(cfg, inputs[:anchors], rng)
        clean = self.g(parallel.share(torch.cat((inputs, others, nearby))))
        generated = noisy(clean[: (whole + pairs) // parallel.processes()])
        fakes = generated[:count]

        # Critic.
        reals = noisy(images)
        critic_loss = self._critic_loss(reals, fakes.detach())
        total = critic_loss
        if step % cfg.penalty_every == 0:
            weight = cfg.penalty * cfg.penalty_every
            total = total + weight * self._penalty(reals, fakes, rng)
        descend(total, [self.optimisers["d"]])

        # Generator and encoders, in one backward pass: E and H learn at full strength, and what
        # reaches G through them is scaled at the images.
        with frozen(self.d):
            adversarial = self._generator_loss(fakes)
        encoded = self.e(losses.scale_gradient(fakes, cfg.lambda_e))
        encoding = F.mse_loss(encoded, parallel.share(codes))
        total = adversarial + encoding
        logs = {"critic": critic_loss, "generator": adversarial, "encoding": encoding}
        if pairs:
            seen = losses.scale_gradient(generated, lambda_h(cfg, step))
            firsts = seen[: pairs // parallel.processes()]
            differences = parallel.gather(self.h(firsts, seen[count:]))
            contrast = self._contrast(differences, changed[:pairs])
            total = total + contrast
            logs["contrast"] = contrast
            logs["h_accuracy"] = naming_accuracy(differences.detach(), changed[:pairs])
        if anchors:
            first, second = clean[len(generated) :].chunk(2)
            origin = clean[: len(first)]
            overlap = losses.squared_cosine(first - origin, second - origin)
            total = total + cfg.lambda_o * overlap
            logs["overlap"] = overlap
        descend(total, [self.optimisers["g"], self.optimisers["eh"]])

        # An average over the last 1/(1 - ema) steps, shorter at the start.
        decay = min(cfg.ema, (1 + step) / (10 + step))
        move_average(self.g_ema, self.g, decay)
        move_average(self.e_ema, self.e, decay)
        logs["fake_mean"], logs["fake_sd"] = parallel.moments(fakes)
        logs["real_mean"], logs["real_sd"] = parallel.moments(reals)
        return {name: value.detach() for name, value in logs.items()}

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        codes: Tensor = self.e_ema(images)
        return codes

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """The noise z is held at 0, its mean."""
        z = codes.new_zeros((len(codes), self.config.noise_dim))
        images: Tensor = self.g_ema(torch.cat((codes, z), dim=1))
        return images.clamp(0.0, 1.0)

    def _critic_loss(self, reals: Tensor, fakes: Tensor) -> Tensor:
        real_scores, fake_scores = self.d(torch.cat((reals, fakes))).squeeze(1).chunk(2)
        if self.config.adversary == "wgan-gp":
            return losses.wasserstein_critic(real_scores, fake_scores)
        return losses.nonsaturating_discriminator(real_scores, fake_scores)

    def _penalty(self, reals: Tensor, fakes: Tensor, rng: torch.Generator) -> Tensor:
        # In float32: bfloat16 is too coarse for the gradient of a gradient.
        with torch.autocast(reals.device.type, enabled=False):
            if self.config.adversary == "nonsaturating":
                return losses.r1_penalty(self.d, reals)
            size = (len(reals) * parallel.processes(), 1, 1, 1)
            mix = parallel.share(torch.rand(size, generator=rng, device=reals.device))
            return losses.gradient_penalty(self.d, reals, fakes, mix)

    def _generator_loss(self, fakes: Tensor) -> Tensor:
        scores = self.d(fakes).squeeze(1)
        if self.config.adversary == "wgan-gp":
            return losses.wasserstein_generator(scores)
        return losses.nonsaturating_generator(scores)

    def _contrast(self, differences: Tensor, changed: Tensor) -> Tensor:
        cfg = self.config
        # In float32: autocast would take the products of embeddings in bfloat16.
        with torch.autocast(differences.device.type, enabled=False):
            if cfg.contrast == "supcon":
                return losses.supervised_info_nce(differences, changed, cfg.temperature)
            attract = cfg.contrast == "pairwise"
            return losses.pairwise_contrast(differences, changed, attract=attract)


def draw_pairs(
    config: Config, count: int, device: torch.device, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Codes c (B, n) in [-1, 1], c' that differs from c in one dimension each, and which: (B,)."""
    n = config.latent_dim
    codes = _uniform((count, n), device, rng)
    kinds = config.categories
    if kinds:
        kind = torch.randint(kinds, (count,), generator=rng, device=device)
        codes[:, 0] = _category(kind, kinds)
    changed = torch.randint(n, (count,), generator=rng, device=device)
    old = codes.gather(1, changed[:, None])
    uniform = _uniform((count, 1), device, rng)
    if config.perturbation == "redraw":
        new = uniform
    else:
        size = config.step_min + (config.step_max - config.step_min) * uniform.abs()
        new = old + size * uniform.sign()
        new = torch.where(new.abs() > 1.0, old - size * uniform.sign(), new)
    if kinds:
        other = kind + torch.randint(1, kinds, (count,), generator=rng, device=device)
        new = torch.where(changed[:, None] == 0, _category(other % kinds, kinds)[:, None], new)
    return codes, codes.scatter(1, changed[:, None], new), changed


def draw_neighbours(config: Config, inputs: Tensor, rng: torch.Generator) -> Tensor:
    """Inputs of G (A, n + m) -> (2 A, n + m): all moved in one code each, then all in another.

    By a small step in either direction, which may lead out of [-1, 1].
    """
    count, n = len(inputs), config.latent_dim
    first = torch.randint(n, (count, 1), generator=rng, device=inputs.device)
    apart = torch.randint(1, n, (count, 1), generator=rng, device=inputs.device)
    changed = torch.cat((first, (first + apart) % n))
    steps = config.small_step * _uniform((2 * count, 1), inputs.device, rng).sign()
    return inputs.repeat(2, 1).scatter_add(1, changed, steps)


def lambda_h(config: Config, step: int) -> float:
    """Weight of L_H in G's loss at `step`: 0, then a linear rise, then config.lambda_h."""
    return config.lambda_h * linear(step, config.lambda_h_from, config.lambda_h_until)


def rate_factor(config: Config, step: int) -> float:
    """What the learning rates are multiplied by at `step`: 1, then a linear fall to 0.02."""
    if not config.decay_until:
        return 1.0
    return 1.0 - 0.98 * linear(step, config.decay_from, config.decay_until)


def naming_accuracy(differences: Tensor, changed: Tensor) -> Tensor:
    """Share of pairs whose nearest other pair has the same changed dimension; a scalar in [0, 1].

    Chance is about 1/n. differences: (B, E) of unit length; changed: (B,).
    """
    similarity = differences @ differences.T
    similarity.fill_diagonal_(-torch.inf)
    return (changed[similarity.argmax(dim=1)] == changed).float().mean()


class _InstanceNoise:
    """Adds fresh N(0, sd^2) noise to each batch it is called with."""

    def __init__(self, sd: float, rng: torch.Generator) -> None:
        self.sd, self.rng = sd, rng

    def __call__(self, images: Tensor) -> Tensor:
        if self.sd == 0:
            return images
        # Laid out in memory as the images are: that decides which number goes to which pixel.
        size = (len(images) * parallel.processes(), *images.shape[1:])
        noise = images.new_empty_strided(size, torch.empty_like(images).stride())
        return images + parallel.share(noise.normal_(0.0, self.sd, generator=self.rng))


def _uniform(shape: tuple[int, int], device: torch.device, rng: torch.Generator) -> Tensor:
    """U[-1, 1]."""
    return torch.rand(shape, generator=rng, device=device) * 2.0 - 1.0


def _category(kind: Tensor, kinds: int) -> Tensor:
    """Category numbers 0..kinds-1 -> codes, evenly spaced from -1 to 1."""
    return kind * (2.0 / (kinds - 1)) - 1.0


build = Did
