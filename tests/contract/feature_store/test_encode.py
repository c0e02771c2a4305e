"""Encoding of versions: which rows are encoded, resuming, and recovery of damaged or lost features."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from labelaudit.audits.audit_plan import Plan, load_plan, output_store
from labelaudit.audits.references import PlanReference
from labelaudit.audits.version import load_version
from labelaudit.errors import DatasetError, StorageError
from labelaudit.pipeline import encode
from labelaudit.pipeline.encode import encode_shard, missing_shards, open_features, plan_encoding, shard_parts
from labelaudit.storage.manifest import sha256_hex
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
    encoding, shards = encode_all(reference)
    assert (encoding.shards, encoding.rows, encoding.stored) == (1, 40, 0)
    assert [shard.rows for shard in shards] == [40]
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
    encoding, shards = encode_all(other)
    assert (encoding.rows, encoding.stored, encoding.shards, shards) == (0, 40, 0, [])
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
        encoding, _ = encode_all(reference)
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
    encoding, _ = encode_all(reference)
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
    assert plan_encoding(reference) == encoding
    assert encode_shard(reference, encoding, 2).seconds == 0
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
    assert plan_encoding(reference) == encoding, "the list is written again"


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


@pytest.mark.parametrize(
    ("rows", "kind", "sizes"),
    [
        (0, "image", []),
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
    parts = shard_parts(rows, kind)
    assert [part.stop - part.start for part in parts] == sizes
    assert [row for part in parts for row in range(rows)[part]] == list(range(rows))
