"""Look for what makes scores mislead, before any is computed."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from didcli.scoring.information import entropy, mutual_information
from didcli.scoring.protocol import EvaluationProtocol
from didcli.scoring.table import CodeTable

ACTIVE_SHARE = 1 / 20
"""A latent is near dead when its range is at most this share of the widest one's. Hsu et al. 2023
draw the line there."""
CORRELATED = 0.05
"""Share of a factor's entropy that another one may explain before it is called correlated."""
OVERLAP = 0.1
"""Share of test points seen in training above which a note tells of them."""


def constant_latents(codes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(D,) whether all codes of a latent are equal. Exact: a variance of float32 is not."""
    constant: NDArray[np.bool_] = codes.min(axis=0) == codes.max(axis=0)
    return constant


def active_latents(codes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(D,) whether the range of a latent is above a twentieth of the widest one's."""
    ranges = codes.max(axis=0).astype(np.float64) - codes.min(axis=0)
    active: NDArray[np.bool_] = ranges > ranges.max() * ACTIVE_SHARE
    return active


def strongest_correlation(factors: NDArray[np.int64]) -> tuple[float, tuple[int, int]]:
    """The largest I[a; b] / min(H[a], H[b]) over pairs of factors, in [0, 1], and the pair."""
    entropies = [entropy(column) for column in factors.T]
    return max(
        (
            mutual_information(factors[:, a], factors[:, b]) / min(entropies[a], entropies[b]),
            (a, b),
        )
        for a, b in itertools.combinations(range(factors.shape[1]), 2)
    )


def overlap(table: CodeTable, protocol: EvaluationProtocol) -> float:
    """Expected share of test points whose row is among the training points, in [0, 1]."""
    if protocol.disjoint:
        return 0.0
    return float(1.0 - (1.0 - 1.0 / len(table)) ** protocol.train_points)


def inspect(table: CodeTable, protocol: EvaluationProtocol) -> tuple[dict[str, Any], list[str]]:
    """Facts about the table, for programs, and a sentence for each one that people must know."""
    constant = constant_latents(table.codes)
    near_dead = ~active_latents(table.codes) & ~constant
    seen = overlap(table, protocol)
    facts: dict[str, Any] = {
        "rows": len(table),
        "latents": table.codes.shape[1],
        "factor_names": list(table.factor_names),
        "factor_sizes": list(table.factor_sizes),
        "dropped_factors": list(table.dropped_factors),
        "complete_grid": table.is_complete_grid,
        "constant_latents": np.flatnonzero(constant).tolist(),
        "near_dead_latents": np.flatnonzero(near_dead).tolist(),
        "test_points_seen_in_training": seen,
    }
    notes = []
    if table.dropped_factors:
        notes.append(f"left out factors that take one value: {', '.join(table.dropped_factors)}")
    if constant.any():
        notes.append(
            f"constant latents ({_listed(constant)}): factor_vae and irs leave them out, "
            "modularity counts each as 0"
        )
    if near_dead.any():
        notes.append(
            f"near-dead latents ({_listed(near_dead)}): their range is at most 1/20 of the widest "
            "latent's; equal-width bins ignore scale, so modularity takes their noise for signal: "
            "see its level of chance"
        )
    if not table.is_complete_grid:
        share, pair = strongest_correlation(table.factors)
        facts["strongest_factor_correlation"] = share
        notes.append("the table is not a complete grid: its rows are sampled as they come")
        if share > CORRELATED:
            a, b = (table.factor_names[k] for k in pair)
            notes.append(
                f"factors are correlated: {a!r} and {b!r} share {share:.0%} of the information in "
                "the smaller; a latent that knows one seems to know both"
            )
    if protocol.eval_seeds == 1:
        notes.append("scores of one evaluation seed: --eval-seeds 5 gives mean and deviation")
    if seen > OVERLAP:
        notes.append(
            f"about {seen:.0%} of the test points are also training points, because "
            f"{len(table):,} rows are sampled with replacement: accuracies (sap, dci, "
            "explicitness) flatter; --disjoint draws the two from separate rows"
        )
    return facts, notes


def _listed(latents: NDArray[np.bool_]) -> str:
    return ", ".join(str(latent) for latent in np.flatnonzero(latents))
