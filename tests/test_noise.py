"""Noise on images."""

import pytest
import torch

from didcli.nn.noise import InstanceNoise

GREY = torch.full((4000, 2, 16, 16), 0.5)


def noise(sd):
    return InstanceNoise(sd, torch.Generator().manual_seed(0))(GREY) - GREY


def test_without_noise_images_pass_untouched():
    images = GREY[:2]
    assert InstanceNoise(0.0, torch.Generator())(images) is images


def test_noise_of_pixels_is_independent_and_all_but_gone_from_a_mean():
    drawn = noise(0.1)
    assert drawn.std() == pytest.approx(0.1, rel=0.01)
    assert drawn.mean(dim=(2, 3)).std() == pytest.approx(0.1 / 16, rel=0.05)


def test_the_same_generator_gives_the_same_noise_and_images_differ():
    drawn = noise(0.1)
    assert torch.equal(drawn, noise(0.1))
    assert not torch.equal(drawn[0], drawn[1])


def test_gradients_pass_unchanged():
    images = GREY[:2].clone().requires_grad_()
    InstanceNoise(0.1, torch.Generator().manual_seed(0))(images).sum().backward()
    assert torch.equal(images.grad, torch.ones_like(images))


def test_noise_of_channels_is_independent():
    drawn = noise(0.1)
    correlation = torch.corrcoef(drawn.transpose(0, 1).flatten(1))
    assert torch.allclose(correlation, torch.eye(2), atol=0.01)
