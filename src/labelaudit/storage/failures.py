"""Errors of storage: which are transient, and messages that name place, cause and remedy."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator
from typing import NamedTuple

from labelaudit.errors import LabelauditError, StorageError

_TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
# Error codes with other statuses. The last four mean that the body of the request arrived damaged or cut.
_TRANSIENT_CODES = frozenset(
    {
        "ConditionalRequestConflict", "InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable",
        "SlowDown", "Throttling", "ThrottlingException", "TooManyRequests",
        "BadDigest", "IncompleteBody", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch",
    }
)  # fmt: skip
_TRANSIENT_ERRNOS = frozenset(
    {
        errno.EAGAIN, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH,
        errno.ENETDOWN, errno.ENETUNREACH, errno.EPIPE, errno.ETIMEDOUT,
    }
)  # fmt: skip
# Base classes by name, because importing their packages takes half a second, which local disks do not need.
_TRANSIENT_ERRORS = frozenset(
    {
        "aiohttp.ClientError", "builtins.ConnectionError", "builtins.EOFError", "builtins.TimeoutError",
        "botocore.ConnectionError", "botocore.CredentialRetrievalError", "botocore.HTTPClientError",
        "botocore.IncompleteReadError", "http.HTTPException", "requests.ChunkedEncodingError",
        "requests.ConnectionError", "requests.Timeout",
    }
)  # fmt: skip
_ANSWERS = frozenset({"aiohttp.ClientResponseError"})
_NO_CREDENTIALS = frozenset(
    {"botocore.NoCredentialsError", "botocore.PartialCredentialsError", "botocore.ProfileNotFound"}
)
# Errors of use. Errors in no list belong to backends with their own classes and count as transient.
_PERMANENT_ERRORS = frozenset(
    {
        "botocore.BotoCoreError", "builtins.ArithmeticError", "builtins.AttributeError", "builtins.ImportError",
        "builtins.LookupError", "builtins.NotImplementedError", "builtins.TypeError", "builtins.ValueError",
    }
)  # fmt: skip

_ENVIRONMENT = "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_WRONG_CREDENTIALS = (
    "The credentials for {url} are wrong ({code}): the access key is unknown, or the secret does not belong to it. "
    f"Correct {_ENVIRONMENT}, and check that AWS_ENDPOINT_URL is the right server."
)
_EXPIRED = "The session token for {url} has expired ({code}). Get new temporary credentials, and run again."
_NO_BUCKET = (
    "The bucket of {url} does not exist ({code}). Create it, or correct the URL, and check that AWS_ENDPOINT_URL "
    "is the server that has it."
)
_OTHER_REGION = "The bucket of {url} is in another region ({code}). Set AWS_DEFAULT_REGION to the region of the bucket."
_CLOCK = "{url} refuses requests because the clock of this machine is wrong ({code}). Set the clock."
_BY_CODE = {
    "InvalidAccessKeyId": _WRONG_CREDENTIALS,
    "InvalidToken": _WRONG_CREDENTIALS,
    "SignatureDoesNotMatch": _WRONG_CREDENTIALS,
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "RequestExpired": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "NoSuchBucket": _NO_BUCKET,
    "InvalidBucketName": _NO_BUCKET,
    "301": _OTHER_REGION,
    "AuthorizationHeaderMalformed": _OTHER_REGION,
    "IllegalLocationConstraintException": _OTHER_REGION,
    "PermanentRedirect": _OTHER_REGION,
    "RequestTimeTooSkewed": _CLOCK,
}
_S3_ACTIONS = {
    "read": "s3:GetObject, and s3:ListBucket to find out that something is missing",
    "written": "s3:PutObject, s3:AbortMultipartUpload and, to check the upload, s3:GetObject",
    "removed": "s3:DeleteObject",
    "listed": "s3:ListBucket",
}


class _Answer(NamedTuple):
    """The answer of an HTTP server; `code` is the name of an S3 error, else the status as text."""

    status: int
    code: str


def answer_of(error: BaseException | None) -> _Answer | None:
    """Return the server's answer behind an error of any backend; None if there was none."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            code = str(response.get("Error", {}).get("Code", ""))
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode") or code
            return _Answer(_number(status) or 0, code)
        for value in (getattr(error, name, None) for name in ("status_code", "status", "code")):
            if status := _number(value):
                return _Answer(status, str(status))
        error = error.__cause__
    return None


