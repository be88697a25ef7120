"""Decoders of small images: (B, inputs) -> (B, C, S, S) float32, one for each family of networks.

The output is linear and, with a `leak` below 1, attenuated outside [0, 1]: a likelihood adds its
own sigmoid, and a GAN on a mostly black dataset is better off without one (it sinks into black,
where a sigmoid's gradient vanishes).
"""

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didcli.nn.networks import CLASSIC_CHANNELS, HIDDEN, SLOPE, Family, activation, fold_side, mlp

CELLS = 16
"""Cells in each direction of the grid that is unfolded into pixels."""


def image_decoder(
    image_shape: tuple[int, int, int],
    inputs: int,
    *,
    width: int = 32,
    family: Family = "broadcast",
    smooth: bool = False,
    leak: float = 1.0,
) -> nn.Module:
    """The decoder of a family. `classic` ignores `width`; `stem` and `classic` ignore `smooth`.

    leak: the slope of the output outside [0, 1].
    """
    decoder: PyramidDecoder | BroadcastDecoder | UpsamplingDecoder
    if family == "pyramid":
        decoder = PyramidDecoder(image_shape, inputs, width=width, smooth=smooth)
    elif family == "broadcast":
        decoder = BroadcastDecoder(image_shape, inputs, width=width, smooth=smooth)
    else:
        decoder = UpsamplingDecoder(image_shape, inputs, width=width, family=family)
    if leak < 1.0:
        decoder.tail.append(LeakyClamp(leak))
    return decoder


