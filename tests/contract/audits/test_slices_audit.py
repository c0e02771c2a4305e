"""Slices in whole audits: tables, notes, page, gate, the next version, and what is trained again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from labelaudit.audit import audit_probabilities
from labelaudit.audits.comparison import compare_published
from labelaudit.audits.published import PublishedAudit, find_audit
from labelaudit.config import AuditConfig, build_config
from labelaudit.errors import DatasetError
from labelaudit.findings import Outcome
from labelaudit.pipeline.check import check_dataset
from labelaudit.pipeline.external_probabilities import ExternalProbabilities
from labelaudit.schemas import EXAMPLES, SLICES
from support.audits import CLASSES, InProcess, audit, fruit, settings, table, write_fruit

ROWS, BATCHES = 400, 5
NOTE = "Slice batch b2: "


def plants(bad: str | None = None, seed: int = 0) -> pd.DataFrame:
    """Return fruit in batches and with a farm for most rows; half of the labels of one batch are wrong."""
    frame = fruit(ROWS).drop(columns="true_label")
    frame["batch"] = [f"b{row // 20 % BATCHES}" for row in range(ROWS)]
    farms = np.random.default_rng(seed).choice(["north", "south", None], ROWS)
    frame["farm"] = farms
    is_wrong = (frame.batch == bad) & (frame.index % 2 == 0)
    others = [CLASSES[CLASSES.index(label) - 1] for label in frame.label]
    frame["label"] = np.where(is_wrong, others, frame.label)
    return frame


def config(folder: Path, version: str, slices: tuple[str, ...] = ("batch", "farm"), **sections: object) -> AuditConfig:
    url = folder / "plants" / "{version}.parquet"
    ignored = [name for name in ("batch", "farm") if name not in slices]
    dataset = {"name": "plants", "version": version, "id": "id", "ignore": ignored, "slices": list(slices)}
    return settings(url, folder / "out", dataset=dataset, cross_validation={"folds": 2}, **sections)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Audit v1, and v2 with a bad batch."""
    folder = tmp_path_factory.mktemp("versions")
    for version, bad in (("v1", None), ("v2", "b2")):
        write_fruit(folder / "plants" / f"{version}.parquet", plants(bad))
        audit(config(folder, version, gate={"max_slice_ratio": 2}))
    return folder


def published(versions: Path, version: str) -> PublishedAudit:
    return find_audit(version, dataset_url=f"{versions}/out/dataset=plants")


