"""Checks of folds by their agreement with the labels: shifted rows, swapped columns, nothing learned, rows seen before.

Each check compares a fold with chance or with the other folds. In doubt it stays silent, because a false alarm would
stop a healthy audit. Faults that are too small for statistics, such as two tiny classes swapped in a fold of 70 rows,
are found by the row digests if the fold has them.

| check | thresholds | false alarms | test |
|---|---|---|---|
| rows shifted | LOG_ODDS, LOG_ODDS_OF_NAME; 6 and 3 in `agreement` | 1e-6 (Bernstein's bound) | A, F |
| shifted or in another order of columns | LOG_ODDS_OF_NAME, CLEARLY_BETTER | only the name can be wrong | F, E |
| columns swapped, from the labels only | LOG_ODDS; MIN_EFFECT | 1e-6 (normal tail) | C, F |
| columns swapped, from other folds | LOG_ODDS; all MIN_ of column_order | 1e-6 (likelihood ratio) | C, F |
| mean probabilities swapped | USUAL_DRIFT, DRIFTS_APART, MEANS_APART | none seen | C, F |
| a fold learned nothing | NOTHING_Z, BELOW_OTHERS, POOLED_Z, APART_FROM_OTHERS; MEANS_APART | none seen | F |
| all rows of a fold are the same | NOTHING_Z, MIN_CONSTANT_ROWS, USUALLY_DISTINCT | none seen | F |
| rows seen in training | NEARLY_ALL, APART_FROM_OTHERS | none seen, 3.5 of 4.5 reached | F, O |
| all folds learned nothing | POOLED_Z | none seen; 1 % of random probabilities pass | A, O |
| notes, which stop nothing | PERFECT, BARELY_Z, BELOW_OTHERS | not controlled | O |

False alarms are per audit. "None seen" means in the healthy runs of the tests, which include real data
(`test_calibration_on_real_data`). The tests are in tests/unit/detection: A test_agreement.py, C test_column_order.py,
E test_external.py, F test_fold_health.py, O test_out_of_fold.py. Thresholds after a semicolon are in `column_order`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from labelaudit.detection.agreement import Agreement, IntArray, chance_bound
from labelaudit.detection.column_order import (
    find_permuted,
    find_permuted_against,
    find_swapped_means,
    is_standard,
    means_are_shares,
)
from labelaudit.detection.rows import Place
from labelaudit.errors import Fault, IntegrityError
from labelaudit.text import listing

# -ln of the probability that one check gives a false alarm in an audit: one in a million.
LOG_ODDS = 6 * math.log(10)
# If a fault is certain and only its name is unknown, one in a thousand is enough.
LOG_ODDS_OF_NAME = 3 * math.log(10)
# If rows come in a regular order of classes, another order of columns looks like a shift of rows. The one that fits
# better by this many standard errors is named.
CLEARLY_BETTER = 3.5
# A fold that learned nothing stays below this z (99.997 % of the time) ...
NOTHING_Z = 4.0
# ... and is this many standard errors below the z that the other folds predict.
BELOW_OTHERS = 6.0
# Pooled agreement below this z is not better than chance (one-sided 1 %).
POOLED_Z = 2.33
# A pooled agreement below this z gives a note.
BARELY_Z = 4.0
# No model predicts this share of the labels of unseen rows.
PERFECT = 0.999
# A model predicts nearly all labels that it saw in training, also the wrong ones. So it is this many standard errors
# above the other folds. Healthy folds stay below 3.5.
NEARLY_ALL = 0.95
APART_FROM_OTHERS = 4.5
# Identical rows are not a coincidence if the rows of the other folds mostly differ. Those of a small tree do not.
MIN_CONSTANT_ROWS = 10
USUALLY_DISTINCT = 0.5


def check_folds(
    folds: Mapping[int, Agreement], places: Mapping[int, Place], class_names: Sequence[str], *, repeats: int
) -> tuple[str, ...]:
    """Check every fold against chance and against the other folds, then all folds together.

    Args:
        folds: agreement of each fold, by its number.
        places: the origin of each fold's rows, for the message.
        class_names: K names, in the order of the columns.
        repeats: how often every example was held out.

    Returns:
        Notes on what is suspicious but not a fault.

    Raises:
        IntegrityError: rows-shifted, classes-swapped, misordered, learned-nothing or seen-in-training.
    """
    for fold, measured in folds.items():
        others = [other for number, other in folds.items() if number != fold]
        _check_fold(measured, others, places[fold], class_names)
    for fold, measured in folds.items():
        others = [other for number, other in folds.items() if number != fold]
        _check_not_seen(measured, others, places[fold])
    _check_pooled_order(list(folds.values()), next(iter(places.values())), class_names)
    z = _check_pooled_z(list(folds.values()), repeats)
    weak = [
        f"Fold {fold} agrees with the labels far less than the others (on {measured.share:.1%} of its rows)."
        for fold, measured in folds.items()
        if _is_weak(measured, [other for number, other in folds.items() if number != fold])
    ]
    return (*_notes(list(folds.values()), z, "may be among the inputs"), *weak)


def check_whole(measured: Agreement, place: Place, class_names: Sequence[str]) -> tuple[str, ...]:
    """Check probabilities without folds against chance.

    Returns:
        Notes on what is suspicious but not a fault.

    Raises:
        IntegrityError: rows-shifted, classes-swapped, misordered or learned-nothing.
    """
    is_weak = measured.z < POOLED_Z
    if _is_shifted(measured, LOG_ODDS_OF_NAME if is_weak else LOG_ODDS):
        raise _displaced(measured, place, class_names)
    _check_pooled_order([measured], place, class_names)
    if is_weak and (permuted := _other_columns(measured)):
        raise _swapped(permuted, measured.examples, place, class_names, measured.columns)
    z = _check_pooled_z([measured], 1)
    return _notes([measured], z, "were very likely seen in training. Then few wrong labels can be found")


def _check_fold(measured: Agreement, others: Sequence[Agreement], place: Place, class_names: Sequence[str]) -> None:
    log_tests = math.log(len(others) + 1)
    learned_nothing = _learned_nothing(measured, others)
    if _is_shifted(measured, log_tests + (LOG_ODDS_OF_NAME if learned_nothing else LOG_ODDS)):
        raise _displaced(measured, place, class_names)
    permuted: list[int] = []
    if not learned_nothing:
        permuted = find_permuted_against(measured, others, log_tests + LOG_ODDS)
    elif measured.z < -NOTHING_Z or is_standard(others):
        permuted = find_permuted([measured], log_tests + LOG_ODDS)
    permuted = permuted or find_swapped_means(measured, others) or (learned_nothing and _other_columns(measured)) or []
    if permuted:
        raise _swapped(permuted, measured.examples, place, class_names)
    if learned_nothing:
        what = "all rows have the same probabilities" if measured.distinct == 0 else "they look random"
        raise place.fault(
            Fault.LEARNED_NOTHING,
            f"the model learned nothing ({what}). Its predictions are the given label on {measured.share:.1%} of the "
            f"rows, {measured.z:.1f} standard deviations better than chance. The other folds suggest "
            f"{np.median([other.share for other in others]):.1%} and {_expected_z(measured, others):.1f}",
            rows=measured.examples,
        )


def _learned_nothing(measured: Agreement, others: Sequence[Agreement]) -> bool:
    if not others or measured.z >= NOTHING_Z:
        return False
    if measured.distinct == 0 and np.median([other.distinct for other in others]) > USUALLY_DISTINCT:
        return measured.examples >= MIN_CONSTANT_ROWS
    # If one class has nearly all rows, z is small even in good folds. Then only the share of right predictions falls.
    falls_short = measured.z < POOLED_Z and _above_others(measured, others) < -APART_FROM_OTHERS
    if falls_short and means_are_shares(others):
        return True
    error = float(np.median([other.z_error for other in others])) * math.sqrt(1 + 1 / len(others))
    return _expected_z(measured, others) - measured.z > BELOW_OTHERS * error


def _expected_z(measured: Agreement, others: Sequence[Agreement]) -> float:
    # The median tolerates another bad fold among three or more.
    return float(np.median([other.effect for other in others])) * math.sqrt(measured.examples)


def _is_shifted(measured: Agreement, log_odds: float) -> bool:
    """Return whether the labels fit the rows at another offset better than chance allows.

    If rows are ordered by label, neighbours agree too. Then the fit must also be twice as good as without an offset.
    """
    shift = measured.shift
    if shift.z < chance_bound(shift.coarseness, log_odds + math.log(measured.examples)):
        return False
    return shift.labels_are_mixed or shift.unshifted_z < shift.z / 2


def _check_not_seen(measured: Agreement, others: Sequence[Agreement], place: Place) -> None:
    if not others or np.median([other.z for other in others]) < NOTHING_Z:
        return  # the others are not a reference
    if measured.share > NEARLY_ALL and _above_others(measured, others) > APART_FROM_OTHERS:
        usual = np.median([other.share for other in others])
        raise place.fault(
            Fault.SEEN_IN_TRAINING,
            f"{measured.share:.1%} of its predictions are the given label, but only {usual:.1%} in the other folds. "
            "Its model was very likely trained on these rows",
            rows=measured.examples,
        )


def _above_others(measured: Agreement, others: Sequence[Agreement]) -> float:
    """Return by how many standard errors the share of right predictions exceeds that of the other folds.

    On the arcsine scale the error of a share of n rows is 1/(2 sqrt(n)) for any share. The error here combines the rows
    drawn, the spread between the other folds, and a floor. With few folds the spread is uncertain, and the floor
    larger.
    """
    scores = np.arcsin(np.sqrt([other.share for other in others]))
    variances = [1 / (4 * fold.examples) for fold in (measured, *others)]
    rows_drawn = variances[0] + np.mean(variances[1:]) / len(others)
    spread = scores.var(ddof=1) * (1 + 1 / len(others)) if len(others) > 1 else 0.0
    floor = 0.03 + 0.06 / len(others)
    above = math.asin(math.sqrt(measured.share)) - scores.mean()
    return float(above / math.sqrt(rows_drawn + spread + floor**2))


def _check_pooled_order(folds: Sequence[Agreement], place: Place, class_names: Sequence[str]) -> None:
    permuted = find_permuted(folds, LOG_ODDS)
    if permuted:
        rows = sum(fold.examples for fold in folds)
        raise _swapped(permuted, rows, place._replace(fold=None), class_names)


def _check_pooled_z(folds: Sequence[Agreement], repeats: int) -> float:
    rows = sum(fold.examples for fold in folds)
    # Repeats have the same labels, so their mean counts and not their sum.
    z = sum(fold.z * math.sqrt(fold.examples) for fold in folds) / math.sqrt(rows * repeats)
    if z < POOLED_Z:
        raise IntegrityError(
            Fault.LEARNED_NOTHING,
            f"the probabilities of all {rows // repeats:,} rows together agree with the labels no better "
            f"than chance ({z:.1f} standard deviations)",
            "Check that inputs and labels belong together, and train longer or with a stronger model. Such "
            "probabilities say nothing about labels.",
            rows=rows // repeats,
        )
    return z


def _is_weak(measured: Agreement, others: Sequence[Agreement]) -> bool:
    if not others:
        return False
    expected = _expected_z(measured, others)
    return measured.z < expected / 2 and expected - measured.z > BELOW_OTHERS * measured.z_error


def _notes(folds: Sequence[Agreement], z: float, suspicion: str) -> tuple[str, ...]:
    rows = sum(fold.examples for fold in folds)
    share = sum(fold.share * fold.examples for fold in folds) / rows
    notes = []
    if share >= PERFECT:
        notes.append(f"{share:.2%} of the predictions are the given label. The labels {suspicion}.")
    if z < BARELY_Z:
        notes.append(
            f"The probabilities agree with the labels barely better than chance ({z:.1f} standard deviations). Expect "
            "little from this audit."
        )
    return tuple(notes)


def _displaced(measured: Agreement, place: Place, class_names: Sequence[str]) -> IntegrityError:
    """Return the fault of probabilities that fit the labels at another offset: their rows or their columns moved.

    If the classes alternate or come in blocks, exchanged columns fit at another offset as well. So both explanations
    are compared row by row.
    """
    permuted = _moved(measured)
    # No order of the columns fits random labels better than this.
    by_chance = math.sqrt(2 * (math.lgamma(len(class_names) + 1) + LOG_ODDS_OF_NAME))
    if not permuted or measured.columns_z < by_chance or measured.columns_lead < -CLEARLY_BETTER:
        return _shifted(measured, place)
    if measured.columns_lead > CLEARLY_BETTER:
        return _swapped(permuted, measured.examples, place, class_names, measured.columns)
    return place.fault(
        Fault.MISORDERED,
        f"the probabilities do not fit the labels as they are ordered, and two explanations fit equally well. Either "
        f"{_in_order(measured.columns, class_names)}, or the rows are shifted by {abs(measured.shift.offset):,} "
        f"against the ids. The rows come in a regular order of classes, so the labels do not show which",
        rows=measured.examples,
    )


def _shifted(measured: Agreement, place: Place) -> IntegrityError:
    return place.fault(
        Fault.ROWS_SHIFTED,
        f"the probabilities are shifted against the ids. {abs(measured.shift.offset):,} rows "
        f"{'further down' if measured.shift.offset > 0 else 'further up'} they fit the labels {measured.shift.z:.0f} "
        f"standard deviations better than chance, and {measured.shift.unshifted_z:.0f} in their own rows",
        rows=measured.examples,
    )


def _moved(measured: Agreement) -> list[int]:
    """Return the classes that are not in their own column in the order of columns that fits best."""
    return [k for k, column in enumerate(measured.columns) if column != k]


def _other_columns(measured: Agreement) -> list[int]:
    """Return the classes in other columns, if another order fits probabilities that seem random far too well."""
    by_chance = chance_bound(measured.coarseness, math.lgamma(len(measured.columns) + 1) + LOG_ODDS_OF_NAME)
    return _moved(measured) if measured.columns_z > by_chance else []


def _swapped(
    classes: Sequence[int], rows: int, place: Place, class_names: Sequence[str], columns: IntArray | None = None
) -> IntegrityError:
    names = listing(repr(class_names[k]) for k in classes)
    order = "" if columns is None else f": {_in_order(columns, class_names)}"
    return place.fault(
        Fault.CLASSES_SWAPPED,
        f"the columns of {len(classes)} classes ({names}) are not in the order of the class names. With these columns "
        f"exchanged, the probabilities fit the labels far better{order}",
        rows=rows,
    )


def _in_order(columns: IntArray, class_names: Sequence[str]) -> str:
    """Return in words which classes the columns contain, if class k is in column `columns[k]`."""
    names = [class_names[k] for k in np.argsort(columns)]
    return f"the columns are the classes {listing(map(repr, names), shown=12)}, in this order"
