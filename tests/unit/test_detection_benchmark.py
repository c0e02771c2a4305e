"""The detection benchmark: planted noise is what it says, and figures are right on cases that are checked by hand."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detection import GENERATED, figures_json, is_wanted, measure_planted, read_figures, real_cells
from detection_bench import planted
from detection_bench.cells import Cell, MissingDataError, Name
from detection_bench.measures import (
    BIN_STARTS,
    CLEANLAB,
    OURS,
    WITH_DYNAMICS,
    best_f1,
    calibration_error,
    figures_of,
    is_narrowed,
    measure,
    reliability,
)
from detection_bench.noise import KINDS, RATES, plant, plant_by_confusion
from detection_bench.planted import QUICK, SOURCES, Source, generated, planted_cell, planted_names
from detection_bench.real import audit_cell, audited_datasets, stored_cells
from detection_bench.tables import compact_table, page
from labelaudit.findings import ErrorRange, RateBasis
from labelaudit.row_dynamics import Dynamics
from support.probabilities import ROWS, audit_insects, insects

TINY = Name("planted", "tiny", "logistic", "uniform", 0.1)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A source of 120 rows."""
    load = generated(n_samples=120, n_features=6, n_informative=4, n_classes=3, random_state=0)
    monkeypatch.setitem(SOURCES, "tiny", Source(load, ("logistic",), "logistic"))
    yield
    planted._loaded.cache_clear()
    planted._second.cache_clear()


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", ["uniform", "pair", "class"])
def test_planted_labels_are_classes_and_wrong_as_often_as_asked(kind: str, rate: float) -> None:
    truth = np.arange(20_000) % 5
    labels = plant(kind, rate, truth, np.random.default_rng(0))
    assert set(labels) == set(range(5))
    # A class loses at most .48 of its rows, so the rate of the kind "class" may be lower than asked.
    wrong = (labels != truth).mean()
    assert rate * (0.6 if kind == "class" else 0.9) < wrong < rate * 1.1


def test_pairs_are_the_next_class() -> None:
    truth = np.arange(1000) % 4
    labels = plant("pair", 0.3, truth, np.random.default_rng(0))
    assert set((labels - truth) % 4) == {0, 1}


def test_instance_dependent_noise_follows_the_doubt_of_the_second_model() -> None:
    """Only the rows 0 to 99 are doubted, and only for class 2."""
    truth = np.zeros(1000, np.int64)
    second = np.tile(np.float32([1, 0, 0]), (1000, 1))
    second[:100] = [0.6, 0, 0.4]
    labels = plant_by_confusion(0.05, truth, second, np.random.default_rng(0))
    assert (labels[:100] == 2).sum() == 50
    assert (labels[100:] == 0).all()


def test_figures_of_four_rows() -> None:
    """The flags are one wrong row and one right row of two wrong ones. The ranking is perfect apart from one row."""
    is_wrong = np.array([True, False, True, False])
    score = np.array([0.9, 0.8, 0.7, 0.1])
    figures = figures_of(score, score > 0.75, is_wrong, estimate=0.4, p_wrong=True)
    assert (figures.f1, figures.precision, figures.flagged) == (0.5, 0.5, 0.5)
    assert figures.average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert figures.auroc == pytest.approx(3 / 4)
    assert figures.best_f1 == pytest.approx(0.8)  # the first three
    assert figures.expected_precision == pytest.approx(0.85)


def test_without_wrong_labels_nothing_can_be_ranked() -> None:
    figures = figures_of(np.array([0.2, 0.1]), np.array([True, False]), np.zeros(2, bool), estimate=0)
    assert (figures.average_precision, figures.auroc, figures.best_f1, figures.f1) == (None, None, None, None)
    assert figures.precision == 0


def test_best_f1_does_not_separate_equal_rows() -> None:
    assert best_f1(np.array([0.5, 0.5, 0.1]), np.array([True, False, False])) == pytest.approx(2 / 3)


def test_calibration_error() -> None:
    p_wrong = np.repeat([0.0, 0.5], 75)
    assert calibration_error(p_wrong, np.zeros(150, bool)) == pytest.approx(0.25)
    assert calibration_error(p_wrong, np.r_[np.zeros(75, bool), np.arange(75) % 2 == 0]) < 0.05


def test_reliability_counts_each_row_once() -> None:
    bins = reliability(np.float32([0, 0.004, 0.96, 1]), np.array([False, True, True, True]))
    assert [(one.rows, one.wrong) for one in bins if one.rows] == [(2, 1), (2, 2)]
    assert len(bins) == len(BIN_STARTS)
    assert bins[-1].expected == pytest.approx(1.96)


@pytest.mark.parametrize(
    ("low", "high", "disagreement", "expected"),
    [(0.1, 0.3, 0.4, True), (0.1, 0.2, 0.4, False), (0.1, 0.3, 0.1, False), (0.0, 0.1, 0.1, False)],
)
def test_narrowed_ranges(low: float, high: float, disagreement: float, expected: bool) -> None:
    assert is_narrowed(ErrorRange(0.1, low, high, RateBasis.PROBABILITIES), disagreement) is expected


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("kind", [*KINDS, "none"])
def test_a_cell_is_the_same_from_the_cache(kind: str, tmp_path: Path) -> None:
    name = Name("planted", "tiny", "logistic", kind, 0.0 if kind == "none" else 0.2)
    made, stored = planted_cell(name, tmp_path, tmp_path / "cache"), planted_cell(name, tmp_path, tmp_path / "cache")
    again = planted_cell(name, tmp_path, None)
    for other in (stored, again):
        assert (made.labels == other.labels).all()
        assert (made.pred_probs == other.pred_probs).all()
        assert (made.truth == other.truth).all()
    assert (made.labels == made.truth).all() == (kind == "none")


