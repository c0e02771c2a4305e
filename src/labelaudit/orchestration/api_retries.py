"""Calls to a Prefect server that may be restarting."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError
from tenacity import before_sleep_log, retry, retry_if_exception, stop_after_delay, wait_random_exponential

from labelaudit.errors import ConfigError

P = ParamSpec("P")
T = TypeVar("T")

# A server that is upgraded or moved is back by then.
PATIENCE_SECONDS = 600
LONGEST_WAIT_SECONDS = 15


def connected() -> SyncPrefectClient:
    """A client of the configured Prefect API, to be used as a context."""
    return get_client(sync_client=True)


def check_that_api_answers() -> None:
    """Raise `ConfigError` where the configured Prefect API does not answer a person who waits, or refuses: no patience
    here."""
    with get_client(sync_client=True) as client:
        problem = client.api_healthcheck()
        if problem is None:
            _check_that_api_admits(client)
    if problem is not None:
        raise ConfigError(
            f"The Prefect API {client.api_url} does not answer ({problem}). Start the server, or unset PREFECT_API_URL "
            "(`prefect config unset PREFECT_API_URL` where a profile sets it): audits then run in the calling process."
        ) from problem


def _check_that_api_admits(client: SyncPrefectClient) -> None:
    # The health of a server is told to everybody.
    try:
        client.hello()
    except httpx.HTTPStatusError as error:
        if error.response.status_code in (401, 403):
            raise ConfigError(
                f"The Prefect API {client.api_url} refuses its user ({error.response.status_code}). Set "
                "PREFECT_API_AUTH_STRING to name:password as the server knows it, or PREFECT_API_KEY."
            ) from error


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
