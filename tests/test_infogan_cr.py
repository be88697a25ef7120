"""InfoGAN-CR: its pairs, its step, and that its classifier learns what pairs share."""

import math

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

from didcli.engine import checkpoint as checkpoints
from didcli.methods import infogan, infogan_cr

CPU = torch.device("cpu")


def test_pairs_share_the_named_code_and_the_noise_alone():
    config = infogan_cr.Config(latent_dim=4, noise_dim=2)
    first, second, shared = infogan_cr.draw_sharing_pairs(config, 5000, CPU, rng())
    same = first == second
    assert same.sum(dim=1).tolist() == [3] * 5000
    assert same[:, 4:].all()
    assert torch.equal(same[:, :4].float().argmax(dim=1), shared)
    share = torch.bincount(shared, minlength=4) / 5000
    assert share.tolist() == pytest.approx([0.25] * 4, abs=0.03)
    # The other codes are drawn twice, from the whole range, and know nothing of each other.
    others = ~same[:, 0]
    correlation = torch.corrcoef(torch.stack((first[others, 0], second[others, 0])))[0, 1]
    assert correlation.item() == pytest.approx(0.0, abs=0.05)
    assert second.var().item() == pytest.approx(1 / 3, abs=0.02)


def test_before_its_step_it_is_infogan_and_the_classifier_waits():
    method = build(infogan_cr, cr_from=10)
    before = weights(method.h)
    plain, regularised = gradients(build(infogan), step=9), gradients(method, step=9)
    for name, gradient in plain.items():
        assert torch.equal(regularised[f"gan.{name}"], gradient)
    method = build(infogan_cr, cr_from=10)
    logs = method.train_step(images(), rng(), 9)
    assert torch.equal(before, weights(method.h))
    assert not method.optimisers["h"].state
    assert "contrast" not in logs


def test_from_its_step_on_the_classifier_learns_and_the_generator_hears_of_it():
    method = build(infogan_cr, cr_from=10)
    before = weights(method.h)
    logs = method.train_step(images(), rng(), 10)
    assert not torch.equal(before, weights(method.h))
    assert logs["contrast"].item() == pytest.approx(math.log(3), abs=0.1)
    assert 0 <= logs["h_accuracy"] <= 1


def test_its_gradients_are_those_of_its_three_losses():
    method = build(infogan_cr, cr_from=0, cr=3.0, information=0.5, noise_dim=2)
    settle(method.gan.d, images(1))
    settle(method.h, images(1), images(1))
    got = gradients(method)

    generator = rng()
    first, second = (2.0 * torch.rand(16, 3 + 2, generator=generator) - 1.0 for _ in range(2))
    shared = torch.randint(3, (16,), generator=generator)
    for i, k in enumerate(shared.tolist()):
        second[i, k] = first[i, k]
        second[i, 3:] = first[i, 3:]
    inputs = 2.0 * torch.rand(16, 3 + 2, generator=generator) - 1.0

    def contrast(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """-E[ log softmax(H(x, x'))_k ]"""
        return -torch.softmax(method.h(x, y), dim=1)[torch.arange(16), shared].log().mean()

    pair = method.gan.g(first), method.gan.g(second)
    of_d, of_g = infogan_losses(method.gan, inputs, 0.5)
    assert_gradients(got, contrast(*(x.detach() for x in pair)), "h", method.h)
    assert_gradients(got, of_d, "gan.d", method.gan.d)
    assert_gradients(got, of_g + 3.0 * contrast(*pair), "gan.g", method.gan.g)


def test_what_reaches_the_generator_is_linear_in_the_weight():
    without, single, double = (
        gradients(build(infogan_cr, cr_from=0, cr=weight)) for weight in (0.0, 1.0, 2.0)
    )
    changed = 0.0
    for name, gradient in without.items():
        difference = single[name] - gradient
        if name.startswith("gan.g."):
            changed += difference.abs().sum().item()
        else:
            assert torch.equal(single[name], gradient)
        assert torch.allclose(double[name] - gradient, 2.0 * difference, rtol=1e-2, atol=1e-7)
    assert changed > 0.0


def test_it_survives_a_checkpoint_on_either_side_of_its_step(tmp_path):
    described = {"config": {}, "source": "", "image_shape": SHAPE, "versions": {}}
    for done in (1, 3):
        original, restored = (build(infogan_cr, networks="classic", cr_from=2) for _ in range(2))
        for step in range(done):
            original.train_step(images(), rng(step), step)
        checkpoints.save(tmp_path / "a", original, step=done, **described)
        checkpoints.restore(restored, checkpoints.load(tmp_path / "a"))
        for method in (original, restored):
            for step in (done, done + 1):
                torch.manual_seed(id(method) % 2**31)  # the global state must not matter
                method.train_step(images(), rng(step), step)
        checkpoints.save(tmp_path / "a", original, step=done + 2, **described)
        checkpoints.save(tmp_path / "b", restored, step=done + 2, **described)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_classifier_learns_a_generator_that_does_not_move():
    method = build(infogan_cr, cr_from=0, width=8, noise_dim=0)
    method.gan.g = Stripes()  # which is nobody's to train
    accuracies = [
        method.train_step(images(32), rng(step), step)["h_accuracy"].item() for step in range(200)
    ]
    assert sum(accuracies[:10]) / 10 < 0.5  # chance is a third
    assert sum(accuracies[-20:]) / 20 > 0.65
