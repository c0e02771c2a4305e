from __future__ import annotations

import pytest

from labelaudit.data.columns import resolve_columns
from labelaudit.data.csv_dialect import CsvOptions
from labelaudit.data.dataset import Examples
from labelaudit.data.readers import read_batches


def _counts(make_dataset, labels, **options):
    rows = [f"{index % 9},{label}" for index, label in enumerate(labels)]
    source = make_dataset({"a.csv": "\n".join(["x,label", *rows]) + "\n"})
    columns = resolve_columns(source, csv=CsvOptions(**options))
    examples = Examples.from_batches(read_batches(source, columns), columns)
    sentences = [guess for guess in columns.guesses if guess.startswith("labels:")]
    return examples.all_class_counts(), examples.status_counts()["unlabeled"], sentences


@pytest.mark.parametrize(
    ("labels", "classes", "unlabeled"),
    [
        (["0", "1", "NA"] * 4, {"0": 4, "1": 4}, 4),
        (["0", "1", "nan", "NULL"] * 4, {"0": 4, "1": 4}, 8),
        (["1.5", "-2", "?"] * 4, {"-2": 4, "1.5": 4}, 4),
        (['"de"', '"fr"', "NA"] * 4, {"de": 4, "fr": 4}, 4),
        # R writes the level "NA" (Namibia) in quotation marks.
        (['"de"', '"NA"', "NA"] * 4, {"de": 4, "NA": 4}, 4),
        (['"de"', '"NA"', '"fr"'] * 4, {"de": 4, "NA": 4, "fr": 4}, 0),
        (["de", "fr", "NA"] * 4, {"de": 4, "fr": 4, "NA": 4}, 0),
        (["de", '"fr"', "NA"] * 4, {"de": 4, "fr": 4, "NA": 4}, 0),
        (["0"] * 1_500 + ["NA", "1"], {"0": 1_500, "1": 1}, 1),
        (["0", "1"] * 750 + ["NA", "x"], {"0": 750, "1": 750, "NA": 1, "x": 1}, 0),
        (["", " ", "a", "b"] * 4, {"a": 4, "b": 4}, 8),
    ],
)
def test_na_is_a_class_unless_the_other_labels_are_numbers_or_quoted(make_dataset, labels, classes, unlabeled):
    counts, missing, sentences = _counts(make_dataset, labels)
    assert (dict(sorted(counts.items())), missing) == (dict(sorted(classes.items())), unlabeled)
    has_markers = unlabeled > 0 and "" not in labels
    assert len(sentences) == has_markers
    if has_markers:
        assert f"{unlabeled} rows have no label" in sentences[0] or "1 row has no label" in sentences[0]


def test_the_config_lists_what_is_missing(make_dataset):
    assert _counts(make_dataset, ["0", "1", "NA"] * 4, missing=()) == ({"0": 4, "1": 4, "NA": 4}, 0, [])
    assert _counts(make_dataset, ["a", "b", "unknown"] * 4, missing=("unknown",)) == ({"a": 4, "b": 4}, 4, [])
