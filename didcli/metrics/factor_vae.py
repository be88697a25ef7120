"""The FactorVAE score, Kim & Mnih 2018, section 4, https://arxiv.org/abs/1802.05983"""

import numpy as np
from numpy.typing import NDArray

from didcli.scoring.protocol import EvaluationProtocol, Result
from didcli.scoring.sampling import (
    draw_factors,
    draw_points,
    gather_in_chunks,
    require_complete_grid,
)
from didcli.scoring.table import CodeTable

SCORES = ("factor_vae",)


def draw_groups(
    table: CodeTable, rng: np.random.RandomState, votes: int, batch: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw a factor for each vote, and `batch` rows in which that factor has one value.

    Returns the factors (votes,) and the rows (votes, batch). Drawn in the reference's order: the
    factor, then all rows, whose first one decides the value.
    """
    fixed = np.empty(votes, dtype=np.int64)
    rows = np.empty((votes, batch), dtype=np.int64)
    for vote in range(votes):
        fixed[vote] = factor = rng.randint(len(table.factor_sizes))
        factors = draw_factors(rng, table.factor_sizes, batch)
        factors[:, factor] = factors[0, factor]
        rows[vote] = table.rows(factors)
    return fixed, rows


def steadiest_latents(
    codes: NDArray[np.float32], rows: NDArray[np.int64], variances: NDArray[np.float32]
) -> NDArray[np.int64]:
    """The latent whose variance within each group is smallest beside its variance overall.

    codes: (N, D).  rows: (votes, batch).  variances: (D,), positive.  Returns (votes,).
    Variances have ddof = 1 and are accumulated in float32, as in the reference.
    """

    def steadiest(groups: NDArray[np.float32]) -> NDArray[np.int64]:
        within = groups.var(axis=1, ddof=1, dtype=np.float32)
        latent: NDArray[np.int64] = (within / variances).argmin(axis=1)
        return latent

    return gather_in_chunks(codes, rows, steadiest)


def count_votes(
    latents: NDArray[np.int64], factors: NDArray[np.int64], shape: tuple[int, int]
) -> NDArray[np.int64]:
    """How often each latent was the steadiest while each factor was fixed: shape (D, K)."""
    votes = np.bincount(latents * shape[1] + factors, minlength=shape[0] * shape[1])
    return votes.reshape(shape)


def score(table: CodeTable, rng: np.random.RandomState, protocol: EvaluationProtocol) -> Result:
    """How well the latent that varies least tells which factor is fixed.

    Each latent stands for the factor that it was the steadiest for most often in the training
    votes; the score is the share of the test votes for which this is right. In [0, 1], higher is
    better; guessing scores about 1 / K. Latents whose standard deviation is below
    `protocol.prune_std` take no part; if no latent is left, the score is 0.
    """
    require_complete_grid(table)
    sample = draw_points(table, rng, protocol.variance_points, batch=None)
    variances = sample.codes.var(axis=0, ddof=1)
    active = np.flatnonzero(np.sqrt(variances) >= protocol.prune_std)
    codes = np.ascontiguousarray(table.codes[:, active])

    def votes(count: int) -> NDArray[np.int64]:
        shape = table.codes.shape[1], len(table.factor_sizes)
        if not len(active):
            return np.zeros(shape, dtype=np.int64)
        fixed, rows = draw_groups(table, rng, count, protocol.vote_batch)
        steadiest = active[steadiest_latents(codes, rows, variances[active])]
        return count_votes(steadiest, fixed, shape)

    train_votes = votes(protocol.train_points)
    test_votes = votes(protocol.test_points)
    factor_of_latent = train_votes.argmax(axis=1)
    return Result(
        scores={"factor_vae": _share_right(test_votes, factor_of_latent)},
        details={
            "train_accuracy": _share_right(train_votes, factor_of_latent),
            "votes": train_votes,
            "latent_std": np.sqrt(variances),
            "active_latents": active,
        },
        notes=_notes(active, len(variances), protocol.prune_std),
    )


def _share_right(votes: NDArray[np.int64], factor_of_latent: NDArray[np.int64]) -> float:
    right = votes[np.arange(len(votes)), factor_of_latent].sum()
    return float(right / max(1, votes.sum()))


def _notes(active: NDArray[np.int64], latents: int, prune_std: float) -> tuple[str, ...]:
    pruned = np.setdiff1d(np.arange(latents), active)
    if not len(pruned):
        return ()
    which = f"latents {', '.join(map(str, pruned))} have" if len(active) else "every latent has"
    return (f"{which} a standard deviation below {prune_std} and took no part",)
