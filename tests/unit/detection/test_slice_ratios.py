"""Ratios of slices by hand, their intervals and false discoveries in simulations, and slices with other classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from labelaudit.detection.slice_ratios import FEWEST_TESTED, SliceMeasures, adjusted_p_values, measure_slices


def measured(code: object, label: object, p_wrong: object, values: int = 2) -> SliceMeasures:
    doubts = np.asarray(p_wrong, float)
    return measure_slices(np.asarray(code), values, np.asarray(label), doubts, doubts >= 0.5)


def counted(*cells: tuple[int, int, int, int]) -> SliceMeasures:
    """Measure slices in which labels are known to be right or wrong: (slice, class, rows, wrong labels)."""
    parts = [np.array([[number, label, row < wrong] for row in range(rows)]) for number, label, rows, wrong in cells]
    code, label, wrong = np.concatenate(parts).T
    return measured(code, label, wrong, values=int(code.max()) + 1)


def test_two_slices_by_hand() -> None:
    """20 of 100 and 10 of 200: 4 times as many, with the interval of Katz: exp(log 4 ± 1.96 sqrt(.08 + .095))."""
    found = counted((0, 0, 100, 20), (1, 0, 200, 10))
    assert found.scored.tolist() == [100, 200]
    assert found.flagged.tolist() == [20, 10]
    assert found.expected_wrong.tolist() == [20, 10]
    margin = np.exp(1.959964 * np.sqrt(1 / 20 - 1 / 100 + 1 / 10 - 1 / 200))
    for ratios in (found.ratio, found.plain_ratio, found.flag_ratio):
        assert ratios.ratio == pytest.approx([4, 1 / 4])
        assert ratios.low == pytest.approx([4 / margin, 1 / 4 / margin], rel=1e-6)
        assert ratios.high == pytest.approx([4 * margin, margin / 4], rel=1e-6)
    # Nearly the tail of the hypergeometric distribution.
    assert found.p_value[0] == pytest.approx(hypergeom.sf(19, 300, 30, 100), rel=0.5)
    assert found.p_value[0] < 1e-3 < 0.5 < found.p_value[1]


def test_probabilities_are_summed() -> None:
    """Rows with p_wrong 0.2 count like the same number of rows, every fifth of which is wrong."""
    code, label = np.repeat([0, 1], [100, 200]), np.zeros(300, int)
    found = measured(code, label, np.repeat([0.2, 0.05], [100, 200]))
    known = counted((0, 0, 100, 20), (1, 0, 200, 10))
    for name in ("ratio", "low", "high"):
        assert getattr(found.ratio, name) == pytest.approx(getattr(known.ratio, name))
    assert np.isnan(found.flag_ratio.ratio).all()


def test_a_slice_with_hard_classes_is_compared_with_rows_of_these_classes() -> None:
    """Both slices have 40 % and 4 % of wrong labels in the two classes, but one of them mostly labels the hard one."""
    found = counted((0, 0, 200, 80), (0, 1, 50, 2), (1, 0, 50, 20), (1, 1, 200, 8))
    assert found.plain_ratio.ratio[0] == pytest.approx(82 / 28)
    assert found.plain_ratio.low[0] > 1.5
    assert found.ratio.ratio == pytest.approx([1, 1])
    assert found.ratio.low[0] < 1 < found.ratio.high[0]
    assert found.p_value == pytest.approx([0.5, 0.5], abs=0.1)


def test_mantel_haenszel_by_hand() -> None:
    """Weights are rows times others of each class: (4 * 60 / 80 + 9 * 50 / 100) / (6 * 20 / 80 + 5 * 50 / 100)."""
    found = counted((0, 0, 20, 4), (0, 1, 50, 9), (1, 0, 60, 6), (1, 1, 50, 5))
    assert found.ratio.ratio[0] == pytest.approx((3 + 4.5) / (1.5 + 2.5))


def test_rows_of_a_group_count_once() -> None:
    """Ten equal rows in each group: the interval is that of a tenth of the rows."""
    wrong = np.r_[[1.0] * 12, [0.0] * 48, [1.0] * 24, [0.0] * 216]
    code, label = np.repeat([0, 1], [60, 240]), np.zeros(300, int)
    single = measured(code, label, wrong)
    repeated = [np.repeat(values, 10) for values in (code, label, wrong, np.arange(300))]
    grouped = measure_slices(*_arguments(*repeated[:3]), repeated[3])
    assert grouped.ratio.ratio == pytest.approx(single.ratio.ratio)
    assert grouped.ratio.low == pytest.approx(single.ratio.low, rel=0.01)
    assert grouped.p_value == pytest.approx(single.p_value, rel=0.05)
    # As independent rows, they would be evidence.
    assert measured(*repeated[:3]).p_value[0] < 1e-4 < 0.01 < grouped.p_value[0]
    few = measure_slices(*_arguments(*repeated[:3]), repeated[3] // 10)
    assert np.isnan(few.p_value).all()


def _arguments(code: np.ndarray, label: np.ndarray, p_wrong: np.ndarray) -> tuple[object, ...]:
    return code, 2, label, p_wrong, p_wrong >= 0.5


def test_groups_of_equal_rows_cause_no_discoveries() -> None:
    """40 slices of 30 groups of 5 rows that are all right or all wrong."""
    generator = np.random.default_rng(6)
    group = np.repeat(np.arange(1200), 5)
    with_groups, without = [], []
    for _ in range(30):
        wrong = np.repeat(generator.random(1200) < 0.1, 5)
        arguments = (group // 30, 40, group * 0, wrong * 0.9 + 0.05, wrong)
        with_groups.append(measure_slices(*arguments, group))
        without.append(measure_slices(*arguments))
    rates = [np.mean(np.concatenate([one.p_value for one in found]) <= 0.01) for found in (with_groups, without)]
    assert rates[0] <= 0.02
    assert rates[1] > 0.1
    covered = np.concatenate([(one.ratio.low <= 1) & (one.ratio.high >= 1) for one in with_groups])
    assert covered.mean() >= 0.93


def test_groups_across_slices_change_nothing() -> None:
    """Each group has one row in each slice, such as one answer of each annotator."""
    code, label = np.tile([0, 1], 100), np.zeros(200, int)
    doubts = np.random.default_rng(0).random(200)
    alone = measured(code, label, doubts)
    grouped = measure_slices(*_arguments(code, label, doubts), np.repeat(np.arange(100), 2))  # type: ignore[arg-type]
    assert grouped.p_value == pytest.approx(alone.p_value)
    assert grouped.ratio.low == pytest.approx(alone.ratio.low)


def test_classes_of_one_slice_alone_say_nothing() -> None:
    found = counted((0, 0, 50, 10), (0, 1, 50, 50), (1, 0, 50, 5))
    assert found.ratio.ratio[0] == pytest.approx(2)
    assert found.plain_ratio.ratio[0] == pytest.approx(0.6 / 0.1)


@pytest.mark.parametrize(
    ("cells", "is_tested"),
    [
        ([(0, 0, FEWEST_TESTED, 3), (1, 0, 100, 5)], True),
        ([(0, 0, FEWEST_TESTED - 1, 3), (1, 0, 100, 5)], False),
        ([(0, 0, 100, 3), (1, 0, FEWEST_TESTED - 1, 5)], False),
        # The second class cannot be compared.
        ([(0, 0, FEWEST_TESTED - 1, 3), (0, 1, 50, 3), (1, 0, 100, 5)], False),
        # Nothing differs.
        ([(0, 0, 50, 0), (1, 0, 50, 0)], False),
    ],
)
def test_few_rows_are_not_tested(cells: list[tuple[int, int, int, int]], is_tested: bool) -> None:
    assert np.isnan(counted(*cells).p_value[0]) == (not is_tested)


def test_slices_without_wrong_labels_or_without_others() -> None:
    found = counted((0, 0, 50, 0), (1, 0, 50, 5))
    assert found.ratio.ratio[0] == 0
    assert np.isnan([found.ratio.low[0], found.ratio.high[0], found.ratio.ratio[1]]).all()
    alone = measured([0] * 20, [0] * 20, [0.1] * 20, values=2)
    assert alone.scored.tolist() == [20, 0]
    assert np.isnan(alone.ratio.ratio).all()
    assert np.isnan(alone.p_value).all()


def test_no_rows() -> None:
    found = measured(np.empty(0, int), np.empty(0, int), [], values=3)
    assert found.scored.tolist() == [0, 0, 0]
    assert np.isnan(found.p_value).all()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(1, 99)), min_size=1, max_size=60))
def test_the_order_of_rows_and_the_names_of_classes_do_not_matter(rows: list[tuple[int, int, int]]) -> None:
    code, label, percent = np.array(rows).T
    found = measured(code, label, percent / 100, values=4)
    other = measured(code[::-1], 2 - label[::-1], percent[::-1] / 100, values=4)
    for name in ("expected_wrong", "p_value"):
        assert getattr(found, name) == pytest.approx(getattr(other, name), nan_ok=True)
    assert found.ratio.low == pytest.approx(other.ratio.low, nan_ok=True)


def test_many_pairs_of_slices_and_classes() -> None:
    """The same, whether pairs are counted or sorted."""
    code, label = np.repeat([0, 1], [100, 200]), np.zeros(300, int)
    doubts = np.random.default_rng(0).random(300)
    few = measured(code, label, doubts)
    many = measured(code * 1500, label + 1499, doubts, values=1501)
    assert many.p_value[[0, 1500]] == pytest.approx(few.p_value)
    assert many.ratio.low[[0, 1500]] == pytest.approx(few.ratio.low)
    assert many.scored.sum() == 300


def test_adjusted_p_values_by_hand() -> None:
    """Benjamini and Hochberg: p times the number of tests, divided by the rank; never below that of a larger p."""
    adjusted = adjusted_p_values(np.array([0.01, np.nan, 0.04, 0.03, 0.5]))
    assert adjusted == pytest.approx([0.04, np.nan, 0.16 / 3, 0.16 / 3, 0.5], nan_ok=True)


def simulated(
    generator: np.random.Generator, times: np.ndarray, rows: int, *, rate: float = 0.1, certainty: float = 2.0
) -> SliceMeasures:
    """Measure slices with so many times the rate, in five classes of different rates, with a calibrated p_wrong.

    Args:
        rows: of each slice.
        certainty: how many standard deviations wrong labels are from right ones.
    """
    code = np.repeat(np.arange(len(times)), rows)
    label = generator.integers(0, 5, len(code))
    is_wrong = generator.random(len(code)) < np.linspace(0.5, 1.5, 5)[label] * rate * times[code]
    sign = generator.normal(size=len(code)) + certainty * is_wrong
    prior = is_wrong.mean()
    odds = prior / (1 - prior) * np.exp(certainty * sign - certainty**2 / 2)
    return measured(code, label, odds / (1 + odds), values=len(times))


def worse(found: SliceMeasures) -> np.ndarray:
    return (adjusted_p_values(found.p_value) <= 0.05) & (found.ratio.low > 1)


@pytest.mark.parametrize("certainty", [1.0, 2.0, 4.0])
def test_intervals_contain_the_ratio_and_p_values_are_uniform_if_slices_do_not_differ(certainty: float) -> None:
    generator = np.random.default_rng(1)
    found = [simulated(generator, np.ones(20), 60, certainty=certainty) for _ in range(60)]
    covered = np.concatenate([(one.ratio.low <= 1) & (one.ratio.high >= 1) for one in found])
    p_values = np.concatenate([one.p_value for one in found])
    assert covered.mean() >= 0.94
    assert np.mean(p_values <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert np.mean(p_values <= 0.01) == pytest.approx(0.01, abs=0.008)


def test_intervals_contain_a_ratio_that_a_certain_model_sees() -> None:
    generator = np.random.default_rng(2)
    times = np.r_[3.0, np.ones(19)]
    found = [simulated(generator, times, 150, certainty=5.0) for _ in range(150)]
    assert np.mean([one.ratio.low[0] <= 3 <= one.ratio.high[0] for one in found]) >= 0.93


def test_an_unsure_model_understates_the_ratio() -> None:
    generator = np.random.default_rng(3)
    times = np.r_[4.0, np.ones(19)]
    ratios = [
        np.mean([simulated(generator, times, 200, certainty=certainty).ratio.ratio[0] for _ in range(20)])
        for certainty in (1.0, 2.0, 5.0)
    ]
    assert 1 < ratios[0] < ratios[1] < ratios[2] < 4.1


def test_many_slices_without_a_difference_give_about_no_discovery() -> None:
    generator = np.random.default_rng(4)
    discoveries = [worse(simulated(generator, np.ones(400), 25, certainty=3.0)).sum() for _ in range(20)]
    # At most one run in twenty is expected to have any.
    assert np.count_nonzero(discoveries) <= 3


def test_planted_slices_are_found_among_many_and_few_others() -> None:
    generator = np.random.default_rng(5)
    times = np.r_[np.full(10, 5.0), np.ones(190)]
    found = [worse(simulated(generator, times, 60, certainty=3.0)) for _ in range(10)]
    assert np.mean([one[:10].mean() for one in found]) > 0.9
    false = [one[10:].sum() / max(1, one.sum()) for one in found]
    assert np.mean(false) <= 0.05
