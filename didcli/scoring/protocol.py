"""What a metric is given beside the codes, and what it gives back.

`did eval --help` reads choices and defaults from here, so only the standard library is imported.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

SapConvention = Literal["discrete", "continuous"]
DciBackend = Literal["exact", "sklearn"]


@dataclass(frozen=True)
class EvaluationProtocol:
    """Sample sizes and choices. The defaults are disentanglement_lib's `unsupervised_study_v1`."""

    train_points: int = 10_000
    """Points that classifiers learn from, and that MIG, modularity and IRS count."""
    test_points: int = 5_000
    """Points that accuracies are measured on."""
    variance_points: int = 10_000
    """Points for the variance of each latent in the FactorVAE score."""
    information_points: int = 10_000
    """Most rows that InfoMEC looks at. Drawn without replacement: a nearest-neighbour estimate
    takes a repeated row for certainty."""
    vote_batch: int = 64
    """Images behind a vote of the FactorVAE score, pairs behind a point of the BetaVAE score."""
    sample_batch: int = 16
    """Points that the reference draws at once; it decides the order of its random stream."""
    bins: int = 20
    """Equal-width bins of a discretised latent."""
    prune_std: float = 0.05
    """The FactorVAE score leaves out latents whose standard deviation is below this."""
    neighbours: int = 10
    """k of InfoMEC's nearest-neighbour mutual information."""
    sap: SapConvention = "discrete"
    """`discrete`: accuracy of a linear SVM. `continuous`: squared correlation."""
    dci_backend: DciBackend = "exact"
    """`exact`: our own trees. `sklearn`: GradientBoostingClassifier itself."""
    eval_seed: int = 0
    """Seed of the random stream that draws the points; each metric starts it afresh."""
    eval_seeds: int = 1
    """Number of evaluations, with seeds `eval_seed`, `eval_seed + 1` and so on."""
    disjoint: bool = False
    """Draw training and test points from two parts of the table that share no row, as large, in
    proportion, as the numbers of points."""
    threads: int = 1
    """Threads for the slow parts. Scores do not depend on it."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def score_name(score: str, protocol: Mapping[str, Any]) -> str:
    """What people read for a score: SAP is two different scores, and says which."""
    return f"sap ({protocol.get('sap', 'of unknown kind')})" if score == "sap" else score


def deciding(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a protocol as a dict that decide scores: all but `threads`."""
    return {key: value for key, value in protocol.items() if key != "threads"}


@dataclass(frozen=True)
class Result:
    """What `score` of a metric returns."""

    scores: Mapping[str, float]
    """One number for each key of the module's `SCORES` that is not `undefined`."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Arrays and numbers behind the scores: per latent (D,), per factor (K,), or (D, K)."""
    notes: tuple[str, ...] = ()
    """What a reader of the scores should know, one sentence each."""
    undefined: Mapping[str, str] = field(default_factory=dict)
    """Why these codes lack some of the scores, where they have others. `evaluate` reports null and
    a note."""


class UndefinedError(Exception):
    """These codes have no such score; the message says why. `evaluate` reports null and a note."""
