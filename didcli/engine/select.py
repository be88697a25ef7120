"""Choose among runs of one configuration, without labels: UDR and ModelCentrality.

Both rest on one thought: what several training runs agree on is not a whim of one seed.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Lasso

from didcli.config import REPETITION
from didcli.engine.encode import encode_sample
from didcli.errors import UsageError
from didcli.metrics.factor_vae import count_votes, steadiest_latents
from didcli.scoring.guards import active_latents, constant_latents

if TYPE_CHECKING:
    from didcli.engine.evaluate import OnStage
    from didcli.engine.runs import Run

Criterion = Literal["udr", "centrality"]

SCHEMA = 1
SAMPLE = 10_000
"""Images, drawn at random, whose codes runs are compared by."""
LASSO_ALPHA = 0.1
GROUPS = 500
"""Groups of images that a model generates, one latent fixed in each."""
GROUP_SIZE = 64


@dataclass(frozen=True)
class Agreement:
    """How well runs agree, two by two, and what it makes of each."""

    scores: NDArray[np.float64]
    """(n,), higher is better."""
    pairwise: NDArray[np.float64]
    """(n, n), the diagonal 0 or, for ModelCentrality, a model against itself."""


def relative_strength(weights: NDArray[np.float64]) -> float:
    """How much each row and each column of a matrix is one entry. Duan et al. 2020.

        ( mean over columns of max^2 / sum  +  mean over rows of max^2 / sum ) / 2

    weights: (D, E), not negative; empty rows and columns count 0. 1 for a permutation matrix.
    """

    def strength(rows: NDArray[np.float64]) -> float:
        total = rows.sum(axis=1)
        best = rows.max(axis=1, initial=0.0)
        each = np.where(total > 0, best**2 / np.where(total > 0, total, 1.0), 0.0)
        return float(each.mean()) if len(each) else 0.0

    return (strength(weights) + strength(weights.T)) / 2


def udr(
    codes: Sequence[NDArray[np.float32]], angles: Sequence[Collection[int]] | None = None
) -> Agreement:
    """Unsupervised Disentanglement Ranking, Duan et al. 2020, https://arxiv.org/abs/1905.12614

    Each model's active latents are predicted from those of each other by Lasso (alpha = 0.1) on
    standardised codes; the score of a model is the median over the others of `relative_strength`
    of the absolute weights. It is high when latents of one model are latents of the other, up to
    order and sign. For VAEs the authors call a latent active when its KL is above 0.01; that is not
    known of every model, so here its range decides, as in InfoMEC.
    An angle is predicted, and predicts, as a point of the unit circle, since where it is counted
    from is a whim of the seed; its weights count as the spectral norm of their block. Up to Lasso's
    dislike of weights that are shared, a turned circle is the circle it was.
    codes: for each model (N, D), of the same N images. A model without active latents scores 0.
    angles: for each model, the latents in which -1 and 1 are one value; None for none.
    """
    n = len(codes)
    views = [_view(z, around) for z, around in zip(codes, angles or [()] * n, strict=True)]
    pairwise = np.zeros((n, n))
    for i, j in np.ndindex(n, n):
        # A model without active latents predicts nothing, and nothing predicts it: it scores 0.
        if i != j and views[i].parts and views[j].parts:
            model = Lasso(alpha=LASSO_ALPHA).fit(views[i].columns, views[j].columns)
            weights = np.atleast_2d(model.coef_).T
            pairwise[i, j] = relative_strength(_block_norms(weights, views[i], views[j]))
    scores = [np.median(np.delete(pairwise[:, j], j)) for j in range(n)]
    return Agreement(np.array(scores), pairwise)


def centrality(pairwise: NDArray[np.float64]) -> Agreement:
    """ModelCentrality, Lin et al. 2020, section 4, https://arxiv.org/abs/1906.06034

    The mean over the other models of (A[i, j] + A[j, i]) / 2.
    pairwise: A (n, n), the FactorVAE score of model i on images that model j generates.
    """
    mutual = (pairwise + pairwise.T) / 2
    others = len(mutual) - 1
    return Agreement((mutual.sum(axis=1) - np.diag(mutual)) / others, pairwise)


def fixed_latent_codes(
    codes: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Codes for `GROUPS` groups in which one active latent is the same.

    Each latent is drawn by itself from the codes that the model gives to data, whatever its prior.
    codes: (N, D).  Returns (GROUPS, GROUP_SIZE, D), and the number of the latent fixed in each
    group, counted among the active ones.
    """
    active = np.flatnonzero(active_latents(codes))
    fixed = np.arange(GROUPS) % len(active)
    drawn = np.empty((GROUPS, GROUP_SIZE, codes.shape[1]), dtype=np.float32)
    for d, column in enumerate(codes.T):
        drawn[:, :, d] = column[rng.integers(len(column), size=(GROUPS, GROUP_SIZE))]
    for group, latent in enumerate(active[fixed]):
        drawn[group, :, latent] = drawn[group, 0, latent]
    return drawn, fixed


