"""Rows of vectors: every type of list, equal digests of equal numbers, and rows that cannot be read."""

from __future__ import annotations

import json
from decimal import Decimal
from io import BytesIO

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from labelaudit.data import readers
from labelaudit.data.columns import resolve_columns
from labelaudit.data.dataset import Examples
from labelaudit.data.digests import digest_bytes
from labelaudit.data.readers import read_batches
from labelaudit.data.vectors import VectorReader, contains_numbers, typical_length
from labelaudit.errors import DatasetError

# Exact in every type of floats.
ROWS = [[1.5, -2.0, 0.25], [0.0, 4.0, 8.0], [0.5, 0.5, 0.5]]
EXPECTED = np.array(ROWS, np.float32)
DIGESTS = [digest_bytes(row.tobytes()) for row in EXPECTED]
LABELS = ["a", "b"] * 15


def _lists(values, type=None):
    return pa.chunked_array([pa.array(values, type or pa.list_(pa.float64()))])


def _read(column, length=3):
    return VectorReader("v", length).read(column, "a.parquet")


@pytest.mark.parametrize(
    "type",
    [
        pa.list_(pa.float16()),
        pa.list_(pa.float32()),
        pa.list_(pa.float64()),
        pa.large_list(pa.float32()),
        pa.list_(pa.float32(), 3),
        pa.list_(pa.float64(), 3),
        pa.list_view(pa.float32()),
        pa.large_list_view(pa.float64()),
    ],
    ids=str,
)
def test_equal_vectors_are_equal_in_every_type(type):
    values = [[np.float16(number) for number in row] for row in ROWS] if type.value_type == pa.float16() else ROWS
    assert contains_numbers(type)
    found = _read(_lists(values, type))
    assert found.values.dtype == np.float32
    np.testing.assert_array_equal(found.values, EXPECTED)
    assert (found.digests, found.problems) == (DIGESTS, {})


@pytest.mark.parametrize("type", [pa.int8(), pa.int64(), pa.uint64(), pa.decimal128(10, 2)], ids=str)
def test_whole_numbers_and_decimals_are_numbers(type):
    values = [[Decimal(number) if pa.types.is_decimal(type) else number for number in row] for row in [[1, 2], [3, 4]]]
    found = _read(_lists(values, pa.list_(type)), 2)
    assert found.values.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert found.digests == _read(_lists([[1.0, 2.0], [3.0, 4.0]]), 2).digests


@pytest.mark.parametrize(
    "type", [pa.list_(pa.string()), pa.list_(pa.bool_()), pa.list_(pa.list_(pa.float32())), pa.float64(), pa.string()]
)
def test_other_types_contain_no_vectors(type):
    assert not contains_numbers(type)


def test_a_tensor_of_arrow_is_a_vector():
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(EXPECTED)
    assert contains_numbers(tensors.type)
    assert _read(pa.chunked_array([tensors])).digests == DIGESTS


def test_slices_and_chunks_are_read_as_they_are():
    for type in (pa.list_(pa.float64()), pa.list_(pa.float64(), 3)):
        whole = pa.chunked_array([pa.array([None, *ROWS[:2]], type), pa.array([ROWS[2], None], type)])
        found = _read(whole.slice(1, 3))
        np.testing.assert_array_equal(found.values, EXPECTED)
        assert found.digests == DIGESTS


def test_rows_that_cannot_be_read_have_a_reason():
    rows = [
        [1.0, 2.0],
        None,
        [],
        [1.0],
        [1.0, 2.0, 3.0],
        [None, 2.0],
        [1.0, float("nan")],
        [float("-inf"), 1.0],
        [1.0, 1e300],
        [3.0, 4.0],
    ]
    found = _read(_lists(rows), 2)
    assert found.problems == {
        1: "no vector",
        2: "an empty list",
        3: "1 numbers, not 2",
        4: "3 numbers, not 2",
        5: "number 1 is missing",
        6: "number 2 is NaN",
        7: "number 1 is infinite",
        8: "number 2 is too large for float32: 1e+300",
    }
    assert found.values.tolist() == [[1.0, 2.0], *[[0.0, 0.0]] * 8, [3.0, 4.0]]
    # A missing and an empty vector are not copies of each other.
    assert len(set(found.digests)) == 10


def test_a_file_without_any_vector_is_unreadable():
    found = _read(pa.chunked_array([pa.nulls(2)]))
    assert found.problems == {0: "no vector", 1: "no vector"}
    assert found.values.shape == (2, 3)


@given(npst.arrays(np.float64, (3, 2), elements=st.floats(allow_nan=True, allow_infinity=True)))
def test_digests_are_equal_if_and_only_if_the_float32_are(rows):
    with np.errstate(over="ignore"):
        plain = rows.astype(np.float32) + 0.0
    found = _read(_lists(rows.tolist()), 2)
    for one in range(3):
        is_finite = bool(np.isfinite(plain[one]).all())
        assert (one not in found.problems) == is_finite
        for other in range(3):
            same = np.array_equal(plain[one], plain[other], equal_nan=True)
            assert (found.digests[one] == found.digests[other]) == same


