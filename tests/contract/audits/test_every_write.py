"""Each write of an audit fails once, and the process ends after each write. A rerun gives the same bytes."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from labelaudit.config import AuditConfig
from labelaudit.errors import StorageError
from labelaudit.model.fold import FoldFit
from labelaudit.pipeline import train
from labelaudit.storage import store
from labelaudit.storage.store import Store
from labelaudit.storage.uploads import complete_file
from support.audits import audit, fruit, settings, write_fruit

# Files with times differ from run to run, and so do the files with their checksums.
TIMED = {"manifest.json", "report.html", "summary.json", "folds.parquet"}
FOLDS = 2
FEATURES = ["weight", "length", "colour", "noise"]


class KilledError(BaseException):
    """Ends an audit like a kill: error handlers do not catch it."""


class Disk:
    """The local disk, on which the write with one number fails, or is the last one of the process."""

    def __init__(self, *, fails_at: int = 0, killed_after: int = 0) -> None:
        self.fails_at = fails_at
        self.killed_after = killed_after
        self.writes: list[str] = []

    @contextmanager
    def complete_file(self, path: str, data: bytes) -> Iterator[str]:
        self.writes.append(path)
        if len(self.writes) == self.fails_at:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        with complete_file(path, data) as complete:
            yield complete
        if len(self.writes) == self.killed_after:
            raise KilledError


Run = Callable[[Path, Disk], None]


@pytest.fixture(scope="module", params=["the network", pytest.param("two views of vectors", marks=pytest.mark.slow)])
def before(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two versions of a dataset, and audit the first one."""
    folder = tmp_path_factory.mktemp("before")
    for version, rows in (("v1", 90), ("v2", 99)):
        frame = fruit(rows=rows)
        if request.param != "the network":
            frame = frame[["id", "label"]].assign(vector=frame[FEATURES].to_numpy(np.float32).tolist())
        write_fruit(folder / version / "fruit.parquet", frame)
    audit(config(folder, folder / "out", "v1"))
    return folder


@pytest.fixture
def run(before: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Audit version 2 into a folder with a new disk. Each view of a fold is trained once and then remembered."""
    fits: dict[tuple[str, int], FoldFit] = {}

    def remembered(name: str, fit: Callable[..., FoldFit]) -> Callable[..., FoldFit]:
        def fit_once(store: Store, part: Any, *arguments: Any) -> FoldFit:
            if (name, part.fold) not in fits:
                fits[name, part.fold] = fit(store, part, *arguments)
            return fits[name, part.fold]

        return fit_once

    monkeypatch.setattr(train, "_FIT", {name: remembered(name, fit) for name, fit in train._FIT.items()})

    def run_on(output: Path, disk: Disk) -> None:
        monkeypatch.setattr(store, "complete_file", disk.complete_file)
        audit(config(before, output, "v2"))

    return run_on


def config(data: Path, output: Path, version: str) -> AuditConfig:
    return settings(
        data / "{version}",
        output,
        dataset={"name": "fruit", "version": version},
        training={"epochs": 3},
        cross_validation={"folds": FOLDS},
    )


def published(output: Path) -> dict[str, bytes]:
    """Return the files of the audit of version 2, checked by its manifest, or none if it is not published."""
    manifests = list(output.glob("dataset=fruit/version=v2/audit=*/manifest.json"))
    if not manifests:
        return {}
    (manifest,) = manifests
    files = {str(path.relative_to(manifest.parent)): path.read_bytes() for path in manifest.parent.rglob("*.*")}
    entries = json.loads(files["manifest.json"])["files"]
    assert {entry["path"] for entry in entries} == files.keys() - {"manifest.json"}
    assert [e["path"] for e in entries if hashlib.sha256(files[e["path"]]).hexdigest() != e["sha256"]] == []
    return files


def check_what_readers_see(output: Path) -> None:
    """Check that everything announced exists and is complete: the latest audit, fold records, published audits."""
    latest = json.loads((output / "dataset=fruit" / "latest.json").read_text())
    assert (output / latest["audit"] / "manifest.json").is_file()
    published(output)
    for record in output.rglob("_work/folds/**/*.json"):
        fold = json.loads(record.read_text())
        for prefix in ("", "dynamics_"):
            if fold[f"{prefix}key"] is None:
                continue  # only a network has training dynamics
            file = output / fold[f"{prefix}key"]
            assert hashlib.sha256(file.read_bytes()).hexdigest() == fold[f"{prefix}sha256"]


def check_same(output: Path, expected: dict[str, bytes]) -> None:
    found = published(output)
    assert found.keys() == expected.keys()
    assert [name for name in found if name not in TIMED and found[name] != expected[name]] == []
    trend = pq.read_table(output / "dataset=fruit" / "trend.parquet")["version"].to_pylist()
    assert trend.count("v1") == trend.count("v2") == len(trend) / 2
    assert json.loads((output / "dataset=fruit" / "latest.json").read_text())["version"] == "v2"
    assert not list(output.rglob(".*")), "nothing half-written is left"


@pytest.fixture
def undisturbed(before: Path, run: Run, tmp_path: Path) -> tuple[dict[str, bytes], int]:
    """Return the bytes of an undisturbed audit and the number of its writes."""
    output, disk = tmp_path / "undisturbed", Disk()
    shutil.copytree(before / "out", output)
    run(output, disk)
    files = published(output)
    assert {"examples.parquet", "changes.parquet", f"pred_probs/fold={FOLDS - 1}/part.parquet"} <= files.keys()
    manifest = next(n for n, path in enumerate(disk.writes) if path.endswith("/manifest.json"))
    folder = disk.writes[manifest].removesuffix("manifest.json")
    assert not any(path.startswith(folder) for path in disk.writes[manifest + 1 :]), "the manifest is the last one"
    return files, len(disk.writes)


def test_each_write_fails_once(
    before: Path, run: Run, undisturbed: tuple[dict[str, bytes], int], tmp_path: Path
) -> None:
    expected, writes = undisturbed
    for number in range(1, writes + 1):
        output = tmp_path / f"failed-{number}"
        shutil.copytree(before / "out", output)
        with pytest.raises(StorageError, match=r"No space left on device"):
            run(output, Disk(fails_at=number))
        check_what_readers_see(output)
        run(output, Disk())
        check_same(output, expected)


# Slow: storage gets into the same states as in the test above. Here no error handler runs before the end.
@pytest.mark.slow
def test_a_kill_after_each_write(
    before: Path, run: Run, undisturbed: tuple[dict[str, bytes], int], tmp_path: Path
) -> None:
    expected, writes = undisturbed
    for number in range(1, writes + 1):
        output = tmp_path / f"killed-{number}"
        shutil.copytree(before / "out", output)
        with pytest.raises(KilledError):
            run(output, Disk(killed_after=number))
        check_what_readers_see(output)
        again = Disk()
        run(output, again)
        check_same(output, expected)
        assert len(again.writes) <= writes, "what is stored is not made again"