@pytest.mark.usefixtures("tiny")
def test_figures_survive_json_and_are_in_the_tables(tmp_path: Path) -> None:
    figures = measure_planted(TINY, tmp_path, None)
    assert figures is not None
    assert figures.rows == 120
    path = tmp_path / "figures.json"
    path.write_text(figures_json("Measured by a test.", [figures]))
    assert read_figures(path) == ("Measured by a test.", [figures])
    text = page([figures])
    assert "tiny-logistic-uniform-10" in text
    assert "## Real errors" not in text
    assert "planted: uniform (1 cells" in compact_table([figures])


def test_cells_without_their_file_are_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = next(name for name in planted_names() if name.data == "mnist")
    assert measure_planted(name, tmp_path, None) is None
    assert "skipped mnist-logistic-none-00: there is no mnist-test-10k.parquet" in capsys.readouterr().err
    assert list(real_cells(argparse.Namespace(data=tmp_path, audits=[]))) == []
    assert "skipped stored probabilities: there are no stored probabilities" in capsys.readouterr().err


@pytest.mark.usefixtures("tiny")
def test_impossible_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = generated(n_samples=60, n_features=6, n_informative=4, n_classes=2, random_state=0)
    monkeypatch.setitem(SOURCES, "tiny", Source(two, ("logistic",), "logistic"))
    with pytest.raises(MissingDataError, match="the next class is the only other one"):
        planted_cell(Name("planted", "tiny", "logistic", "pair", 0.1), tmp_path, None)
    few = generated(n_samples=40, n_features=6, n_informative=4, n_classes=2, weights=[0.95], random_state=0)
    planted._loaded.cache_clear()
    monkeypatch.setitem(SOURCES, "tiny", Source(few, ("logistic",), "logistic"))
    with pytest.raises(MissingDataError, match="fewer rows than folds"):
        planted_cell(Name("planted", "tiny", "logistic", "none"), tmp_path, None)


def test_the_quick_mode_needs_no_file() -> None:
    names = planted_names(is_quick=True)
    assert {name.data for name in names} == set(QUICK)
    assert all(SOURCES[name.data].file is None for name in names)
    assert len(names) == len(QUICK) * (1 + len(KINDS) * len(RATES))
    assert len({str(name) for name in planted_names()}) == len(planted_names())
    assert [is_wanted(names[0], parts) for parts in ([], ["digits"], ["mnist"])] == [True, True, False]


def test_stored_probabilities(tmp_path: Path) -> None:
    (tmp_path / "oof").mkdir()
    table = pa.table({"label": ["a", "b"], "true_label": ["a", "a"], "pred_probs": [[0.9, 0.1], [0.6, 0.4]]})
    pq.write_table(table.replace_schema_metadata({"class_names": '["a", "b"]'}), tmp_path / "oof" / "two.parquet")
    (cell,) = stored_cells(tmp_path)
    assert str(cell.name) == "two (stored)"
    assert (cell.labels.tolist(), cell.truth.tolist()) == ([0, 1], [0, 0])
    np.testing.assert_allclose(cell.pred_probs, [[0.9, 0.1], [0.6, 0.4]], rtol=1e-6)


def with_true_labels(frame: pd.DataFrame) -> pd.DataFrame:
    right = np.array(["ant", "bee", "fly"])[np.arange(ROWS) % 3]
    return frame.assign(true_label=right)


def test_audits_are_read_with_the_true_labels_of_their_dataset(tmp_path: Path) -> None:
    audit_insects(tmp_path, "v1", with_true_labels(insects(wrong=[3, 10])))
    output = str(tmp_path / "out")
    assert audited_datasets(output) == ["insects"]
    cell = audit_cell(output, "insects", tmp_path / "nothing")
    assert np.flatnonzero(cell.labels != cell.truth).tolist() == [3, 10]
    assert (cell.pred_probs.argmax(axis=1) == cell.truth).all()
    assert cell.dynamics is None
    assert measure(cell).methods[OURS].average_precision == 1


def test_without_true_labels_the_given_ones_count_as_right(tmp_path: Path) -> None:
    audit_insects(tmp_path, "v1", insects(wrong=[3]))
    cell = audit_cell(str(tmp_path / "out"), "insects", tmp_path)
    assert cell.name.kind == "none"
    assert (cell.labels == cell.truth).all()


def test_missing_audits_have_a_reason(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="No audit is published"):
        audit_cell(str(tmp_path), "insects", tmp_path)


def test_dynamics_are_a_method_of_their_own() -> None:
    truth = np.arange(60) % 3
    labels = np.where(np.arange(60) % 20 == 0, (truth + 1) % 3, truth)
    p_given = np.where(labels == truth, 0.9, 0.1).astype(np.float32)
    pred_probs = (0.1 + 0.7 * np.eye(3)[truth]).astype(np.float32)
    dynamics = Dynamics(p_given, p_given, np.zeros_like(p_given), np.zeros_like(p_given))
    figures = measure(Cell(Name("audit", "x", "own audit", "real"), labels, pred_probs, truth, dynamics))
    assert {OURS, CLEANLAB, WITH_DYNAMICS} <= set(figures.methods)
    assert "## With training dynamics" in page([figures])


def test_the_page_has_the_line_that_the_tables_follow() -> None:
    text = (Path(__file__).parents[2] / "docs" / "detection-benchmark.md").read_text(encoding="utf-8")
    assert text.count(GENERATED) == 1
