"""beta-TCVAE, Chen et al. 2018, https://arxiv.org/abs/1802.04942

    L = -log p(x|z) + KL( q(z|x) || N(0, I) ) + (beta - 1) TC( q(z) )

summed over pixels and codes, in nats: of the three parts of the KL (mutual information, total
correlation, dimension-wise KL) the second is weighted by beta. TC is estimated from the batch; the
estimator `mss` also asks how many images, N, the batch is drawn from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Literal

from annotated_types import Ge
from torch import Tensor

from didcli.nn import parallel
from didcli.nn import vae_losses as losses
from didcli.nn.settings import Weight
from didcli.nn.vae import Posterior, Vae, VaeConfig


@dataclass(frozen=True)
class Config(VaeConfig):
    beta: Weight = 6.0
    """Weight of the total correlation; 1 is the VAE."""
    estimator: Literal["mws", "mss"] = "mws"
    """Minibatch-weighted sampling (the reference study's), or minibatch-stratified sampling."""
    dataset_size: Annotated[int, Ge(0)] = 0
    """N of `mss`; 0 stands for the number of images in the dataset that is trained on."""


def build(config: Config, image_shape: tuple[int, int, int]) -> Vae:
    return Vae(config, image_shape, partial(regulariser, config))


def for_dataset(config: Config, images: int) -> Config:
    return replace(config, dataset_size=config.dataset_size or images)


def regulariser(
    config: Config, posterior: Posterior, kl: Tensor, _step: int
) -> tuple[Tensor, Mapping[str, Tensor]]:
    whole = Posterior(*(parallel.gather(part) for part in posterior))
    log_density = losses.pairwise_log_density(whole.codes, whole.mean, whole.log_var)
    if config.estimator == "mss":
        log_weights = losses.stratified_log_weights(log_density, config.dataset_size)
    else:
        log_weights = losses.minibatch_log_weights(log_density)
    tc = losses.total_correlation(log_density, log_weights)
    return kl + (config.beta - 1.0) * tc, {"total_correlation": tc}
