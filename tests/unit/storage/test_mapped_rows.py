"""Rows of `.npy` files are read in pieces, whatever the order of their bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labelaudit.storage import mapped_rows
from labelaudit.storage.mapped_rows import MappedRows, RowWriter

VALUES = np.arange(60, dtype=np.float64).reshape(20, 3)


@pytest.mark.parametrize("values", [VALUES, np.asfortranarray(VALUES), VALUES.astype(">f4"), VALUES[:, 0]])
def test_rows_are_those_of_the_array(tmp_path: Path, values: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped_rows, "_ROWS_AT_ONCE", 3)
    np.save(tmp_path / "v.npy", values)
    rows = MappedRows(tmp_path / "v.npy")
    assert (rows.shape, rows.dtype, len(rows)) == (values.shape, values.dtype, 20)
    np.testing.assert_array_equal(rows.read(5, 9), values[5:9])
    order = np.array([7, 0, 19, 7, 3])
    np.testing.assert_array_equal(rows.take(order), values[order])


def test_reading_parses_no_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Because Python before 3.11.8 cannot parse source in two threads at once, and a pool reads rows."""
    np.save(tmp_path / "v.npy", VALUES)
    rows = MappedRows(tmp_path / "v.npy")
    monkeypatch.delattr(np, "load")
    np.testing.assert_array_equal(rows.read(0, 20), VALUES)
    np.testing.assert_array_equal(rows.take(np.arange(20)), VALUES)


def test_an_array_without_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", VALUES[:0])
    assert MappedRows(tmp_path / "v.npy").read(0, 0).shape == (0, 3)


def test_other_files_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}, None]))
    (tmp_path / "text.npy").write_text("no array")
    for name in ("objects.npy", "text.npy"):
        with pytest.raises(ValueError, match="allow_pickle"):
            MappedRows(tmp_path / name)


def test_written_rows_are_read_back(tmp_path: Path) -> None:
    with RowWriter(tmp_path / "v.npy", (20, 3), np.float32) as writer:
        writer.write(VALUES[:7])
        writer.write(VALUES[7:])
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), VALUES.astype(np.float32))