def factor_vae_of_groups(codes: NDArray[np.float32], fixed: NDArray[np.int64]) -> float:
    """The share of groups whose steadiest latent tells, by majority, what was fixed. In [0, 1].

    codes: (groups, size, D).  fixed: (groups,). Constant latents take no part.
    """
    flat = codes.reshape(-1, codes.shape[2])
    usable = np.flatnonzero(~constant_latents(flat))
    if not len(usable):
        return 0.0
    flat = np.ascontiguousarray(flat[:, usable])
    rows = np.arange(len(flat)).reshape(codes.shape[:2])
    steadiest = steadiest_latents(flat, rows, flat.var(axis=0, ddof=1))
    votes = count_votes(steadiest, fixed, (len(usable), int(fixed.max()) + 1))
    return float(votes.max(axis=1).sum() / votes.sum())


def select(
    runs: "Sequence[Run]",
    criterion: Criterion,
    *,
    seed: int = 0,
    data_dir: Path | None = None,
    on_progress: "OnStage | None" = None,
) -> dict[str, Any]:
    """Rank runs; the object that `did eval --select ... --json` prints.

    Its keys: `schema`, `criterion`, `best` (path), `runs` (path, score and training seed of each,
    the best first), `pairwise` (in the order given), `notes`.
    Raises UsageError for fewer than two runs, runs on different data, or a negative seed.
    """
    if len(runs) < 2:
        raise UsageError(
            "one run alone agrees with itself", hint="Name two runs or more that differ in seed."
        )
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise UsageError(
            "a run is named twice, and agrees with itself", hint="Name runs that differ in seed."
        )
    if seed < 0:  # now, not after minutes of encoding
        raise UsageError(
            f"an evaluation seed must be 0 or more, got {seed}", hint="Pass --eval-seed 0."
        )
    tell = on_progress or (lambda *_: None)
    rng = np.random.default_rng(seed)
    codes, of_data = _codes_of_same_images(runs, rng, data_dir, tell)
    if criterion == "udr":
        tell("Comparing", 0, 1, "")
        agreement = udr(codes, [run.angles for run in runs])
        tell("Comparing", 1, 1, "")
    else:
        agreement = centrality(_cross_scores(runs, codes, rng, tell))
    ranked = np.argsort(-agreement.scores, kind="stable")
    return {
        "schema": SCHEMA,
        "criterion": criterion,
        "best": str(runs[ranked[0]].path),
        "runs": [
            {
                "path": str(runs[i].path),
                "score": float(agreement.scores[i]),
                "training_seed": runs[i].config.train.seed,
            }
            for i in ranked
        ],
        "pairwise": agreement.pairwise.tolist(),
        "notes": [*of_data, *_notes(runs, codes)],
    }


