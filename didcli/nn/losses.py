"""Loss terms as pure functions. A term with no weights of its own is not an nn.Module.

Unless a docstring says otherwise, terms are averaged over the images or pairs of the batch.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Critic = Callable[[Tensor], Tensor]

HARDLY_SEEN = 2.5e-4
"""A mean square of differences in [0, 1] that shows as little as .016 in every pixel does."""


def wasserstein_critic(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """E[D(fake)] - E[D(real)], what the critic minimises. Scores: (B,). Returns a scalar.

    Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875
    """
    return fake_scores.mean() - real_scores.mean()


def wasserstein_generator(fake_scores: Tensor) -> Tensor:
    """-E[D(fake)]. fake_scores: (B,). Returns a scalar."""
    return -fake_scores.mean()


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """E[(||grad_x D(x)||_2 - 1)^2] at x = mix real + (1 - mix) fake.

    real, fake: (B, C, H, W), taken as constants; mix: (B, 1, 1, 1) in [0, 1].
    Returns a scalar, to be scaled by lambda_gp. Backpropagates to the critic's weights through a
    second derivative. Gulrajani et al. 2017, algorithm 1, https://arxiv.org/abs/1704.00028
    """
    between = (mix * real.detach() + (1.0 - mix) * fake.detach()).requires_grad_()
    # Summing is safe because score b depends on image b alone: no batch norm in the critic.
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    norm: Tensor = gradient.flatten(start_dim=1).norm(dim=1)
    return (norm - 1.0).square().mean()


def nonsaturating_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """E[softplus(-D(real))] + E[softplus(D(fake))], in nats. Logits: (B,). Returns a scalar.

    Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661
    """
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def nonsaturating_generator(fake_logits: Tensor) -> Tensor:
    """E[softplus(-D(fake))], in nats. fake_logits: (B,). Returns a scalar."""
    return F.softplus(-fake_logits).mean()


def r1_penalty(discriminator: Critic, real: Tensor) -> Tensor:
    """Half the mean squared gradient norm of the discriminator at real images.

    real: (B, C, H, W). Returns a scalar, to be scaled by gamma.
    Mescheder et al. 2018, equation 9, https://arxiv.org/abs/1801.04406
    """
    real = real.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return 0.5 * gradient.flatten(start_dim=1).square().sum(dim=1).mean()


def supervised_info_nce(embeddings: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Pull embeddings of one label together, push those of different labels apart, in nats.

    For each b with at least one other member P(b) of its label in the batch,

        -1/|P(b)| sum_{p in P(b)} log( exp(v_b.v_p / t) / sum_{a != b} exp(v_b.v_a / t) )

    averaged over such b; 0, with zero gradient, if there are none.
    embeddings: (B, E) of unit length; labels: (B,) integers. Returns a scalar >= 0.
    Khosla et al. 2020, equation 2, https://arxiv.org/abs/2004.11362
    """
    batch = len(labels)
    itself = torch.eye(batch, dtype=torch.bool, device=labels.device)
    logits = (embeddings @ embeddings.T / temperature).masked_fill(itself, -torch.inf)
    log_probability = F.log_softmax(logits, dim=1).masked_fill(itself, 0.0)
    positive = (labels[:, None] == labels[None, :]) & ~itself
    count = positive.sum(dim=1)
    per_pair = -(log_probability * positive).sum(dim=1) / count.clamp(min=1)
    return per_pair.sum() / (count > 0).sum().clamp(min=1)


def pairwise_contrast(embeddings: Tensor, labels: Tensor, *, attract: bool) -> Tensor:
    """E||v_same1 - v_same2||^2 - E||v_i - v_j||^2, over all couples of the batch.

    The second term is the objective quoted from the DiD paper, L_H = -||H(g1) - H(g2)||^2 for
    differences made by different dimensions; `attract=False` leaves only that term. The first
    term adds its comparison of differences made by the same dimension.
    embeddings: (B, E) of unit length, so that both terms lie in [0, 4]; labels: (B,) integers.
    A term with no couples counts as 0. Returns a scalar in [-4, 4].
    Zhang et al. 2025, https://arxiv.org/abs/2502.03123
    """
    # ||a - b||^2 of unit vectors, from the norms as they are, so that a zero vector counts right.
    squared_norm = embeddings.square().sum(dim=1)
    distance = squared_norm[:, None] + squared_norm[None, :] - 2.0 * embeddings @ embeddings.T
    different = labels[:, None] != labels[None, :]
    loss = -_masked_mean(distance, different)
    if attract:
        itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        loss = loss + _masked_mean(distance, ~different & ~itself)
    return loss


def squared_cosine(first: Tensor, second: Tensor) -> Tensor:
    """E[cos^2] of the angle between differences of images, 0 where they are orthogonal.

    The differences are what two dimensions of a generator change in one image: a dimension that
    moves the object a little while it reshapes it overlaps with the one that moves it. The sign of
    a change does not count. The cosine is over pixels, where Wei et al. 2021,
    https://arxiv.org/abs/2108.07668, take Jacobians of a generator's layers.
    first, second: (B, C, H, W). Returns a scalar in [0, 1]; a difference of 0 counts 0.
    """
    return F.cosine_similarity(first.flatten(1), second.flatten(1), dim=1, eps=1e-3).square().mean()


def changed_places(changes: Tensor) -> Tensor:
    """How much each pixel of an image differs, over all channels: (B, C, H, W) -> (B, H W).

    The sum of its channels' absolute differences, so that a change of hue counts as one change.
    """
    return changes.abs().sum(dim=1).flatten(1)


def shared_pixels(first: Tensor, second: Tensor) -> Tensor:
    """E[cos] of the angle between the places of two differences of images: 0 if they share none.

    first, second: (B, L), what `changed_places` says of them. Returns a scalar in [0, 1]; a
    difference of 0 counts 0.
    """
    return F.cosine_similarity(first, second, dim=1, eps=1e-3).mean()


def unevenness(places: Tensor, chords: Tensor) -> Tensor:
    """E[|v / q - m|^2 / (|m|^2 + e)], m being the mean of v / q over the changes of the same angle.

    0 where equal turns of an angle make equal differences, in the same places: where what it does
    to an image goes round a circle, and not to and fro. places: (P, L), what `changed_places` says
    of each change, v. chords: (P, k), how far apart its ends are on the circle of each of k angles,
    q: above 0 for one of them, or for none, and then the change does not count. e is a change of
    .016 in every pixel, so that nothing is divided by a mean that can hardly be seen. Returns a
    scalar >= 0, without a unit where changes are large. Ours, after the comparison of differences
    made by one dimension in Zhang et al. 2025, https://arxiv.org/abs/2502.03123
    """
    total = places.new_zeros(())
    for chord in chords.unbind(dim=1):
        turned = chord > 0
        per_turn = places[turned] / chord[turned, None]
        centre = per_turn.sum(dim=0) / max(len(per_turn), 1)
        spread = (per_turn - centre).square().mean(dim=1).sum()
        total = total + spread / (centre.square().mean() + HARDLY_SEEN)
    return total / (chords > 0).sum().clamp(min=1)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1)


def scale_gradient(values: Tensor, weight: float) -> Tensor:
    """`values` unchanged going forward; going backward their gradient is multiplied by `weight`.

    Lets one backward pass train an encoder at full strength and its generator at another.
    """
    if weight == 0.0:
        return values.detach()
    if weight == 1.0:
        return values
    return values.detach() + weight * (values - values.detach())
