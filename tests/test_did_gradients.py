"""What D, G, E and H are given in one step: the gradients of the losses as `methods/did.py` has
them, written out once more, in the middle of the ramp of L_H."""

import copy

import pytest
import torch
from one_step import SHAPE, gradients, images, rng
from torch import Tensor, nn
from torch.nn import functional as F

from didcli.methods import did
from didcli.nn import losses

BATCH, ANCHORS, RECONSTRUCTED, STEP = 16, 5, 8, 50
LAMBDA_H, LAMBDA_E, LAMBDA_O, LAMBDA_I, LAMBDA_R = 0.25, 0.5, 0.7, 0.4, 2.0
GAMMA, PENALTY_EVERY = 3.0, {"nonsaturating": 2, "wgan-gp": 3}  # at STEP of WGAN-GP there is none
TEMPERATURE = 0.3
CIRCLE = (1, 4)
"""Columns of the one circular code, its cosine and its sine, in what G gets and E gives."""


def method_of(adversary: str, contrast: str, overlap: str) -> nn.Module:
    torch.manual_seed(0)
    config = did.Config(
        latent_dim=4,
        noise_dim=0,
        width=4,
        circular=[1],
        adversary=adversary,
        contrast=contrast,
        overlap=overlap,
        anchors=ANCHORS,
        pairs=pairs_of(overlap),
        reconstructed=RECONSTRUCTED,
        instance_noise=0.0,
        temperature=TEMPERATURE,
        penalty={0: 0.0, 100: 2 * GAMMA},
        penalty_every=PENALTY_EVERY[adversary],
        lambda_h={0: 0.0, 200: 4 * LAMBDA_H},
        lambda_e=LAMBDA_E,
        lambda_o=LAMBDA_O,
        lambda_i=LAMBDA_I,
        lambda_r=LAMBDA_R,
    )
    method = did.build(config, SHAPE)
    with torch.no_grad():
        method.e.head[-1].bias[0] = 2.0  # out of range, so that L_rec pulls it back
    return method


def pairs_of(overlap: str) -> int:
    return 12 if overlap == "signed" else BATCH - 2 * ANCHORS


