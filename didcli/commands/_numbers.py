"""Numbers given as text on the command line: dimensions, a range, rows of a dataset."""

import math
from collections.abc import Sequence

from didcli.errors import UsageError


def parse_dims(texts: Sequence[str], latent_dim: int) -> tuple[int, ...]:
    """`["3", "0-2", "1,5"]` -> (3, 0, 1, 2, 5): in the order given, each once; all for none.

    Raises UsageError for a text that is not a dimension, a range or a list of them, and for
    dimensions outside 0 .. latent_dim - 1.
    """
    last_one = latent_dim - 1
    ways = f"--dim {last_one}, --dim 0-{last_one}, --dim 0,{last_one}"
    there = f"The run has dimensions 0 to {last_one}: {ways}"
    chosen: list[int] = []
    for part in (part.strip() for text in texts for part in text.split(",")):
        first, dash, last = part.partition("-")
        # isascii, because isdigit also takes superscripts, which int() refuses.
        if not (part.isascii() and first.isdigit() and (last.isdigit() if dash else True)):
            raise UsageError(f"{part!r} is not a dimension", hint=there)
        bounds = int(first), int(last or first)
        if max(bounds) >= latent_dim:
            raise UsageError(f"there is no dimension {max(bounds)}", hint=there)
        if bounds[0] > bounds[1]:
            raise UsageError(f"the range {part} goes backwards", hint=there)
        chosen += range(bounds[0], bounds[1] + 1)
    return tuple(dict.fromkeys(chosen)) if texts else tuple(range(latent_dim))


def parse_range(text: str) -> tuple[float, float]:
    """`-2,2` -> (-2.0, 2.0). Raises UsageError unless they are finite and the smaller is first."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"--range takes two numbers, got {text!r}", hint="For example: --range -1,1"
        ) from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(
            f"the range goes from {low:g} to {high:g}",
            hint="--range takes two finite numbers, the smaller first: --range -1,1",
        )
    return low, high


def parse_rows(text: str) -> tuple[int, ...]:
    """`0,17,4` -> (0, 17, 4). Raises UsageError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UsageError(
            f"--rows takes numbers of dataset rows, got {text!r}", hint="For example: --rows 0,17,4"
        )
    return tuple(int(part) for part in parts)
