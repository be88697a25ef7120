"""Each loss term against a formula written again: loops, sums and integrals in float64."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from didcli.errors import UsageError
from didcli.nn import vae_losses as losses


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def normal(*shape: int, rng: torch.Generator) -> torch.Tensor:
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def test_bernoulli_likelihood_is_summed_over_pixels_and_averaged_over_images(rng):
    logits = normal(3, 2, 4, 4, rng=rng)
    images = torch.rand(3, 2, 4, 4, generator=rng, dtype=torch.float64)
    expected = 0.0
    for logit, pixel in zip(logits.flatten().tolist(), images.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-logit))
        expected -= (pixel * math.log(p) + (1 - pixel) * math.log(1 - p)) / 3
    assert losses.bernoulli_nll(logits, images).item() == pytest.approx(expected, rel=1e-12)
    # Four times the pixels are four times the loss; twice the images are the same.
    assert losses.bernoulli_nll(logits.tile(2, 2), images.tile(2, 2)).item() == pytest.approx(
        4 * expected
    )
    assert losses.bernoulli_nll(logits.tile(2, 1, 1, 1), images.tile(2, 1, 1, 1)).item() == (
        pytest.approx(expected)
    )


def kl_by_integration(mean: float, log_var: float) -> float:
    """The integral of q log(q/p) over 20 standard deviations, by the trapezoid rule."""
    sd = math.exp(0.5 * log_var)
    z = np.linspace(mean - 10 * sd, mean + 10 * sd, 20_001)
    log_q = -0.5 * ((z - mean) / sd) ** 2 - math.log(sd) - 0.5 * math.log(2 * math.pi)
    log_p = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    return float(np.trapezoid(np.exp(log_q) * (log_q - log_p), z))


def test_gaussian_kl_agrees_with_an_integral_and_with_torch(rng):
    mean, log_var = normal(4, 3, rng=rng), normal(4, 3, rng=rng)
    got = losses.gaussian_kl(mean, log_var).item()
    pairs = zip(mean.flatten().tolist(), log_var.flatten().tolist(), strict=True)
    assert got == pytest.approx(sum(kl_by_integration(m, v) for m, v in pairs) / 4, rel=1e-8)
    prior = Normal(torch.zeros_like(mean), torch.ones_like(mean))
    by_torch = kl_divergence(Normal(mean, torch.exp(0.5 * log_var)), prior)
    assert got == pytest.approx(by_torch.sum(dim=1).mean().item(), rel=1e-12)


def test_pairwise_log_density_puts_each_code_under_each_image(rng):
    codes, mean, log_var = (normal(4, 3, rng=rng) for _ in range(3))
    got = losses.pairwise_log_density(codes, mean, log_var)
    assert got.shape == (4, 4, 3)
    for i, j in itertools.product(range(4), range(4)):
        expected = Normal(mean[j], torch.exp(0.5 * log_var[j])).log_prob(codes[i])
        assert torch.allclose(got[i, j], expected)


def tc_by_loops(log_density: torch.Tensor, weights: torch.Tensor) -> float:
    """The mean over i of log(sum_j w_ij prod_d q_ijd) - sum_d log(sum_j w_ij q_ijd)."""
    batch, _, dims = log_density.shape
    q, w = log_density.exp().tolist(), weights.tolist()
    total = 0.0
    for i in range(batch):
        joint = sum(w[i][j] * math.prod(q[i][j]) for j in range(batch))
        marginals = [sum(w[i][j] * q[i][j][d] for j in range(batch)) for d in range(dims)]
        total += math.log(joint) - sum(math.log(marginal) for marginal in marginals)
    return total / batch


def test_total_correlation_agrees_with_loops_for_any_weights(rng):
    log_density = normal(5, 5, 3, rng=rng)
    weights = torch.rand(5, 5, generator=rng, dtype=torch.float64)
    got = losses.total_correlation(log_density, weights.log()).item()
    assert got == pytest.approx(tc_by_loops(log_density, weights), rel=1e-10)


def test_minibatch_weights_of_a_whole_dataset_give_its_exact_tc(rng):
    """With the dataset as the batch, q(z) is a mean over it."""
    codes, mean, log_var = (normal(6, 3, rng=rng) for _ in range(3))
    log_density = losses.pairwise_log_density(codes, mean, log_var)
    exact = tc_by_loops(log_density, torch.full((6, 6), 1 / 6, dtype=torch.float64))
    got = losses.total_correlation(log_density, losses.minibatch_log_weights(log_density)).item()
    assert got == pytest.approx(exact, rel=1e-10)


def test_the_papers_minibatch_weights_have_the_same_gradient_and_another_constant(rng):
    """Theirs are 1/(N B)."""
    codes = normal(4, 3, rng=rng).requires_grad_()
    density = losses.pairwise_log_density(codes, codes.detach() * 0.5, codes.detach() * 0.1)
    ours = losses.total_correlation(density, losses.minibatch_log_weights(density))
    theirs = losses.total_correlation(
        density, torch.full((4, 4), -math.log(1000 * 4), dtype=density.dtype)
    )
    assert (theirs - ours).item() == pytest.approx((3 - 1) * math.log(1000), rel=1e-10)
    gradients = (torch.autograd.grad(tc, codes, retain_graph=True)[0] for tc in (ours, theirs))
    assert torch.allclose(*gradients)


@pytest.mark.parametrize(("batch", "size"), [(2, 9), (4, 9), (8, 737_280), (5, 5)])
def test_stratified_weights_of_a_row_sum_to_one_with_the_image_itself_on_the_diagonal(batch, size):
    density = torch.zeros(batch, batch, 3, dtype=torch.float64)
    weights = losses.stratified_log_weights(density, size).exp()
    assert torch.allclose(weights.sum(dim=1), torch.ones(batch, dtype=torch.float64))
    m = batch - 1
    for i, row in enumerate(weights.tolist()):
        assert row[i] == pytest.approx(1 / size)
        assert row[(i + 1) % batch] == pytest.approx((size - m) / (size * m))
        others = [w for j, w in enumerate(row) if j not in (i, (i + 1) % batch)]
        assert others == pytest.approx([1 / m] * (batch - 2))


def test_stratified_weights_are_unbiased_over_every_batch_of_a_tiny_dataset(rng):
    """q(z) = 1/N sum_n q(z|x_n) is the mean over all ordered batches that begin with image 0."""
    size, batch = 5, 3
    density = normal(size, rng=rng).exp()  # of one code of image 0 under each image
    log_weights = losses.stratified_log_weights(torch.zeros(batch, batch, 1).double(), size)
    estimates = [
        (log_weights[0].exp() * density[[0, *others]]).sum().item()
        for others in itertools.permutations(range(1, size), batch - 1)
    ]
    assert np.mean(estimates) == pytest.approx(density.mean().item(), rel=1e-12)


def test_a_batch_larger_than_its_dataset_is_refused():
    with pytest.raises(UsageError, match="a batch of 4 images cannot be from a dataset of 3"):
        losses.stratified_log_weights(torch.zeros(4, 4, 2), 3)


def gaussian_tc(correlation: float) -> float:
    """The total correlation of two Gaussians: -1/2 log(1 - rho^2)."""
    return -0.5 * math.log(1 - correlation**2)


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.9])
def test_both_estimators_find_the_known_tc_of_gaussians(rng, correlation):
    """Means from N(0, S) and posteriors of variance .1 make q(z) = N(0, S + .1 I)."""
    count, noise = 1500, 0.1
    mean = normal(count, 2, rng=rng)
    mean[:, 1] = correlation * mean[:, 0] + math.sqrt(1 - correlation**2) * mean[:, 1]
    log_var = torch.full_like(mean, math.log(noise))
    codes = mean + math.sqrt(noise) * normal(count, 2, rng=rng)
    log_density = losses.pairwise_log_density(codes, mean, log_var)
    known = gaussian_tc(correlation / (1 + noise))
    stratified = losses.stratified_log_weights(log_density, count)
    assert losses.total_correlation(log_density, stratified).item() == pytest.approx(
        known, abs=0.05
    )
    weighted = losses.total_correlation(log_density, losses.minibatch_log_weights(log_density))
    assert weighted.item() == pytest.approx(known, abs=0.05)


def test_covariance_agrees_with_numpy(rng):
    values = normal(9, 4, rng=rng) + 5.0
    expected = np.cov(values.numpy(), rowvar=False, bias=True)
    assert losses.covariance(values).numpy() == pytest.approx(expected, rel=1e-10)


def test_identity_penalty_agrees_with_loops_and_is_zero_at_the_identity(rng):
    matrix = normal(4, 4, rng=rng)
    expected = 0.0
    for i, j in itertools.product(range(4), range(4)):
        entry = matrix[i, j].item()
        expected += 3.0 * (entry - 1) ** 2 if i == j else 0.5 * entry**2
    got = losses.identity_penalty(matrix, off_diagonal=0.5, diagonal=3.0)
    assert got.item() == pytest.approx(expected, rel=1e-12)
    assert losses.identity_penalty(torch.eye(4), 0.5, 3.0).item() == 0.0


def test_permuting_keeps_each_code_and_breaks_their_ties(rng):
    column = torch.arange(2000.0)
    codes = torch.stack((column, column, -column), dim=1)
    permuted = losses.permute_codes(codes, rng)
    assert torch.equal(permuted.sort(dim=0).values, codes.sort(dim=0).values)
    correlation = torch.corrcoef(permuted.T)
    assert (correlation - torch.eye(3)).abs().max() < 0.1


def test_the_log_ratio_of_a_perfect_discriminator_is_the_tc(rng):
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
    joint = MultivariateNormal(torch.zeros(2, dtype=torch.float64), covariance)
    codes = normal(50_000, 2, rng=rng) @ torch.linalg.cholesky(covariance).T
    alone = Normal(torch.zeros(2, dtype=torch.float64), 1.0).log_prob(codes).sum(dim=1)
    logits = torch.stack((joint.log_prob(codes), alone), dim=1)
    assert losses.log_density_ratio(logits).item() == pytest.approx(gaussian_tc(0.8), abs=0.01)


def test_the_discriminator_of_permutations_has_the_cross_entropy_of_both_kinds(rng):
    joint, permuted = normal(5, 2, rng=rng), normal(5, 2, rng=rng)
    expected = 0.0
    for logits, right in ((joint, 0), (permuted, 1)):
        for row in logits.tolist():
            expected -= math.log(math.exp(row[right]) / sum(map(math.exp, row))) / 10
    got = losses.permutation_discriminator(joint, permuted)
    assert got.item() == pytest.approx(expected, rel=1e-12)
    nothing = torch.zeros(5, 2)
    assert losses.permutation_discriminator(nothing, nothing).item() == pytest.approx(math.log(2))
