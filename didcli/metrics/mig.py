"""Mutual Information Gap, Chen et al. 2018, section 4, https://arxiv.org/abs/1802.04942"""

import numpy as np
from numpy.typing import NDArray

from didcli.scoring.information import discretise, entropy, information_matrix
from didcli.scoring.protocol import EvaluationProtocol, Result
from didcli.scoring.sampling import draw_training
from didcli.scoring.table import CodeTable

SCORES = ("mig",)


def gaps(information: NDArray[np.float64], entropies: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much more the best latent knows of each factor than the second best does.

        gap[k] = (I[best, k] - I[second, k]) / H[k]

    information: (D, K) mutual information in nats, D >= 2.  entropies: (K,), positive.
    Returns (K,), each in [0, 1]: 1 where one latent alone determines the factor, 0 where two know
    equally much of it, or none knows anything.
    """
    second, best = np.sort(information, axis=0)[-2:]
    per_factor: NDArray[np.float64] = (best - second) / entropies
    return per_factor


def score(table: CodeTable, rng: np.random.RandomState, protocol: EvaluationProtocol) -> Result:
    """The mean gap over factors, with codes in equal-width bins. In [0, 1], higher is better.

    The estimate is biased upwards for few points: pure noise scores a little above 0.
    """
    points = draw_training(table, rng, protocol)
    information = information_matrix(discretise(points.codes, protocol.bins), points.factors)
    entropies = np.array([entropy(column) for column in points.factors.T])
    per_factor = gaps(information, entropies)
    return Result(
        scores={"mig": float(per_factor.mean())},
        details={
            "mutual_information": information,
            "factor_entropy": entropies,
            "gap_per_factor": per_factor,
        },
    )