def test_the_tables(versions: Path) -> None:
    found = published(versions, "v2")
    slices = found.table("slices.parquet", SLICES).to_pandas()
    assert slices.groupby("column")["rows"].sum().to_dict() == {"batch": ROWS, "farm": ROWS}
    assert set(slices[slices.column == "farm"]["value"]) == {"north", "south", "missing"}
    worst = slices.iloc[0]
    assert (worst["column"], worst["value"], worst["scored"]) == ("batch", "b2", ROWS // BATCHES)
    assert worst["low"] > 2
    assert slices["is_worse"].tolist() == [True] + [False] * (BATCHES + 2)
    # Readers that know only the fixed columns can read the examples.
    examples = found.table("examples.parquet", EXAMPLES)
    assert examples.schema.equals(EXAMPLES)
    path = f"{found.url.removeprefix('file://')}/examples.parquet"
    stored = pq.read_table(path, partitioning=None).to_pandas().set_index("example_id")
    assert list(stored.columns[-2:]) == ["slice_batch", "slice_farm"]
    given = plants("b2").set_index("id")
    assert stored["slice_farm"].astype(str).to_dict() == given["farm"].fillna("missing").to_dict()
    of_batch = stored[stored["slice_batch"] == "b2"]
    assert worst["expected_wrong"] == pytest.approx(of_batch["p_wrong"].sum(), rel=1e-5)
    assert worst["flagged"] == of_batch["is_label_issue"].sum()


def test_notes_page_and_gate(versions: Path) -> None:
    summary = published(versions, "v2").summary()
    assert summary.slices is not None
    assert summary.slices.values == {"batch": BATCHES, "farm": 3}
    assert sum(note.startswith(NOTE) for note in summary.notes) == 1
    page = published(versions, "v2").read("report.html").decode()
    section = page.partition('<section id="slices"')[2].partition("</section>")[0]
    assert "batch b2: " in section
    assert section.count("<tr") == 1 + BATCHES + 3
    gates = [published(versions, version).summary().gate for version in ("v1", "v2")]
    outcomes = [{rule.rule: rule.outcome for rule in gate.rules}["max_slice_ratio"] for gate in gates if gate]
    assert outcomes == [Outcome.PASSED, Outcome.FAILED]
    quiet = published(versions, "v1").summary()
    assert "Slices: no value of batch, farm has more wrong labels than the others, beyond chance." in quiet.notes


def test_the_next_version_is_compared(versions: Path) -> None:
    start = "Slices with more wrong labels than in version v1, compared with the others: batch b2: "
    changes = published(versions, "v2").summary().changes
    assert changes is not None
    assert sum(note.startswith(start) for note in changes.notes) == 1
    compared = compare_published(published(versions, "v1"), published(versions, "v2")).changes
    assert compared.slices == changes.slices
    assert compared.slices is not None
    assert compared.slices.counts == {"worse": 1, "better": 0, "new": 0, "gone": 0}
    page = published(versions, "v2").read("report.html").decode()
    assert '<span class="tag">before ' in page


def test_a_check_counts_the_values(versions: Path) -> None:
    found = check_dataset(config(versions, "v2"), parallel=1, threads=1)
    assert found.columns["slices"] == "batch (5 values), farm (3 values)"
    assert found.columns["input"] == "weight, length, colour, noise"


def test_other_slices_are_another_audit_but_train_nothing(versions: Path, tmp_path: Path) -> None:
    write_fruit(tmp_path / "plants" / "v1.parquet", plants())
    first = audit(config(tmp_path, "v1", slices=()))
    assert find_audit(first.audit_url).summary().slices is None
    assert 'id="slices"' not in Path(first.report_url).read_text()
    again = InProcess()
    second = audit(config(tmp_path, "v1", slices=("farm",)), again)
    assert second.audit_url != first.audit_url
    assert again.progress.epochs == []
    assert table(second, "slices")["column"].unique().to_pylist() == ["farm"]
    # The same contents and labels, but rows are in other slices.
    write_fruit(tmp_path / "plants" / "v1.parquet", plants(seed=1))
    moved = InProcess()
    third = audit(config(tmp_path, "v1", slices=("farm",)), moved)
    assert third.audit_url != second.audit_url
    assert moved.progress.epochs == []
    same = audit(config(tmp_path, "v1", slices=("farm",)), moved)
    assert same.audit_url == third.audit_url


def probabilities(folder: Path, **columns: object) -> Path:
    rows = 300
    right = np.arange(rows) % 3
    batch = np.arange(rows) // 3 % 5
    given = np.where((batch == 2) & (np.arange(rows) % 2 == 0), (right + 1) % 3, right)
    frame = {
        "id": [f"i{row:03d}" for row in range(rows)],
        "label": [CLASSES[label] for label in given],
        "pred_probs": list(0.02 + 0.94 * np.eye(3)[right]),
        "batch": batch,
        **columns,
    }
    pd.DataFrame(frame).to_parquet(folder / "p.parquet", index=False)
    np.save(folder / "annotator.npy", np.array(["ann", "bob"])[np.arange(rows) // 15 % 2])
    return folder / "p.parquet"


def of_probabilities(path: Path, *slices: str) -> PublishedAudit:
    output = {"url": str(path.parent / "out")}
    made = build_config({"dataset": {"url": str(path), "name": "p", "slices": list(slices)}, "output": output})
    return find_audit(audit_probabilities(made, ExternalProbabilities(str(path), slices=slices)).audit_url)


def test_slices_of_external_probabilities(tmp_path: Path) -> None:
    path = probabilities(tmp_path)
    found = of_probabilities(path, "batch", str(tmp_path / "annotator.npy"))
    summary = found.summary()
    assert summary.slices is not None
    assert summary.slices.values == {"annotator": 2, "batch": 5}
    assert [one.value for one in summary.slices.worst] == ["2"]
    assert found.url != of_probabilities(path, "batch").url
    # Other values are another audit.
    before = of_probabilities(path, "batch").url
    probabilities(tmp_path, batch=np.arange(300) % 4)
    assert of_probabilities(path, "batch").url != before


def test_external_slices_that_cannot_be_used(tmp_path: Path) -> None:
    path = probabilities(tmp_path)
    with pytest.raises(DatasetError, match=r"has no column 'camera'\. Name one of its columns: id, label, "):
        of_probabilities(path, "camera")
    with pytest.raises(DatasetError, match=r"Column 'id' \(dataset\.slices\) has 300 different values in 300 rows"):
        of_probabilities(path, "id")
    np.save(tmp_path / "short.npy", np.array(["a", "b"]))
    with pytest.raises(DatasetError, match=r"There are 2 values of 'short' but 300 labels"):
        of_probabilities(path, str(tmp_path / "short.npy"))
