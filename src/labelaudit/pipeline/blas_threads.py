"""One thread for linear algebra while probabilities are read block by block."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache, wraps
from typing import ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

_P = ParamSpec("_P")
_T = TypeVar("_T")


def with_one_blas_thread(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Let BLAS use one thread while the function runs.

    The products of a block are so small that several threads wait for each other longer than they compute: 100,000 x
    1,000 probabilities took 9.3 CPU seconds on 2 cores instead of 5.7. Other threads hash and write in the meantime.
    """

    @wraps(function)
    def limited(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with _libraries("scipy.linalg" in sys.modules).limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return limited


@cache
def _libraries(with_scipy: bool) -> ThreadpoolController:
    """Return the BLAS of numpy, and that of SciPy if it is loaded. The search takes up to 30 ms.

    Args:
        with_scipy: whether it is loaded. If that changes, the search is repeated.
    """
    return ThreadpoolController()
