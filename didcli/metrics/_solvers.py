"""scikit-learn's linear solvers, as the metrics use them."""

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from sklearn.exceptions import ConvergenceWarning

P = ParamSpec("P")
R = TypeVar("R")


def without_convergence_warnings(function: Callable[P, R]) -> Callable[P, R]:
    """Silence solvers that stop at their limit of iterations.

    The reference stops there too, and its scores are those of the weights it has by then: going on
    would change the score, and a user can do nothing about it.
    """

    @functools.wraps(function)
    def quiet(*args: P.args, **kwargs: P.kwargs) -> R:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return function(*args, **kwargs)

    return quiet
