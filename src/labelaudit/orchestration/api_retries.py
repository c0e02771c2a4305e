"""Calls to a Prefect server, with retries while it does not answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError
from tenacity import before_sleep_log, retry, retry_if_exception, stop_after_delay, wait_random_exponential

from labelaudit.errors import ConfigError

_P = ParamSpec("_P")
_T = TypeVar("_T")

# Long enough for an upgrade or a move of the server.
_RETRY_SECONDS = 600
MAX_WAIT_SECONDS = 15


def open_client() -> SyncPrefectClient:
    """Return a client of the configured Prefect API, to be used as a context manager."""
    return get_client(sync_client=True)


def check_api() -> None:
    """Check once, without retries, that the configured Prefect API answers and accepts its user.

    Raises:
        ConfigError: The API does not answer, or it refuses the user.
    """
    with open_client() as client:
        problem = client.api_healthcheck()
        if problem is None:
            _check_user(client)
    if problem is not None:
        raise ConfigError(
            f"The Prefect API {client.api_url} does not answer ({problem}). Start the server, or unset PREFECT_API_URL "
            "(if a profile sets it, with `prefect config unset PREFECT_API_URL`) to run audits in this process."
        ) from problem


def _check_user(client: SyncPrefectClient) -> None:
    # /health, which `api_healthcheck` reads, needs no authentication.
    try:
        client.hello()
    except httpx.HTTPStatusError as error:
        if error.response.status_code in (401, 403):
            raise ConfigError(
                f"The Prefect API {client.api_url} refuses its user ({error.response.status_code}). Set "
                "PREFECT_API_AUTH_STRING to name:password as on the server, or set PREFECT_API_KEY."
            ) from error


def call_with_retries(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call the server. While it does not answer, retry for ten minutes, then raise the last error."""
    return with_retries(call)(*args, **kwargs)


def with_retries(call: Callable[_P, _T], seconds: float = _RETRY_SECONDS) -> Callable[_P, _T]:
    """Return the call with retries for up to `seconds` while the server does not answer."""
    return retry(
        retry=retry_if_exception(_is_unavailable),
        wait=wait_random_exponential(max=MAX_WAIT_SECONDS),
        stop=stop_after_delay(seconds),
        before_sleep=before_sleep_log(logging.getLogger("prefect.labelaudit"), logging.WARNING),
        reraise=True,
    )(call)


def _is_unavailable(error: BaseException) -> bool:
    if isinstance(error, PrefectHTTPStatusError):
        return error.response.status_code >= 500
    return isinstance(error, httpx.TransportError)
