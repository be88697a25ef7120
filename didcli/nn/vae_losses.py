"""Loss terms of variational autoencoders as pure functions, in nats.

B images have D codes: q(z|x) = N(mean, diag exp(log_var)), the prior is N(0, I). The aggregate
posterior is q(z) = 1/N sum_n q(z|x_n) over the N images of the dataset; the total correlation
TC = KL( q(z) || prod_d q(z_d) ) measures how far its codes are from independent.

All in float32: a caller under autocast disables it around the terms that take matrix products
(they say so), and needs nothing for the others.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from didcli.errors import UsageError


def bernoulli_nll(logits: Tensor, images: Tensor) -> Tensor:
    """-log p(x|z) of Bernoulli pixels, summed over pixels, averaged over images.

    Summed, because a mean over pixels would multiply every weight of the KL by C H W.
    For pixels between 0 and 1 it is the cross-entropy, as in disentanglement_lib: not a density,
    but least where the decoder's mean is the pixel.
    logits, images: (B, C, H, W), images in [0, 1]. Returns a scalar >= 0.
    """
    total = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
    return total / len(images)


def gaussian_kl(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL( N(mean, exp(log_var)) || N(0, 1) ), summed over codes, averaged over images.

    mean, log_var: (B, D). Returns a scalar >= 0.
    Kingma & Welling 2014, appendix B, https://arxiv.org/abs/1312.6114
    """
    per_code = 0.5 * (mean.square() + log_var.exp() - 1.0 - log_var)
    return per_code.sum(dim=1).mean()


def pairwise_log_density(codes: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """(B, B, D): entry [i, j, d] is log q(z_id | x_j), code d of image i under image j.

    codes, mean, log_var: (B, D).
    """
    squared = (codes[:, None] - mean[None]).square() * torch.exp(-log_var)[None]
    return -0.5 * (squared + log_var[None] + math.log(2.0 * math.pi))


def total_correlation(log_density: Tensor, log_weights: Tensor) -> Tensor:
    """The TC of a minibatch: the mean over images i of log q(z_i) - sum_d log q(z_id), where

        q(z_i) = sum_j w_ij prod_d q(z_id|x_j)        q(z_id) = sum_j w_ij q(z_id|x_j)

    log_density: (B, B, D), by `pairwise_log_density`. log_weights: log w, (B, B), by
    `minibatch_log_weights` or `stratified_log_weights`. Returns a scalar; an estimate, so that it
    may be negative. Chen et al. 2018, section 4, https://arxiv.org/abs/1802.04942
    """
    joint = torch.logsumexp(log_density.sum(dim=2) + log_weights, dim=1)
    marginals = torch.logsumexp(log_density + log_weights[..., None], dim=1)
    return (joint - marginals.sum(dim=1)).mean()


def minibatch_log_weights(log_density: Tensor) -> Tensor:
    """log w of minibatch-weighted sampling, (B, B), for `log_density` of shape (B, B, D).

    w_ij = 1/B for all i and j: the batch stands for the dataset in q(z). The paper has 1/(N B), for
    N images of the dataset, a lower bound on log q(z); that adds (D - 1) log N to TC, a constant
    that moves no gradient. disentanglement_lib leaves out both N and B.
    Chen et al. 2018, equation 5 and appendix C.1, https://arxiv.org/abs/1802.04942
    """
    batch = len(log_density)
    return log_density.new_full((batch, batch), -math.log(batch))


def stratified_log_weights(log_density: Tensor, dataset_size: int) -> Tensor:
    """log w of minibatch-stratified sampling, (B, B), for `log_density` of shape (B, B, D).

    With M = B - 1 images beside image i itself:

        w_ii = 1/N        w_ij = (N - M)/(N M) for one j != i        w_ij = 1/M for the others

    The weights of a row sum to 1, and q(z_i) is unbiased over batches drawn without replacement.
    The authors' code fills every B-th entry of the flattened matrix with 1/N, which is column 0;
    the diagonal is every (B + 1)-th. The j of the second weight is the image after i.
    Raises UsageError when the batch is larger than the dataset.
    Chen et al. 2018, appendix C.2, https://arxiv.org/abs/1802.04942
    """
    batch, n = len(log_density), dataset_size
    if batch > n:
        raise UsageError(
            f"a batch of {batch} images cannot be from a dataset of {n}",
            hint="Lower train.batch_size, or set method.dataset_size to the images there are.",
        )
    m = batch - 1
    itself = torch.eye(batch, dtype=torch.bool, device=log_density.device)
    weights = log_density.new_full((batch, batch), 1.0 / m)
    weights = weights.masked_fill(itself.roll(1, dims=1), (n - m) / (n * m))
    return weights.masked_fill(itself, 1.0 / n).log()


def covariance(values: Tensor) -> Tensor:
    """E[v v^T] - E[v] E[v]^T over the batch, divided by B: (B, D) -> (D, D).

    Takes a matrix product: call it with autocast disabled.
    """
    centred = values - values.mean(dim=0)
    return centred.T @ centred / len(values)


def identity_penalty(matrix: Tensor, off_diagonal: float, diagonal: float) -> Tensor:
    """off_diagonal sum_{i != j} M_ij^2 + diagonal sum_i (M_ii - 1)^2, how far M is from I.

    matrix: (D, D). Returns a scalar >= 0.
    Kumar et al. 2018, equations 6 and 7, https://arxiv.org/abs/1711.00848
    """
    on = torch.diagonal(matrix)
    off = matrix - torch.diag(on)
    return off_diagonal * off.square().sum() + diagonal * (on - 1.0).square().sum()


def permute_codes(codes: Tensor, rng: torch.Generator) -> Tensor:
    """(B, D) -> (B, D), each column in an order of its own: samples of prod_d q(z_d).

    Kim & Mnih 2018, algorithm 1, https://arxiv.org/abs/1802.05983
    """
    order = torch.rand(codes.shape, generator=rng, device=codes.device).argsort(dim=0)
    return codes.gather(0, order)


def log_density_ratio(logits: Tensor) -> Tensor:
    """log q(z)/prod_d q(z_d), averaged over images: the TC, by a discriminator of the two.

    logits: (B, 2) of codes as they are; class 0 is "as they are", class 1 "permuted". Returns a
    scalar. Kim & Mnih 2018, equation 3, https://arxiv.org/abs/1802.05983
    """
    return (logits[:, 0] - logits[:, 1]).mean()


def permutation_discriminator(joint_logits: Tensor, permuted_logits: Tensor) -> Tensor:
    """The cross-entropy of telling codes as they are (class 0) from permuted ones (class 1).

    joint_logits, permuted_logits: (B, 2). Returns a scalar >= 0, the mean over both kinds: log 2
    for a discriminator that knows nothing. Kim & Mnih 2018, algorithm 2.
    """
    joint = F.log_softmax(joint_logits, dim=1)[:, 0]
    permuted = F.log_softmax(permuted_logits, dim=1)[:, 1]
    return -0.5 * (joint.mean() + permuted.mean())
