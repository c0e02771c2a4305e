"""Label issues: known figures on real data, tables that can be checked by hand, and no flags on clean data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cleanlab import filter as cleanlab_filter

from labelaudit import schemas
from labelaudit.detection import issues as issues_module
from labelaudit.detection.expected_cuts import best_cut
from labelaudit.detection.issues import LabelIssues, flags_of_other_labels
from labelaudit.detection.label_evidence import LabelEvidence
from labelaudit.detection.probability_blocks import ArrayBlocks
from labelaudit.detection.row_scores import with_labels
from labelaudit.detection.wrong_labels import WrongLabelModel, WrongLabels
from labelaudit.errors import ConfigError
from labelaudit.findings import ErrorRange, Noise, NoiseKind, Promise, RateBasis
from labelaudit.row_dynamics import Dynamics
from labelaudit.schemas import CLEANLAB_FILTERS, FILTERS
from support.simulated import simulate_probs

# Six rows per class that are plain, then: a dog called cat, a cat called dog, twice unsure.
SURE = 0.9
LABELS = np.array([0] * 6 + [1] * 6 + [0, 1, 0, 1])
P_DOG = np.array([1 - SURE] * 6 + [SURE] * 6 + [0.95, 0.02, 0.45, 0.55])
PROBS = np.column_stack([1 - P_DOG, P_DOG]).astype(np.float32)
NAMES = ("cat", "dog")


def find_issues(labels: np.ndarray, pred_probs: np.ndarray, names: Sequence[str], **how: Any) -> LabelIssues:
    return issues_module.find_issues(labels, ArrayBlocks(pred_probs), names, **how)


def noisy(
    num_classes: int, rows: int, *, signal: float = 4.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels with 10 % flips, probabilities of a good model, and the mask of flips."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, num_classes, rows)
    is_flipped = rng.random(rows) < 0.1
    labels = np.where(is_flipped, (true + rng.integers(1, num_classes, rows)) % num_classes, true)
    return labels, simulate_probs(true, num_classes, signal=signal, seed=seed), is_flipped


def test_hand_made_issues() -> None:
    issues = find_issues(LABELS, PROBS, NAMES)
    assert np.flatnonzero(issues.is_label_issue).tolist() == [12, 13]
    np.testing.assert_allclose(issues.label_score[[12, 13, 0]], [0.05, 0.02, 0.9], atol=1e-6)
    assert issues.label_score.dtype == np.float64
    assert issues.predicted_labels.tolist() == [0] * 6 + [1] * 6 + [1, 0, 0, 1]
    assert issues.suggested_labels.tolist() == [-1] * 12 + [1, 0, -1, -1]
    assert issues.notes == ()
    assert issues.cut is not None
    assert (issues.p_wrong[issues.is_label_issue] >= issues.cut).all()
    assert (issues.p_wrong[~issues.is_label_issue] < issues.cut).all()
    assert issues.flag_precision == pytest.approx(float(issues.p_wrong[[12, 13]].mean()))


def wrong_by_hand(monkeypatch: pytest.MonkeyPatch, p_wrong: list[float]) -> None:
    """Let the method return these probabilities, their best cut, and a range from half to twice their mean."""
    values = np.array(p_wrong, np.float32)
    rate = float(values.mean())
    found = WrongLabels(
        values,
        best_cut=best_cut(values),
        error_range=ErrorRange(rate, rate / 2, 2 * rate, RateBasis.PROBABILITIES),
        noise=Noise(NoiseKind.UNKNOWN, 0.5, "By hand."),
        model=WrongLabelModel(LabelEvidence(1.0, np.zeros((3, 3), np.float32)), np.ones(1), np.zeros(1), np.ones(1)),
    )
    monkeypatch.setattr(issues_module, "estimate_wrong", lambda *_: found)


# Labels and predictions of eight rows of three classes. Each row's most probable other class is the next one.
GIVEN = np.array([0, 0, 0, 0, 1, 1, 2, 2])
EIGHT = np.array([[0.7, 0.2, 0.1], [0.1, 0.7, 0.2], [0.2, 0.1, 0.7]], np.float32)[GIVEN]
EIGHT_WRONG = [0.75, 0.25, 0.0, 0.0, 1.0, 0.5, 0.0, 0.0]


def test_tables_are_sums_of_p_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_by_hand(monkeypatch, EIGHT_WRONG)
    found = find_issues(GIVEN, EIGHT, ["ant", "bee", "cow"])
    # Lists of 1 to 4 rows have an expected F1 of 2 / 3.5, 3.5 / 4.5, 4.5 / 5.5 and 5 / 6.5: the best one has 3 rows.
    assert found.cut == 0.5
    assert np.flatnonzero(found.is_label_issue).tolist() == [0, 4, 5]
    assert found.flag_precision == 2.25 / 3
    assert found.confusions.to_dict("list") == {
        "given_label": ["bee", "ant"],
        "suggested_label": ["cow", "bee"],
        "examples": [2, 1],
        "estimated_examples": [1.5, 1.0],
        "share_of_given": [0.75, 0.25],
    }
    classes = found.classes.set_index("class_name")
    assert classes.index.tolist() == ["bee", "ant", "cow"]
    assert classes["examples"].tolist() == [2, 4, 2]
    assert classes["label_issues"].tolist() == [2, 1, 0]
    assert classes["inverse_label_issues"].tolist() == [1, 0, 2]
    assert classes["label_noise"].tolist() == [0.75, 0.25, 0.0]
    # Truly bee: 2 - 1.5 + 1 rows, of which 1 is called ant. Truly cow: 2 + 1.5 rows, of which 1.5 are called bee.
    np.testing.assert_allclose(classes["inverse_label_noise"], [1 / 1.5, 0, 1.5 / 3.5])
    assert classes["label_quality_score"].tolist() == [0.25, 0.75, 1.0]
    np.testing.assert_allclose(classes["mean_label_score"], 0.7)
    # All numbers agree: rows of a class times their noise, the pairs, and the share of wrong labels.
    assert (classes["examples"] * classes["label_noise"]).sum() == found.confusions["estimated_examples"].sum() == 2.5
    assert found.error_range.estimate == 2.5 / 8


def test_verdicts_replace_p_wrong_but_not_what_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_by_hand(monkeypatch, EIGHT_WRONG)
    is_fine, is_wrong = np.zeros(8, bool), np.zeros(8, bool)
    is_fine[[0, 2]], is_wrong[[5, 6]] = True, True
    found = find_issues(GIVEN, EIGHT, ["ant", "bee", "cow"], is_fine=is_fine, is_wrong=is_wrong)
    assert found.p_wrong.tolist() == [0, 0.25, 0, 0, 1, 1, 1, 0]
    # Row 6 is wrong, but the detector does not flag it.
    assert np.flatnonzero(found.is_label_issue).tolist() == [4, 5]
    assert np.flatnonzero(found.is_dismissed).tolist() == [0]
    assert found.flag_precision == 1
    assert found.classes.set_index("class_name")["label_noise"].to_dict() == {"bee": 1, "cow": 0.5, "ant": 0.0625}
    # Two of eight are wrong, and two are fine: from 2 / 8 to 6 / 8. The method says 0.15625 to 0.625.
    assert found.error_range == ErrorRange(3.25 / 8, 2 / 8, 0.625, RateBasis.PROBABILITIES)


def test_after_a_review_of_all_rows_the_share_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_by_hand(monkeypatch, EIGHT_WRONG)
    is_wrong = np.arange(8) < 3
    found = find_issues(GIVEN, EIGHT, ["ant", "bee", "cow"], is_fine=~is_wrong, is_wrong=is_wrong)
    assert found.error_range == ErrorRange(3 / 8, 3 / 8, 3 / 8, RateBasis.PROBABILITIES)


@pytest.mark.parametrize(
    ("promise", "flagged"),
    [
        (Promise(precision=0.99), [4]),
        (Promise(precision=0.75), [0, 4, 5]),  # 1, 0.75 and 0.5
        (Promise(precision=0.5), [0, 1, 4, 5, 2]),
        (Promise(recall=0.7), [0, 4]),  # 1.75 of 2.5
        (Promise(recall=0.9), [0, 4, 5]),
    ],
)
def test_a_promised_share(monkeypatch: pytest.MonkeyPatch, promise: Promise, flagged: list[int]) -> None:
    wrong_by_hand(monkeypatch, EIGHT_WRONG)
    found = find_issues(GIVEN, EIGHT, ["ant", "bee", "cow"], promise=promise)
    # A row that is certainly right is never flagged, even if the list may contain it.
    assert np.flatnonzero(found.is_label_issue).tolist() == sorted(set(flagged) - {2})


@pytest.mark.parametrize("filter_by", FILTERS)
def test_the_same_labels_have_the_same_flags(filter_by: str) -> None:
    labels, probs, _ = noisy(4, 400)
    found = find_issues(labels, probs, list("abcd"), filter_by=filter_by)
    flags = flags_of_other_labels(ArrayBlocks(probs), found.scores, found, filter_by=filter_by)
    np.testing.assert_array_equal(flags, found.is_label_issue)


def test_other_labels_are_judged_by_what_was_fitted_to_the_real_ones() -> None:
    """All rows get another label. Fitted to these, the method would believe in a model that is always wrong."""
    labels, probs, is_flipped = noisy(4, 400, signal=7.0)
    found = find_issues(labels, probs, list("abcd"))
    rows = np.flatnonzero(~is_flipped)
    changed = with_labels(found.scores, rows, (labels[rows] + 1) % 4, probs[rows])
    flags = flags_of_other_labels(ArrayBlocks(probs), changed, found, filter_by="auto")
    assert flags[rows].mean() > 0.95
    np.testing.assert_array_equal(flags[is_flipped], found.is_label_issue[is_flipped])


def test_training_dynamics_do_not_defend_other_labels() -> None:
    """Models that saw row 0 with its label never learned it. With another label, only its probabilities count."""
    labels, probs, is_flipped = noisy(4, 400)
    row = int(np.flatnonzero(~is_flipped)[0])
    p_given = np.where(is_flipped, 0.2, 0.95).astype(np.float32)
    p_given[row] = 0.01
    found = find_issues(labels, probs, list("abcd"), dynamics=Dynamics(p_given, p_given, 1 - p_given, 1 - p_given))
    alone = find_issues(labels, probs, list("abcd"))
    assert found.p_wrong[row] > 5 * alone.p_wrong[row]
    unchanged = found.model.p_wrong(found.scores)
    np.testing.assert_allclose(unchanged[row], alone.p_wrong[row], atol=0.01)
    flags = flags_of_other_labels(ArrayBlocks(probs), found.scores, found, filter_by="auto")
    np.testing.assert_array_equal(flags, unchanged >= found.cut_without_verdicts)


@pytest.mark.parametrize("filter_by", CLEANLAB_FILTERS)
def test_other_filters_are_those_of_cleanlab(filter_by: str) -> None:
    labels, probs, _ = noisy(4, 800, seed=3)
    found = find_issues(labels, probs, list("abcd"), filter_by=filter_by)
    np.testing.assert_array_equal(
        found.is_label_issue, cleanlab_filter.find_label_issues(labels, probs, filter_by=filter_by, n_jobs=1)
    )
    assert found.cut is None
    assert found.p_wrong.tolist() == find_issues(labels, probs, list("abcd")).p_wrong.tolist()


def test_tables_have_the_columns_of_the_contract() -> None:
    labels, probs, _ = noisy(5, 1000)
    issues = find_issues(labels, probs, [f"c{k}" for k in range(5)])
    assert list(issues.classes) == schemas.CLASSES.names
    assert list(issues.confusions) == schemas.CONFUSIONS.names
    pa.Table.from_pandas(issues.classes, schema=schemas.CLASSES, preserve_index=False)
    pa.Table.from_pandas(issues.confusions, schema=schemas.CONFUSIONS, preserve_index=False)
    assert issues.classes["examples"].sum() == 1000
    assert issues.classes["label_issues"].sum() == issues.is_label_issue.sum()
    assert issues.classes["inverse_label_issues"].sum() == issues.is_label_issue.sum()
    assert issues.confusions["examples"].sum() == issues.is_label_issue.sum()
    assert issues.classes["label_quality_score"].is_monotonic_increasing
    assert (issues.confusions["given_label"] != issues.confusions["suggested_label"]).all()


@pytest.mark.parametrize("filter_by", FILTERS)
def test_every_filter_finds_planted_errors(filter_by: str) -> None:
    labels, probs, is_flipped = noisy(4, 800)
    issues = find_issues(labels, probs, list("abcd"), filter_by=filter_by)
    flagged = issues.is_label_issue
    assert is_flipped[flagged].mean() > 0.7
    assert flagged[is_flipped].mean() > 0.5
    assert (issues.suggested_labels[flagged] != labels[flagged]).all()
    assert (issues.suggested_labels[~flagged] == -1).all()


def test_filters_differ() -> None:
    labels, probs, _ = noisy(4, 800)
    probs = (0.7 * probs + 0.3 * simulate_probs(labels, 4, signal=0.0, seed=9)).astype(np.float32)
    masks = {find_issues(labels, probs, list("abcd"), filter_by=f).is_label_issue.tobytes() for f in FILTERS}
    assert len(masks) >= 5


def test_unknown_filter() -> None:
    with pytest.raises(ConfigError, match=r"Unknown filter 'best'\. Use one of: auto, prune_by_noise_rate, "):
        find_issues(LABELS, PROBS, NAMES, filter_by="best")


@pytest.mark.parametrize("rows", [90, 900, 9000])
@pytest.mark.parametrize("signal", [5.0, 8.0, np.inf])
def test_clean_labels_are_not_flagged(rows: int, signal: float) -> None:
    """The models never or hardly ever disagree. However many such rows there are, a list of them is no use."""
    labels = np.arange(rows) % 3
    is_certain = signal == np.inf
    probs = np.eye(3, dtype=np.float32)[labels] if is_certain else simulate_probs(labels, 3, signal=signal)
    issues = find_issues(labels, probs, list("abc"))
    disagreements = int((issues.predicted_labels != labels).sum())
    assert max(disagreements, issues.is_label_issue.sum()) <= rows / 1000
    assert issues.error_range.low == 0
    # By the rule of three, 3 wrong labels are possible with 95 % certainty if none is seen.
    assert 3 / rows < issues.error_range.high < 15 / rows
    if signal > 5:
        assert issues.flag_precision is None
        assert (issues.confusions["examples"] == 0).all()
    assert issues.confusions["estimated_examples"].sum() == pytest.approx(issues.p_wrong.sum(), rel=1e-4)


def test_many_equal_rows_are_flagged_without_those_below() -> None:
    """A perfect model gives all wrong labels the same probabilities, and all right ones other probabilities."""
    true = np.arange(9000) % 3
    is_wrong = np.random.default_rng(0).random(9000) < 0.2
    labels = np.where(is_wrong, (true + 1) % 3, true)
    issues = find_issues(labels, np.where(np.eye(3)[true] == 1, 0.96, 0.02).astype(np.float32), list("abc"))
    np.testing.assert_array_equal(issues.is_label_issue, is_wrong)


@pytest.mark.parametrize("rows", [30, 900, 9000])
def test_equal_probabilities_flag_nothing(rows: int) -> None:
    """Without a difference between rows, a list of the most doubtful ones does not exist."""
    labels = np.arange(rows) % 3
    for row in (np.full(3, 1 / 3), [0.2, 0.3, 0.5]):
        issues = find_issues(labels, np.tile(np.float32(row), (rows, 1)), list("abc"))
        assert not issues.is_label_issue.all()
        if row[0] == row[1]:
            assert not issues.is_label_issue.any()


def test_a_class_of_five_and_a_class_of_none() -> None:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1, 2], [300, 200, 5]))
    probs = simulate_probs(labels, 4, signal=3.0)
    issues = find_issues(labels, probs, ["big", "middle", "small", "none"])
    small = issues.classes.set_index("class_name").loc["small"]
    assert small["examples"] == 5
    assert 0 <= small["label_quality_score"] <= 1
    assert issues.notes[-1] == "No row has the label 'none'."
    assert np.isfinite(issues.classes.drop(columns=["class_name", "status"]).to_numpy(float)).all()


def test_a_class_of_one_is_noted(capfd: pytest.CaptureFixture[str]) -> None:
    labels = np.array([0] * 20 + [1] * 20 + [2])
    probs = simulate_probs(labels, 3, signal=1.0)
    issues = find_issues(labels, probs, ["a", "b", "c"], filter_by="prune_by_noise_rate")
    assert capfd.readouterr() == ("", "")
    assert issues.notes == ("The filter prune_by_noise_rate never flags the only row with the label 'c'.",)
    assert find_issues(labels, probs, ["a", "b", "c"]).notes == ()


@pytest.mark.parametrize(
    ("name", "f1", "predicted_f1"),
    [("cifar10n-aggregate-resnet18", 0.674, 0.747), ("synthetic-20-40-resnet18", 0.942, 0.864)],
)
def test_published_figures(shared_data: Path, name: str, f1: float, predicted_f1: float) -> None:
    table = pq.read_table(shared_data / "oof" / f"{name}.parquet")
    names = json.loads(table.schema.metadata[b"class_names"])
    labels, true = (
        np.array([names.index(label) for label in table[column].to_pylist()]) for column in ("label", "true_label")
    )
    probs = np.asarray(table["pred_probs"].combine_chunks().flatten()).reshape(-1, 10)

    def score(issues: LabelIssues) -> float:
        hits = (issues.is_label_issue & (labels != true)).sum()
        return float(2 * hits / (issues.is_label_issue.sum() + (labels != true).sum()))

    cleanlab_default = find_issues(labels, probs, names, filter_by="prune_by_noise_rate")
    assert score(cleanlab_default) == pytest.approx(f1, abs=0.001)
    by_prediction = find_issues(labels, probs, names, filter_by="predicted_neq_given")
    assert score(by_prediction) == pytest.approx(predicted_f1, abs=0.001)
