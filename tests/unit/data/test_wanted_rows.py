"""Reading of some rows gives what reading of all rows gives, and reads little else."""

from __future__ import annotations

import io
import json
import os
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
from labelaudit.errors import DatasetError, StorageError, StorageUnavailableError

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


def jsonl_with_blank_lines(table: pa.Table) -> str:
    return "\ufeff\n \n" + "\n\n".join(map(json.dumps, table.to_pylist())) + "\n\n"


FORMATS = {
    "parquet": ("parquet", parquet),
    "arrow file": ("arrow", lambda table: arrow(table, is_file=True)),
    "arrow stream": ("arrow", lambda table: arrow(table, is_file=False)),
    "csv": ("csv", csv),
    "jsonl": ("jsonl", jsonl),
    "jsonl with blank lines": ("jsonl", jsonl_with_blank_lines),
    "json array": ("json", lambda table: json.dumps(table.to_pylist())),
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


def test_lines_that_are_not_wanted_are_not_parsed(make_dataset):
    source = make_dataset({"data.jsonl": jsonl(TEXTS)})
    columns = resolve_columns(source, kind="text", input="text", label="label")
    lines = jsonl(TEXTS).split("\n")
    lines[2], lines[40] = "{", "[]"
    (source.root / "data.jsonl").write_text("\n".join(lines))
    found = read_wanted_texts(source, columns, {"data.jsonl": np.array([1, 3, 39])})
    assert [text.row for text in found] == [1, 3, 39]
    with pytest.raises(DatasetError, match="line 41 is \\[\\], not a JSON object"):
        list(read_wanted_texts(source, columns, {"data.jsonl": np.array([40])}))


def test_nothing_after_the_last_wanted_row_of_a_group_is_decoded(make_dataset, monkeypatch):
    source = make_dataset({"data.parquet": parquet(TEXTS)})
    columns = resolve_columns(source, kind="text", input="text", label="label")
    iter_batches = pq.ParquetFile.iter_batches
    decoded = []

    def recorded(self, *, batch_size, **kwargs):
        for batch in iter_batches(self, batch_size=2, **kwargs):
            decoded.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", recorded)
    list(read_wanted_texts(source, columns, {"data.parquet": np.array([8])}))
    assert decoded == [2]


@pytest.fixture
def without_listing(make_dataset, monkeypatch):
    """A dataset whose columns are known and whose files are then not listed again."""

    def make(files, **options):
        source = make_dataset(files)
        columns = resolve_columns(source, **options)
        expected = digests_by_place(source, columns)
        source.opened.clear()
        listings = []
        files_of = source.files
        monkeypatch.setattr(source, "files", lambda: listings.append(1) or files_of())
        return source, columns, expected, listings

    return make


def found_images(source, columns, wanted):
    found = read_wanted_images(source, columns, {name: np.array(rows) for name, rows in wanted.items()})
    return {(image.file, image.row): image.digest() for image in found}


def test_image_files_that_a_table_names_are_opened_directly(without_listing, png):
    rows = pa.table({"image": ["images/1.png", "images\\2.png", "../3.png"] * 8, "label": [0, 1, 0] * 8})
    files = {"t/a.parquet": rows, "t/images/1.png": png(1), "images/2.png": png(2), "3.png": png(3)}
    source, columns, expected, listings = without_listing(files)
    assert found_images(source, columns, {"t/a.parquet": range(24)}) == expected
    assert listings == []


def test_image_files_are_listed_once_if_a_table_does_not_name_their_paths(without_listing, png):
    numbers = [*range(1, 31)] * 2
    rows = pa.table({"image": [str(n) if n > 20 else f"{n}.png" for n in numbers], "label": [0, 1] * 30})
    files = {"a.parquet": rows, **{f"{'images/' if n > 20 else ''}{n}.png": png(n) for n in range(1, 31)}}
    source, columns, expected, listings = without_listing(files)
    assert found_images(source, columns, {"a.parquet": range(60)}) == expected
    assert listings == [1]


@pytest.mark.parametrize("hidden", [".hidden/1.png", "_images/1.png"])
def test_hidden_files_are_opened_only_if_they_are_part_of_the_dataset(without_listing, png, hidden):
    rows = pa.table({"image": [hidden, "2.png"] * 2, "label": [0, 1] * 2})
    source, columns, expected, listings = without_listing({"a.parquet": rows, hidden: png(1), "2.png": png(2)})
    assert found_images(source, columns, {"a.parquet": range(4)}) == expected
    assert listings == [1]


def test_a_file_of_the_same_name_that_is_not_an_image(without_listing, png):
    rows = pa.table({"image": ["p1", "p2"] * 2, "label": [0, 1] * 2})
    files = {"a.parquet": rows, "images/p1.png": png(1), "images/p2.png": png(2), "p1": b"a caption", "p2": b"another"}
    source, columns, expected, listings = without_listing(files)
    assert found_images(source, columns, {"a.parquet": range(4)}) == expected
    assert listings == [1]


def test_a_storage_that_does_not_answer_is_not_a_missing_file(without_listing, png, monkeypatch):
    rows = pa.table({"image": ["1.png", "2.png"] * 2, "label": [0, 1] * 2})
    source, columns, _, _ = without_listing({"a.parquet": rows, "1.png": png(1), "2.png": png(2)})
    opened = source.open

    def fails(path):
        if path.endswith(".png"):
            raise StorageUnavailableError("no answer")
        return opened(path)

    monkeypatch.setattr(source, "open", fails)
    with pytest.raises(StorageUnavailableError, match="no answer"):
        found_images(source, columns, {"a.parquet": [0]})


def test_tables_and_image_folders_are_not_listed(without_listing, png, noise_image):
    folder = {f"{'cat' if n % 2 else 'dog'}/{n}.png": png(n) for n in range(40)}
    source, columns, expected, listings = without_listing(folder)
    assert found_images(source, columns, {name: [0] for name in folder}) == expected
    assert listings == []
    embedded = pa.table({"image": [{"bytes": noise_image(n), "path": "x"} for n in range(4)], "label": [0, 1] * 2})
    source, columns, expected, listings = without_listing({"a.parquet": embedded})
    assert found_images(source, columns, {"a.parquet": range(4)}) == expected
    assert listings == []
    with pytest.raises(StorageError, match=r"gone\.png"):
        found_images(*without_listing(folder)[:2], {"cat/gone.png": [0]})


def test_names_that_are_not_utf8(without_listing, png):
    names = [os.fsdecode(name) for name in (b"cat/\xe9.png", b"cat/\xe8.png", b"dog/2.png")]
    source, columns, expected, listings = without_listing({name: png(n) for n, name in enumerate(names)})
    wanted = ["cat/\\xe9.png", "dog/2.png"]
    assert found_images(source, columns, {name: [0] for name in wanted}) == {
        (name, 0): expected[name, 0] for name in wanted
    }
    assert listings == [1]


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
