"""Encoding of versions: which rows are encoded, resuming, and recovery of damaged or lost features."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from labelaudit.audits.audit_plan import Plan, load_plan, output_store
from labelaudit.audits.references import EncodingReference, PlanReference
from labelaudit.audits.version import load_version
from labelaudit.errors import DatasetError, StorageError
from labelaudit.feature_store import shard_listing
from labelaudit.pipeline import encode, encoding_list
from labelaudit.pipeline.damage_notes import damage_notes
from labelaudit.pipeline.encode import encode_shard, missing_shards, plan_encoding, shard_parts
from labelaudit.pipeline.encoding_list import load_encoding_list
from labelaudit.pipeline.version_features import open_features
from labelaudit.storage.manifest import sha256_hex
from labelaudit.storage.store import Store, StoredFile
from support.audits import png, settings, write_reviews, write_squares
from support.tiny_encoder import (
    DIM,
    TinyEncoder,
    encode_all,
    image_features,
    prepared,
    text_features,
    tiny_spec,
)


@pytest.fixture(autouse=True)
def _new_process() -> None:
    """Forget what a process remembers of the files that it has read."""
    shard_listing._known.clear()
    encoding_list._last.clear()


@pytest.fixture
def encoder() -> Iterator[TinyEncoder]:
    with TinyEncoder().installed() as tiny:
        yield tiny


@pytest.fixture
def squares(tmp_path: Path) -> tuple[PlanReference, Plan]:
    """Prepare an audit of 40 images of 8x8 pixels in a folder."""
    write_squares(tmp_path / "data")
    return prepared(settings(tmp_path / "data", tmp_path / "out", dataset={"name": "squares"}))


def expected_of_files(reference: PlanReference, plan: Plan) -> np.ndarray:
    """Return the features of image files, brought to 6x6 pixels with Pillow, in canonical order."""
    examples = load_version(reference, plan, ("example_id", "label", "file")).examples
    files = (Image.open(Path(reference.dataset_url) / name) for name in examples.file)
    pixels = np.stack([np.asarray(file.resize((6, 6), Image.Resampling.BILINEAR)) for file in files])
    return image_features(pixels)


def in_store(reference: PlanReference) -> list[Path]:
    return sorted(Path(reference.output_url).rglob("_features/*/*.*"))


def small_shards(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(encode, "_MOST_ROWS", {"image": rows, "text": rows})


def test_images_of_a_folder_are_encoded_in_canonical_order(
    encoder: TinyEncoder, squares: tuple[PlanReference, Plan]
) -> None:
    reference, plan = squares
    encoding = encode_all(reference)
    assert (encoding.shards, encoding.rows, encoding.stored) == (1, 40, 0)
    assert damage_notes(output_store(reference), plan) == ()
    assert encoder.batches == [8] * 5
    with open_features(reference, plan) as opened:
        assert isinstance(opened.values, np.memmap)
        assert opened.values.dtype == np.float16
        np.testing.assert_array_equal(opened.values, expected_of_files(reference, plan))
    assert encoder.encoded == 40


def test_nothing_is_encoded_twice(encoder: TinyEncoder, squares: tuple[PlanReference, Plan], tmp_path: Path) -> None:
    reference, _ = squares
    encode_all(reference)
    other, plan = prepared(
        settings(tmp_path / "data", tmp_path / "out", dataset={"name": "squares"}, training={"seed": 1})
    )
    encoding = encode_all(other)
    assert (encoding.rows, encoding.stored, encoding.shards) == (0, 40, 0)
    with open_features(other, plan) as opened:
        np.testing.assert_array_equal(opened.values, expected_of_files(other, plan))
    assert encoder.encoded == 40


def test_a_second_version_encodes_only_its_new_rows(encoder: TinyEncoder, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rows = [{"image": png(generator.integers(0, 255, (8, 8, 3), np.uint8)), "label": "ab"[i % 2]} for i in range(202)]
    for version, count in (("v1", 200), ("v2", 202)):
        (tmp_path / version).mkdir()
        pq.write_table(pa.Table.from_pylist(rows[:count]), tmp_path / version / "data.parquet", row_group_size=50)
    for version, encoded in (("v1", 200), ("v2", 202)):
        config = settings(tmp_path / "{version}", tmp_path / "out", dataset={"name": "squares", "version": version})
        reference, plan = prepared(config)
        encoding = encode_all(reference)
        assert encoder.encoded == encoded
        with open_features(reference, plan) as opened:
            assert opened.values.shape == (encoded, DIM)
            assert opened.values.any(axis=1).all()
    assert (encoding.rows, encoding.stored) == (2, 200)


def test_rows_with_the_same_content_are_encoded_once(encoder: TinyEncoder, tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": range(60), "text": [f"this is a text {i % 20}" for i in range(60)]})
    frame["label"] = ["ab"[i % 2] for i in range(60)]
    frame.loc[3, "label"] = None
    frame.to_csv(tmp_path / "data.csv", index=False)
    reference, plan = prepared(
        settings(tmp_path / "data.csv", tmp_path / "out", dataset={"label": "label", "id": "id", "kind": "text"})
    )
    encoding = encode_all(reference)
    assert (encoding.rows, encoder.encoded) == (20, 20)
    with open_features(reference, plan) as opened:
        examples = load_version(reference, plan, ("example_id", "label")).examples
        for number, row in zip(examples.example_id, opened.values, strict=True):
            text = "" if number == "3" else f"this is a text {int(number) % 20}"
            np.testing.assert_array_equal(row, text_features([text])[0] if text else np.zeros(DIM))


def test_several_texts_are_joined_in_one_order(encoder: TinyEncoder, tmp_path: Path) -> None:
    words = [{"title": f"about number {i}", "body": f"a longer text on {i}", "label": "ab"[i % 2]} for i in range(20)]
    for order in (["title", "body"], ["body", "title"]):
        pd.DataFrame(words).to_json(tmp_path / "data.jsonl", orient="records", lines=True)
        config = settings(
            tmp_path / "data.jsonl", tmp_path / "out", dataset={"name": "t", "label": "label", "input": order}
        )
        encode_all(prepared(config)[0])
    assert sorted(encoder.texts) == sorted(f"{row['title']}\n{row['body']}" for row in words)


def test_long_texts_are_in_batches_of_their_own(encoder: TinyEncoder, tmp_path: Path) -> None:
    write_reviews(tmp_path / "data.jsonl")
    encode_all(prepared(settings(tmp_path / "data.jsonl", tmp_path / "out"))[0])
    lengths = [len(text) for text in encoder.texts]
    assert lengths == sorted(lengths)


def test_a_killed_run_resumes_by_shard(
    encoder: TinyEncoder, squares: tuple[PlanReference, Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, plan = squares
    small_shards(monkeypatch, 10)
    encoding = plan_encoding(reference)
    assert encoding is not None
    assert missing_shards(reference, encoding, [0, 1, 2, 3]) == [0, 1, 2, 3]
    encode_shard(reference, encoding, 2)
    assert missing_shards(reference, encoding, [3, 2, 1]) == [3, 1]
    assert missing_shards(reference, encoding, []) == []
    assert plan_encoding(reference) == encoding
    encode_shard(reference, encoding, 2)
    assert encoder.encoded == 10
    encode_all(reference)
    assert encoder.encoded == 40
    assert plan_encoding(reference) == encoding, "a run that resumes reports the same figures"
    with open_features(reference, plan) as opened:
        np.testing.assert_array_equal(opened.values, expected_of_files(reference, plan))


def test_each_shard_reads_only_its_files(
    encoder: TinyEncoder, squares: tuple[PlanReference, Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, _ = squares
    small_shards(monkeypatch, 10)
    encoding = plan_encoding(reference)
    assert encoding is not None
    data = Path(reference.dataset_url)
    for file in sorted(data.rglob("*.png"))[10:]:
        file.write_bytes(b"other")
    progress: list[tuple[int, int]] = []
    encode_shard(reference, encoding, 0, lambda *done: progress.append(done))
    assert progress == [(8, 10), (10, 10)]


def test_a_store_that_was_deleted_is_made_again(
    encoder: TinyEncoder, squares: tuple[PlanReference, Plan], caplog: pytest.LogCaptureFixture
) -> None:
    reference, plan = squares
    encode_all(reference)
    for folder in Path(reference.output_url).rglob("_features"):
        shutil.rmtree(folder)
    with open_features(reference, plan) as opened:
        np.testing.assert_array_equal(opened.values, expected_of_files(reference, plan))
    assert "The features of 40 rows are no longer stored in full, so they are encoded again." in caplog.text
    assert encoder.encoded == 80
    assert plan_encoding(reference) is not None
    assert len(in_store(reference)) == 2


def test_a_store_that_was_deleted_before_a_run_resumes_gets_a_new_list(
    encoder: TinyEncoder, squares: tuple[PlanReference, Plan], tmp_path: Path
) -> None:
    reference, _ = squares
    encode_all(reference)
    other, _ = prepared(
        settings(tmp_path / "data", tmp_path / "out", dataset={"name": "squares"}, training={"seed": 1})
    )
    empty = plan_encoding(other)
    assert empty is not None
    assert empty.rows == 0
    for file in in_store(reference):
        file.unlink()
    full = plan_encoding(other)
    assert full is not None
    assert full.rows == 40


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_shard_is_encoded_again(
    encoder: TinyEncoder,
    squares: tuple[PlanReference, Plan],
    damage: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reference, plan = squares
    small_shards(monkeypatch, 10)
    encode_all(reference)
    damaged = next(file for file in in_store(reference) if file.suffix == ".parquet")
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "remove":
        damaged.unlink()
    else:
        damaged.write_bytes(data if damage == "flip" else data[:-100])
    with caplog.at_level(logging.WARNING), open_features(reference, plan) as opened:
        np.testing.assert_array_equal(opened.values, expected_of_files(reference, plan))
    assert f"The features in {damaged} are not used: it" in caplog.text
    assert damage_notes(output_store(reference), plan)[1].startswith(f"The features in {damaged} are not used: it")
    assert encoder.encoded == 50


def test_a_file_that_changed_is_named(encoder: TinyEncoder, squares: tuple[PlanReference, Plan]) -> None:
    reference, _ = squares
    encoding = plan_encoding(reference)
    assert encoding is not None
    (Path(reference.dataset_url) / "blue" / "03.png").write_bytes(png(np.zeros((8, 8, 3), np.uint8)))
    with pytest.raises(DatasetError, match=r"has changed since this audit began: blue/03\.png no longer has the same"):
        encode_shard(reference, encoding, 0)
    assert not in_store(reference)


def test_a_row_that_is_gone_is_named(encoder: TinyEncoder, tmp_path: Path) -> None:
    file = write_reviews(tmp_path / "data.jsonl")
    reference, _ = prepared(settings(file, tmp_path / "out"))
    encoding = plan_encoding(reference)
    assert encoding is not None
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:100]))
    with pytest.raises(DatasetError, match=r"data\.jsonl row 100 no longer has the same content"):
        encode_shard(reference, encoding, 0)


def test_an_image_that_cannot_be_decoded_is_named(
    encoder: TinyEncoder, squares: tuple[PlanReference, Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, _ = squares
    encoding = plan_encoding(reference)
    assert encoding is not None
    monkeypatch.setattr("labelaudit.pipeline.encoder_inputs.decode_image", lambda *_: "cannot be decoded: no memory")
    with pytest.raises(
        DatasetError, match=r"The image in blue/00\.png of .* cannot be decoded for the encoder: .*no memory\."
    ):
        encode_shard(reference, encoding, 0)


def test_features_of_other_encoders_are_separate(
    encoder: TinyEncoder, squares: tuple[PlanReference, Plan], tmp_path: Path
) -> None:
    reference, _ = squares
    encode_all(reference)
    other, _ = prepared(
        settings(tmp_path / "data", tmp_path / "out", dataset={"name": "squares"}), tiny_spec(weights_sha256="1" * 64)
    )
    assert plan_encoding(other).rows == 40  # type: ignore[union-attr]


def test_a_changed_list_is_refused(encoder: TinyEncoder, squares: tuple[PlanReference, Plan]) -> None:
    reference, _ = squares
    encoding = plan_encoding(reference)
    assert encoding is not None
    output_store(reference).write(encoding.key, b"other")
    with pytest.raises(StorageError, match=r"was changed after it was written"):
        encode_shard(reference, encoding, 0)
    second = plan_encoding(reference)
    assert second is not None
    assert (second.sha256, second.rows) == (encoding.sha256, 40), "the list is stored again, next to the damaged one"
    assert second.key == encoding.key.replace("/0.parquet", "/1.parquet")
    assert encode_all(reference) == second


def test_a_list_with_a_damaged_row_is_passed_over(encoder: TinyEncoder, squares: tuple[PlanReference, Plan]) -> None:
    reference, _ = squares
    encoding = plan_encoding(reference)
    assert encoding is not None
    store = output_store(reference)
    data = bytearray(store.read(encoding.key))
    data[200] ^= 1
    store.write(encoding.key, bytes(data))
    second = plan_encoding(reference)
    assert second is not None
    assert second.key != encoding.key


def test_runs_at_once_get_the_list_that_was_stored_first(
    encoder: TinyEncoder, squares: tuple[PlanReference, Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, _ = squares
    first: list[EncodingReference | None] = []
    create = Store.create

    def create_second(self: Store, key: str, data: bytes) -> bool:
        # Another run stores its list, and encodes a shard, between our search for a list and our write.
        with monkeypatch.context() as patch:
            patch.setattr(Store, "create", create)
            small_shards(patch, 10)
            first.append(plan_encoding(reference))
        return create(self, key, data)

    monkeypatch.setattr(Store, "create", create_second)
    assert plan_encoding(reference) == first[0]
    assert first[0] is not None
    assert first[0].shards == 4
    assert len(list(Path(reference.output_url).rglob("encoding/*.parquet"))) == 1


class Requests:
    """Counts the objects that are read and the listings, as if each shard had a process of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: Counter[str] = Counter()
        self.listings = 0
        read, find = Store.read, Store.find

        def counted_read(store: Store, key: str) -> bytes:
            self.read["index" if "/_features/" in key and key.endswith(".json") else key.rpartition("/")[2]] += 1
            return read(store, key)

        def counted_find(store: Store, prefix: str = "") -> list[StoredFile]:
            self.listings += 1
            return find(store, prefix)

        monkeypatch.setattr(Store, "read", counted_read)
        monkeypatch.setattr(Store, "find", counted_find)

    def new_process(self) -> None:
        shard_listing._known.clear()
        encoding_list._last.clear()
        self.read.clear()
        self.listings = 0


