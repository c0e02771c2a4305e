"""Every lasting failure has one sentence that names value, place and remedy, and no secret."""

from __future__ import annotations

import errno
import http.client
import os
from pathlib import Path

import aiohttp
import pytest
import requests
from botocore.exceptions import ClientError, NoCredentialsError

from labelaudit.errors import DatasetError, StorageError, StorageUnavailableError
from labelaudit.storage.failures import answer_of, is_transient, named_errors
from labelaudit.storage.store import Store, open_dataset
from support.faulty_proxy import FaultyProxy, Refusal

# Real servers answer so; HEAD requests get the status alone.
REFUSALS = [
    (
        Refusal(403, "InvalidAccessKeyId"),
        r"The credentials for {url} are wrong \(InvalidAccessKeyId\).*AWS_ENDPOINT_URL",
    ),
    (Refusal(403, "SignatureDoesNotMatch"), r"The credentials for {url} are wrong \(SignatureDoesNotMatch\)"),
    (Refusal(400, "ExpiredToken"), r"The session token for {url} has expired \(ExpiredToken\)\. Get new temporary"),
    (Refusal(403, "AccessDenied", "Access Denied"), r"Access to {url} was refused \(Access Denied\).*Check the cred"),
    (Refusal(403, "RequestTimeTooSkewed"), r"{url} refuses requests because the clock of this machine is wrong"),
    (Refusal(400, "AuthorizationHeaderMalformed"), r"The bucket of {url} is in another region .*AWS_DEFAULT_REGION"),
    (Refusal(404, "NoSuchBucket"), r"The bucket of {url} does not exist \(NoSuchBucket\)\. Create it, or correct"),
    (Refusal(400, "InvalidArgument", "Bad value"), r"{url} cannot be \w+: OSError: \[Errno 22\] Bad value\. Check the"),
]


@pytest.mark.parametrize(("refusal", "message"), REFUSALS)
def test_refusals_are_named_and_not_repeated(s3: str, proxy: FaultyProxy, refusal: Refusal, message: str) -> None:
    store = Store(f"{s3}/x")
    proxy.plan = lambda method, path: refusal
    pattern = message.format(url=f"{s3}/x/key")
    for act in (store.read, store.exists, store.size, lambda key: store.write(key, b""), store.remove, store.find):
        proxy.requests.clear()
        with pytest.raises(StorageError, match=pattern) as raised:
            act("key")
        assert not isinstance(raised.value, StorageUnavailableError)
        # The request, the listing that makes sure that a key is missing, and the question why.
        assert len(proxy.requests) <= 3
        assert os.environ["AWS_SECRET_ACCESS_KEY"] not in str(raised.value)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda store: store.read("key"), r"may not be read\. .*\(in S3: s3:GetObject"),
        (lambda store: store.write("key", b""), r"may not be written\. .*\(in S3: s3:PutObject"),
        (lambda store: store.remove("key"), r"may not be removed\. .*\(in S3: s3:DeleteObject\)"),
        (lambda store: store.find(), r"may not be listed\. .*\(in S3: s3:ListBucket\)"),
    ],
)
def test_a_refusal_says_what_was_tried(s3: str, proxy: FaultyProxy, act, message: str) -> None:  # type: ignore[no-untyped-def]
    proxy.plan = lambda method, path: Refusal(403, "AccessDenied")
    with pytest.raises(StorageError, match=message):
        act(Store(f"{s3}/x"))


def test_a_bucket_that_is_missing(s3: str) -> None:
    store = Store("s3://no-such-bucket/x")
    message = r"The bucket of s3://no-such-bucket/x.* does not exist \(NoSuchBucket\)"
    for act in (
        store.read,
        store.exists,
        store.find,
        lambda key: store.write(key, b""),
        lambda key: store.create(key, b""),
    ):
        with pytest.raises(StorageError, match=message):
            act("key")
    with pytest.raises(DatasetError, match=message):
        open_dataset("s3://no-such-bucket/x")


def test_no_credentials(s3: str, fresh_connections: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(
        StorageError, match=r"No credentials were found for s3://.*/x/key .*Set AWS_PROFILE, or AWS_ACC"
    ):
        Store(f"{s3}/x").read("key")


def test_a_full_disk_that_holds_the_audits(small_disk: Path) -> None:
    store = Store(str(small_disk / "audits"))
    store.write("old", b"old")
    with pytest.raises(StorageError, match=r"The disk of .*audits/new is full .*Free some space"):
        store.write("new", b"x" * 2**20)
    with pytest.raises(StorageError, match=r"The disk of .*audits/old is full"):
        store.write("old", b"x" * 2**20)
    assert store.read("old") == b"old"
    assert [file.path for file in store.find()] == ["old"]


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (ClientError({"Error": {"Code": "503"}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "HeadObject"), True),
        (ClientError({"Error": {"Code": "RequestTimeout"}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "Put"), True),
        (ClientError({"Error": {"Code": "BadDigest"}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "Put"), True),
        (ClientError({"Error": {"Code": "404"}, "ResponseMetadata": {"HTTPStatusCode": 404}}, "HeadObject"), False),
        (ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject"), False),
        (NoCredentialsError(), False),
        (aiohttp.ClientOSError(errno.ECONNRESET, "reset"), True),
        (aiohttp.ClientConnectionError("CERTIFICATE_VERIFY_FAILED"), False),
        (requests.exceptions.ReadTimeout(), True),
        (http.client.IncompleteRead(b""), True),
        (OSError(errno.EPIPE, "pipe"), True),
        (OSError(errno.ENOSPC, "full"), False),
        (StorageUnavailableError("x"), True),
        (DatasetError("x"), False),
        (KeyboardInterrupt(), False),
        (KeyError("x"), False),
        (RuntimeError("of an unknown backend"), True),
    ],
)
def test_what_may_pass(error: BaseException, passes: bool) -> None:
    assert is_transient(error) is passes


def test_answers_of_other_backends() -> None:
    class GoogleError(Exception):
        code = 403

    class AzureError(Exception):
        status_code = 503

    assert answer_of(GoogleError()) == (403, "403")
    assert is_transient(AzureError())
    assert not is_transient(GoogleError())
    assert answer_of(OSError(5, "disk")) is None
    with pytest.raises(StorageError, match=r"Access to gs://b/k was refused \(GoogleError\): it may not be read"):  # noqa: SIM117
        with named_errors("gs://b/k"):
            raise GoogleError


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ftp://user:hunter2@host/data", r"ftp://user:…@host/data"),
        ("https://host/data.csv?X-Amz-Signature=hunter2", r"https://host/data\.csv\?…"),
    ],
)
def test_no_secret_is_shown(url: str, shown: str) -> None:
    with pytest.raises(StorageError, match=shown) as raised, named_errors(url):
        raise PermissionError(f"no access to {url}")
    assert "hunter2" not in str(raised.value)
