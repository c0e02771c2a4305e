"""The whole room over real files: guessed columns, statuses, fingerprints and folds."""

from __future__ import annotations

import csv
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelaudit.data.columns import resolve_columns
from labelaudit.data.dataset import Examples, set_aside_rare_classes
from labelaudit.data.folds import assign_folds
from labelaudit.data.readers import read_batches
from labelaudit.errors import DatasetError


def _prepare(source, **kwargs):
    columns = resolve_columns(source, **kwargs)
    return columns, Examples.from_batches(read_batches(source, columns), columns)


@pytest.mark.parametrize(
    ("name", "kind", "inputs", "rows", "classes"),
    [
        ("cifar10n-5k", "image", 1, 5000, 10),
        ("mnist-test-10k", "image", 1, 10_000, 10),
        ("agnews-human-5k", "text", 1, 4999, 4),
        ("music-genre-700", "table", 124, 700, 10),
    ],
)
def test_real_datasets_are_understood_without_a_word(shared_data, open_source, name, kind, inputs, rows, classes):
    # true_label is left to the guesses here: none of them may fall for it.
    columns, examples = _prepare(open_source(shared_data / f"{name}.parquet"))
    assert (columns.kind, len(columns.inputs), columns.id, columns.label) == (kind, inputs, "id", "label")
    assert "true_label" not in columns.inputs
    assert examples.status_counts()["scored"] == rows
    assert len(examples.class_names) == classes
    expected = {"cifar10n-5k": ((32, 32), 3), "mnist-test-10k": ((28, 28), 1)}.get(name, ((0, 0), 0))
    assert (columns.image_size, columns.image_channels) == expected


def test_pixels_follow_the_positions(shared_data, open_source):
    source = open_source(shared_data / "mnist-test-10k.parquet")
    columns = resolve_columns(source)
    batches = list(read_batches(source, columns))
    examples = Examples.from_batches(batches, columns)
    pixels = np.concatenate([batch.inputs for batch in batches])[examples.position]
    ids = np.concatenate([batch.ids for batch in batches])[examples.position]
    assert ids.tolist() == examples.example_id.tolist()
    ink = [pixels[examples.given_label == digit].mean() for digit in ("1", "0")]
    assert ink[0] < 0.6 * ink[1]  # a one takes less ink than a nought


def test_layout_order_and_format_change_neither_fingerprint_nor_folds(shared_data, open_source, make_dataset):
    original = open_source(shared_data / "agnews-human-5k.parquet")
    table = pq.read_table(original.root, columns=["id", "text", "label"])
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(shuffled.column_names)
    writer.writerows(zip(*(column.to_pylist() for column in shuffled.columns), strict=True))
    shards = {f"deep/{start}/part.parquet": shuffled.slice(start, 999) for start in range(0, len(table), 999)}
    results = []
    for source in (original, make_dataset(shards), make_dataset({"all.csv": text.getvalue()})):
        _, examples = _prepare(source, ignore=["true_label"] if source is original else [])
        examples = set_aside_rare_classes(examples, folds=5, policy="set_aside")
        folds = assign_folds(examples.label, examples.group, examples.example_id, folds=5, repeats=2, seed=0)
        results.append((examples.fingerprint, examples.example_id.tolist(), folds.tolist()))
    assert results[0] == results[1] == results[2]


def _parquet_bytes():
    sink = pa.BufferOutputStream()
    rows = {"id": [f"i{index}" for index in range(20)], "x": np.linspace(0, 1, 20), "label": ["a", "b"] * 10}
    pq.write_table(pa.table(rows), sink)
    return sink.getvalue().to_pybytes()


WHOLE = {
    "a.parquet": _parquet_bytes(),
    "a.csv": b"id,x,label\n" + b"".join(b"i%d,%d,a\n" % (index, index % 7) for index in range(20)),
    "a.jsonl": b"".join(b'{"id": "i%d", "x": %d, "label": "a"}\n' % (index, index % 7) for index in range(20)),
}


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(WHOLE)),
    position=st.integers(0, 3000),
    junk=st.binary(max_size=6),
    cut=st.integers(0, 40),
)
def test_damage_ends_in_examples_or_in_a_named_error(make_dataset, tmp_path, open_source, name, position, junk, cut):
    data = bytearray(WHOLE[name])
    start = position % len(data)
    data[start : start + cut] = junk
    path = tmp_path / name
    path.write_bytes(bytes(data))
    try:
        _, examples = _prepare(open_source(path))
    except DatasetError:
        return
    assert len(examples.status) == len(examples.label) > 0