def critic_loss(adversary: str, d: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    on_real, on_fake = d(real), d(fake)
    if adversary == "wgan-gp":
        return on_fake.mean() - on_real.mean()
    seen = real.clone().requires_grad_()
    (slope,) = torch.autograd.grad(d(seen).sum(), seen, create_graph=True)
    r1 = 0.5 * slope.square().flatten(1).sum(dim=1).mean()
    loss = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
    return loss + PENALTY_EVERY[adversary] * GAMMA * r1


def generator_loss(adversary: str, d: nn.Module, fake: Tensor) -> Tensor:
    return -d(fake).mean() if adversary == "wgan-gp" else F.softplus(-d(fake)).mean()


def contrast_loss(contrast: str, h: nn.Module, first: Tensor, second: Tensor, changed: Tensor):
    differences = h(first, second)
    if contrast == "supcon":
        return losses.supervised_info_nce(differences, changed, TEMPERATURE)
    return losses.pairwise_contrast(differences, changed, attract=contrast == "pairwise")


def reconstruction_loss(g: nn.Module, e: nn.Module, real: Tensor) -> Tensor:
    codes = e(real)
    length = codes[:, CIRCLE].square().sum(dim=1, keepdim=True).clamp(min=0.01).sqrt()
    within = codes.clamp(-1, 1)
    on_circle = codes / length
    columns = [on_circle if k in CIRCLE else within for k in range(codes.shape[1])]
    again = g(torch.stack([each[:, k] for k, each in enumerate(columns)], dim=1))
    return (again - real).square().mean() + F.relu(codes.abs() - 1).square().mean()


def overlap_loss(overlap: str, changes: Tensor) -> Tensor:
    if overlap == "signed":
        return losses.squared_cosine(*changes.chunk(2))
    return losses.shared_pixels(*changes.abs().sum(dim=1).flatten(1).chunk(2))


def evenness_loss(changes: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Of the one circular code."""
    chord = (after - before)[:, CIRCLE].norm(dim=1)
    turned = chord > 0
    assert 2 < turned.sum() < len(turned)
    rates = (changes.abs().sum(dim=1) / chord.clamp(min=1e-9)[:, None, None])[turned]
    spread = rates.var(dim=0, correction=0).mean()
    return spread / (rates.mean(dim=0).square().mean() + 2.5e-4)


def changed_codes(before: Tensor, after: Tensor) -> Tensor:
    """Which of the four codes differs in each row; the fifth column belongs to the circle."""
    different = before != after
    different[:, CIRCLE[0]] |= different[:, CIRCLE[1]]
    return different[:, :4].long().argmax(dim=1)


def assert_gradients(found: dict[str, Tensor], loss: Tensor, prefix: str, module: nn.Module):
    names, parameters = zip(*module.named_parameters(prefix), strict=True)
    expected = torch.autograd.grad(loss, parameters, retain_graph=True)
    for name, gradient in zip(names, expected, strict=True):
        error = (found[name] - gradient).norm()
        assert error < 1e-3 * gradient.norm() + 1e-7, f"{name}: off by {error:.2g}"


@pytest.mark.parametrize("overlap", ["signed", "absolute"])
@pytest.mark.parametrize("contrast", ["supcon", "pairwise", "push"])
@pytest.mark.parametrize("adversary", ["wgan-gp", "nonsaturating"])
def test_gradients_are_those_of_the_losses_as_they_are_written(adversary, contrast, overlap):
    method = method_of(adversary, contrast, overlap)
    d, g, e, h = (copy.deepcopy(getattr(method, name)) for name in "dgeh")
    caught = []
    method.g.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0].detach()))
    found = gradients(method, STEP)

    # What G was given: the batch, the second images of pairs, with `signed` the neighbours too.
    inputs, real, pairs = caught[0], images(BATCH), pairs_of(overlap)
    drawn = g(inputs)
    fake, second = drawn[:BATCH], drawn[BATCH : BATCH + pairs]
    where = slice(BATCH + pairs, None) if overlap == "signed" else slice(BATCH - 2 * ANCHORS, BATCH)
    changes = drawn[where] - drawn[:ANCHORS].repeat(2, 1, 1, 1)

    assert_gradients(found, critic_loss(adversary, d, real, fake.detach()), "d", d)

    changed = changed_codes(inputs[:pairs], inputs[BATCH : BATCH + pairs])
    l_h = contrast_loss(contrast, h, fake[:pairs], second, changed)
    l_enc = (e(fake) - inputs[:BATCH]).square().mean()
    l_rec = reconstruction_loss(g, e, real[:RECONSTRUCTED])
    l_o = overlap_loss(overlap, changes)
    l_i = evenness_loss(changes, inputs[:ANCHORS].repeat(2, 1), inputs[where])
    l_g = generator_loss(adversary, d, fake) + LAMBDA_H * l_h + LAMBDA_E * l_enc
    assert_gradients(found, l_h, "h", h)
    assert_gradients(found, l_enc + LAMBDA_R * l_rec, "e", e)
    compared = LAMBDA_O * l_o + LAMBDA_I * l_i
    assert_gradients(found, l_g + compared + LAMBDA_R * l_rec, "g", g)


def test_the_penalty_of_wgan_gp_is_between_each_real_image_and_a_fake(monkeypatch):
    """Every third step, at three times its weight, which grows; at a place of its own each."""
    method = method_of("wgan-gp", "supcon", "signed")
    d, g, step, caught, mixes = copy.deepcopy(method.d), copy.deepcopy(method.g), 75, [], []
    method.g.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0].detach()))

    def with_mix_noted(critic, real, fake, mix):
        mixes.append(mix)
        return penalty(critic, real, fake, mix)

    penalty = losses.gradient_penalty
    monkeypatch.setattr(losses, "gradient_penalty", with_mix_noted)
    found = gradients(method, step)

    real, fake, mix = images(BATCH), g(caught[0])[:BATCH].detach(), mixes[0]
    assert mix.shape == (BATCH, 1, 1, 1)
    assert mix.unique().numel() == BATCH
    weight = 3 * GAMMA * 2 * step / 100
    loss = critic_loss("wgan-gp", d, real, fake) + weight * penalty(d, real, fake, mix)
    assert_gradients(found, loss, "d", d)


@pytest.mark.parametrize(
    ("step", "decay"), [(0, 0.1), (90, 0.91), (5000, 5001 / 5010), (100_000, 0.999)]
)
def test_the_averages_are_short_at_first_and_then_as_long_as_asked(step, decay):
    """By how far they go towards the new weights: a step is too small for absolute tolerances."""
    method = method_of("nonsaturating", "supcon", "signed")
    assert method.config.ema == 0.999
    before = {name: vector(getattr(method, f"{name}_ema")) for name in "ge"}
    method.train_step(images(), rng(), step)
    for name in "ge":
        way = vector(getattr(method, name)) - before[name]
        gone = vector(getattr(method, f"{name}_ema")) - before[name]
        assert float(gone @ way / (way @ way)) == pytest.approx(1 - decay, rel=0.01)


def vector(module: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(module.parameters()).detach().clone()


def test_each_optimiser_has_its_rate_and_all_have_the_betas():
    config = did.Config(
        latent_dim=4, width=4, lr_generator=1e-3, lr_critic=2e-3, lr_encoders=3e-3, beta1=0.3
    )
    groups = {
        name: optimiser.param_groups[0]
        for name, optimiser in did.build(config, SHAPE).optimisers.items()
    }
    assert {name: group["lr"] for name, group in groups.items()} == {
        "g": 1e-3,
        "d": 2e-3,
        "eh": 3e-3,
    }
    assert all(tuple(group["betas"]) == (0.3, config.beta2) for group in groups.values())