def test_a_shard_reads_no_index(
    encoder: TinyEncoder, squares: tuple[PlanReference, Plan], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reference, _ = squares
    config = settings(tmp_path / "data", tmp_path / "out", dataset={"name": "squares"}, training={"seed": 1})
    small_shards(monkeypatch, 1)
    encode_all(reference)
    for number in range(20):
        colour = np.full((8, 8, 3), 10 * number, np.uint8)
        (tmp_path / "data" / "red" / f"more-{number:02d}.png").write_bytes(png(colour))
    later, _ = prepared(config)
    requests = Requests(monkeypatch)
    encoding = plan_encoding(later)
    assert encoding is not None
    assert (encoding.shards, encoding.stored) == (20, 40)
    for shard in range(20):
        requests.new_process()
        encode_shard(later, encoding, shard)
        assert requests.read == {"with-encoder.json": 1, "0.parquet": 1}
        assert requests.listings == 2
    requests.new_process()
    assert missing_shards(later, encoding, list(range(20))) == []
    assert (requests.read["index"], requests.listings) == (20, 2)
    assert missing_shards(later, encoding, [7]) == []
    assert (requests.read["index"], requests.read["0.parquet"], requests.listings) == (20, 1, 4)
    requests.new_process()
    encode_shard(later, encoding, 7)
    assert (requests.read["index"], encoder.encoded) == (1, 60), "a rerun reads its own index"


def test_a_kill_between_features_and_mark_loses_nothing(
    encoder: TinyEncoder, squares: tuple[PlanReference, Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, _ = squares
    small_shards(monkeypatch, 10)
    encoding = encode_all(reference)
    marks = sorted(Path(reference.output_url).rglob("encoding/0/*-*"))
    assert [mark.name.partition("-")[0] for mark in marks] == ["0", "1", "2", "3"]
    marks[1].unlink()
    marks[2].unlink()
    assert missing_shards(reference, encoding, [0, 1, 2, 3]) == []
    encode_all(reference)
    assert encoder.encoded == 40


def test_encoding_with_s3(encoder: TinyEncoder, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch, 10)
    write_squares(tmp_path / "data")
    reference, plan = prepared(settings(tmp_path / "data", s3, dataset={"name": "squares"}))
    encoding = plan_encoding(reference)
    assert encoding is not None
    encode_shard(reference, encoding, 1)
    assert missing_shards(reference, encoding, [0, 1, 2, 3]) == [0, 2, 3]
    assert encode_all(reference) == encoding
    assert missing_shards(reference, encoding, [0, 1, 2, 3]) == []
    assert encoder.encoded == 40
    with open_features(reference, plan) as opened:
        np.testing.assert_array_equal(opened.values, expected_of_files(reference, plan))


@pytest.mark.parametrize("suffix", [".json", ".parquet"])
def test_a_damaged_shard_with_a_mark_is_encoded_again(
    encoder: TinyEncoder, squares: tuple[PlanReference, Plan], monkeypatch: pytest.MonkeyPatch, suffix: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    reference, plan = squares
    small_shards(monkeypatch, 10)
    encoding = encode_all(reference)
    damaged = next(file for file in in_store(reference) if file.suffix == suffix)
    damaged.write_bytes(b"{")
    assert plan_encoding(reference) == encoding
    (shard,) = missing_shards(reference, encoding, [0, 1, 2, 3])
    encode_shard(reference, encoding, shard)
    assert f"The features in {damaged} are not used: it" in caplog.text
    counted, named = damage_notes(output_store(reference), plan)
    assert counted.startswith("1 file of stored features is damaged. Rows that")
    assert named.startswith(f"The features in {damaged} are not used: it")
    assert encoder.encoded == 50
    assert missing_shards(reference, encoding, [0, 1, 2, 3]) == []
    with open_features(reference, plan) as opened:
        np.testing.assert_array_equal(opened.values, expected_of_files(reference, plan))
    assert encoder.encoded == 50


def test_rows_that_another_audit_has_encoded_since_are_left_out(
    encoder: TinyEncoder, squares: tuple[PlanReference, Plan], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reference, plan = squares
    small_shards(monkeypatch, 10)
    encoding = plan_encoding(reference)
    assert encoding is not None
    encode_shard(reference, encoding, 0)
    other, _ = prepared(
        settings(tmp_path / "data", tmp_path / "out", dataset={"name": "squares"}, training={"seed": 1})
    )
    small_shards(monkeypatch, 12)
    second = plan_encoding(other)
    assert second is not None
    assert (second.shards, second.rows) == (3, 30)
    encode_shard(other, second, 1)
    encode_shard(other, second, 0)
    assert missing_shards(reference, encoding, [0, 1, 2, 3]) == [3]
    encode_all(reference)
    assert encoder.encoded == 40
    with open_features(reference, plan) as opened:
        np.testing.assert_array_equal(opened.values, expected_of_files(reference, plan))


def test_a_plan_without_encoder_needs_no_encoding(tmp_path: Path) -> None:
    write_squares(tmp_path / "data")
    reference, _ = prepared(settings(tmp_path / "data", tmp_path / "out"))
    plan = replace(load_plan(reference), encoder=None)
    output_store(reference).write(reference.key, plan.to_json())
    assert plan_encoding(replace(reference, sha256=sha256_hex(plan.to_json()))) is None


def test_a_full_disk_of_the_cache(
    encoder: TinyEncoder, squares: tuple[PlanReference, Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, plan = squares
    encode_all(reference)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(StorageError, match=r"The disk of the cache in .* is full"), open_features(reference, plan):
        pass


def sizes_of(together: list[int], kind: str) -> list[int]:
    parts = shard_parts(together, kind)
    assert [row for part in parts for row in range(sum(together))[part]] == list(range(sum(together)))
    return [part.stop - part.start for part in parts]


@pytest.mark.parametrize(
    ("rows", "kind", "sizes"),
    [
        (1, "image", [1]),
        (400, "image", [400]),
        (700, "image", [350] * 2),
        (5_000, "image", [625] * 8),
        (5_000, "text", [625] * 8),
        (9_000, "text", [1_125] * 8),
        (40_000, "text", [4_000] * 10),
        (20_001, "image", [2_000] * 9 + [2_001]),
    ],
)
def test_shards_have_nearly_the_same_size(rows: int, kind: str, sizes: list[int]) -> None:
    assert sizes_of([rows], kind) == sizes


@pytest.mark.parametrize(
    ("together", "sizes"),
    [
        ([], []),
        ([100] * 200, [2_000] * 10),
        ([1_000] * 21, [2_000] * 10 + [1_000]),
        ([1_500] * 20, [1_500] * 20),
        ([3_000] * 10, [1_500] * 20),
        ([10_000] * 2, [2_000] * 10),
        ([1_000] * 5, [500] * 10),
        ([5_000, 10, 20_000], [1_666, 1_667, 1_677, *[2_000] * 10]),
    ],
)
def test_shards_end_where_row_groups_end(together: list[int], sizes: list[int]) -> None:
    assert sizes_of(together, "image") == sizes


@given(st.lists(st.integers(1, 6_000), max_size=30))
def test_few_shards_decode_the_same_rows(together: list[int]) -> None:
    sizes = sizes_of(together, "image")
    most = max(sizes, default=0)
    assert most <= 2_048
    starts, firsts = np.cumsum([0, *sizes]), np.cumsum([0, *together])
    for first, last in pairwise(firsts):
        shards = np.searchsorted(starts, last, "left") - np.searchsorted(starts, first, "right") + 1
        assert shards <= max(1, -(-(last - first) // most))
    assert len(sizes) <= 1 + 2 * sum(together) / max(most, 1)


def test_shards_of_a_file_follow_its_row_groups(
    encoder: TinyEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch, 10)
    (tmp_path / "data").mkdir()
    for name, group in (("a", 4), ("b", 20), ("c", 7)):
        rows = [{"text": f"this is text {name} {i}", "label": "xy"[i % 2]} for i in range(20)]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data" / f"{name}.parquet", row_group_size=group)
    reference, plan = prepared(settings(tmp_path / "data", tmp_path / "out", dataset={"kind": "text"}))
    encoding = plan_encoding(reference)
    assert encoding is not None
    listed = load_encoding_list(output_store(reference), encoding)
    assert [
        {file: [*map(int, rows[[0, -1]])] for file, rows in listed.shard(shard).by_file().items()}
        for shard in range(encoding.shards)
    ] == [
        *({"a.parquet": [0, 7]}, {"a.parquet": [8, 15]}, {"a.parquet": [16, 19]}),
        *({"b.parquet": [0, 9]}, {"b.parquet": [10, 19]}),
        *({"c.parquet": [0, 6]}, {"c.parquet": [7, 13]}, {"c.parquet": [14, 19]}),
    ]
    encode_all(reference)
    with open_features(reference, plan) as opened:
        assert opened.values.any(axis=1).all()
