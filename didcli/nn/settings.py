"""The kinds of numbers that settings of methods are; `didcli.config` checks them."""

from typing import Annotated

from annotated_types import Ge, Gt, Lt

Weight = Annotated[float, Ge(0)]
Count = Annotated[int, Ge(1)]
Rate = Annotated[float, Gt(0)]
Momentum = Annotated[float, Ge(0), Lt(1)]
