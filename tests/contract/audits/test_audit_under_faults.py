"""Audits from S3 to S3 while requests fail at random: the same bytes, and nothing half-written is visible."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pyarrow.parquet as pq
import pytest
from s3fs import S3FileSystem

from labelaudit.audit import DirectCaller, run_audit
from labelaudit.audits.references import AuditReference
from labelaudit.config import AuditConfig
from labelaudit.storage import retries
from support.audits import Quiet, audit, fruit, settings, write_squares
from support.faulty_proxy import NETWORK_TROUBLES, FaultyProxy, at_random
from support.waiting import PATIENCE_SECONDS

# Files with times differ from run to run, and so do the files with their checksums.
TIMED = {"manifest.json", "report.html", "summary.json", "folds.parquet"}
QUICK = {"storage": {"options": {"config_kwargs": {"read_timeout": 1}}}, "cross_validation": {"folds": 2}}


class Bucket:
    """Return the bucket without the proxy."""

    def __init__(self, url: str, endpoint: str) -> None:
        self.url = url
        self._bucket = boto3.resource("s3", endpoint_url=endpoint).Bucket(url.removeprefix("s3://"))

    def put(self, key: str, data: bytes) -> None:
        self._bucket.put_object(Key=key, Body=data)

    def keys(self, prefix: str) -> list[str]:
        return sorted(item.key for item in self._bucket.objects.filter(Prefix=prefix))

    def get(self, key: str) -> bytes:
        data: bytes = self._bucket.Object(key).get()["Body"].read()
        return data

    def published(self, prefix: str) -> dict[str, bytes]:
        """Return the files of the only audit below a prefix, checked against its manifest."""
        (manifest,) = [key for key in self.keys(prefix) if key.endswith("/manifest.json")]
        folder = manifest.removesuffix("manifest.json")
        files = {key.removeprefix(folder): self.get(key) for key in self.keys(folder)}
        entries = json.loads(files["manifest.json"])["files"]
        assert {entry["path"] for entry in entries} == files.keys() - {"manifest.json"}
        for entry in entries:
            assert hashlib.sha256(files[entry["path"]]).hexdigest() == entry["sha256"], entry["path"]
        return files


@pytest.fixture
def bucket(s3: str, s3_server: str) -> Iterator[Bucket]:
    S3FileSystem.clear_instance_cache()
    yield Bucket(s3, s3_server)
    S3FileSystem.clear_instance_cache()


@pytest.fixture
def proxy(bucket: Bucket, s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    monkeypatch.setattr(retries, "FIRST_WAIT_SECONDS", 0.02)
    with FaultyProxy(s3_server, late_seconds=1.5) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


def _same_bytes(found: dict[str, bytes], expected: dict[str, bytes]) -> None:
    assert found.keys() == expected.keys()
    assert {"pred_probs/fold=0/part.parquet", "examples.parquet", "issues.parquet"} <= found.keys()
    assert [name for name in found if name not in TIMED and found[name] != expected[name]] == []
    folds = [pq.read_table(io.BytesIO(files["folds.parquet"])).drop_columns("seconds") for files in (found, expected)]
    assert folds[0].equals(folds[1])


def _watch(bucket: Bucket, prefix: str, ended: threading.Event, seen: list[str]) -> None:
    """Read again and again: everything that is announced must exist and be complete."""
    while not ended.is_set():
        for key in bucket.keys(prefix):
            if key.endswith("/latest.json"):
                folder = json.loads(bucket.get(key))["audit"]
                assert f"{prefix}/{folder}/manifest.json" in bucket.keys(prefix)
            elif key.endswith("/manifest.json"):
                bucket.published(prefix)
            elif "/_work/folds/" in key and key.endswith(".json"):
                record = json.loads(bucket.get(key))
                assert hashlib.sha256(bucket.get(f"{prefix}/{record['key']}")).hexdigest() == record["sha256"]
            elif key.endswith(".parquet"):
                pq.read_table(io.BytesIO(bucket.get(key)))
            else:
                continue
            seen.append(key)
        time.sleep(0.3)


def _watched(bucket: Bucket, prefix: str, act: Callable[[], AuditReference]) -> AuditReference:
    ended, seen, problems = threading.Event(), [], []  # type: ignore[var-annotated]

    def watch() -> None:
        try:
            _watch(bucket, prefix, ended, seen)
        except BaseException as problem:
            problems.append(problem)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        return act()
    finally:
        ended.set()
        watcher.join()
        assert not problems, problems
        assert any("/_work/folds/" in key for key in seen)


def _config(bucket: Bucket, data: str, output: str) -> AuditConfig:
    return settings(f"{bucket.url}/{data}", f"{bucket.url}/{output}", **QUICK)


@pytest.mark.slow
def test_a_small_audit_through_faults(bucket: Bucket, proxy: FaultyProxy) -> None:
    sink = io.BytesIO()
    fruit(rows=120).to_parquet(sink, index=False)
    bucket.put("data/fruit.parquet", sink.getvalue())
    audit(_config(bucket, "data", "undisturbed"))
    proxy.plan = at_random(0.12, seed=3)
    reference = _watched(bucket, "faulty", lambda: audit(_config(bucket, "data", "faulty")))
    assert reference.status == "published"
    assert sum(proxy.met.values()) >= 5
    _same_bytes(bucket.published("faulty"), bucket.published("undisturbed"))
    assert audit(_config(bucket, "data", "faulty")).status == "already_published"


@pytest.mark.slow
def test_an_audit_through_a_hundred_faults(bucket: Bucket, proxy: FaultyProxy, tmp_path: Path) -> None:
    """Each image is a file, so that an audit makes many requests. Folds train in worker processes."""
    for path in write_squares(tmp_path / "squares", per_class=100).rglob("*.png"):
        bucket.put(f"squares/{path.relative_to(tmp_path / 'squares')}", path.read_bytes())

    def run(output: str) -> AuditReference:
        return run_audit(_config(bucket, "squares", output), DirectCaller(Quiet()))

    run("undisturbed")
    proxy.plan = at_random(0.18, seed=5)
    _watched(bucket, "faulty", lambda: run("faulty"))
    print(f"{len(proxy.requests)} requests, {dict(proxy.met)}")  # noqa: T201 (shown if the test fails)
    assert sum(proxy.met.values()) >= 100
    assert set(proxy.met) == set(NETWORK_TROUBLES)
    _same_bytes(bucket.published("faulty"), bucket.published("undisturbed"))


@pytest.mark.slow
def test_the_same_audit_twice_at_once(bucket: Bucket, proxy: FaultyProxy) -> None:
    """Two processes on one output: both succeed with one audit whose files fit its manifest."""
    sink = io.BytesIO()
    fruit().to_parquet(sink, index=False)
    bucket.put("data/fruit.parquet", sink.getvalue())
    command = [
        sys.executable,
        "-m",
        "labelaudit.cli.main",
        "run",
        f"{bucket.url}/data",
        "--output",
        f"{bucket.url}/out",
    ]
    quick = ("training.epochs=5", "cross_validation.folds=2", "workers.max_parallel=1")
    command += ["--ignore", "true_label", *(word for setting in quick for word in ("--set", setting)), "--json"]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
        for _ in range(2)
    ]
    answers = [run.communicate(timeout=PATIENCE_SECONDS) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], answers
    assert len({json.loads(out)["audit_url"] for out, _ in answers}) == 1
    bucket.published("out")
