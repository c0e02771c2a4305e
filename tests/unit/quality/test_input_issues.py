"""Which inputs are listed: beyond an absolute limit and unusual for the dataset, or without any content."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from labelaudit.quality.image_quality import IMAGE_MEASURES
from labelaudit.quality.input_issues import FoundIssue, image_issues, table_issues, text_issues, vector_issues
from labelaudit.quality.languages import trigram_surprise
from labelaudit.quality.text_quality import text_measures
from labelaudit.schemas import InputIssue

USUAL = {
    "light": 0.9,
    "shade": 0.1,
    "brightness": 0.5,
    "edge_width": 0.02,
    "shades": 15.0,
    "colour": 0.2,
    "aspect_ratio": 1.5,
    "side": 400.0,
}


def images(measure: str, *unusual: float, usual: float | None = None, count: int = 100) -> dict[InputIssue, FoundIssue]:
    """Return the issues of `count` images with usual values (spread by 5 %), and others with one unusual value."""
    rows = np.tile([USUAL[name] for name in IMAGE_MEASURES], (count + len(unusual), 1))
    rows *= 1 + np.random.default_rng(0).uniform(-0.05, 0.05, rows.shape)
    at = IMAGE_MEASURES.index(measure)
    if usual is not None:
        rows[:, at] *= usual / USUAL[measure]
    rows[count:, at] = unusual
    found: dict[InputIssue, FoundIssue] = {}
    for one in image_issues(rows.astype(np.float32)):
        if one.issue not in found or len(one.rows):
            found[one.issue] = one
    return found


@pytest.mark.parametrize(
    ("issue", "measure", "listed", "not_listed"),
    [
        (InputIssue.DARK, "light", 0.2, 0.35),
        (InputIssue.BRIGHT, "shade", 0.95, 0.85),
        (InputIssue.BLURRED, "edge_width", 0.045, 0.036),
        (InputIssue.LOW_INFORMATION, "shades", 2.0, 4.0),
        (InputIssue.ODD_ASPECT_RATIO, "aspect_ratio", 5.0, 4.0),
        (InputIssue.ODD_ASPECT_RATIO, "aspect_ratio", 0.4, 0.6),
        (InputIssue.ODD_SIZE, "side", 90.0, 120.0),
        (InputIssue.ODD_SIZE, "side", 1700.0, 1500.0),
    ],
)
def test_only_what_is_beyond_the_limit_is_listed(
    issue: InputIssue, measure: str, listed: float, not_listed: float
) -> None:
    found = images(measure, not_listed, listed)
    assert found[issue].rows.tolist() == [101]
    assert found[issue].values.tolist() == pytest.approx([listed])
    others = {kind: one.rows.tolist() for kind, one in found.items() if kind != issue}
    assert not any(others.values())


def test_a_dark_dataset_is_not_a_list() -> None:
    assert not len(images("light", usual=0.2)[InputIssue.DARK].rows)
    # Beyond the fence of the dataset, an image is dark in it too.
    assert images("light", 0.1, usual=0.2)[InputIssue.DARK].rows.tolist() == [100]


def test_what_many_inputs_have_is_normal() -> None:
    found = images("light", *[0.1] * 20)[InputIssue.DARK]
    assert not len(found.rows)
    assert found.normal_share == pytest.approx(20 / 120)


def test_black_images_are_listed_even_if_they_are_many() -> None:
    assert len(images("light", *[0.01] * 40)[InputIssue.DARK].rows) == 40
    assert not len(images("light", *[0.01] * 140)[InputIssue.DARK].rows)


def test_a_few_images_show_nothing_unusual_but_a_black_one() -> None:
    assert not len(images("light", 0.2, count=5)[InputIssue.DARK].rows)
    assert images("light", 0.01, count=5)[InputIssue.DARK].rows.tolist() == [5]


def test_unknown_values_are_not_listed() -> None:
    found = images("edge_width", np.nan, np.nan)
    assert not any(len(one.rows) for one in found.values())


def texts(*unusual: str) -> dict[InputIssue, FoundIssue]:
    rng = np.random.default_rng(0)
    words = ["apple", "river", "of", "the", "stone", "and", "window", "to", "paper"]
    usual = [" ".join(rng.choice(words, 12)) for _ in range(100)]
    measures = text_measures(pa.table({"text": pa.array([*usual, *unusual], pa.large_string())}))
    return {one.issue: one for one in text_issues(measures, trigram_surprise(measures.sample))}


def test_texts_with_few_letters() -> None:
    found = texts("ok", "123 :-)", "short but long enough")[InputIssue.NEAR_EMPTY]
    assert found.rows.tolist() == [100, 101]
    assert found.values.tolist() == [2, 0]
    assert found.limit == pytest.approx(10)


def test_a_text_in_another_script() -> None:
    found = texts("Это предложение написано по-русски", "ok π")
    assert found[InputIssue.OTHER_SCRIPT].rows.tolist() == [100]
    assert found[InputIssue.OTHER_SCRIPT].values.tolist() == pytest.approx([1 / 102])
    assert not len(found[InputIssue.OTHER_LANGUAGE].rows)


def test_a_text_that_begins_without_letters_is_in_no_other_script() -> None:
    found = texts("-" * 200 + " the parcel came to our house on a monday", "2026-11-27 " * 20 + "parcel lost again")
    assert not len(found[InputIssue.OTHER_SCRIPT].rows)


def test_rows_of_a_table() -> None:
    missing = np.array([0.0] * 98 + [0.4, 0.8], np.float32)
    equal = np.full(100, np.nan, np.float32)
    equal[[3, 4]] = 7
    numbers = np.full(100, 5, np.int32)
    numbers[4] = 3
    found = {one.issue: one for one in table_issues(missing, equal, numbers)}
    assert found[InputIssue.MOSTLY_MISSING].rows.tolist() == [99]
    assert found[InputIssue.CONSTANT].rows.tolist() == [3]
    assert np.isnan(found[InputIssue.CONSTANT].limit)


def test_a_table_of_yes_and_no_has_equal_numbers_by_chance() -> None:
    equal = np.where(np.arange(100) < 5, 0, np.nan).astype(np.float32)
    found = table_issues(np.zeros(100, np.float32), equal, np.full(100, 5, np.int32))
    assert not any(len(one.rows) or one.normal_share for one in found)


def test_vectors_of_one_number() -> None:
    equal = np.full(100, np.nan, np.float32)
    equal[7] = 0
    assert [one.rows.tolist() for one in vector_issues(equal)] == [[7]]
