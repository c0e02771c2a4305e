"""The quality of all inputs: rows in canonical order, copies once, unreadable rows not at all, and files of it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelaudit.quality.input_quality import InputMeasures, InputQuality
from labelaudit.strings import Strings
from support.pictures import photographs

BLACK = 7


def pictures() -> np.ndarray:
    """Return 60 photographs, of which one is black."""
    pixels = photographs(60, 32)
    pixels[BLACK] = 0
    return pixels


def quality_of(
    pixels: np.ndarray,
    contents: np.ndarray,
    order: np.ndarray | None = None,
    is_readable: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> InputQuality:
    """Return the quality of images that were read in two batches; equal `contents` are copies."""
    count = len(pixels)
    order = np.arange(count) if order is None else order
    measures = InputMeasures("image")
    for start, end in ((0, count // 2), (count // 2, count)):
        measures.add(pixels[start:end], np.full((end - start, 2), 32, np.int32))
    return measures.quality(
        Strings([f"{contents[at]:04d}" for at in order]),
        order,
        np.ones(count, bool) if is_readable is None else is_readable,
        np.arange(count) % 2 if labels is None else labels,
        ("cat", "dog"),
    )


def found(quality: InputQuality) -> set[tuple[int, str]]:
    return set(zip(quality.position.tolist(), quality.issue.tolist(), strict=True))


EXPECTED = {(BLACK, "dark"), (BLACK, "low_information")}


def test_the_black_image_is_found() -> None:
    quality = quality_of(pictures(), np.arange(60))
    assert found(quality) == EXPECTED
    assert quality.by_row(60)[BLACK] == "dark, low_information"
    assert sum(value is not None for value in quality.by_row(60)) == 1
    assert quality.relations == ()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), copies=st.integers(1, 3))
def test_neither_order_nor_copies_change_what_is_found(seed: int, copies: int) -> None:
    contents = np.tile(np.arange(60), copies)
    order = np.random.default_rng(seed).permutation(len(contents))
    alone = quality_of(pictures(), np.arange(60))
    quality = quality_of(pictures()[contents], contents, order)
    assert {(contents[order[at]], issue) for at, issue in found(quality)} == EXPECTED
    assert len(quality.position) == len(EXPECTED) * copies
    assert set(quality.limit.tolist()) == set(alone.limit.tolist())
    assert not np.isnan(quality.value).any()


def test_unreadable_rows_have_no_issues() -> None:
    is_readable = np.arange(60) != BLACK
    assert not found(quality_of(pictures(), np.arange(60), is_readable=is_readable))
    assert not found(quality_of(pictures(), np.arange(60), is_readable=np.zeros(60, bool)))


def test_a_class_of_darker_images_is_a_relation() -> None:
    pixels, labels = photographs(80, 32), np.arange(80) % 2
    pixels[labels == 1] //= 4
    quality = quality_of(pixels, np.arange(80), labels=labels)
    measures = {(one.measure, one.is_low, one.class_name) for one in quality.relations}
    assert measures & {("brightness", True, "dog"), ("brightness", False, "cat")}
    # So many dark images are normal.
    assert not any(issue == "dark" for _, issue in found(quality))


def test_rows_without_a_label_are_in_no_relation() -> None:
    pixels = photographs(80, 32)
    pixels[::2] //= 4
    assert quality_of(pixels, np.arange(80), labels=np.full(80, -1)).relations == ()


def test_it_is_the_same_after_it_was_stored() -> None:
    pixels, labels = photographs(80, 32), np.arange(80) % 2
    pixels[labels == 1] //= 4
    pixels[0] = 0
    quality = quality_of(pixels, np.arange(80), labels=labels)
    read = InputQuality.from_table(quality.to_table())
    assert found(read) == found(quality)
    assert found(read)
    assert (read.normal, read.relations) == (quality.normal, quality.relations)
    np.testing.assert_array_equal(read.value, quality.value)


@pytest.mark.parametrize("kind", ["image", "text", "vector", "table"])
def test_no_rows_of_any_kind(kind: str) -> None:
    nothing = {
        "image": np.zeros((0, 8, 8, 3), np.uint8),
        "text": pa.table({"text": pa.array([], pa.large_string())}),
        "vector": np.zeros((0, 4), np.float32),
        "table": pa.table({"one": pa.array([], pa.float64())}),
    }
    measures = InputMeasures(kind)
    measures.add(nothing[kind], np.zeros((0, 2), np.int32) if kind == "image" else None)
    empty = np.empty(0, np.int64)
    quality = measures.quality(Strings([]), empty, empty.astype(bool), empty, ())
    assert not len(InputQuality.from_table(quality.to_table()).position)
    assert quality.by_row(0).tolist() == []


def test_vectors_and_rows_of_one_number_or_mostly_missing() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 8)).astype(np.float32)
    vectors[3] = 0
    rows = pa.table({f"c{at}": pa.array(rng.normal(size=50)) for at in range(6)})
    columns = {name: rows[name].to_pylist() for name in rows.column_names}
    for at, name in enumerate(columns):
        columns[name][4] = 1.0
        columns[name][5] = None if at else 2.0
    columns["kind"] = ["a"] * 50
    table = pa.table({name: pa.array(values, pa.float64()) for name, values in columns.items() if name != "kind"})
    table = table.append_column("kind", pa.array(columns["kind"], pa.large_string()))
    expected = {"vector": {(3, "constant")}, "table": {(4, "constant"), (5, "mostly_missing")}}
    for kind, inputs in (("vector", vectors), ("table", table)):
        measures = InputMeasures(kind)
        measures.add(inputs, None)
        digests = Strings([f"{at:04d}" for at in range(50)])
        quality = measures.quality(digests, np.arange(50), np.ones(50, bool), np.arange(50) % 2, ("a", "b"))
        assert found(quality) == expected[kind]
