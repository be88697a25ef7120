"""Small methods, what one step of training does to them, and losses written out once more, for
tests of methods."""

import dataclasses
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.distributions import Normal

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


def assert_gradients(found: dict[str, Tensor], loss: Tensor, prefix: str, module: nn.Module):
    """That what the optimisers were given for the weights of `module` is the gradient of `loss`."""
    names, parameters = zip(*module.named_parameters(prefix), strict=True)
    for name, expected in zip(names, torch.autograd.grad(loss, parameters), strict=True):
        # Relative to the gradient of the weight as a whole: single entries may be rounding.
        error = (found[name] - expected).norm() / expected.norm()
        assert error < 1e-3, f"{name}: off by {error:.2%}"


def negative_elbo(vae: nn.Module, noise: Tensor) -> tuple[Tensor, Tensor]:
    """-log p(x|z) + KL( q(z|x) || N(0, I) ) of `images()`, and the codes z for this noise."""
    mean, log_var = vae.e(images()).chunk(2, dim=1)
    codes = mean + torch.exp(0.5 * log_var) * noise
    pixels = torch.nn.functional.binary_cross_entropy_with_logits(
        vae.g(codes), images(), reduction="none"
    )
    kl = 0.5 * (mean**2 + log_var.exp() - 1 - log_var)
    return (pixels.flatten(1).sum(dim=1) + kl.sum(dim=1)).mean(), codes


def infogan_losses(gan: nn.Module, inputs: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """Of D and Q, and of G, for these inputs of G, by probabilities.

    -E[log D(real)] - E[log(1 - D(x))] - weight E[log q(c|x)]; -E[log D(x)] - weight E[log q(c|x)].
    """
    codes = inputs[:, : gan.latent_dim]

    def terms(x: Tensor) -> tuple[Tensor, Tensor]:
        score, mean = gan.d(x)
        return torch.sigmoid(score), Normal(mean, 1.0).log_prob(codes).sum(dim=1).mean()

    x = gan.g(inputs)
    (real, _), (fake, information) = terms(images()), terms(x.detach())
    of_d = -real.log().mean() - (1 - fake).log().mean() - weight * information
    fake, information = terms(x)
    return of_d, -fake.log().mean() - weight * information


def settle(network: nn.Module, *inputs: Tensor) -> None:
    """Let the power iterations of spectral norm converge, so that a further pass moves nothing."""
    with torch.no_grad():
        for _ in range(200):
            network(*inputs)


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
