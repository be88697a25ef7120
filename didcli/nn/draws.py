"""What G is given in a step of DiD: codes of fakes, of second images of pairs, of neighbours."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from didcli.nn import parallel
from didcli.nn.codes import CodeConfig, draw_neighbours, draw_pairs, embed, ranges, uniform


@dataclass(frozen=True)
class Sizes:
    """How many images of each kind a step takes, in this process."""

    fakes: int
    """B. The first ones serve as the first images of pairs, and as anchors."""
    pairs: int
    """P, each with a second image that differs in one dimension."""
    anchors: int
    """A, each with two neighbours that differ from it in one dimension, and not in the same."""
    reconstructed: int
    """Real images that L_rec takes; nothing is drawn for them here."""


class Draw(NamedTuple):
    """This process's share of what was drawn for the batch of all of them."""

    inputs: Tensor
    """Inputs of G, (B + P, n + k + m), or (B + P + 2 A, n + k + m): fakes, then second images, then
    the neighbours that are not fakes."""
    codes: Tensor
    """Codes of the fakes, as E should give them: (B, n + k)."""
    changed: Tensor
    """The dimension in which each pair of all processes differs: (W P,)."""
    neighbours: slice
    """Rows of `inputs` that are neighbours: one of every anchor, then another of every anchor."""
    reach: Tensor
    """How far from 0 each input reaches: (n + k + m,)."""


def draw(
    config: CodeConfig,
    sizes: Sizes,
    small_step: float | None,
    device: torch.device,
    rng: torch.Generator,
    step: int,
) -> Draw:
    """Draw the inputs of G for a step. Neighbours come from changing one code by `small_step`, or,
    if it is None, as in pairs.

    In the latter case the neighbours are the last 2 A of the fakes: 3 A must not be above B, nor P
    above B - 2 A. Their codes follow the law of all codes, except that a step in an interval turns
    back at its ends: there are fewer near these. Small steps would leave a batch with less to see,
    so their neighbours are drawn in addition to it.
    """
    processes = parallel.processes()
    fakes, pairs, anchors = (
        processes * count for count in (sizes.fakes, sizes.pairs, sizes.anchors)
    )
    codes, moved, changed = draw_pairs(config, fakes, device, rng, step)
    z = uniform((fakes, config.noise_dim), device, rng)
    firsts = torch.cat((codes, z), dim=1)
    seconds = torch.cat((moved, z), dim=1)[:pairs]
    neighbours = draw_neighbours(config, firsts[:anchors], small_step, rng, step)
    if small_step is None:
        drawn = torch.cat((firsts[: fakes - 2 * anchors], neighbours, seconds))
        end = sizes.fakes
    else:
        drawn = torch.cat((firsts, seconds, neighbours))
        end = sizes.fakes + sizes.pairs + 2 * sizes.anchors
    reach = ranges(config, step, device)
    inputs = parallel.share(embed(config, drawn) * reach)
    return Draw(
        inputs=inputs,
        codes=inputs[: sizes.fakes, : config.latent_dim + len(config.circular)],
        changed=changed[:pairs],
        neighbours=slice(end - 2 * sizes.anchors, end),
        reach=reach,
    )
