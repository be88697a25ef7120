"""The Difference Encoder H of DiD: a pair of images -> what kind of difference is between them."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didcli.nn.networks import Family, conv_trunk, mlp, unit_length

Difference = Literal["pixels", "features", "concat"]
HIDDEN = 128
"""Units of the hidden fully connected layer."""


class DifferenceEncoder(nn.Module):
    """Two batches of images (B, C, S, S) -> (B, outputs) float32 of unit length.

    `pixels`: convolutions see only x' - x. `features`: a shared trunk f sees each image, and
    f(x') - f(x), scaled to unit RMS, goes on. Both are free of biases behind the subtraction, so
    that an unchanged pair gives exactly zero and the size of a difference does not count, only its
    kind. `concat`: convolutions see the two images stacked; an ablation, known to learn badly.

    pool: the side of the grid that features are averaged over before the last layers; 1 tells
    what changed and not where, 0 keeps every position.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        outputs: int,
        *,
        difference: Difference = "pixels",
        pool: int = 1,
        width: int = 32,
        family: Family = "stem",
    ) -> None:
        super().__init__()
        channels, height, _ = image_shape
        self.difference = difference
        seen = (2 * channels, height, height) if difference == "concat" else image_shape
        self.trunk, features = conv_trunk(
            seen, width=width, family=family, bias=difference != "pixels"
        )
        self.pool = nn.AdaptiveAvgPool2d(pool) if pool else nn.Identity()
        if pool:
            positions = self.trunk(torch.zeros(1, *seen)).shape[-1] ** 2
            features = features // positions * pool**2
        self.head = mlp((features, HIDDEN, outputs), bias=difference == "concat")

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        if self.difference == "pixels":
            features = self._features(after - before)
        elif self.difference == "concat":
            features = self._features(torch.cat((before, after), dim=1))
        else:
            first, second = self._features(torch.cat((before, after))).chunk(2)
            # In float32, and then to unit RMS: close images leave small differences.
            features = F.normalize(second.float() - first.float(), dim=1) * first.shape[1] ** 0.5
        output: Tensor = self.head(features)
        return unit_length(output.float())

    def _features(self, images: Tensor) -> Tensor:
        features: Tensor = self.pool(self.trunk(images))
        return features.flatten(start_dim=1)


def naming_accuracy(differences: Tensor, changed: Tensor) -> Tensor:
    """Share of pairs whose nearest other pair has the same changed dimension; a scalar in [0, 1].

    Chance is about 1/n. differences: (B, E) of unit length; changed: (B,).
    """
    similarity = differences @ differences.T
    similarity.fill_diagonal_(-torch.inf)
    return (changed[similarity.argmax(dim=1)] == changed).float().mean()
