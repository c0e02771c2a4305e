"""Inputs that mislead: each is named with a remedy, and honest columns are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn import datasets

from labelaudit.data import misleading
from labelaudit.data.columns import resolve_columns
from labelaudit.data.dataset import Examples
from labelaudit.data.misleading import SampledInputs, misleading_inputs
from labelaudit.data.readers import read_batches

ROWS = 300
RNG = np.random.default_rng(0)
CLASSES = np.array(["ant", "bee", "cow"])
LABELS = RNG.integers(0, 3, ROWS)
# Another version of the labels: one of ten is different.
OTHER_LABELS = np.where(np.arange(ROWS) < ROWS // 10, (LABELS + 1) % 3, LABELS)
HONEST = pd.DataFrame(RNG.normal(size=(ROWS, 2)).round(3), columns=["a", "b"])
HONEST["a"] += 2 * LABELS
HONEST["colour"] = RNG.choice(["red", "green", "blue"], ROWS)
HONEST["label"] = CLASSES[LABELS]
TEXTS = [" ".join(RNG.choice([f"w{number}" for number in range(300)], 8)) for _ in range(ROWS)]

Warn = Callable[..., tuple[str, ...]]


def _sampled(source: object, **arguments: object) -> tuple[SampledInputs, Examples]:
    columns = resolve_columns(source, label="label", **arguments)  # type: ignore[arg-type]
    sample = SampledInputs(columns)
    batches = []
    for batch in read_batches(source, columns):  # type: ignore[arg-type]
        sample.add(batch.inputs, batch.digests)
        batches.append(batch.head())
    return sample, Examples.from_batches(batches, columns)


@pytest.fixture
def warn(make_dataset: Callable[..., object]) -> Warn:
    """The sentences on a frame."""

    def sentences(frame: pd.DataFrame, format: str = "csv", **arguments: object) -> tuple[str, ...]:
        content = frame.to_csv(index=False) if format == "csv" else pa.Table.from_pandas(frame, preserve_index=False)
        return misleading_inputs(*_sampled(make_dataset({f"a.{format}": content}), **arguments))

    return sentences


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_honest_columns_are_not_named(warn: Warn, format: str) -> None:
    assert warn(HONEST, format) == ()


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
def test_known_tables_are_honest(warn: Warn, name: str) -> None:
    frame = getattr(datasets, f"load_{name}")(as_frame=True).frame.rename(columns={"target": "label"})
    assert warn(frame, "parquet") == ()


@pytest.mark.slow
@pytest.mark.parametrize("file", ["agnews-human-5k", "code-comments", "polarity", "music-genre-700"])
def test_real_data_is_honest(warn: Warn, shared_data: Path, file: str) -> None:
    assert warn(pd.read_parquet(shared_data / f"{file}.parquet").drop(columns="true_label"), "parquet") == ()


AGES = np.array([str(number) for number in RNG.integers(20, 90, ROWS)], dtype=object)
AGES[[3, 70]], AGES[9] = "unknown", "-"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"PassengerId": RNG.permutation(ROWS) * 7},
            "Column 'PassengerId' has a value of its own in nearly every row, like an id. A network can only memorize "
            "it. Add it to dataset.ignore, or name it with dataset.id.",
        ),
        (
            {"score": LABELS * 10 + RNG.normal(size=ROWS)},
            "Column 'score' alone predicts the label with an accuracy of 99.3 % (the most frequent class: ",
        ),
        (
            {"code": OTHER_LABELS},
            "Column 'code' alone predicts the label with an accuracy of 90.0 % (the most frequent class: ",
        ),
        (
            {"answer": np.char.upper(CLASSES[OTHER_LABELS])},
            "Column 'answer' contains names of classes, and the label itself in 90.0 % of the rows. It looks like "
            "another label. Add it to dataset.ignore.",
        ),
        (
            {"scanner": np.where(LABELS == 2, "x", "y")},
            "Column 'scanner' has one value within each class, and different values in different classes. It was "
            "probably made from the label, or each class comes from one source. Add it to dataset.ignore.",
        ),
        (
            {"site": np.where(LABELS == 2, "x", "y"), "zone": np.where(LABELS == 0, 1, 2)},
            "Each of the columns 'site', 'zone' has one value within each class,",
        ),
        (
            {"age": AGES},
            "Column 'age' is a category, because 3 of 300 values are not numbers: 'unknown' (2 times), '-' (1 time). "
            "If they mean a missing value, add them to dataset.csv.missing.",
        ),
        (
            {"unit": "cm"},
            "Column 'unit' has the same value in all 300 rows that were compared, so it says nothing about the label.",
        ),
        (
            {"a2": HONEST["a"], "farbe": HONEST["colour"].map({"red": "rot", "green": "gelb", "blue": "blau"})},
            "Columns are copies of others: 'a2' of 'a', 'farbe' of 'colour'. If that is a mistake, add the copies to "
            "dataset.ignore.",
        ),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_a_misleading_column_is_named(warn: Warn, values: dict[str, object], sentence: str) -> None:
    found = warn(HONEST.assign(**values))
    assert [text[: len(sentence)] for text in found] == [sentence]


def test_a_named_row_index_is_reported(warn: Warn) -> None:
    (sentence,) = warn(HONEST.assign(n=RNG.permutation(ROWS)), input=["a", "n"])
    assert sentence == (
        "Column 'n' contains each number of its range exactly once, like a saved row index. A network can memorize it. "
        "Add it to dataset.ignore."
    )


def test_texts_as_categories_are_reported(warn: Warn) -> None:
    (sentence,) = warn(HONEST.assign(story=TEXTS), input=["a", "story"], kind="table")
    assert sentence.startswith("Column 'story' has a value of its own in nearly every row")


def test_stray_words_of_a_typed_file_have_another_remedy(warn: Warn) -> None:
    (sentence,) = warn(HONEST.assign(age=AGES), "parquet")
    assert sentence.endswith("If they mean a missing value, write numbers and nulls instead.")


def test_stray_words_after_the_first_rows_are_counted(warn: Warn) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=1500), "label": rng.choice(CLASSES, 1500)}).astype({"x": object})
    frame.loc[1400, "x"] = "ND"
    (sentence,) = warn(frame)
    assert sentence.startswith("Column 'x' is a category, because 1 of 1,500 values are not numbers: 'ND' (1 time).")


@pytest.mark.parametrize(
    "values",
    [
        {"grade": RNG.choice(["1", "2", "3", "4", "S"], ROWS, p=[0.3, 0.3, 0.2, 0.15, 0.05])},  # codes
        {"size": [f"{number} mm" for number in RNG.integers(20, 90, ROWS)]},
        {"population": RNG.permutation(ROWS) * 1013},  # a measurement
        {"sparse": [1.0] * 4 + [0.0] * (ROWS - 4), "rare": [1.0] * 4 + [0.0] * (ROWS - 4)},  # equal by chance
        {"customer": RNG.permutation(ROWS) // 3 * 2},
        {"gap": [None, *RNG.normal(size=ROWS - 1)]},
    ],
    ids="+".join,
)
def test_similar_columns_are_not_named(warn: Warn, values: dict[str, object]) -> None:
    assert warn(HONEST.assign(**values)) == ()


def test_one_large_class_makes_no_column_revealing(warn: Warn) -> None:
    frame = HONEST.assign(label=np.where(np.arange(ROWS) % 60 == 0, "ant", "bee"))
    assert warn(frame) == ()


def test_few_rows_say_nothing(warn: Warn) -> None:
    assert warn(HONEST.assign(code=LABELS).head(misleading.MIN_COMPARED_ROWS - 1)) == ()


def test_constants_of_a_wide_table_are_normal(warn: Warn) -> None:
    wide = pd.DataFrame(RNG.normal(size=(ROWS, misleading.WIDE_TABLE)).round(3)).add_prefix("p")
    assert warn(pd.concat([wide, HONEST], axis=1).assign(black=0.0)) == ()


def test_texts_that_contain_their_label_are_named(warn: Warn) -> None:
    marked = [f"__label__{name} {text}" for name, text in zip(HONEST["label"], TEXTS, strict=True)]
    (sentence,) = warn(pd.DataFrame({"text": marked, "label": HONEST["label"]}))
    assert sentence == (
        "The text in column 'text' contains the name of its own class in 100.0 % of the rows, and that of another "
        "class in 0.0 %. It probably contains the label. Remove the label from it."
    )
    numbered = [f"label: {code}. {text} 0 1 2" for code, text in zip(LABELS, TEXTS, strict=True)]
    assert len(warn(pd.DataFrame({"text": numbered, "label": LABELS}))) == 1


def test_texts_that_name_all_classes_are_not_named(warn: Warn) -> None:
    assert warn(pd.DataFrame({"text": [f"ant bee cow {text}" for text in TEXTS], "label": HONEST["label"]})) == ()
    assert warn(pd.DataFrame({"text": [f"{text} 0 1 2" for text in TEXTS], "label": LABELS})) == ()


def test_equal_columns_of_texts_are_named(warn: Warn) -> None:
    frame = pd.DataFrame({"text1": TEXTS, "text2": TEXTS, "label": HONEST["label"]})
    assert warn(frame) == ("Columns are copies of others: 'text2' of 'text1'. Remove one from dataset.input.",)


def test_the_sample_depends_on_the_content_alone(
    make_dataset: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(misleading, "SAMPLED_ROWS", 100)
    shuffled = HONEST.sample(frac=1, random_state=0)
    parts = {f"{number}.csv": shuffled[number::3].to_csv(index=False) for number in range(3)}
    one, examples = _sampled(make_dataset({"a.csv": HONEST.to_csv(index=False)}))
    other, other_examples = _sampled(make_dataset(parts))
    first, second = one.labeled(examples), other.labeled(other_examples)
    assert 50 <= len(first[1]) <= 100
    assert first[0].equals(second[0])
    np.testing.assert_array_equal(first[1], second[1])
    np.testing.assert_array_equal(first[2], second[2])


def test_labels_of_the_sample_are_those_of_its_rows(make_dataset: Callable[..., object]) -> None:
    sample, examples = _sampled(make_dataset({"a.csv": HONEST.to_csv(index=False)}))
    rows, labels, _ = sample.labeled(examples)
    expected = HONEST.set_index(["a", "b"])["label"]
    assert expected[list(rows.select(["a", "b"]).to_pandas().itertuples(index=False, name=None))].tolist() == list(
        labels
    )


def test_the_sample_is_bounded_in_bytes(make_dataset: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(misleading, "SAMPLED_BYTES", 5_000)
    frame = pd.DataFrame({"text": [text * 10 for text in TEXTS], "label": HONEST["label"]})
    sample, examples = _sampled(make_dataset({"a.csv": frame.to_csv(index=False)}))
    assert 0 < sample.labeled(examples)[0].nbytes <= 5_000


def test_images_are_not_looked_at() -> None:
    sample = SampledInputs.__new__(SampledInputs)
    sample.add(np.zeros((1, 2, 2, 1), np.uint8), ["0" * 32])


def test_columns_of_a_table_that_was_written_twice_are_not_copies(warn: Warn) -> None:
    frame = HONEST[["a", "label"]].assign(b=np.random.default_rng(5).normal(size=len(HONEST)))
    assert warn(pd.concat([frame, frame])) == ()
