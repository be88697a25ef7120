"""Means and deviations of pixels, against numpy in float64."""

import numpy as np
import pytest
import torch

from didcli.nn.pixels import PixelMoments, batch_moments, moment_mismatch


def draw(count: int, seed: int = 0) -> torch.Tensor:
    images = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    images[:, 0, :2] = 0.25  # which never vary
    return images


def moments_of(images: torch.Tensor) -> PixelMoments:
    moments = PixelMoments((3, 4, 4))
    moments.update(images, step=0)
    return moments


def test_mismatch_is_of_means_and_of_logarithms_of_deviations():
    real, fake = draw(30), 0.1 + 0.5 * draw(20, seed=1)
    a, b = fake.double().numpy(), real.double().numpy()
    variances = [x.var(axis=0) + 0.01**2 for x in (a, b)]
    logarithms = 0.5 * np.log(variances[0]) - 0.5 * np.log(variances[1])
    expected = (logarithms**2).mean() + 10 * ((a.mean(axis=0) - b.mean(axis=0)) ** 2).mean()
    assert moment_mismatch(fake, moments_of(real)).item() == pytest.approx(expected, rel=1e-4)


def test_a_batch_agrees_with_itself():
    assert moment_mismatch(draw(30), moments_of(draw(30))).item() == pytest.approx(0, abs=1e-9)


def test_variation_where_real_images_have_none_is_pulled_back():
    fake = draw(30)
    fake[:, 0, 0, 0] += torch.linspace(-0.1, 0.1, 30)
    fake.requires_grad_()
    moment_mismatch(fake, moments_of(draw(30, seed=1))).backward()
    gradient = fake.grad[:, 0, 0, 0]
    assert (gradient[:10] < 0).all()  # too dark: descending makes them brighter
    assert (gradient[20:] > 0).all()


def test_pixels_without_variation_have_finite_gradients():
    fake = torch.full((8, 3, 4, 4), 0.5, requires_grad=True)
    moment_mismatch(fake, moments_of(draw(30))).backward()
    assert fake.grad.isfinite().all()


def test_real_moments_are_averages_over_the_latest_steps():
    moments = PixelMoments((3, 4, 4))
    batches = [draw(8, seed) for seed in range(20)]
    for step, batch in enumerate(batches):
        moments.update(batch, step)
    mean, square = batch_moments(torch.cat(batches))  # all alike, as there are fewer than 50
    assert torch.allclose(moments.mean, mean, atol=1e-6)
    assert torch.allclose(moments.square, square, atol=1e-6)
    for step in range(20, 1000):
        moments.update(torch.ones(8, 3, 4, 4), step)
    assert torch.allclose(moments.mean, torch.ones(3, 4, 4), atol=1e-6)