class UpsamplingDecoder(nn.Module):
    """Two fully connected layers to a 4x4 grid, then transposed convolutions of stride 2.

    `stem` goes up to 16x16 and unfolds channels into pixels; `classic` goes up to the full size.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        inputs: int,
        *,
        width: int,
        family: Family,
    ) -> None:
        super().__init__()
        channels, size, _ = image_shape
        if family == "classic":
            sizes = (*reversed(CLASSIC_CHANNELS), channels)
            side = size // 16
        else:
            sizes = (4 * width, 2 * width, 2 * width)
            side = 4
        self.head = nn.Sequential(
            nn.Linear(inputs, HIDDEN),
            activation(family),
            nn.Linear(HIDDEN, sizes[0] * side * side),
            activation(family),
            nn.Unflatten(1, (sizes[0], side, side)),
        )
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [
                nn.ConvTranspose2d(before, after, 4, stride=2, padding=1),
                activation(family),
            ]
        if family == "classic":
            layers.pop()  # the output is linear
        else:
            layers += _unfold(sizes[-1], image_shape)
        self.tail = nn.Sequential(*layers)

    def forward(self, codes: Tensor) -> Tensor:
        output: Tensor = self.tail(self.head(codes))
        return output.float()


class BroadcastDecoder(nn.Module):
    """Every cell of a 16x16 grid gets all codes and its own position, then sees its neighbours.

    A sprite that moves is then a small change of a smooth function of code and position, where
    the layers of an upsampling decoder must learn each place anew. DiD on dSprites, 6,000 steps,
    one seed each: MIG .33 to .37 with this decoder, .05 to .09 with the upsampling one of `stem`.
    Watters et al. 2019, https://arxiv.org/abs/1901.07017, at the resolution of folded pixels.
    """

    grid: Tensor

    def __init__(
        self, image_shape: tuple[int, int, int], inputs: int, *, width: int, smooth: bool = False
    ) -> None:
        super().__init__()
        self.register_buffer("grid", _positions(CELLS), persistent=False)
        # A convolution over the tiled codes and positions, taken apart: the codes' part of it is
        # the same in every cell, so that it is computed once.
        self.of_codes = nn.Linear(inputs, 4 * width)
        self.of_positions = nn.Conv2d(2, 4 * width, 1, bias=False)
        self.tail = nn.Sequential(
            activation("broadcast"),
            nn.Conv2d(4 * width, 4 * width, 1),
            activation("broadcast"),
            nn.Conv2d(4 * width, 2 * width, 1),
            activation("broadcast"),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            activation("broadcast"),
            *_unfold(2 * width, image_shape, smooth=smooth),
        )

    def forward(self, codes: Tensor) -> Tensor:
        cells = self.of_codes(codes)[:, :, None, None] + self.of_positions(self.grid)
        output: Tensor = self.tail(cells.contiguous(memory_format=torch.channels_last))
        return output.float()


class PyramidDecoder(nn.Module):
    """A `BroadcastDecoder` at less than half of the cost: it works on a grid of 8x8 cells, each of
    which becomes 2x2 before they see their neighbours.

    In colour a cell has twice as many features. DiD on 3DShapes, MIG after 500 steps: .01 and .03
    with as many as for grey images, .16 to .17 with twice as many (three runs), .18 with
    `BroadcastDecoder` (one run).
    """

    grid: Tensor

    def __init__(
        self, image_shape: tuple[int, int, int], inputs: int, *, width: int, smooth: bool = False
    ) -> None:
        super().__init__()
        self.side = CELLS // 2
        grid = _positions(self.side).flatten(2).squeeze(0).T.contiguous()
        self.register_buffer("grid", grid, persistent=False)  # (64, 2)
        features = 4 * width if image_shape[0] == 1 else 8 * width
        # Computed cell by cell as matrix products, which are faster than convolutions of 1x1.
        self.of_codes = nn.Linear(inputs, features)
        self.of_positions = nn.Linear(2, features, bias=False)
        self.cells = nn.Sequential(
            nn.LeakyReLU(SLOPE), mlp((features, features, 4 * width)), nn.LeakyReLU(SLOPE)
        )
        self.tail = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            activation("pyramid"),
            *_unfold(width, image_shape, smooth=smooth),
        )

    def forward(self, codes: Tensor) -> Tensor:
        cells = self.cells(self.of_codes(codes)[:, None] + self.of_positions(self.grid))
        output: Tensor = self.tail(_quarter(cells, self.side))
        return output.float()


def _quarter(cells: Tensor, side: int) -> Tensor:
    """Every cell becomes 2x2: (B, side^2, 4 F) -> (B, F, 2 side, 2 side), channels last."""
    rows = cells.view(len(cells), side, side, 2, 2, -1).transpose(2, 3)
    return rows.reshape(len(cells), 2 * side, 2 * side, -1).permute(0, 3, 1, 2)


class LeakyClamp(nn.Module):
    """x within [0, 1]; beyond, the nearer end and `leak` times the excess.

    Black and white then need no exact value to be even, and an edge is a steep slope, which a
    linear output would have to end just so. A clamp alone would have no gradient beyond.
    """

    def __init__(self, leak: float) -> None:
        super().__init__()
        self.leak = leak

    def forward(self, images: Tensor) -> Tensor:
        return torch.lerp(images.clamp(0.0, 1.0), images, self.leak)


class Blur(nn.Module):
    """Every pixel averaged with its neighbours, 1:2:1 in either direction: (B, C, S, S)."""

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([0.25, 0.5, 0.25])
        kernel = torch.outer(line, line).expand(channels, 1, 3, 3).contiguous()
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        edged = F.pad(images, (1, 1, 1, 1), mode="replicate")
        return F.conv2d(edged, self.kernel, groups=len(self.kernel))


def _positions(cells: int) -> Tensor:
    """(1, 2, cells, cells): x and y of each cell, from -1 to 1."""
    line = torch.linspace(-1.0, 1.0, cells)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack((x, y))[None]


def _unfold(
    features: int, image_shape: tuple[int, int, int], *, smooth: bool = False
) -> list[nn.Module]:
    """Layers from (B, features, 16, 16) to (B, *image_shape); `smooth` ends them with a blur."""
    channels, size, _ = image_shape
    fold = fold_side(size)
    last = nn.Conv2d(features, channels * fold**2, 3, padding=1)
    if not smooth:
        return [last, nn.PixelShuffle(fold)]
    _start_even(last, fold)
    return [last, nn.PixelShuffle(fold), Blur(channels)]


def _start_even(unfolded: nn.Conv2d, fold: int) -> None:
    """Let all pixels of a block start alike, so that only training can draw a grid of blocks.

    Aitken et al. 2017, https://arxiv.org/abs/1707.02937
    """
    with torch.no_grad():
        for weights in (unfolded.weight, cast(Tensor, unfolded.bias)):
            weights.copy_(weights[:: fold**2].repeat_interleave(fold**2, dim=0))
