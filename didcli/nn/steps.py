"""What methods share in taking a training step, and in looking at a network between two."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from didcli.nn import parallel


def descend(loss: Tensor, optimisers: Collection[torch.optim.Optimizer]) -> None:
    """One step of each optimiser along the gradient of `loss`, a scalar.

    The gradient is that of the mean of `loss` over processes, if several: see `didcli.nn.parallel`.
    """
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    parallel.average_gradients(optimisers)
    for optimiser in optimisers:
        optimiser.step()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Make batch norm use its running statistics within the block, and move no buffer.

    A method whose networks have such layers needs it: `encode` and `decode` may be called between
    two steps, and must neither depend on their batch nor change what training does next.
    """
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def adam(module: nn.Module, lr: float, betas: tuple[float, float]) -> torch.optim.Adam:
    """Adam over the module's weights. Fused: one kernel a step instead of one a tensor."""
    return torch.optim.Adam(module.parameters(), lr=lr, betas=betas, fused=True)


def scale_rates(optimisers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Set every learning rate to `factor` times the one that its optimiser was made with."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = factor * optimiser.defaults["lr"]


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Compute no gradients for the module's weights within the block; they flow on to its input."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


@torch.no_grad()
def move_average(average: nn.Module, current: nn.Module, decay: float) -> None:
    """average <- decay average + (1 - decay) current, weight by weight."""
    torch._foreach_lerp_(list(average.parameters()), list(current.parameters()), 1.0 - decay)
