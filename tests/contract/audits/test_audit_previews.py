"""`previews.parquet` of real audits: which rows it contains, and what it shows of them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from labelaudit.pipeline import row_previews as previews
from labelaudit.pipeline.row_previews import sampled_ids
from labelaudit.reviews.audit_review import audit_to_review, draw_sample
from labelaudit.reviews.sampling import DEFAULT_SEED, review_order
from labelaudit.schemas import EXAMPLES, PREVIEWS
from labelaudit.strings import Strings
from support.audits import audit, fruit, settings, table, write_fruit, write_reviews, write_squares


def test_a_table_row_is_complete(tmp_path: Path) -> None:
    reference = audit(settings(write_fruit(tmp_path / "fruit.parquet"), tmp_path / "out"))
    found = table(reference, "previews")
    assert found.schema.equals(PREVIEWS, check_metadata=True)
    shown = {row["example_id"]: row for row in found.to_pylist()}
    flagged = table(reference, "issues")["example_id"].to_pylist()
    assert set(flagged) <= set(shown)
    # There are fewer rows than a sample may have.
    assert len(shown) == 240
    values = json.loads(shown[flagged[0]]["data"])
    row = pd.read_parquet(tmp_path / "fruit.parquet").set_index("id").loc[flagged[0]]
    assert {value["column"]: value["value"] for value in values} == row.drop(["label", "true_label"]).to_dict()
    assert any("typical" in value for value in values)


def test_every_row_of_a_default_sample_has_a_preview(tmp_path: Path) -> None:
    data = write_fruit(tmp_path / "fruit.parquet", fruit(rows=900))
    reference = audit(settings(data, tmp_path / "out", report={"previews": 1}))
    sample = draw_sample(audit_to_review(reference.audit_url), rows=300, seed=DEFAULT_SEED)
    sampled = {row.example_id for row in sample.shuffled()}
    assert len(sampled) > 200
    assert sampled <= set(table(reference, "previews")["example_id"].to_pylist())


def test_images_are_those_of_the_dataset(tmp_path: Path) -> None:
    folder = write_squares(tmp_path / "squares")
    reference = audit(settings(folder, tmp_path / "out", report={"previews": 1}))
    row = table(reference, "previews").to_pylist()[0]
    assert row["media_type"] == "image/png"
    stored = np.asarray(Image.open(folder / row["example_id"]))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(row["data"]))), stored)


def test_no_previews_if_none_are_requested(tmp_path: Path) -> None:
    reference = audit(settings(write_fruit(tmp_path / "fruit.parquet"), tmp_path / "out", report={"previews": 0}))
    assert table(reference, "previews").num_rows == 0


def test_texts_are_complete(tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "reviews.jsonl")
    reference = audit(settings(path, tmp_path / "out"))
    texts = {row["id"]: row["text"] for row in map(json.loads, path.read_text().splitlines())}
    for row in table(reference, "previews").to_pylist():
        assert (row["media_type"], row["data"].decode()) == ("text/plain", texts[row["example_id"]])


def test_a_random_sample_of_each_stratum() -> None:
    ids = [f"id-{number:04d}" for number in range(1_000)]
    flags = [None if number % 10 == 0 else number % 3 == 0 for number in range(1_000)]
    values = {name: [None] * 1_000 for name in EXAMPLES.names}
    examples = pa.table(
        {**values, "example_id": ids, "is_label_issue": flags, "is_dismissed": [False] * 1_000}, schema=EXAMPLES
    )
    # An audit of an earlier release has no p_wrong.
    scored_ids = Strings([example_id for example_id, flag in zip(ids, flags, strict=True) if flag is not None])
    found = sampled_ids(examples, "v1", scored_ids)
    for start, is_flagged in ((0, True), (200, False)):
        stratum = [example_id for example_id, flag in zip(ids, flags, strict=True) if flag is is_flagged]
        assert found[start : start + 200] == [stratum[at] for at in review_order(stratum, "v1", 0)[:200]]


def test_previews_stop_at_the_limit_of_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "PREVIEW_BYTES", 1_000)
    reference = audit(settings(write_reviews(tmp_path / "reviews.jsonl"), tmp_path / "out"))
    sizes = [len(data) for data in table(reference, "previews")["data"].to_pylist()]
    assert 800 < sum(sizes) <= 1_000
