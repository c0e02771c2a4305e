"""BLAS has one thread inside the function, and as many as before after it."""

from __future__ import annotations

import numpy as np
import pytest
import threadpoolctl

from labelaudit.pipeline.blas_threads import with_one_blas_thread


def _threads() -> set[int]:
    np.ones((2, 2)) @ np.ones((2, 2))
    return {library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"}


@with_one_blas_thread
def _inside(problem: Exception | None = None) -> set[int]:
    if problem is not None:
        raise problem
    return _threads()


def test_threads_are_limited_only_inside() -> None:
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = _threads()
        assert _inside() <= {1}
        assert _threads() == before
        with pytest.raises(ValueError, match="damaged"):
            _inside(problem=ValueError("damaged"))
        assert _threads() == before