def _codes_of_same_images(
    runs: "Sequence[Run]", rng: np.random.Generator, data_dir: Path | None, tell: "OnStage"
) -> tuple[list[NDArray[np.float32]], tuple[str, ...]]:
    """The codes of each run for one sample of the dataset, and the notes of the dataset."""

    def on_dataset(done: int, total: int) -> None:
        tell("Preparing the dataset, once", done, total, "")

    datasets = [run.dataset(data_dir, on_dataset) for run in runs]
    sources = {f"{dataset.name} {dataset.source}" for dataset in datasets}
    if len(sources) > 1:
        raise UsageError(
            f"the runs are on different data: {', '.join(sorted(sources))}",
            hint="Choose among runs of one configuration that differ in train.seed.",
        )
    dataset = datasets[0]
    rows = np.sort(rng.permutation(len(dataset))[:SAMPLE])
    codes = []
    for run in runs:

        def on_encode(done: int, total: int, name: str = run.path.name) -> None:
            tell(f"Encoding with {name}", done, total, "")

        codes.append(encode_sample(run, dataset, rows, on_encode))
    return codes, dataset.notes


def _cross_scores(
    runs: "Sequence[Run]",
    codes: Sequence[NDArray[np.float32]],
    rng: np.random.Generator,
    tell: "OnStage",
) -> NDArray[np.float64]:
    """FactorVAE score of each model (rows) on what each model generates (columns)."""
    n = len(runs)
    scores = np.zeros((n, n))
    for j, generator in enumerate(runs):
        if not active_latents(codes[j]).any():
            continue  # it has no latent to fix: nobody tells its groups apart
        drawn, fixed = fixed_latent_codes(codes[j], rng)
        images = generator.decode(drawn.reshape(-1, drawn.shape[2]))
        for i, encoder in enumerate(runs):
            tell("Comparing", j * n + i, n * n, f"{encoder.path.name} on {generator.path.name}")
            seen = encoder.encode(images).reshape(*drawn.shape[:2], -1)
            scores[i, j] = factor_vae_of_groups(seen, fixed)
    tell("Comparing", n * n, n * n, "")
    return scores


@dataclass(frozen=True)
class _View:
    """The active latents of a model as UDR sees them."""

    parts: list[NDArray[np.float64]]
    """(N, 1) for each, of mean 0 and variance 1; an angle is (N, 2), of that variance on average:
    a circle must not be stretched."""

    @property
    def columns(self) -> NDArray[np.float64]:
        return np.hstack(self.parts)

    @property
    def blocks(self) -> list[slice]:
        """The columns of each latent."""
        ends = np.cumsum([part.shape[1] for part in self.parts])
        return [slice(end - part.shape[1], end) for end, part in zip(ends, self.parts, strict=True)]


def _view(codes: NDArray[np.float32], angles: Collection[int]) -> _View:
    parts = []
    for latent in np.flatnonzero(active_latents(codes)):
        z = codes[:, [latent]].astype(np.float64)
        if latent in angles:
            z = np.hstack([np.cos(np.pi * z), np.sin(np.pi * z)])
        parts.append((z - z.mean(axis=0)) / np.sqrt(z.var(axis=0).mean()))
    return _View(parts)


def _block_norms(
    weights: NDArray[np.float64], inputs: _View, outputs: _View
) -> NDArray[np.float64]:
    """Weights by columns -> by latents: the spectral norm of each block, |w| where it is one."""
    return np.array(
        [[np.linalg.norm(weights[i, j], 2) for j in outputs.blocks] for i in inputs.blocks]
    )


def _notes(runs: "Sequence[Run]", codes: Sequence[NDArray[np.float32]]) -> list[str]:
    """Notes on runs without a latent, and on different settings: they differ in more than luck."""

    def settings(run: "Run") -> dict[str, Any]:
        return {key: v for key, v in run.config.flat().items() if key not in REPETITION}

    notes = [
        f"{run.path} has collapsed: all its latents are constant; it agrees with nothing"
        for run, z in zip(runs, codes, strict=True)
        if not active_latents(z).any()
    ]
    if any(settings(run) != settings(runs[0]) for run in runs):
        notes.append(
            "the runs differ in more than their seed: the criterion compares seeds, not settings"
        )
    return notes
