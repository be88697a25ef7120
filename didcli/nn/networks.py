"""Encoders of small images, and what encoders and decoders share. They come in families.

`stem`: the first layer folds 4x4 (or 8x8) pixels into channels, so that every convolution runs at
16x16 and below. On a CPU this is several times faster than the classic stack at equal quality.
`broadcast`: the encoders of `stem`, and a decoder that knows positions; see `didcli.nn.decoders`.
`pyramid`: a decoder that computes most of that at 8x8 and refines it at 16x16, for less than half
of the cost, and encoders with kernels of 3x3. As good for DiD on dSprites; on 3DShapes codes
share the hues on some seeds.
`classic`: the 32-32-64-64 stack of stride-2 convolutions that the field has used since Higgins et
al. 2017, with the fully connected sizes of disentanglement_lib (https://arxiv.org/abs/1811.12359).

Every network takes and returns float32 even where autocast runs its inside in bfloat16, so that
losses are computed in float32.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

Family = Literal["pyramid", "broadcast", "stem", "classic"]
SLOPE = 0.2
"""Negative slope of the leaky ReLUs, which every family but `classic` has."""
CLASSIC_CHANNELS = (32, 32, 64, 64)
HIDDEN = 256
"""Units of the hidden fully connected layer of encoders and of upsampling decoders."""


class ImageEncoder(nn.Module):
    """Convolutional features of an image, then two fully connected layers.

    (B, C, S, S) float -> (B, outputs) float32; S is a multiple of 16. No batch statistics: each
    output depends on one image alone, which a gradient penalty needs.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        outputs: int,
        *,
        width: int = 32,
        family: Family = "stem",
    ) -> None:
        super().__init__()
        self.trunk, features = conv_trunk(image_shape, width=width, family=family)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(features, HIDDEN),
            activation(family),
            nn.Linear(HIDDEN, outputs),
        )

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.head(self.trunk(images))
        return output.float()


def conv_trunk(
    image_shape: tuple[int, int, int],
    *,
    width: int,
    family: Family,
    bias: bool = True,
) -> tuple[nn.Sequential, int]:
    """The convolutions shared by every encoder, and the number of features they end in.

    `classic`: (B, C, S, S) -> (B, 64, S/16, S/16); `width` does not apply.
    The others: (B, C, S, S) -> (B, 4 width, 4, 4).
    """
    channels, size, _ = image_shape
    act = activation(family)
    if family != "classic":
        fold = fold_side(size)
        halving: dict[str, Any] = {"stride": 2, "padding": 1, "bias": bias}
        kernel = 3 if family == "pyramid" else 4
        trunk = nn.Sequential(
            nn.PixelUnshuffle(fold),
            nn.Conv2d(channels * fold**2, width, 3, padding=1, bias=bias),
            act,
            nn.Conv2d(width, 2 * width, kernel, **halving),
            act,
            nn.Conv2d(2 * width, 4 * width, kernel, **halving),
            act,
        )
        side = 4
        return trunk, 4 * width * side * side
    layers: list[nn.Module] = []
    previous = channels
    for following in CLASSIC_CHANNELS:
        layers += [nn.Conv2d(previous, following, 4, stride=2, padding=1, bias=bias), act]
        previous = following
    return nn.Sequential(*layers), previous * (size // 16) ** 2


def mlp(sizes: Sequence[int], *, bias: bool = True) -> nn.Sequential:
    """Fully connected layers with leaky ReLUs between them: (B, sizes[0]) -> (B, sizes[-1])."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after, bias=bias), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers[:-1])


def unit_length(vectors: Tensor) -> Tensor:
    """(B, E) -> (B, E) of length 1; a vector of length 0 stays 0, with a finite gradient."""
    return F.normalize(vectors, dim=1, eps=1e-6)


def fold_side(size: int) -> int:
    """Side of the blocks of pixels that are folded into channels: 16x16 blocks make an image."""
    return size // 16


def activation(family: Family) -> nn.Module:
    """The nonlinearity of a family."""
    # In place: what a convolution puts out is not needed again, and memory is what costs time here.
    return nn.ReLU(inplace=True) if family == "classic" else nn.LeakyReLU(SLOPE, inplace=True)
