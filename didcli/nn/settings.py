"""The kinds of numbers that settings of methods are; `didcli.config` checks them."""

from typing import Annotated

from annotated_types import Ge, Gt, Lt

Weight = Annotated[float, Ge(0)]
Count = Annotated[int, Ge(1)]
Rate = Annotated[float, Gt(0)]
Momentum = Annotated[float, Ge(0), Lt(1)]


def check_ramps(settings: object, *names: str) -> None:
    """Raises ValueError when a ramp, from NAME_from to NAME_until, starts after its end.

    An end of 0 says that there is no ramp.
    """
    for name in names:
        first, last = getattr(settings, f"{name}_from"), getattr(settings, f"{name}_until")
        if last and first > last:
            raise ValueError(f"{name}_from: {first} is after {name}_until, {last}")
