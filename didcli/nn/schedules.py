"""Settings that may change as training goes: one number, or numbers at steps, joined by lines."""

from typing import Annotated

import numpy as np
from annotated_types import Ge, MinLen

from didcli.nn.settings import Weight

Step = Annotated[int, Ge(0)]
Schedule = Weight | Annotated[dict[Step, Weight], MinLen(1)]
"""`0.5`, or `{500: 0, 5000: 1}`: 0 until step 500, a linear rise, 1 from step 5000 on."""


def at(schedule: Schedule, step: int) -> float:
    """The value at `step`: on the line between the two given steps around it, or the nearest."""
    if not isinstance(schedule, dict):
        return schedule
    steps = sorted(schedule)
    return float(np.interp(step, steps, [schedule[given] for given in steps]))


def highest(schedule: Schedule) -> float:
    """The highest value at any step."""
    return max(schedule.values()) if isinstance(schedule, dict) else schedule
