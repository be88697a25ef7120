"""AnnealedVAE, Burgess et al. 2017, https://arxiv.org/abs/1804.03599

    L = -log p(x|z) + gamma | KL( q(z|x) || N(0, I) ) - C |

summed over pixels and codes, in nats. The capacity C rises linearly from 0 to c_max, so that the
factors which pay most in likelihood get their codes first (equation 8 of the paper).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from didcli.nn import parallel
from didcli.nn.settings import Steps, Weight
from didcli.nn.vae import Posterior, Vae, VaeConfig


@dataclass(frozen=True)
class Config(VaeConfig):
    gamma: Weight = 1000.0
    """Weight of the KL's distance from the capacity."""
    c_max: Weight = 25.0
    """The capacity at the end, in nats."""
    annealing_steps: Steps = 100_000
    """Steps until the capacity is c_max."""


def build(config: Config, image_shape: tuple[int, int, int]) -> Vae:
    return Vae(config, image_shape, partial(regulariser, config))


def regulariser(
    config: Config, _posterior: Posterior, kl: Tensor, step: int
) -> tuple[Tensor, Mapping[str, Tensor]]:
    c = capacity(config, step)
    return config.gamma * (parallel.mean(kl) - c).abs(), {"capacity": torch.full_like(kl, c)}


def capacity(config: Config, step: int) -> float:
    """C at `step`, in nats."""
    return config.c_max * min(step / config.annealing_steps, 1.0)
