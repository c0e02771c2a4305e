"""Decoded inputs: written batch by batch, with the same result as if all were in memory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from labelaudit.data import readers
from labelaudit.data.columns import resolve_columns
from labelaudit.errors import DatasetError
from labelaudit.model.ngrams import hash_texts
from labelaudit.pipeline import input_writers as writers
from labelaudit.pipeline.decoded_inputs import input_shape, load_table_inputs, load_texts, model_inputs, scan
from labelaudit.storage.store import open_dataset

WORDS = np.array(["red", "green", "blue", "apple", "pear", "plum", "ünï", "a-b"])


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_ROWS", 7)
    monkeypatch.setattr(writers, "_SORTED_COUNTS", 11)


def _texts(rows: int) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(WORDS, generator.integers(1, 9))) for _ in range(rows)]
    texts[3], texts[4] = "...", "!?"  # without any word
    ids = generator.permutation(rows)
    return pd.DataFrame({"id": [f"t{number:03d}" for number in ids], "text": texts, "label": ["a", "b"] * (rows // 2)})


@pytest.mark.usefixtures("small_batches")
def test_texts_and_their_counts_are_in_canonical_order(tmp_path: Path) -> None:
    frame = _texts(60)
    for shard, part in enumerate((frame[:25], frame[25:])):
        (tmp_path / "data").mkdir(exist_ok=True)
        part.to_parquet(tmp_path / "data" / f"{shard}.parquet", index=False)
    source = open_dataset(str(tmp_path / "data"))
    examples = scan(source, resolve_columns(source, label="label", id="id", kind="text"), tmp_path)
    canonical = frame.set_index("id")["text"][list(examples.example_id)].tolist()
    assert list(examples.example_id) == sorted(frame["id"])
    assert [load_texts(tmp_path)(row) for row in range(60)] == [{"text": text} for text in canonical]
    counts, expected = model_inputs(tmp_path, "text"), hash_texts(canonical)
    for name in ("data", "indices", "indptr"):
        stored = np.load(tmp_path / f"{name}.npy")
        assert stored.dtype == getattr(expected, name).dtype
        np.testing.assert_array_equal(stored, getattr(expected, name))
    assert counts.shape == expected.shape
    assert not list(tmp_path.glob("*.unsorted"))


def test_texts_without_any_word(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": "!?", "label": k}) + "\n" for k in "abab"))
    source = open_dataset(str(tmp_path / "a.jsonl"))
    scan(source, resolve_columns(source, label="label", input="text", kind="text"), tmp_path)
    assert model_inputs(tmp_path, "text").nnz == 0
    text = load_texts(tmp_path)
    assert [text(2), text(0)] == [{"text": "!?"}, {"text": "!?"}]


@pytest.mark.usefixtures("small_batches")
def test_several_columns_of_texts_are_counted_together(tmp_path: Path) -> None:
    frame = _texts(60).rename(columns={"text": "premise"})
    frame["data"] = frame["premise"][::-1].to_list()
    frame.loc[0, "premise"] = ""
    frame.loc[1, ["premise", "data"]] = ""
    frame.to_parquet(tmp_path / "pairs.parquet", index=False)
    source = open_dataset(str(tmp_path / "pairs.parquet"))
    columns = resolve_columns(source, label="label", id="id", input=["premise", "data"], kind="text")
    examples = scan(source, columns, tmp_path)
    expected = frame.set_index("id").loc[list(examples.example_id)]
    assert [load_texts(tmp_path)(row) for row in range(60)] == expected[["premise", "data"]].to_dict("records")
    assert (model_inputs(tmp_path, "text") != hash_texts(expected["premise"], expected["data"])).nnz == 0
    # One text is enough for an audit.
    assert examples.example_id[examples.status == "unreadable"].tolist() == [frame.loc[1, "id"]]


@pytest.mark.usefixtures("small_batches")
def test_tables_are_in_canonical_order(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "id": [f"r{number:02d}" for number in generator.permutation(40)],
            "size": np.where(np.arange(40) % 5 == 0, np.nan, np.arange(40)),
            "colour": [None if number % 7 == 0 else str(WORDS[number % 8]) for number in range(40)],
            "label": ["a", "b"] * 20,
        }
    )
    frame.to_csv(tmp_path / "rows.csv", index=False)
    source = open_dataset(str(tmp_path / "rows.csv"))
    columns = resolve_columns(source, label="label", id="id", input=["size", "colour"])
    examples = scan(source, columns, tmp_path)
    expected = frame.set_index("id").loc[list(examples.example_id)]
    loaded = load_table_inputs(tmp_path)
    assert list(loaded.columns) == ["size", "colour"]
    assert loaded.index.equals(pd.RangeIndex(40))
    np.testing.assert_array_equal(loaded["size"], expected["size"])
    assert loaded["colour"].fillna("").tolist() == expected["colour"].fillna("").tolist()


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("length", [3, 20])
def test_vectors_are_in_canonical_order(tmp_path: Path, length: int) -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(40, length)).astype(np.float32)
    ids = [f"r{number:02d}" for number in generator.permutation(40)]
    frame = pd.DataFrame({"id": ids, "embedding": list(values), "label": ["a", "b"] * 20})
    frame.loc[5, "embedding"] = None
    frame.to_parquet(tmp_path / "rows.parquet", index=False)
    source = open_dataset(str(tmp_path / "rows.parquet"))
    columns = resolve_columns(source)
    examples = scan(source, columns, tmp_path)
    values[5] = 0
    expected = values[[ids.index(name) for name in examples.example_id]]
    loaded = model_inputs(tmp_path, "vector")
    assert isinstance(loaded, np.memmap)
    assert (loaded.dtype, input_shape(columns)) == (np.float32, (length,))
    np.testing.assert_array_equal(loaded, expected)
    assert examples.example_id[examples.status == "unreadable"].tolist() == [ids[5]]
    assert not list(tmp_path.glob("*.unsorted"))


def test_rows_that_do_not_fit_are_refused_while_they_are_read(tmp_path: Path) -> None:
    _texts(60).to_parquet(tmp_path / "texts.parquet", index=False)
    source = open_dataset(str(tmp_path / "texts.parquet"))
    columns = resolve_columns(source, label="label", id="id", kind="text")
    with pytest.raises(DatasetError, match=r"digests of the first 60 rows need .* MiB, more than the 10 MiB of limits"):
        scan(source, columns, tmp_path, memory_limit=10 * 2**20)
