"""The least that an audit may be allowed in S3: deployments/s3-policy.json, enforced by a server of its own."""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from labelaudit.audits.published import find_audit
from labelaudit.cli.doctor import examine
from labelaudit.errors import LabelauditError, StorageError
from labelaudit.reviews.audit_review import draw_by_flag
from labelaudit.reviews.sample_store import read_samples
from labelaudit.reviews.verdict_store import append_verdicts, read_verdicts
from labelaudit.reviews.verdicts import Verdict
from labelaudit.schemas import Decision
from labelaudit.storage.layout import CONDITIONS_PROBE
from labelaudit.storage.store import Store, open_dataset
from support.audits import audit, fruit, settings
from support.faulty_proxy import FaultyProxy, Trouble, once
from support.paths import ROOT

POLICY = ROOT / "deployments" / "s3-policy.json"
ALLOW_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
_outputs = itertools.count()


def shipped_policy() -> dict[str, Any]:
    text = POLICY.read_text().replace("DATASETS_BUCKET", "datasets").replace("AUDITS_BUCKET", "audits")
    policy: dict[str, Any] = json.loads(text)
    return policy


def without(sid: str, action: str) -> dict[str, Any]:
    """The shipped policy less one action of one statement."""
    policy = shipped_policy()
    for statement in policy["Statement"]:
        if statement["Sid"] == sid:
            allowed = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            assert action in allowed
            statement["Action"] = [name for name in allowed if name != action] or ["s3:NoSuchAction"]
    return policy


class Server:
    """A running S3 server that knows an administrator and the user of audits, and enforces their policies."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client("s3").create_bucket(Bucket="datasets")
        self._client("s3").create_bucket(Bucket="audits")
        self._client("s3").put_object(
            Bucket="datasets", Key="fruit/v1/a.csv", Body=fruit().to_csv(index=False).encode()
        )
        self.admin = self._user("admin", ALLOW_ALL)
        self.auditor = self._user("auditor", shipped_policy())
        enforce = urllib.request.Request(f"{url}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"})
        urllib.request.urlopen(enforce).close()

    def allow(self, policy: dict[str, Any]) -> None:
        iam = self._client("iam", *self.admin)
        iam.put_user_policy(UserName="auditor", PolicyName="allowed", PolicyDocument=json.dumps(policy))

    def as_admin(self) -> Any:
        return self._client("s3", *self.admin)

    def _client(self, service: str, key: str = "setup", secret: str = "setup") -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            region_name="us-east-1",
        )

    def _user(self, name: str, policy: dict[str, Any]) -> tuple[str, str]:
        iam = self._client("iam")
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="allowed", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    """A process of its own: moto's enforcement is switched on for all servers of a process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield Server(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    pytest.fail("the S3 server did not start")