def is_transient(error: BaseException) -> bool:
    """Return whether a retry may succeed."""
    if isinstance(error, LabelauditError):
        return error.transient
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return False
    # Before the status, because aiohttp reports a body that was cut as caused by status 400.
    if _is_any(error, _TRANSIENT_ERRORS) and not _is_any(error, _ANSWERS):
        return True
    if answer := answer_of(error):
        return answer.status in _TRANSIENT_STATUSES or answer.code in _TRANSIENT_CODES
    if isinstance(error, OSError):
        return error.errno in _TRANSIENT_ERRNOS
    return isinstance(error, Exception) and not _is_any(error, _PERMANENT_ERRORS)


def is_missing_bucket(error: BaseException) -> bool:
    """Return whether the whole bucket is missing, not only the object."""
    answer = answer_of(error)
    return answer is not None and answer.code == "NoSuchBucket"


def is_unexplained_refusal(error: BaseException) -> bool:
    """Return whether a server refused without a reason, as in answers to HEAD requests, which have no body."""
    answer = answer_of(error)
    return answer is not None and answer.status in (400, 401, 403) and answer.code.isdecimal()


@contextlib.contextmanager
def named_errors(url: str, action: str = "read") -> Iterator[None]:
    """Raise errors of storage libraries as `StorageError`.

    `FileExistsError` and `NotImplementedError` pass unchanged: they are answers to a conditional write.

    Args:
        url: the URL that messages name.
        action: what was tried: read, written, removed or listed.
    """
    try:
        yield
    except (LabelauditError, FileExistsError, NotImplementedError):
        raise
    except Exception as error:
        raise StorageError(_message(error, without_secrets(url), action)) from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, without secrets."""
    text = str(error).strip() or type(error).__name__
    return without_secrets(text.splitlines()[0][:300].rstrip("."))


def without_secrets(text: str) -> str:
    """Return text without the passwords and queries of URLs; queries may contain signatures."""
    text = re.sub(r"(\w://[^\s/@:]*):[^\s/@]*@", r"\1:…@", text)
    return re.sub(r"(\w://[^\s?'\"]*)\?[^\s'\"]*", r"\1?…", text)


def _message(error: Exception, url: str, action: str) -> str:
    answer = answer_of(error)
    if answer is not None and answer.code in _BY_CODE:
        return _BY_CODE[answer.code].format(url=url, code=answer.code)
    if isinstance(error, FileNotFoundError):
        return f"Nothing is stored at {url}. Check the URL, and that the bucket or folder exists."
    if _is_any(error, _NO_CREDENTIALS):
        return (
            f"No credentials were found for {url} ({first_line(error)}). Set {_ENVIRONMENT} in the environment, "
            "or give this machine a role."
        )
    if isinstance(error, PermissionError) or (answer is not None and answer.status in (401, 403)):
        needed = f" (in S3: {_S3_ACTIONS[action]})" if answer else ""
        return (
            f"Access to {url} was refused ({first_line(error)}): it may not be {action}. "
            f"Check the credentials in the environment and the permissions of this user{needed}."
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk of {url} is full ({error.strerror}). Free some space, or write to another URL."
    if isinstance(error, ImportError):
        return f"{url} needs a package that is not installed ({first_line(error)}). Install it."
    return (
        f"{url} cannot be {action}: {type(error).__name__}: {first_line(error)}. Check the URL, the endpoint and "
        "storage.options."
    )


def _is_any(error: BaseException, names: frozenset[str]) -> bool:
    """Return whether one of the error's base classes is in `names`, as `package.Class`."""
    return any(f"{base.__module__.partition('.')[0]}.{base.__name__}" in names for base in type(error).__mro__)


def _number(value: object) -> int | None:
    """Return an HTTP status that is a number or text; None for anything else."""
    number = int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()) else None
    return number if number is not None and 100 <= number < 600 else None
