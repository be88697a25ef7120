"""One training step by several processes, each with its share of the batch.

Every process holds the same weights and draws the same random numbers, for the whole batch, of
which it takes its share: a step does not depend on how many processes there are, except for the
rounding of sums. Losses that are means over images need no more, as `descend` averages gradients
over the processes; what looks at the whole batch gathers it first. Without a process group there
is one process, and nothing here does anything.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable

from didcli.errors import DidError, UsageError

Rows = TypeVar("Rows", Tensor, NDArray[np.int64])


def processes() -> int:
    """How many processes take part in this step."""
    together = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if together else 1


def rank() -> int:
    """The number of this process, from 0."""
    return distributed.get_rank() if processes() > 1 else 0


def share(rows: Rows) -> Rows:
    """This process's part of what was drawn for the whole batch: (W b, ...) -> (b, ...).

    Process r of W takes every W-th row from row r on, so that the first rows of the batch are the
    first rows of every share. Raises UsageError when W does not divide the number of rows.
    """
    if processes() == 1:
        return rows
    check_divisible(len(rows), "rows of a batch")
    return rows[rank() :: processes()]


def check_divisible(count: int, what: str) -> None:
    """Raises UsageError when `count` of `what` cannot be shared out in equal parts."""
    if count % processes():
        raise UsageError(
            f"{count} {what} cannot be shared out equally among {processes()} processes",
            hint=f"Give a multiple of {processes()}, or start another number of processes.",
        )


def gather(rows: Tensor) -> Tensor:
    """The whole batch from the shares: (b, ...) -> (W b, ...); the inverse of `share`.

    Differentiable: the gradient of a share is the sum of what all processes ask of it. With the
    mean over processes that `descend` takes, a loss of the whole batch which every process
    computes from it has the gradient that it would have in one process.
    """
    if processes() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


def mean(values: Tensor) -> Tensor:
    """The mean over processes of tensors of one shape; differentiable."""
    return values if processes() == 1 else gather(values[None]).mean(dim=0)


def moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of all pixels of the whole batch, without gradient; scalars."""
    count = images.numel()
    seen = images.detach()
    # On a CPU torch.var_mean takes ten times as long as these two.
    local = torch.stack((seen.std().square(), seen.mean()))
    variances, centres = gather(local[None]).unbind(dim=1)
    whole = centres.mean()
    squares = (count - 1) * variances + count * (centres - whole).square()
    return whole, (squares.sum() / (count * processes() - 1)).sqrt()


def average_gradients(optimisers: Iterable[torch.optim.Optimizer]) -> None:
    """Replace the gradient of each weight by its mean over processes.

    Done by hand: DistributedDataParallel hooks one forward and one backward pass of one module,
    but a step here calls parts of several, several times, freezes some, and takes second
    derivatives (a gradient penalty), which its hooks miss. One message carries all gradients.
    """
    if processes() == 1:
        return
    gradients = [
        weight.grad
        for optimiser in optimisers
        for group in optimiser.param_groups
        for weight in group["params"]
        if weight.grad is not None
    ]
    message = torch.cat([gradient.flatten() for gradient in gradients])
    with _in_contact():
        distributed.all_reduce(message)
    message /= processes()
    parts = torch.split(message, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm of (B, C) or (B, C, H, W) by the statistics of the whole batch.

    torch's SyncBatchNorm does the same on GPUs only.
    """

    def _check_input_dim(self, values: Tensor) -> None:
        """Accept any number of dimensions."""

    def forward(self, values: Tensor) -> Tensor:
        if processes() == 1 or not self.training:
            output: Tensor = super().forward(values)
            return output
        x = values.float()
        over = [dim for dim in range(x.ndim) if dim != 1]
        variance, centre = torch.var_mean(x, dim=over, correction=0)
        variances, centres = gather(torch.stack((variance, centre))[None]).unbind(dim=1)
        centre = centres.mean(dim=0)
        variance = (variances + (centres - centre).square()).mean(dim=0)
        self._move(centre.detach(), variance.detach(), x.numel() // x.shape[1] * processes())

        per_channel = (1, -1) + (1,) * (x.ndim - 2)
        scale = self.weight / torch.sqrt(variance + self.eps)
        shift = self.bias - centre * scale
        return (x * scale.view(per_channel) + shift.view(per_channel)).to(values.dtype)

    def _move(self, centre: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics towards these, the variance as divided by count - 1."""
        momentum = cast("float", self.momentum)
        self.get_buffer("running_mean").lerp_(centre, momentum)
        self.get_buffer("running_var").lerp_(variance * (count / (count - 1)), momentum)
        self.get_buffer("num_batches_tracked").add_(1)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, rows: Tensor) -> Tensor:
        rows = rows.contiguous()
        shares = [torch.empty_like(rows) for _ in range(processes())]
        with _in_contact():
            distributed.all_gather(shares, rows)
        return torch.stack(shares, dim=1).flatten(0, 1)

    @staticmethod
    @once_differentiable
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        with _in_contact():
            distributed.all_reduce(total)
        return share(total)


@contextmanager
def _in_contact() -> Iterator[None]:
    """Make waiting for the others within the block end in a DidError when one of them is gone."""
    try:
        yield
    except RuntimeError as error:
        raise DidError(
            f"process {rank()} has lost contact with the others",
            hint="One of them has ended, and may have said why; go on with --resume, and --out.",
        ) from error
