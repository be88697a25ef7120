"""Noise of pixels averages out over an area; noise of coarse grids does not."""

import pytest
import torch

from didcli.nn.noise import COARSE_SIDES, InstanceNoise

GREY = torch.full((4000, 2, 16, 16), 0.5)


def noise(sd, coarse, images=GREY, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return InstanceNoise(sd, rng, coarse=coarse)(images) - images


def test_without_noise_images_pass_untouched():
    images = GREY[:2]
    assert InstanceNoise(0.0, torch.Generator())(images) is images


def test_noise_of_pixels_is_independent_and_all_but_gone_from_a_mean():
    drawn = noise(0.1, 0.0)
    assert drawn.std() == pytest.approx(0.1, rel=0.01)
    assert drawn.mean(dim=(2, 3)).std() == pytest.approx(0.1 / 16, rel=0.05)


def test_coarse_noise_of_an_image_has_a_mean_that_the_grids_explain():
    """The mean over an image of what was drawn in s x s cells has a variance of 1 / s^2, more or
    less: interpolation counts the cells at the edge a little more than the others."""
    drawn = noise(0.0, 0.1)
    expected = 0.1 * sum(1 / side**2 for side in COARSE_SIDES) ** 0.5
    assert drawn.mean(dim=(2, 3)).std() == pytest.approx(expected, rel=0.05)


def test_neighbours_share_coarse_noise_and_channels_do_not():
    drawn = noise(0.0, 0.1, GREY.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)[:1000])
    left, right = drawn[:, 0, 30, 30], drawn[:, 0, 30, 31]
    assert torch.corrcoef(torch.stack((left, right)))[0, 1] > 0.9
    assert abs(torch.corrcoef(drawn[:, :, 30, 30].T)[0, 1]) < 0.15


def test_the_same_generator_gives_the_same_noise_and_images_differ():
    drawn = noise(0.1, 0.1)
    assert torch.equal(drawn, noise(0.1, 0.1))
    assert not torch.equal(drawn[0], drawn[1])


def test_gradients_pass_unchanged():
    images = GREY[:2].clone().requires_grad_()
    InstanceNoise(0.1, torch.Generator().manual_seed(0), coarse=0.1)(images).sum().backward()
    assert torch.equal(images.grad, torch.ones_like(images))
