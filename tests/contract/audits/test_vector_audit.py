"""Whole audits of vectors, such as embeddings, with the network alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelaudit.errors import ConfigError
from support.audits import CLASSES, audit, fold_bytes, settings, table

ROWS, LENGTH = 240, 24
IDS = [f"v{number:03d}" for number in range(ROWS)]
WRONG = IDS[7::20]


@pytest.fixture(scope="module")
def vectors() -> tuple[np.ndarray, list[str]]:
    """Return vectors in three clusters, and their labels. Every twentieth label is wrong."""
    generator = np.random.default_rng(0)
    right = np.arange(ROWS) % 3
    values = 2 * generator.normal(size=(3, LENGTH))[right] + generator.normal(size=(ROWS, LENGTH))
    # Numbers of very different scales, as some networks give.
    values *= np.geomspace(0.01, 100, LENGTH)
    given = np.where(np.arange(ROWS) % 20 == 7, (right + 1) % 3, right)
    return values.astype(np.float32), [CLASSES[label] for label in given]


def _write(path: Path, values: list[list[float | None] | None], labels: list[str], type: pa.DataType) -> Path:
    pq.write_table(pa.table({"id": IDS, "label": labels, "embedding": pa.array(values, type)}), path)
    return path


def _settings(data: Path, output: Path, epochs: int = 4):  # type: ignore[no-untyped-def]
    return settings(
        data,
        output,
        model={"views": ["network"]},
        training={"epochs": epochs},
        cross_validation={"folds": 2},
        dataset={"name": "vectors"},
    )


def test_wrong_labels_are_first_in_every_format(tmp_path: Path, vectors: tuple[np.ndarray, list[str]]) -> None:
    values, labels = vectors
    rows = values.tolist()
    with (tmp_path / "a.jsonl").open("w") as file:
        for name, label, row in zip(IDS, labels, rows, strict=True):
            file.write(json.dumps({"id": name, "label": label, "embedding": row}) + "\n")
    files = [
        _write(tmp_path / "double.parquet", rows, labels, pa.list_(pa.float64())),
        _write(tmp_path / "fixed.parquet", rows, labels, pa.list_(pa.float32(), LENGTH)),
        tmp_path / "a.jsonl",
    ]
    found = {path.name: audit(_settings(path, tmp_path / path.stem, epochs=20)) for path in files}
    first = found["double.parquet"]
    # The version is a part of the fingerprint. It and the probabilities depend on ids, labels and vectors alone.
    assert len({reference.version for reference in found.values()}) == 1
    assert fold_bytes(found["a.jsonl"]) == fold_bytes(found["fixed.parquet"]) == fold_bytes(first)
    issues = table(first, "issues")
    assert set(issues["example_id"][: len(WRONG)].to_pylist()) == set(WRONG)
    examples = table(first, "examples").to_pandas().set_index("example_id")
    assert set(examples.label_score.nsmallest(len(WRONG)).index) == set(WRONG)


def test_reviewers_see_the_numbers_of_a_vector(tmp_path: Path, vectors: tuple[np.ndarray, list[str]]) -> None:
    values, labels = vectors
    data = _write(tmp_path / "a.parquet", values.tolist(), labels, pa.list_(pa.float32()))
    reference = audit(_settings(data, tmp_path / "out"))
    previews = {row["example_id"]: row for row in table(reference, "previews").to_pylist()}
    vector = values[IDS.index(WRONG[0])]
    shown = previews[WRONG[0]]
    assert shown["media_type"] == "text/plain"
    start = f"{LENGTH} numbers, norm {np.linalg.norm(vector):.3g}"
    assert shown["data"].decode().startswith(start)
    report = (Path(reference.audit_url) / "report.html").read_text()
    assert f"{start}: {vector[0]:.3g}, {vector[1]:.3g}" in report
    assert "vector column: &#39;embedding&#39;" in report or "vector column: 'embedding'" in report


def test_vectors_that_cannot_be_read_are_counted(tmp_path: Path, vectors: tuple[np.ndarray, list[str]]) -> None:
    rows: list[list[float | None] | None] = vectors[0].tolist()
    rows[0], rows[1], rows[2] = None, [], rows[2] + [1.0]
    rows[3], rows[4] = [None, *rows[3][1:]], [float("nan"), *rows[4][1:]]
    rows[5], rows[6] = [float("inf"), *rows[5][1:]], rows[6][:-1]
    data = _write(tmp_path / "a.parquet", rows, vectors[1], pa.list_(pa.float64()))
    reference = audit(_settings(data, tmp_path / "out"))
    summary = json.loads((Path(reference.audit_url) / "summary.json").read_text())
    assert summary["statuses"] == {"scored": 233, "unreadable": 7}
    examples = table(reference, "examples").to_pandas().set_index("example_id")
    assert sorted(examples.index[examples.status == "unreadable"]) == IDS[:7]


def test_a_network_for_images_is_refused(tmp_path: Path, vectors: tuple[np.ndarray, list[str]]) -> None:
    data = _write(tmp_path / "a.parquet", vectors[0].tolist(), vectors[1], pa.list_(pa.float32()))
    config = settings(data, tmp_path / "out", model={"network": "cnn"})
    with pytest.raises(ConfigError, match=r"Network 'cnn' is not for vector data\. Use auto, mlp or your own"):
        audit(config)
