"""External rows in canonical order, from one file or several, and their fingerprint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelaudit.detection import probability_blocks
from labelaudit.detection.rows import Place, check_distributions
from labelaudit.pipeline.external_probabilities import ExternalProbabilities, read_probabilities
from labelaudit.pipeline.external_rows import ExternalRows, ScoredRows
from labelaudit.storage.manifest import digest_of, sha256_hex
from labelaudit.storage.mapped_rows import MappedRows
from labelaudit.storage.temporary_files import TemporaryFiles
from support.simulated import all_rows, simulate_probs

LABELS = np.random.default_rng(0).integers(0, 3, 200)
PROBS = simulate_probs(LABELS, 3, signal=2.0)
NAMES = np.array(["ant", "bee", "fly"])


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probability_blocks, "_BLOCK_VALUES", 3 * 32)


@pytest.mark.parametrize("files", [1, 3])
def test_rows_in_an_order(tmp_path: Path, files: int) -> None:
    arrays = []
    for number, part in enumerate(np.array_split(PROBS, files)):
        np.save(tmp_path / f"{number}.npy", part)
        arrays.append(MappedRows(tmp_path / f"{number}.npy"))
    rows = ExternalRows(tuple(arrays), np.dtype(np.float32), TemporaryFiles())
    for order in (np.arange(200), np.random.default_rng(1).permutation(200), np.arange(20, 150), np.arange(0, 200, 7)):
        scored = ScoredRows(rows, order)
        ids = np.arange(len(order)).astype(object)
        checked, note = check_distributions(ids, scored, 3, Place(None, ""))
        assert note == ""
        np.testing.assert_array_equal(all_rows(checked), PROBS[order])
        assert rows.sha256(order) == sha256_hex(PROBS[order].astype("<f8").tobytes())


def test_the_fingerprint_is_of_ids_labels_names_and_float64_values(tmp_path: Path) -> None:
    ids = np.array([f"i{row:03d}" for row in np.random.default_rng(2).permutation(200)], object)
    labels = [None if row == 5 else NAMES[label] for row, label in enumerate(LABELS)]
    for type in (pa.float32(), pa.float64()):
        table = pa.table({"id": ids, "label": labels, "pred_probs": pa.array(list(PROBS), pa.list_(type))})
        pq.write_table(table, tmp_path / "p.parquet")
        loaded = read_probabilities(ExternalProbabilities(str(tmp_path / "p.parquet")))
        order = np.argsort(ids)
        values = sha256_hex(PROBS[order].astype("<f8").tobytes())
        expected = digest_of([ids[order].tolist(), [labels[row] for row in order]], NAMES.tolist(), values)
        assert loaded.rows.examples.fingerprint == expected
        kept = order[order != 5]
        np.testing.assert_array_equal(all_rows(loaded.probabilities), PROBS[kept])
