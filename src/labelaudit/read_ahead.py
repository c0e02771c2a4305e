"""Results of a function that are computed in threads before they are needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


def mapped_ahead(
    function: Callable[[_T], _R], values: Iterable[_T], threads: int, ahead: int
) -> Generator[_R, None, None]:
    """Yield the results of a function in order, computed in threads for at most `ahead` values in advance."""
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[_R]] = deque()
        try:
            for value in values:
                pending.append(pool.submit(function, value))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
