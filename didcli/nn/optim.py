"""What methods share in updating weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def adam(module: nn.Module, lr: float, betas: tuple[float, float]) -> torch.optim.Adam:
    """Adam over the module's weights. Fused: one kernel a step instead of one a tensor."""
    return torch.optim.Adam(module.parameters(), lr=lr, betas=betas, fused=True)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Within: gradients flow through the module to its input, none are computed for its weights."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


@torch.no_grad()
def move_average(average: nn.Module, current: nn.Module, decay: float) -> None:
    """average <- decay average + (1 - decay) current, weight by weight."""
    torch._foreach_lerp_(list(average.parameters()), list(current.parameters()), 1.0 - decay)
