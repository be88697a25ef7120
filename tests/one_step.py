"""Small methods and what one step of training does to them, for tests of methods."""

import dataclasses
from types import ModuleType

import torch
from torch import Tensor, nn

SHAPE = (1, 32, 32)


def build(module: ModuleType, **changes) -> nn.Module:
    """The method of a module in didcli/methods at a size that takes milliseconds a step.

    Equal networks have equal weights, whatever the method.
    """
    torch.manual_seed(0)
    config = module.Config(latent_dim=3, width=4, networks="stem")
    return module.build(dataclasses.replace(config, **changes), SHAPE)


def images(count: int = 16) -> Tensor:
    """Checks of 8x8 pixels, black or white at random: (count, 1, 32, 32)."""
    checks = torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(2)).round()
    return checks.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gradients(method: nn.Module, step: int = 0) -> dict[str, Tensor]:
    """What the optimisers are given in one step, by name of the weight; no weight is changed."""
    for optimiser in method.optimisers.values():
        optimiser.step = lambda: None
    method.train_step(images(), rng(), step)
    return {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}


def weights(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


class Stripes(nn.Module):
    """A generator of three codes in [-1, 1], each the grey of a third of its images.

    (B, 3) -> (B, 1, 32, 32) in [0, 1].
    """

    def __init__(self) -> None:
        super().__init__()
        self.contrast = nn.Parameter(torch.tensor(0.5))

    def forward(self, codes: Tensor) -> Tensor:
        rows = torch.arange(32).mul(3).floor_divide(32)
        grey = 0.5 + self.contrast * codes[:, rows]
        return grey[:, None, :, None].expand(-1, *SHAPE)
