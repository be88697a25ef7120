"""What single pixels are like over many images: their means and their deviations."""

import torch
from torch import Tensor, nn

from didcli.nn import parallel

FLOOR = 1e-2
"""Deviations well below this, in units of the image range [0, 1], count as none."""
MEMORY = 50
"""Steps over which the moments of real images are averaged."""
MEAN_WEIGHT = 10.0
"""Of squared differences of means beside squared differences of logarithms of deviations."""


class PixelMoments(nn.Module):
    """Mean and mean square of each pixel of the images seen in the latest steps: (C, H, W) each."""

    mean: Tensor
    square: Tensor

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(image_shape))
        self.register_buffer("square", torch.zeros(image_shape))

    @torch.no_grad()
    def update(self, images: Tensor, step: int) -> None:
        """Take in the images of `step`, (B, C, H, W); at step 0 there is nothing but them."""
        share = 1.0 / min(step + 1, MEMORY)
        mean, square = batch_moments(images)
        self.mean.lerp_(mean, share)
        self.square.lerp_(square, share)


def batch_moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and mean square of each pixel, over the images of all processes: (C, H, W) each."""
    moments = torch.stack((images.mean(dim=0), images.square().mean(dim=0)))
    mean, square = parallel.mean(moments).unbind()
    return mean, square


def moment_mismatch(images: Tensor, real: PixelMoments) -> Tensor:
    """How far pixels of a batch are from the real ones in mean m and s^2 = variance + FLOOR^2.

        mean over pixels of  (log s - log s_real)^2 + 10 (m - m_real)^2

    images: (B, C, H, W) in units of the range [0, 1]. Returns a scalar >= 0. Logarithms, as a pixel
    that never varies in real images must not vary at all, however little weight a difference of
    deviations would give to it. Feature matching, Salimans et al. 2016,
    https://arxiv.org/abs/1606.03498, by the plainest of features.
    """
    mean, square = batch_moments(images)
    ratio = (_variance(mean, square) / _variance(real.mean, real.square)).log()
    difference = (mean - real.mean).square()
    return 0.25 * ratio.square().mean() + MEAN_WEIGHT * difference.mean()


def _variance(mean: Tensor, square: Tensor) -> Tensor:
    """At least FLOOR^2, with a gradient down to 0."""
    return (square - mean.square()).clamp(min=0.0) + FLOOR**2
