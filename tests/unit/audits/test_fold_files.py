"""Files of probabilities, written and read block by block."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from labelaudit.audits.fold_files import FoldFile, in_background, write_probabilities
from labelaudit.detection import probability_blocks
from labelaudit.detection.probability_blocks import ArrayBlocks
from labelaudit.detection.rows import row_digests
from labelaudit.schemas import pred_probs_schema
from labelaudit.storage.file_on_disk import sha256_of_file
from labelaudit.storage.temporary_files import TemporaryFiles
from labelaudit.strings import Strings
from support.simulated import simulate_probs

LABELS = np.arange(100) % 4
PROBS = simulate_probs(LABELS, 4, signal=1.0)
IDS = Strings([f"i{row:03d}" for row in range(100)])
NAMES = ("a", "b", "c", "d")


def test_what_is_written_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probability_blocks, "_BLOCK_VALUES", 4 * 30)
    files = TemporaryFiles()
    written = write_probabilities(IDS, ArrayBlocks(PROBS), NAMES, files)
    assert written.sha256 == sha256_of_file(written.path)
    assert written.bytes == written.path.stat().st_size
    schema = pq.read_schema(written.path)
    assert (schema.names, schema.metadata) == (pred_probs_schema(NAMES).names, pred_probs_schema(NAMES).metadata)
    file = FoldFile(written.path)
    assert (file.class_names, file.shape, file.example_ids().tolist()) == (NAMES, (100, 4), IDS.tolist())
    digests = file.row_digests()
    assert digests is not None
    assert digests.tolist() == row_digests(IDS, PROBS).tolist()
    blocks = list(file.blocks())
    assert [len(block.positions) for block in blocks] == [30, 30, 30, 10]
    np.testing.assert_array_equal(np.concatenate([block.positions for block in blocks]), np.arange(100))
    np.testing.assert_array_equal(np.concatenate([block.values for block in blocks]), PROBS)


def test_other_parquet_files_are_refused(tmp_path: Path) -> None:
    files = TemporaryFiles()
    table = pq.read_table(write_probabilities(IDS, ArrayBlocks(PROBS), NAMES, files).path)
    pq.write_table(table.replace_schema_metadata(None), tmp_path / "p.parquet")
    with pytest.raises(KeyError, match="class_names"):
        FoldFile(tmp_path / "p.parquet")


def test_values_from_the_background_keep_their_order_and_errors() -> None:
    assert list(in_background(iter([3, 1, 2]))) == [3, 1, 2]
    assert list(in_background(iter([]))) == []
    values = in_background(1 // number for number in (1, 0))
    assert next(values) == 1
    with pytest.raises(ZeroDivisionError, match="division"):
        next(values)
