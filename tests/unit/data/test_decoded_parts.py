"""Which rows are decoded together: row groups of Parquet files, other tables as a whole, images of a folder alone."""

from __future__ import annotations

import io
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelaudit.data.columns import resolve_columns
from labelaudit.data.decoded_parts import rows_decoded_together
from labelaudit.errors import DatasetError


def parquet(rows: int, group: int) -> bytes:
    sink = io.BytesIO()
    table = pa.table({"text": [f"the text {i}" for i in range(rows)], "label": ["ab"[i % 2] for i in range(rows)]})
    pq.write_table(table, sink, row_group_size=group)
    return sink.getvalue()


def parts(source, places, **options):
    columns = resolve_columns(source, **options)
    file, row = zip(*places, strict=True)
    return rows_decoded_together(source, columns, np.array(file, object), np.array(row, np.int64))


def test_row_groups(make_dataset):
    odd = os.fsdecode(b"\xe9.parquet")
    source = make_dataset({"a.parquet": parquet(20, 8), "b.parquet": parquet(20, 20), odd: parquet(4, 2)})
    places = [("a.parquet", row) for row in (0, 7, 8, 9, 15, 19)]
    places += [("b.parquet", row) for row in range(20)]
    places += [("\\xe9.parquet", row) for row in (1, 2, 3)]
    assert parts(source, places, kind="text") == [2, 3, 1, 20, 1, 2]


def test_other_tables(make_dataset):
    text = "text,label\n" + "".join(f"the text {i},{'ab'[i % 2]}\n" for i in range(20))
    source = make_dataset({"a.csv": text, "b.csv": text})
    assert parts(source, [("a.csv", 3), ("a.csv", 4), ("b.csv", 19)], kind="text") == [2, 1]


def test_an_image_folder(make_dataset, png):
    names = [f"{'cat' if n % 2 else 'dog'}/{n}.png" for n in range(10)]
    source = make_dataset({name: png(n) for n, name in enumerate(names)})
    assert parts(source, [(name, 0) for name in sorted(names)]) == [10]


def test_a_file_that_is_damaged_since_it_was_read(make_dataset):
    source = make_dataset({"a.parquet": parquet(20, 8)})
    columns = resolve_columns(source, kind="text")
    (source.root / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DatasetError, match=r"a\.parquet cannot be read as Parquet"):
        rows_decoded_together(source, columns, np.array(["a.parquet"], object), np.array([0]))
