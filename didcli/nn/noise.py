"""Noise on images, drawn for the batch of all processes."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from didcli.nn import parallel

COARSE_SIDES = (1, 4, 16)
"""Of the grids of coarse noise, in cells."""


class InstanceNoise:
    """Adds fresh noise to each batch it is called with, (B, C, S, S).

    sd: of N(0, sd^2) in each pixel, in units of the image range [0, 1].
    coarse: of N(0, coarse^2) in each cell and channel of grids of 1x1, 4x4 and 16x16, interpolated
    between their centres. Whoever averages over an area is rid of the noise of pixels, but not of
    this.
    """

    def __init__(self, sd: float, rng: torch.Generator, *, coarse: float = 0.0) -> None:
        self.sd, self.coarse, self.rng = sd, coarse, rng

    def __call__(self, images: Tensor) -> Tensor:
        if self.sd > 0:
            images = images + self._fine(images)
        if self.coarse > 0:
            images = images + self._coarse(images)
        return images

    def _fine(self, images: Tensor) -> Tensor:
        # Laid out in memory as the images are: that decides which number goes to which pixel.
        # Drawn in one line of memory: several times faster than into a tensor with strides.
        size = (len(images) * parallel.processes(), *images.shape[1:])
        line = images.new_empty(math.prod(size)).normal_(0.0, self.sd, generator=self.rng)
        return parallel.share(line.as_strided(size, torch.empty_like(images).stride()))

    def _coarse(self, images: Tensor) -> Tensor:
        """(B, C, 1, 1), then finer: each grid is added where the sum of the coarser ones is as fine
        as it is."""
        count, channels = len(images) * parallel.processes(), images.shape[1]
        total = images.new_zeros((len(images), channels, 1, 1))
        for side in COARSE_SIDES:
            size = (count, channels, side, side)
            cells = images.new_empty(size).normal_(0.0, self.coarse, generator=self.rng)
            total = _resized(total, side) + parallel.share(cells)
        return _resized(total, images.shape[-1])


def _resized(grid: Tensor, side: int) -> Tensor:
    return F.interpolate(grid, size=(side, side), mode="bilinear", align_corners=False)
