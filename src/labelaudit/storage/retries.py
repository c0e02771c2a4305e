"""Retries: the only place where labelaudit repeats a request to storage."""

from __future__ import annotations

import logging
from collections.abc import Callable

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from labelaudit.errors import LabelauditError, StorageUnavailableError
from labelaudit.storage.failures import first_line, is_transient, without_secrets

REQUEST_ATTEMPTS = 8
# No try begins later than this after the first one. The second try is always made, because a long transfer may
# break near its end.
TOTAL_SECONDS = 120.0
# Waits are random between 0 and 0.5, 1, 2, … seconds, so that many workers do not retry at the same moment.
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 20.0

_log = logging.getLogger(__name__)


def retrying(place: str) -> Retrying:
    """Return an object that calls a function until it succeeds, fails permanently, or reaches the limits.

    It raises permanent errors of the function unchanged, and `StorageUnavailableError` at the limits.
    `place` is the URL that messages name.
    """
    place = without_secrets(place)
    return Retrying(
        retry=retry_if_exception(is_transient),
        wait=wait_random_exponential(multiplier=FIRST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS),
        stop=stop_after_attempt(REQUEST_ATTEMPTS) | (stop_before_delay(TOTAL_SECONDS) & stop_after_attempt(2)),
        before_sleep=_log_first_failure(place),
        retry_error_callback=_give_up(place),
    )


def _log_first_failure(place: str) -> Callable[[RetryCallState], None]:
    def log(state: RetryCallState) -> None:
        if state.attempt_number == 1:
            _log.warning("%s: %s. It is retried at most %d times.", place, _cause(_error(state)), REQUEST_ATTEMPTS - 1)

    return log


def _give_up(place: str) -> Callable[[RetryCallState], None]:
    def give_up(state: RetryCallState) -> None:
        error = _error(state)
        if isinstance(error, LabelauditError):
            raise error
        raise StorageUnavailableError(
            f"The storage of {place} failed {state.attempt_number} times in "
            f"{state.seconds_since_start or 0:.0f} s. The last error was {_cause(error)}. "
            "Check the endpoint and the network, and run again later."
        ) from error

    return give_up


def _error(state: RetryCallState) -> BaseException:
    assert state.outcome is not None
    error = state.outcome.exception()
    assert error is not None
    return error


def _cause(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
