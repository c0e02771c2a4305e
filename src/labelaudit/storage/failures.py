"""What went wrong in a storage: whether it may pass, and a sentence that names place, cause and remedy."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from labelaudit.errors import LabelauditError, StorageError

_PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
# Sent with statuses that do not say so. The last four: the body was damaged or cut on its way to the server.
_PASSING_CODES = frozenset(
    {
        "ConditionalRequestConflict", "InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable",
        "SlowDown", "Throttling", "ThrottlingException", "TooManyRequests",
        "BadDigest", "IncompleteBody", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch",
    }
)  # fmt: skip
_PASSING_ERRNOS = frozenset(
    {
        errno.EAGAIN, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH,
        errno.ENETDOWN, errno.ENETUNREACH, errno.EPIPE, errno.ETIMEDOUT,
    }
)  # fmt: skip
# Base classes by name: importing their packages takes half a second, which local disks need not pay.
_PASSING_ERRORS = frozenset(
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
# Errors of use. Whatever is in no list comes from a backend that has a family of its own, and may pass.
_LASTING_ERRORS = frozenset(
    {
        "botocore.BotoCoreError", "builtins.ArithmeticError", "builtins.AttributeError", "builtins.ImportError",
        "builtins.LookupError", "builtins.NotImplementedError", "builtins.TypeError", "builtins.ValueError",
    }
)  # fmt: skip

_ENVIRONMENT = "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_WRONG_CREDENTIALS = (
    "The credentials for {url} are wrong ({code}): the storage does not know the access key, or the secret is "
    f"not the one of this key. Correct {_ENVIRONMENT}, and check that AWS_ENDPOINT_URL names the server they are for."
)
_EXPIRED = "The session token for {url} has expired ({code}). Get new temporary credentials, and run again."
_NO_BUCKET = (
    "The bucket of {url} does not exist ({code}). Create it, or correct the URL, and check that AWS_ENDPOINT_URL "
    "names the server that has it."
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
    "read": "s3:GetObject, and s3:ListBucket to learn that something is missing",
    "written": "s3:PutObject and s3:AbortMultipartUpload",
    "removed": "s3:DeleteObject",
    "listed": "s3:ListBucket",
}


class Answer(NamedTuple):
    """What an HTTP server said; `code` is the name that S3 gives to an error, else the status as text."""

    status: int
    code: str


def answer_of(error: BaseException | None) -> Answer | None:
    """The server's answer behind an error of any backend, None where there was none."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            code = str(response.get("Error", {}).get("Code", ""))
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode") or code
            return Answer(_number(status) or 0, code)
        for value in (getattr(error, name, None) for name in ("status_code", "status", "code")):
            if status := _number(value):
                return Answer(status, str(status))
        error = error.__cause__
    return None


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later."""
    if isinstance(error, LabelauditError):
        return error.transient
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return False
    # First: aiohttp says of a body that was cut that its cause is a status of 400.
    if _is_any(error, _PASSING_ERRORS) and not _is_any(error, _ANSWERS):
        return True
    if answer := answer_of(error):
        return answer.status in _PASSING_STATUSES or answer.code in _PASSING_CODES
    if isinstance(error, OSError):
        return error.errno in _PASSING_ERRNOS
    return isinstance(error, Exception) and not _is_any(error, _LASTING_ERRORS)


def is_missing_bucket(error: BaseException) -> bool:
    """Whether not the object alone is missing, but the bucket that should hold it."""
    answer = answer_of(error)
    return answer is not None and answer.code == "NoSuchBucket"


def says_no_reason(error: BaseException) -> bool:
    """Whether a server refused without a word: answers to HEAD requests have no body."""
    answer = answer_of(error)
    return answer is not None and answer.status in (400, 401, 403) and answer.code.isdecimal()


@contextlib.contextmanager
def named_errors(url: str, action: str = "read") -> Iterator[None]:
    """Turn whatever a storage library raises into a `StorageError`.

    `action` is what was tried: read, written, removed or listed. `FileExistsError` and `NotImplementedError`
    pass: they are answers to a conditional write.
    """
    try:
        yield
    except (LabelauditError, FileExistsError, NotImplementedError):
        raise
    except Exception as error:
        raise StorageError(_sentence(error, without_secrets(url), action)) from error


def first_line(error: BaseException) -> str:
    """The beginning of an error's text, without secrets."""
    text = str(error).strip() or type(error).__name__
    return without_secrets(text.splitlines()[0][:300].rstrip("."))


def without_secrets(text: str) -> str:
    """Passwords and the queries of URLs, which may hold signatures, are left out."""
    text = re.sub(r"(\w://[^\s/@:]*):[^\s/@]*@", r"\1:…@", text)
    return re.sub(r"(\w://[^\s?'\"]*)\?[^\s'\"]*", r"\1?…", text)


def _sentence(error: Exception, url: str, action: str) -> str:
    answer = answer_of(error)
    if answer is not None and answer.code in _BY_CODE:
        return _BY_CODE[answer.code].format(url=url, code=answer.code)
    if isinstance(error, FileNotFoundError):
        return f"Nothing is stored at {url}. Check the URL, and that the bucket or folder exists."
    if _is_any(error, _NO_CREDENTIALS):
        return (
            f"No credentials were found for {url} ({first_line(error)}). Set {_ENVIRONMENT}, in the environment of "
            "this process, or give its machine a role."
        )
    if isinstance(error, PermissionError) or (answer is not None and answer.status in (401, 403)):
        needed = f" (in S3: {_S3_ACTIONS[action]})" if answer else ""
        return (
            f"Access to {url} was refused ({first_line(error)}): it may not be {action}. "
            f"Check the credentials in the environment and the permissions of this user{needed}."
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk that holds {url} is full ({error.strerror}). Free some space, or write to another URL."
    if isinstance(error, ImportError):
        return f"{url} needs a package that is not installed ({first_line(error)}). Install it beside labelaudit."
    return (
        f"{url} cannot be {action}: {type(error).__name__}: {first_line(error)}. Check the URL, the endpoint and "
        "storage.options."
    )


def _is_any(error: BaseException, names: frozenset[str]) -> bool:
    """Whether one of the error's base classes is named `package.Class` in `names`."""
    return any(f"{base.__module__.partition('.')[0]}.{base.__name__}" in names for base in type(error).__mro__)


def _number(value: Any) -> int | None:
    """An HTTP status given as a number or as text."""
    number = int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()) else None
    return number if number is not None and 100 <= number < 600 else None
