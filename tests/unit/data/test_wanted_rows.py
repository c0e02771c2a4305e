"""Reading of some rows gives what reading of all rows gives, and reads little else."""

from __future__ import annotations

import io
import json
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.data.columns import resolve_columns
from labelaudit.data.dataset import Examples
from labelaudit.data.readers import read_batches, read_wanted_images, read_wanted_texts
from labelaudit.data.wanted_rows import only_wanted, wanted_within

ROWS = 60
TEXTS = pa.table(
    {
        "text": [f"the text with the number {i % 50} is here" for i in range(ROWS)],
        "label": ["ab"[i % 2] for i in range(ROWS)],
    }
)
TEXTS = TEXTS.set_column(0, "text", [[None if i == 7 else value for i, value in enumerate(TEXTS["text"].to_pylist())]])


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=7)
    return sink.getvalue()


def arrow(table: pa.Table, *, is_file: bool) -> bytes:
    sink = io.BytesIO()
    with (pa.ipc.new_file if is_file else pa.ipc.new_stream)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=11)
    return sink.getvalue()


def csv(table: pa.Table) -> str:
    lines = (f"{row['text'] or ''},{row['label']}" for row in table.to_pylist())
    return "\n".join(["text,label", *lines])


def jsonl(table: pa.Table) -> str:
    return "\n".join(map(json.dumps, table.to_pylist()))


FORMATS = {
    "parquet": ("parquet", parquet),
    "arrow file": ("arrow", lambda table: arrow(table, is_file=True)),
    "arrow stream": ("arrow", lambda table: arrow(table, is_file=False)),
    "csv": ("csv", csv),
    "jsonl": ("jsonl", jsonl),
}


def digests_by_place(source, columns) -> dict[tuple[str, int], str]:
    examples = Examples.from_batches((batch.head() for batch in read_batches(source, columns)), columns)
    places = zip(examples.file, examples.row, strict=True)
    return dict(zip(places, examples.content_digest, strict=True))


@pytest.mark.parametrize("name", FORMATS)
def test_wanted_texts_are_those_of_the_whole_dataset(make_dataset, name):
    suffix, write = FORMATS[name]
    source = make_dataset({f"{part}.{suffix}": write(TEXTS.slice(start, 20)) for part, start in enumerate((0, 20, 40))})
    columns = resolve_columns(source, kind="text", input="text", label="label")
    expected = digests_by_place(source, columns)
    for wanted in ({0: [0, 7, 19], 2: [3]}, {1: [5]}, {2: range(20)}, {0: []}, {1: [18, 19, 25]}):
        source.opened.clear()
        rows = {f"{part}.{suffix}": np.array(list(numbers), np.int64) for part, numbers in wanted.items()}
        found = {(text.file, text.row): text for text in read_wanted_texts(source, columns, rows)}
        assert set(found) == {(file, row) for file, numbers in rows.items() for row in numbers if row < 20}
        assert all(text.digest == expected[place] for place, text in found.items())
        whole = TEXTS["text"].to_pylist()
        assert all(t.texts == (whole[20 * int(t.file[0]) + t.row] or "",) for t in found.values())
        assert {path for path in source.opened if path not in rows} == set(), "other files are not opened"


def test_row_groups_without_wanted_rows_are_not_read(make_dataset, monkeypatch):
    source = make_dataset({"data.parquet": parquet(TEXTS)})
    columns = resolve_columns(source, kind="text", input="text", label="label")
    read = []
    iter_batches = pq.ParquetFile.iter_batches

    def recorded(self, *args, **kwargs):
        read.append(kwargs.get("row_groups"))
        return iter_batches(self, *args, **kwargs)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", recorded)
    found = list(read_wanted_texts(source, columns, {"data.parquet": np.array([8, 13, 50])}))
    assert [text.row for text in found] == [8, 13, 50]
    assert read == [[1], [7]]


def test_partitions_and_several_texts(make_dataset):
    table = pa.table({"title": ["one", "two"], "body": ["three four", "five six"]})
    source = make_dataset({"label=a/x.parquet": table, "label=b/x.parquet": table.slice(1)})
    columns = resolve_columns(source, kind="text", input=["title", "body"], label="label")
    expected = digests_by_place(source, columns)
    found = list(read_wanted_texts(source, columns, {"label=b/x.parquet": np.array([0])}))
    assert [(text.file, text.row, text.texts) for text in found] == [("label=b/x.parquet", 0, ("two", "five six"))]
    assert found[0].digest == expected["label=b/x.parquet", 0]


def test_wanted_images_of_a_table(make_dataset, noise_image, png):
    images = [
        {"bytes": noise_image(0), "path": "x.png"},
        {"bytes": None, "path": "1.png"},
        {"bytes": None, "path": "none.png"},
        None,
        {"bytes": b"junk", "path": None},
    ]
    rows = pa.table({"image": images, "label": [0, 1, 0, 1, 0]})
    source = make_dataset({"a.parquet": rows, "1.png": png(1)})
    columns = resolve_columns(source)
    expected = digests_by_place(source, columns)
    found = list(read_wanted_images(source, columns, {"a.parquet": np.arange(5)}))
    assert {(image.file, image.row): image.digest() for image in found} == expected
    assert [image.content for image in found] == [noise_image(0), png(1), None, None, b"junk"]
    assert found[2].reason == "no such image file in the dataset"
    (one,) = read_wanted_images(source, columns, {"a.parquet": np.array([1])})
    assert (one.row, one.content) == (1, png(1))


def test_wanted_images_of_a_folder(make_dataset, png):
    source = make_dataset({"cat/1.png": png(1), "dog/2.png": png(2), "dog/3.png": png(3), "cat/4.png": png(4)})
    columns = resolve_columns(source)
    expected = digests_by_place(source, columns)
    source.opened.clear()
    found = list(read_wanted_images(source, columns, {"dog/2.png": np.array([0]), "cat/4.png": np.array([0])}))
    assert {(image.file, image.row): image.digest() for image in found} == {
        place: expected[place] for place in [("cat/4.png", 0), ("dog/2.png", 0)]
    }
    assert set(source.opened) == {"dog/2.png", "cat/4.png"}


@given(st.lists(st.integers(0, 5), max_size=6), st.sets(st.integers(0, 30)))
def test_only_wanted_rows_of_any_tables(sizes, numbers):
    rows = list(range(sum(sizes)))
    starts = np.cumsum([0, *sizes])
    tables = [pa.table({"x": rows[a:b]}) for a, b in pairwise(starts)]
    wanted = np.array(sorted(numbers), np.int64)
    found = [row for table in only_wanted(tables, wanted) for row in table["x"].to_pylist()]
    assert found == [row for row in rows if row in numbers]


def test_wanted_within_counts_from_the_first_row():
    assert wanted_within(np.array([1, 4, 5, 9]), 4, 5).tolist() == [0, 1]
