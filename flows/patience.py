"""Calls to a Prefect server that may be restarting."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import httpx
from prefect.exceptions import PrefectHTTPStatusError
from tenacity import before_sleep_log, retry, retry_if_exception, stop_after_delay, wait_random_exponential

P = ParamSpec("P")
T = TypeVar("T")

# A server that is upgraded or moved is back by then.
PATIENCE_SECONDS = 600
LONGEST_WAIT_SECONDS = 15


def patiently(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call the server; while it does not answer, again and again for ten minutes, then raise what it raised."""
    return patient(call)(*args, **kwargs)


def patient(call: Callable[P, T], seconds: float = PATIENCE_SECONDS) -> Callable[P, T]:
    """The call, repeated for so many seconds while the server does not answer."""
    return retry(
        retry=retry_if_exception(_is_away),
        wait=wait_random_exponential(max=LONGEST_WAIT_SECONDS),
        stop=stop_after_delay(seconds),
        before_sleep=before_sleep_log(logging.getLogger("prefect.labelaudit"), logging.WARNING),
        reraise=True,
    )(call)


def _is_away(error: BaseException) -> bool:
    if isinstance(error, PrefectHTTPStatusError):
        return error.response.status_code >= 500
    return isinstance(error, httpx.TransportError)