@pytest.fixture
def server(running: Server, fresh_connections: None, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The environment is that of the user of audits, with the shipped policy."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", running.auditor[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", running.auditor[1])
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    running.allow(shipped_policy())
    return running


def _output() -> str:
    return f"s3://audits/run-{next(_outputs)}"


def test_an_audit_and_doctor_need_no_more(server: Server) -> None:
    config = settings("s3://datasets/fruit/v1", _output())
    reference = audit(config)
    assert reference.status == "published"
    assert reference.issues > 0
    assert audit(config).status == "already_published"
    findings = {finding.name: finding for finding in examine(config, None)}
    assert findings["output"].ok, findings["output"].detail
    assert "conditional writes are honoured" in findings["output"].detail
    assert findings["dataset"].ok


@pytest.mark.parametrize(
    ("sid", "action", "message"),
    [
        ("ListDatasets", "s3:ListBucket", r"Access to s3://datasets/fruit/v1 was refused .*s3:ListBucket"),
        ("ReadDatasets", "s3:GetObject", r"Access to s3://datasets/fruit/v1 was refused .*s3:GetObject"),
        ("ListAudits", "s3:ListBucket", r"Access to s3://audits/run-\d+/\S+ was refused .*s3:ListBucket"),
        ("ReadAndWriteAudits", "s3:GetObject", r"Access to s3://audits/run-\d+/\S+ was refused .*s3:GetObject"),
        ("ReadAndWriteAudits", "s3:PutObject", r"Access to s3://audits/run-\d+/\S+ was refused .*s3:PutObject"),
    ],
)
def test_an_audit_needs_each_of_these(server: Server, sid: str, action: str, message: str) -> None:
    server.allow(without(sid, action))
    with pytest.raises(StorageError, match=message) as raised:
        audit(settings("s3://datasets/fruit/v1", _output()))
    assert not raised.value.transient


def test_a_fold_without_its_file_is_trained_again(server: Server) -> None:
    """The record of such a fold is removed, which is what deleting is needed for."""
    output = _output()
    config = settings("s3://datasets/fruit/v1", output)
    reference = audit(config)
    for key in _keys(server, output):
        if key.endswith("manifest.json") or ("/_work/folds/" in key and "fold=1-" in key):
            server.as_admin().delete_object(Bucket="audits", Key=key)
    server.allow(without("RemoveWorkButNothingPublished", "s3:DeleteObject"))
    with pytest.raises(StorageError, match=r"_work/folds/\S+ was refused .*may not be removed.*s3:DeleteObject"):
        audit(config)
    server.allow(shipped_policy())
    assert audit(config).audit_url == reference.audit_url


def test_doctor_names_what_may_not_be_done(server: Server) -> None:
    server.allow(without("RemoveWorkButNothingPublished", "s3:DeleteObject"))
    output = next(
        found for found in examine(settings("s3://datasets/fruit/v1", _output()), None) if found.name == "output"
    )
    assert not output.ok
    assert "may not be removed" in output.detail


def test_nothing_else_may_be_done(server: Server) -> None:
    datasets, audits = Store("s3://datasets/fruit"), Store(_output())
    with pytest.raises(StorageError, match=r"Access to s3://datasets/fruit/v1/a.csv was refused .*may not be written"):
        datasets.write("v1/a.csv", b"")
    with pytest.raises(StorageError, match=r"Access to s3://datasets/fruit/v1/a.csv was refused .*may not be removed"):
        datasets.remove("v1/a.csv")
    audits.write("dataset=d/version=v/audit=a/manifest.json", b"{}")
    with pytest.raises(StorageError, match=r"manifest.json was refused .*may not be removed"):
        audits.remove("dataset=d/version=v/audit=a/manifest.json")
    with pytest.raises(LabelauditError, match=r"s3://other/x"):
        Store("s3://other").read("x")


def test_a_reviewer_writes_verdicts_and_samples_alone(server: Server) -> None:
    output = _output()
    reference = audit(settings("s3://datasets/fruit/v1", output))
    write = {"Effect": "Allow", "Action": "s3:PutObject"}
    read = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"]}
    folders = [f"arn:aws:s3:::audits/*/dataset=*/{name}/*" for name in ("_verdicts", "_samples")]
    reading = {**read, "Resource": ["arn:aws:s3:::audits", "arn:aws:s3:::audits/*"]}
    server.allow({"Version": "2012-10-17", "Statement": [reading, {**write, "Resource": folders}]})
    found = find_audit(reference.audit_url)
    sample = draw_by_flag(found, flagged=2, unflagged=2, seed=1)
    assert draw_by_flag(found, flagged=2, unflagged=2, seed=1).strata == sample.strata
    assert read_samples(found.store, found.dataset) == [sample]
    row = sample.shuffled()[0]
    verdict = Verdict(
        row.example_id, row.content_digest, row.given_label, verdict=Decision.FINE, right_label=None, reviewer="ann",
        decided_at="2025-01-01T00:00:00.000000+00:00", audit_id=found.audit_id, was_flagged=True,
    )  # fmt: skip
    append_verdicts(found.store, found.dataset, [verdict])
    assert read_verdicts(found.store, found.dataset) == [verdict]
    with pytest.raises(StorageError, match=r"was refused .*may not be written"):
        found.store.write("dataset=fruit/_audits/a.json", b"{}")


def test_wrong_credentials(server: Server, fresh_connections: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    with pytest.raises(
        StorageError, match=r"credentials for s3://datasets/fruit/v1.* are wrong \(SignatureDoesNotMatch\)"
    ):
        open_dataset("s3://datasets/fruit/v1")


def test_an_unknown_key(server: Server, fresh_connections: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODYKNOWSTHIS")
    with pytest.raises(StorageError, match=r"credentials for s3://audits/x/key are wrong \(InvalidAccessKeyId\)"):
        Store("s3://audits/x").exists("key")


@pytest.mark.slow
def test_a_broken_upload_in_parts_is_taken_back(
    server: Server, short_waits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """s3fs gives up the parts of an upload that failed; without that permission the failure is the end."""
    data = b"x" * (101 * 2**20)
    with FaultyProxy(server.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        store = Store(_output())
        proxy.plan = once(Trouble.SLOW_DOWN, "PUT", "partNumber=2")
        store.write("key", data)
        assert proxy.met[Trouble.SLOW_DOWN] == 1
        assert store.size("key") == len(data)
        server.allow(without("ReadAndWriteAudits", "s3:AbortMultipartUpload"))
        proxy.plan = once(Trouble.SLOW_DOWN, "PUT", "partNumber=2")
        with pytest.raises(StorageError, match=r"was refused .*may not be written.*s3:AbortMultipartUpload"):
            store.write("key", data)


def test_the_probe_lies_where_it_may_be_removed() -> None:
    removable = [
        pattern for rule in shipped_policy()["Statement"] for pattern in rule["Resource"] if "_work" in pattern
    ]
    assert "arn:aws:s3:::audits/_work/*" in removable
    assert CONDITIONS_PROBE.startswith("_work/")


def _keys(server: Server, output: str) -> list[str]:
    found = server.as_admin().list_objects_v2(Bucket="audits", Prefix=output.removeprefix("s3://audits/"))
    return [item["Key"] for item in found["Contents"]]
