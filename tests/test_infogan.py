"""InfoGAN: its networks as published, its gradients, its buffers; that Q learns is shown last."""

import copy
import math
import statistics
from typing import get_args

import pytest
import torch
from one_step import (
    SHAPE,
    Stripes,
    assert_gradients,
    build,
    gradients,
    images,
    infogan_losses,
    rng,
    settle,
    weights,
)
from torch import nn
from torch.distributions import Normal
from torch.nn import functional

from didcli.engine import checkpoint as checkpoints
from didcli.methods import infogan
from didcli.nn import infogan as body
from didcli.nn import networks

FAMILIES = get_args(networks.Family)


def trained(steps: int = 3, **changes) -> nn.Module:
    method = build(infogan, networks="classic", **changes)
    for step in range(steps):
        method.train_step(images(), rng(step), step)
    return method


def test_information_is_the_gaussian_log_likelihood_of_the_codes():
    codes, mean = (torch.randn(5, 3, generator=rng(seed)).double() for seed in (1, 2))
    expected = -Normal(mean, 1.0).log_prob(codes).sum(dim=1).mean()
    assert body.unit_gaussian_nll(codes, mean).item() == pytest.approx(expected.item())


def test_inputs_are_uniform():
    config = infogan.Config(latent_dim=2, noise_dim=3)
    inputs = body.draw_inputs(config, 20_000, torch.device("cpu"), rng())
    assert inputs.shape == (20_000, 5)
    assert inputs.abs().max() <= 1
    assert inputs.mean().item() == pytest.approx(0.0, abs=0.02)
    assert inputs.var().item() == pytest.approx(1 / 3, abs=0.01)


def test_the_published_networks_have_the_published_number_of_weights():
    """Counted by hand from the authors' network.py, for one channel, 64 x 64 and 5 + 5 inputs."""
    torch.manual_seed(0)
    method = infogan.build(infogan.Config(), (1, 64, 64))
    linear = 11 * 128 + 129 * 1024
    deconvolutions = sum(16 * a * b + b for a, b in [(64, 64), (64, 32), (32, 32), (32, 1)])
    batch_norms = 2 * (128 + 1024 + 64 + 32 + 32)
    total = sum(p.numel() for p in method.g.parameters())
    assert total == linear + deconvolutions + batch_norms
    convolutions = sum(16 * a * b + b for a, b in [(1, 32), (32, 32), (32, 64), (64, 64)])
    heads = 129 * 1 + 129 * 128 + 129 * 5
    total = sum(p.numel() for p in method.d.parameters())
    assert total == convolutions + 1025 * 128 + heads


def test_weights_begin_as_published():
    torch.manual_seed(0)
    generator = body.Generator((1, 64, 64), 10)
    for layer in generator.modules():
        if isinstance(layer, nn.Linear | nn.ConvTranspose2d):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert layer.bias.abs().max() == 0


def test_the_published_generator_has_batch_norm_after_each_nonlinearity():
    """Layer by layer, from the authors' network.py: ReLU after the fully connected ones."""
    torch.manual_seed(0)
    generator = body.Generator((1, 64, 64), 10)
    inputs = torch.rand(32, 10)
    linear = [layer for layer in generator.modules() if isinstance(layer, nn.Linear)]
    transposed = [layer for layer in generator.modules() if isinstance(layer, nn.ConvTranspose2d)]
    x = inputs
    for layer in linear:
        x = normalised(functional.relu(functional.linear(x, layer.weight, layer.bias)))
    x = x.view(32, 64, 4, 4)
    for layer in transposed[:-1]:
        x = functional.conv_transpose2d(x, layer.weight, layer.bias, stride=2, padding=1)
        x = normalised(functional.leaky_relu(x, 0.2))
    last = transposed[-1]
    x = functional.conv_transpose2d(x, last.weight, last.bias, stride=2, padding=1)
    assert torch.allclose(generator(inputs), torch.sigmoid(x), atol=1e-4)


def normalised(x: torch.Tensor) -> torch.Tensor:
    """Of mean 0 and variance 1 in each channel over the batch: batch norm before any training."""
    others = [0, *range(2, x.ndim)]
    variance, mean = torch.var_mean(x, dim=others, keepdim=True, correction=0)
    return (x - mean) / (variance + 1e-5).sqrt()


def test_running_statistics_take_a_tenth_of_each_batch():
    torch.manual_seed(0)
    generator, inputs = body.Generator((1, 64, 64), 10), torch.rand(64, 10)
    first = next(layer for layer in generator.modules() if isinstance(layer, nn.Linear))
    hidden = functional.relu(functional.linear(inputs, first.weight, first.bias))
    generator(inputs)
    mean = generator.state_dict()["layers.2.running_mean"]
    assert torch.allclose(mean, 0.1 * hidden.mean(dim=0), atol=1e-7)