def test_negative_zero_is_zero():
    found = _read(_lists([[0.0, 1.0], [-0.0, 1.0]]), 2)
    assert found.digests[0] == found.digests[1]
    assert not np.signbit(found.values).any()


def test_the_typical_length_is_the_most_frequent_one():
    assert typical_length(_lists([[1.0], [1.0, 2.0], [3.0, 4.0], None, [], []])) == (2, 2 / 3)
    assert typical_length(_lists([None, []])) == (0, 0.0)
    assert typical_length(_lists([])) == (0, 0.0)
    assert typical_length(pa.chunked_array([pa.array(["a"])])) == (0, 0.0)


def test_a_column_that_is_something_else_in_one_file_is_an_error():
    with pytest.raises(DatasetError, match=r"Column 'v' in a.parquet is of type string, but in other files .*lists"):
        _read(pa.chunked_array([pa.array(["[1, 2]"])]))


def _table(vectors, **columns):
    rows = len(vectors)
    return pa.table({"id": [f"r{i}" for i in range(rows)], "label": (LABELS * 50)[:rows], "v": vectors, **columns})


def test_a_dataset_in_every_format_has_one_fingerprint(make_dataset, monkeypatch):
    monkeypatch.setattr(readers, "MAX_ROWS", 7)
    values = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    ids, labels = [f"r{i}" for i in range(30)], LABELS
    buffer = BytesIO()
    rows = _table(pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 4))
    with pa.ipc.new_stream(buffer, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=11)
    lines = [{"id": i, "label": k, "v": v} for i, k, v in zip(ids, labels, values.tolist(), strict=True)]
    files = {
        "fixed.parquet": rows,
        "double.parquet": _table(pa.array(values.astype(float).tolist())),
        "large.parquet": _table(pa.array(values.tolist(), pa.large_list(pa.float32()))),
        "data.arrow": buffer.getvalue(),
        "rows.jsonl": "".join(json.dumps(line) + "\n" for line in lines),
    }
    found = {}
    for name, content in files.items():
        source = make_dataset({name: content})
        columns = resolve_columns(source)
        assert (columns.kind, columns.inputs, columns.vector_length) == ("vector", ("v",), 4)
        examples = Examples.from_batches(read_batches(source, columns), columns)
        found[name] = (examples.fingerprint, examples.status_counts()["scored"])
    assert len(set(found.values())) == 1, found


@pytest.mark.parametrize("type", [pa.list_(pa.float32()), pa.list_(pa.float32(), 2)], ids=str)
def test_missing_vectors_of_parquet_are_counted(make_dataset, type):
    values = [[float(i), 1.0] for i in range(30)]
    values[3] = values[4] = None
    source = make_dataset({"a.parquet": _table(pa.array(values, type))})
    columns = resolve_columns(source)
    examples = Examples.from_batches(read_batches(source, columns), columns)
    assert examples.status_counts() == {
        "scored": 28, "rare_class": 0, "unlabeled": 0, "unreadable": 2, "duplicate_id": 0
    }  # fmt: skip
    assert set(examples.problem) == {None, "no vector"}


def test_numbers_that_json_cannot_write_are_read(make_dataset):
    lines = [f'{{"label": "{"ab"[i % 2]}", "v": [{i}, {i}.5]}}\n' for i in range(20)]
    lines += [f'{{"label": "a", "v": {v}}}\n' for v in ("[NaN, 1]", "[1, Infinity]", "[1, null]", "null", "[]")]
    lines += ['{"label": "b"}\n', f'{{"label": "b", "v": [1, {2**70}]}}\n']
    source = make_dataset({"a.jsonl": "".join(lines)})
    columns = resolve_columns(source)
    (batch,) = read_batches(source, columns)
    assert list(batch.problems.values()) == [
        "no vector", "an empty list", "no vector", "number 1 is NaN", "number 2 is infinite", "number 2 is missing"
    ]  # fmt: skip
    assert batch.inputs[26].tolist() == [1.0, float(2**70)]


def test_files_with_vectors_of_another_length(make_dataset):
    small, large = pa.array([[1.0, 2.0]] * 20), pa.array([[1.0, 2.0, 3.0]] * 30)
    source = make_dataset({"a.parquet": _table(small), "b.parquet": _table(large)})
    columns = resolve_columns(source)
    assert columns.vector_length == 2
    with pytest.raises(DatasetError, match=r"^30 of 50 vectors in column 'v' do not have 2 numbers, as the first ones"):
        list(read_batches(source, columns))
    source = make_dataset({"a.parquet": _table(small), "b.parquet": _table(large.slice(0, 20))})
    batches = list(read_batches(source, resolve_columns(source)))
    assert [int(batch.readable.sum()) for batch in batches] == [20, 0]


def test_batches_of_long_vectors_are_small(make_dataset, monkeypatch):
    monkeypatch.setattr(readers, "MAX_VECTOR_BYTES", 4 * 100 * 7)
    source = make_dataset({"a.parquet": _table(pa.array(np.ones((30, 100)).tolist()))})
    sizes = [len(batch.digests) for batch in read_batches(source, resolve_columns(source))]
    assert sizes == [7, 7, 7, 7, 2]
