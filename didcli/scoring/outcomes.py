"""What metrics gave, as a report says it: numbers, None for what is not defined, and notes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from didcli import registry
from didcli.scoring.protocol import Result

Outcome = Result | str
"""What a metric gave, or why it has no score."""


def scores_of(
    outcomes: Mapping[str, Sequence[Outcome]], *, several: bool = False
) -> dict[str, dict[str, Any]]:
    """`scores`, and for several evaluations `scores_sd` (n - 1) and `scores_per_seed`, by score.

    outcomes: of each evaluation, by metric. `scores` are means over evaluations.
    """
    per_seed: dict[str, list[float | None]] = {
        key: [_number(outcome, key) for outcome in evaluations]
        for name, evaluations in outcomes.items()
        for key in registry.load("metrics", name).SCORES
    }
    parts: dict[str, dict[str, Any]] = {
        "scores": {key: _over_seeds(np.mean, values) for key, values in per_seed.items()}
    }
    if several:
        parts["scores_sd"] = {key: _over_seeds(_sd, vals) for key, vals in per_seed.items()}
        parts["scores_per_seed"] = per_seed
    return parts


def _number(outcome: Outcome, key: str) -> float | None:
    if isinstance(outcome, str) or key in outcome.undefined:
        return None
    value = float(outcome.scores[key])
    return value if np.isfinite(value) else None


def _over_seeds(statistic: Callable[[Any], Any], values: Sequence[float | None]) -> float | None:
    """None as soon as one evaluation has no score: the others would be a biased choice."""
    return None if None in values else float(statistic(values))


def _sd(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1))


def details_of(outcomes: Mapping[str, Sequence[Outcome]]) -> dict[str, Any]:
    """What else each metric says, of the first evaluation."""
    return {
        name: _plain(evaluations[0].details)
        for name, evaluations in outcomes.items()
        if isinstance(evaluations[0], Result)
    }


def notes_of(outcomes: Mapping[str, Sequence[Outcome]]) -> list[str]:
    """Why scores are not defined, and what the metrics have to say of those that are."""
    said = []
    for name, evaluations in outcomes.items():
        for outcome in evaluations:
            if isinstance(outcome, str):
                said.append(f"{name}: not defined: {outcome}")
                continue
            said += [f"{name}: {note}" for note in outcome.notes]
            said += [
                f"{name}: {key} is not defined: {why}" for key, why in outcome.undefined.items()
            ]
            said += [
                f"{name}: {key} is not defined: it came out as {value}"
                for key, value in outcome.scores.items()
                if not np.isfinite(value)
            ]
    return list(dict.fromkeys(said))  # the same note of several seeds once, in order


def _plain(value: Any) -> Any:
    """Nested lists, numbers and strings for JSON; None for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