def test_every_layer_of_d_and_q_has_spectral_norm_one():
    method = trained()
    settle(method.d, images(1))  # an iteration a pass follows weights that move with some delay
    normed = [layer for layer in method.d.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(normed) == 4 + 1 + 1 + 2
    for layer in normed:
        norm = torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item()
        assert norm == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("networks", FAMILIES)
def test_every_family_of_networks_trains_all_it_has(networks):
    method = build(infogan, networks=networks)
    before = weights(method.g), weights(method.d)
    logs = method.train_step(images(), rng(), 0)
    assert all(torch.isfinite(value) and not value.requires_grad for value in logs.values())
    assert not torch.equal(before[0], weights(method.g))
    assert not torch.equal(before[1], weights(method.d))
    assert method.decode(method.encode(images())).shape == (16, *SHAPE)


def test_the_generator_is_updated_twice_a_step_and_the_discriminator_once():
    method = trained(steps=5)
    counts = {
        name: {int(state["step"]) for state in optimiser.state.values()}
        for name, optimiser in method.optimisers.items()
    }
    assert counts == {"g": {10}, "d": {5}}


def test_its_gradients_are_those_of_its_two_losses():
    method = build(infogan, information=0.5)
    settle(method.d, images(1))
    got = gradients(method)
    inputs = 2.0 * torch.rand(16, 3 + 5, generator=rng()) - 1.0
    of_d, of_g = infogan_losses(method, inputs, 0.5)
    assert_gradients(got, of_d, "d", method.d)
    assert_gradients(got, of_g, "g", method.g)


def test_information_trains_q_and_what_is_before_it_in_proportion_to_its_weight():
    without, single, double = (gradients(build(infogan, information=w)) for w in (0.0, 1.0, 2.0))
    reached = set()
    for name, gradient in without.items():
        difference = single[name] - gradient
        if difference.abs().max() > 0:
            reached.add(".".join(name.split(".")[: 1 + name.startswith("d")]))
        assert torch.allclose(double[name] - gradient, 2.0 * difference, rtol=1e-2, atol=1e-6)
    assert reached == {"g", "d.trunk", "d.q"}
    assert all(without[name].abs().max() == 0 for name in without if name.startswith("d.q"))


def test_a_term_is_added_to_the_generators_loss_alone():
    plain, termed = build(infogan), build(infogan)
    for method in (plain, termed):
        for optimiser in method.optimisers.values():
            optimiser.step = lambda: None

    def term(g: nn.Module) -> torch.Tensor:
        return 10.0 * g(torch.ones(4, 8)).mean()

    plain.update(images(), rng())
    termed.update(images(), rng(), term)
    for one, other in zip(plain.d.parameters(), termed.d.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    added = {
        f"g.{name}": parameter.grad - plain.g.get_parameter(name).grad
        for name, parameter in termed.g.named_parameters()
    }
    assert_gradients(added, term(termed.g), "g", termed.g)


def test_looking_at_a_method_between_steps_changes_nothing():
    """In training mode batch norm and the power iteration would move, and codes with the batch."""
    method = trained()
    assert method.training
    before = checkpoints.state(method)
    codes = method.encode(images())
    assert torch.allclose(method.encode(images()[:1]), codes[:1], atol=1e-5)
    decoded = method.decode(codes)
    assert torch.allclose(method.decode(codes[:1]), decoded[:1], atol=1e-5)
    assert torch.equal(method.eval().decode(codes), decoded)
    after = checkpoints.state(method)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_buffers_of_both_norms_are_in_the_state():
    names = trained().state_dict().keys()
    assert any(name.endswith("running_var") for name in names)
    assert any(name.endswith("parametrizations.weight.0._u") for name in names)


def test_a_copy_trains_on_as_the_original_does():
    method = trained()
    twin = copy.deepcopy(method)
    for one in (method, twin):
        one.train_step(images(), rng(7), 3)
    a, b = checkpoints.state(method), checkpoints.state(twin)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_it_trains_under_autocast_with_losses_in_float32():
    method = build(infogan, networks="classic")
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
        logs = method.train_step(images(), rng(), 0)
    assert {value.dtype for value in logs.values()} == {torch.float32}
    assert all(torch.isfinite(value) for value in logs.values())


def test_discriminator_and_q_learn_a_generator_that_does_not_move():
    """With G held still, D tells its images from checks, and Q finds the codes behind them."""
    method = build(infogan, width=8, noise_dim=0, information=1.0)
    method.g = Stripes()  # which is nobody's to train
    first = method.train_step(images(32), rng(0), 0)
    logs = [method.train_step(images(32), rng(step), step) for step in range(1, 200)]

    def at_last(name):
        """Of the last 20 steps: a single one may be a spike."""
        return statistics.median(float(log[name]) for log in logs[-20:])

    assert at_last("critic") < 0.5 * first["critic"]
    floor = 1.5 * math.log(2 * math.pi)  # of three codes known exactly
    assert at_last("information") - floor < 0.5 * (first["information"] - floor)
