"""Compressed tables are read like others, and damaged ones are named."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile

import pyarrow as pa
import pytest

from labelaudit.data.columns import resolve_columns
from labelaudit.data.compression import without_compression
from labelaudit.data.readers import read_batches
from labelaudit.errors import DatasetError

CSV = b"id,size,label\n" + b"".join(b"r%d,%d,%s\n" % (row, row % 7, b"ab"[row % 2 :][:1]) for row in range(40))
JSONL = b"".join(
    b'{"id": "r%d", "size": %d, "label": "%s"}\n' % (row, row % 7, b"ab"[row % 2 :][:1]) for row in range(40)
)


def _zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def _zip(data: bytes, *names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, data)
    return buffer.getvalue()


COMPRESSED = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": _zstd,
    ".zip": lambda data: _zip(data, "inner", "__MACOSX/._inner"),
}


def _rows(source):
    columns = resolve_columns(source)
    batches = list(read_batches(source, columns))
    assert columns.stored_rows == sum(len(batch.ids) for batch in batches)
    return [id for batch in batches for id in batch.ids], [value for batch in batches for value in batch.digests]


@pytest.mark.parametrize("suffix", COMPRESSED)
@pytest.mark.parametrize(("name", "content"), [("a.csv", CSV), ("a.jsonl", JSONL)])
def test_a_compressed_table_is_read_like_a_plain_one(make_dataset, suffix, name, content):
    plain = _rows(make_dataset({name: content}))
    assert _rows(make_dataset({name + suffix: COMPRESSED[suffix](content)})) == plain


def test_compressed_and_plain_shards_are_one_dataset(make_dataset):
    header, *lines = CSV.splitlines(keepends=True)
    first, second = header + b"".join(lines[:20]), header + b"".join(lines[20:])
    source = make_dataset({"part-0.csv": first, "part-1.csv.gz": gzip.compress(second)})
    assert _rows(source)[0] == [f"r{row}" for row in range(40)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv.gz", gzip.compress(CSV)[:-12], r"a\.csv\.gz cannot be decompressed \(.*\)\. Write the file again\."),
        ("a.csv.gz", CSV, r"a\.csv\.gz cannot be decompressed \(Not a gzipped"),
        ("a.csv.xz", lzma.compress(CSV)[:-12], r"a\.csv\.xz cannot be decompressed"),
        ("a.csv.zst", b"not zstd", r"a\.csv\.zst cannot be decompressed"),
        ("a.csv.zip", b"not a zip", r"a\.csv\.zip is not a zip archive that can be read .*Write the file again\."),
        ("a.csv.zip", _zip(CSV, "a.csv", "b.csv"), r"a\.csv\.zip contains 2 files, but one is expected\. Unpack it\."),
    ],
)
def test_damaged_files_are_named(make_dataset, name, content, message):
    with pytest.raises(DatasetError, match=f"(?i){message}"):
        _rows(make_dataset({name: content}))


def test_only_a_suffix_of_a_compression_is_removed():
    assert [without_compression(name) for name in ("a.csv.GZ", "a.gz", "a.csv", "a.gz/b.csv")] == [
        "a.csv",
        "a",
        "a.csv",
        "a.gz/b.csv",
    ]
