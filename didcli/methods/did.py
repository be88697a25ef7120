"""Disentanglement in Difference, Zhang et al. 2025, https://arxiv.org/abs/2502.03123

From the paper: a generator G trained against a critic D under WGAN-GP; a Difference Encoder H that
tells apart what different dimensions change, by a contrastive loss L_H; a Sample Encoder E with
L_enc = ||E(G(c)) - c||^2, which is the representation. What the paper leaves open is decided
here as follows.

    c ~ U[-1, 1]^n      z ~ U[-1, 1]^m, optional noise: what no code should hold
    x  = G(c, z)        x' = G(c with c_i changed, z), i uniform over the dimensions that are open
    v  = H(x, x'), of unit length, so that "maximise the distance" is bounded
    L_H   = supervised InfoNCE over the batch, the label of a pair being i   (contrast=supcon)
          = E||v_same1 - v_same2||^2 - E||v_i - v_j||^2, i != j              (contrast=pairwise)
          = -E||v_i - v_j||^2, i != j, the paper's formula alone             (contrast=push)
    L_enc = mean (E(x) - c)^2
    L_G   = adversarial + lambda_h L_H + lambda_e L_enc + lambda_o L_O + lambda_r L_rec
            + lambda_i L_I + lambda_k L_K
    H minimises L_H, E minimises L_enc + lambda_r L_rec, D minimises its adversarial loss plus a
    gradient penalty.

Ours, and off unless a preset asks for them:

    c_k ~ U[-r, r] for the codes that open later, r growing from 0 to 1      (opening)
    (cos pi c_k, sin pi c_k) in the place of c_k, for G and E alike          (circular)
    (r cos pi c_k, r sin pi c_k), r^2 = (1 + c_l) / 2, in that of c_k and c_l (polar)
    L_O   = mean cos(|G(c') - G(c)|, |G(c'') - G(c)|), | | summed over channels, where c' and c''
            differ from the same c in dimensions i != j                      (overlap=absolute)
          = mean cos^2(G(c + d e_i) - G(c), G(c + d' e_j) - G(c)), d, d' small (overlap=signed)
    L_I   = mean |v / q - m|^2 / (|m|^2 + e), v = |G(c') - G(c)| summed over channels, where c'
            differs from c in a circular code, by a chord q of its circle, m is the mean of v / q
            over the changes of the same code, and e a change of .016 in every pixel
    L_rec = mean (G(E(y) within [-r, r]) - y)^2 + mean max(|E(y)| - 1, 0)^2, y real images, what E
            gives taken coordinate by coordinate
    L_K   = mean (E'(x)_k - c_k)^2 over the codes k that were open when the latest ones began to
            open, E' being E as it was then
    g + leak (x - g), g = min(max(x, 0), 1), in the place of G's linear output x      (leak)

L_O with overlap=absolute is the paper's formula, -||v_i - v_j||^2 / 2 + 1 for pairs that share
their first image, with a Difference Encoder that learns nothing: v = |x' - x|, summed over
channels and of unit length, says where the images differ. A learned H can tell dimensions apart
however entangled they are; this one cannot, where factors are different parts of the image. Its
images G(c') and G(c'') are part of the batch that D and E see: their codes are drawn almost evenly
(a step turns back at the end of an interval, so that there are fewer near it). L_I is the
paper's other half, differences made by the same dimension pulled together, on the same v and the
same images: a hue that goes from blue to yellow and back by the same colours makes small
differences between distant codes. L_rec shows real images to E, and to G what E has seen in them:
the paradigm is then an adversarial autoencoder's. L_K holds G to what its first codes meant while
it looks for a use of the new ones: E itself would follow G wherever it goes.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn
from torch.nn import functional as F

from didcli.errors import UsageError
from didcli.nn import losses, parallel
from didcli.nn.codes import (
    CodeConfig,
    chords,
    embed,
    seen_columns,
    settled_codes,
    unembed,
    uniform,
    within_range,
)
from didcli.nn.decoders import image_decoder
from didcli.nn.difference import Difference, DifferenceEncoder, naming_accuracy
from didcli.nn.draws import Draw, Sizes, draw
from didcli.nn.networks import Family, ImageEncoder
from didcli.nn.noise import InstanceNoise
from didcli.nn.schedules import Schedule, at, highest
from didcli.nn.settings import LARGEST, Count, Momentum, Rate, Size, Steps
from didcli.nn.steps import adam, descend, frozen, move_average, scale_rates

SMOOTHED = ("pyramid", "broadcast")
"""Families of networks whose G can end with a blur."""


@dataclass(frozen=True)
class Config(CodeConfig):
    adversary: Literal["wgan-gp", "nonsaturating"] = "wgan-gp"
    """`wgan-gp` (the paper's), or the non-saturating loss with an R1 penalty."""
    penalty: Schedule = 10.0
    """Weight of the gradient penalty: lambda_gp of WGAN-GP, or gamma of R1."""
    penalty_every: Steps = 2
    """Steps from one gradient penalty to the next; its weight is scaled up to make up for it."""
    instance_noise: Schedule = 0.1
    """Sd of the Gaussian noise on all that D, E and H see, in units of the image range [0, 1]."""

    lambda_h: Schedule = field(default_factory=lambda: {500: 0.0, 5000: 1.0})
    """Weight of L_H in G's loss; H itself learns from the first step. 0 throughout leaves H out
    (InfoGAN by regression)."""
    lambda_e: Schedule = 1.0
    """Weight of L_enc in G's loss; 0 keeps L_enc from reaching G."""

    lambda_o: Schedule = 0.0
    """Weight of L_O, the overlap of what two dimensions change in one image, in G's loss."""
    overlap: Literal["absolute", "signed"] = "absolute"
    """`absolute` compares where two dimensions change an image, by changes as large as H sees.
    `signed` compares how, by small steps: for changes that all meet in the same pixels (one moving
    object)."""
    anchors: Count = 16
    """Images of the batch in which L_O compares two dimensions, and L_I their changes; with
    `absolute` at most a third of the batch, as their neighbours belong to it as well."""
    small_step: Annotated[float, Gt(0), Le(1)] = 0.1
    """Length of the steps of `signed`, in either direction."""

    lambda_i: Schedule = 0.0
    """Weight of L_I in G's loss, for equal turns of a circular code to make equal differences in
    the same places, in the images that L_O compares."""

    lambda_r: Schedule = 0.0
    """Weight of L_rec, the error of real images that E encodes and G decodes again."""
    reconstructed: Count = 32
    """Images of the batch that L_rec takes."""

    lambda_k: Schedule = 0.0
    """Weight of L_K in G's loss, for the codes that opened first to keep their meaning while others
    open. Without effect where all are open from the start."""

    contrast: Literal["supcon", "pairwise", "push"] = "supcon"
    temperature: Rate = 0.2
    """Temperature of `supcon`, which divides the cosines between H's outputs."""
    difference: Difference = "pixels"
    """How H sees a pair: the difference of pixels, of features, or both images side by side."""
    pool: Literal[0, 1, 2, 4] = 1
    """Grid over which H averages its features: 1 = what changed, not where; 0 = no averaging."""
    pairs: Size = 32
    """Pairs that H sees in a step, at most one for each image of the batch that is not a neighbour;
    0 means one for each."""

    networks: Family = "broadcast"
    width: Count = 32
    """Channels of the first convolution of each network (not `classic`)."""
    smooth: bool = False
    """Whether G ends with a small fixed blur (`pyramid` and `broadcast` only), which hides the grid
    of blocks that G draws in."""
    leak: Annotated[float, Gt(0), Le(1)] = 1.0
    """What is left of G's pixels beyond [0, 1]: 1 is a linear output. With less, even areas and
    sharp edges are easy to draw, and a black G still has a gradient."""
    embedding: Count = 32
    """Length of H's output."""
    lr_generator: Rate = 4e-4
    lr_critic: Rate = 4e-4
    lr_encoders: Rate = 4e-4
    """Learning rate of E and H."""
    beta1: Momentum = 0.0
    beta2: Momentum = 0.9
    """Decay of Adam's second moment, as beta1 is of its first, for all networks."""
    lr_factor: Schedule = 1.0
    """Factor by which all three learning rates are multiplied."""
    ema: Momentum = 0.999
    """Decay of the moving averages of G's and E's weights, which `decode` and `encode` use."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if highest(self.lambda_i) > 0 and not self.circular:
            raise ValueError(
                "lambda_i: no code is circular; give those that are angles, such as "
                "method.circular=[0], or lambda_i=0"
            )
        if self.smooth and self.networks not in SMOOTHED:
            raise ValueError(
                f"smooth: {self.networks} networks cannot end with a blur; give smooth=false, or "
                f"networks={' or '.join(SMOOTHED)}"
            )


class Did(nn.Module):
    """DiD on images of one shape. Networks: g, d, e, the averages g_ema and e_ema, h if there is an
    L_H, and if there is an L_K e_kept, which is e_ema at an earlier step."""

    def __init__(self, config: Config, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.config = config
        self.latent_dim = config.latent_dim
        self.code_range = (-1.0, 1.0)
        self.angles = tuple(config.angles)
        n, m = config.latent_dim + len(config.circular), config.noise_dim
        sizes: dict[str, Any] = {"width": config.width, "family": config.networks}
        self.g = image_decoder(image_shape, n + m, smooth=config.smooth, leak=config.leak, **sizes)
        self.d = ImageEncoder(image_shape, 1, **sizes)
        self.e = ImageEncoder(image_shape, n, **sizes)
        encoders = nn.ModuleDict({"e": self.e})
        if highest(config.lambda_h) > 0:
            self.h = DifferenceEncoder(
                image_shape,
                config.embedding,
                difference=config.difference,
                pool=config.pool,
                **sizes,
            )
            encoders["h"] = self.h
        self.g_ema = copy.deepcopy(self.g).requires_grad_(False)
        self.e_ema = copy.deepcopy(self.e).requires_grad_(False)
        if highest(config.lambda_k) > 0:
            self.e_kept = copy.deepcopy(self.e_ema)
        betas = (config.beta1, config.beta2)
        self.optimisers = {
            "g": adam(self.g, config.lr_generator, betas),
            "d": adam(self.d, config.lr_critic, betas),
            "eh": adam(encoders, config.lr_encoders, betas),
        }

    def train_step(self, images: Tensor, rng: torch.Generator, step: int) -> Mapping[str, Tensor]:
        cfg = self.config
        scale_rates(self.optimisers.values(), at(cfg.lr_factor, step))
        noisy = InstanceNoise(at(cfg.instance_noise, step), rng)

        sizes = self._sizes(len(images), step)
        small_step = cfg.small_step if cfg.overlap == "signed" else None
        drawn = draw(cfg, sizes, small_step, images.device, rng, step)
        clean = self.g(drawn.inputs)
        generated = noisy(clean[: sizes.fakes + sizes.pairs])
        fakes = generated[: len(images)]
        reals = noisy(images)

        critic_loss = self._train_critic(reals, fakes.detach(), rng, step)

        # Generator and encoders, in one backward pass: E and H learn at full strength, and what
        # reaches G through them is scaled at the images.
        with frozen(self.d):
            adversarial = self._generator_loss(fakes)
        encoded = self.e(losses.scale_gradient(fakes, at(cfg.lambda_e, step)))
        encoding = F.mse_loss(encoded, drawn.codes)
        total = adversarial + encoding
        logs = {"critic": critic_loss, "generator": adversarial, "encoding": encoding}
        if sizes.pairs:
            seen = losses.scale_gradient(generated, at(cfg.lambda_h, step))
            contrast, accuracy = self._contrast(
                seen[: sizes.pairs], seen[sizes.fakes :], drawn.changed
            )
            total = total + contrast
            logs |= {"contrast": contrast, "h_accuracy": accuracy}
        if sizes.anchors:
            weights = {"overlap": cfg.lambda_o, "unevenness": cfg.lambda_i}
            for name, term in self._compared(clean, drawn, sizes.anchors).items():
                total = total + at(weights[name], step) * term
                logs[name] = term
        if settled := self._settle(step):
            logs["keeping"] = self._keeping(fakes, drawn.codes, settled)
            total = total + at(cfg.lambda_k, step) * logs["keeping"]
        if count := sizes.reconstructed:
            error, outside = self._reconstruction(images[:count], reals[:count], drawn.reach, rng)
            total = total + at(cfg.lambda_r, step) * (error + outside)
            logs["reconstruction"] = error
        descend(total, [self.optimisers["g"], self.optimisers["eh"]])

        # An average over the last 1/(1 - ema) steps, shorter at the start.
        decay = min(cfg.ema, (1 + step) / (10 + step))
        move_average(self.g_ema, self.g, decay)
        move_average(self.e_ema, self.e, decay)
        # Without the noise, which would hide a generator that has collapsed.
        logs["fake_mean"], logs["fake_sd"] = parallel.moments(clean[: len(images)])
        logs["real_mean"], logs["real_sd"] = parallel.moments(images)
        return {name: value.detach() for name, value in logs.items()}

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        return unembed(self.config, self.e_ema(images))

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Images of codes, with the noise z held at 0, its mean."""
        z = codes.new_zeros((len(codes), self.config.noise_dim))
        images: Tensor = self.g_ema(embed(self.config, torch.cat((codes, z), dim=1)))
        return images.clamp(0.0, 1.0)

    def _sizes(self, count: int, step: int) -> Sizes:
        """Sizes of the parts of a batch of which this process has `count` images."""
        cfg = self.config
        # Counted for the whole batch: the processes share what one alone would take. All parts are
        # counted at every step, so that one that they cannot share is refused at the first.
        whole = count * parallel.processes()
        inside = cfg.overlap == "absolute"  # neighbours are part of the batch
        compared = (cfg.lambda_o, cfg.lambda_i)
        anchors = _part("anchors", cfg.anchors, whole // 3 if inside else whole, *compared)
        alone = whole - 2 * anchors if inside else whole
        pairs = _part("pairs", cfg.pairs or LARGEST, alone, cfg.lambda_h)
        reconstructed = _part("reconstructed", cfg.reconstructed, whole, cfg.lambda_r)
        share = parallel.processes()
        return Sizes(
            fakes=count,
            pairs=pairs // share,
            anchors=anchors // share if any(at(weight, step) > 0 for weight in compared) else 0,
            reconstructed=reconstructed // share if at(cfg.lambda_r, step) > 0 else 0,
        )

    def _train_critic(
        self, reals: Tensor, fakes: Tensor, rng: torch.Generator, step: int
    ) -> Tensor:
        """Take a step of D; return its loss without the penalty."""
        cfg = self.config
        loss = self._critic_loss(reals, fakes)
        total = loss
        if step % cfg.penalty_every == 0:
            weight = at(cfg.penalty, step) * cfg.penalty_every
            total = total + weight * self._penalty(reals, fakes, rng)
        descend(total, [self.optimisers["d"]])
        return loss

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

    def _compared(self, clean: Tensor, drawn: Draw, anchors: int) -> dict[str, Tensor]:
        """L_O and L_I, if in use, of what two changes of each anchor make of its image."""
        cfg, terms = self.config, dict[str, Tensor]()
        changes = clean[drawn.neighbours] - clean[:anchors].repeat(2, 1, 1, 1)
        places = losses.changed_places(changes)
        if highest(cfg.lambda_o) > 0:
            signed = cfg.overlap == "signed"
            measure = losses.squared_cosine if signed else losses.shared_pixels
            terms["overlap"] = measure(*(changes if signed else places).chunk(2))
        if highest(cfg.lambda_i) > 0:
            turns = chords(cfg, drawn.inputs[:anchors].repeat(2, 1), drawn.inputs[drawn.neighbours])
            # Gathered from all processes: a code's changes are compared with their mean.
            terms["unevenness"] = losses.unevenness(parallel.gather(places), parallel.gather(turns))
        return terms

    def _reconstruction(
        self, images: Tensor, seen: Tensor, reach: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """The two terms of L_rec for `images`, of which E is shown `seen`."""
        cfg = self.config
        codes = self.e(seen)
        outside = (codes.abs() - 1.0).clamp(min=0.0).square().mean()
        whole = len(images) * parallel.processes()
        z = parallel.share(uniform((whole, cfg.noise_dim), images.device, rng))
        again = self.g(torch.cat((within_range(cfg, codes, reach), z), dim=1))
        return F.mse_loss(again, images), outside

    def _settle(self, step: int) -> list[int]:
        """The codes of L_K at `step`; keep E's average as it is when others begin to open."""
        cfg = self.config
        if highest(cfg.lambda_k) == 0:
            return []
        settled = settled_codes(cfg, step)
        if settled and settled != settled_codes(cfg, step - 1):
            self.e_kept.load_state_dict(self.e_ema.state_dict())
        return settled if at(cfg.lambda_k, step) > 0 else []

    def _keeping(self, fakes: Tensor, codes: Tensor, settled: list[int]) -> Tensor:
        columns = seen_columns(self.config, settled)
        return F.mse_loss(self.e_kept(fakes)[:, columns], codes[:, columns])

    def _contrast(self, firsts: Tensor, seconds: Tensor, changed: Tensor) -> tuple[Tensor, Tensor]:
        """L_H over the pairs of all processes, given this one's images, and H's naming accuracy."""
        cfg = self.config
        differences = parallel.gather(self.h(firsts, seconds))
        # In float32: autocast would take the products of embeddings in bfloat16.
        with torch.autocast(differences.device.type, enabled=False):
            accuracy = naming_accuracy(differences.detach(), changed)
            if cfg.contrast == "supcon":
                loss = losses.supervised_info_nce(differences, changed, cfg.temperature)
            else:
                attract = cfg.contrast == "pairwise"
                loss = losses.pairwise_contrast(differences, changed, attract=attract)
        return loss, accuracy


def _part(name: str, count: int, room: int, *weights: Schedule) -> int:
    """How many of `room` images `count` asks for; 0 where none of the weights ever rises above 0.

    Raises UsageError if there is no room, or if processes cannot share them.
    """
    if all(highest(weight) == 0 for weight in weights):
        return 0
    if room == 0:
        raise UsageError(
            f"a batch has no room for {name} (method.{name})",
            hint="Give a larger one, such as --set train.batch_size=64.",
        )
    part = min(count, room)
    parallel.check_divisible(part, f"{name} (method.{name})")
    return part


build = Did
