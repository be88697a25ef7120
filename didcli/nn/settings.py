"""The kinds of numbers that settings of methods are; `didcli.config` checks them."""

from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

LARGEST = 100_000
"""Largest size or count: a mistyped one is refused before it takes all memory."""

Weight = Annotated[float, Ge(0)]
Count = Annotated[int, Ge(1), Le(LARGEST)]
Steps = Annotated[int, Ge(1)]
Size = Annotated[int, Ge(0), Le(LARGEST)]
Rate = Annotated[float, Gt(0)]
Momentum = Annotated[float, Ge(0), Lt(1)]
