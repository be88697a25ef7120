"""scikit-learn's classifiers, as the metrics use them."""

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

P = ParamSpec("P")
R = TypeVar("R")

MANY_CLASSES = "The number of unique classes is greater than 50%"
"""Start of a warning that takes such labels for the numbers of a regression. Values of a factor are
classes, however many there are."""


def around_classifiers(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function that predicts factors, to silence scikit-learn's guess about their nature."""

    @functools.wraps(function)
    def prepared(*args: P.args, **kwargs: P.kwargs) -> R:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", MANY_CLASSES, UserWarning)
            return function(*args, **kwargs)

    return prepared


def around_linear_solvers(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function that fits many small linear classifiers; includes `around_classifiers`.

    Solvers that stop at their limit of iterations do not warn. The reference stops there too: its
    scores are those of the weights it has by then, and a user can do nothing about it.

    BLAS runs on one thread: on matrices this small its threads mostly wait for each other, which
    takes ten times as long on a busy machine. The models themselves share the threads instead.
    """

    @functools.wraps(function)
    @around_classifiers
    def prepared(*args: P.args, **kwargs: P.kwargs) -> R:
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return function(*args, **kwargs)

    return prepared
