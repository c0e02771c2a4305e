"""The gate, which compares what an audit measured with the limits of a config."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, fields

from labelaudit.audit_changes import ClassDifferences
from labelaudit.detection.class_shares import named_classes, quoted
from labelaudit.findings import Duplicates, ErrorRange, Gate, GateVerdict, Outcome, QualityFound, Rule
from labelaudit.shares import range_in_words, ratio_in_words
from labelaudit.slice_findings import Slices

# A detector is blind if it flags nothing and catches less than this share of planted errors.
BLIND_BELOW = 0.5
_UNKNOWN_CONTENTS = "the probabilities were made elsewhere, and the contents of the rows are unknown"


@dataclass(frozen=True)
class Limits:
    """The limits of a config; None: no limit."""

    max_flagged_share: float | None = None
    max_class_flagged_share: float | Mapping[str, float] | None = None
    max_new_issues: int | None = None
    max_new_issues_share: float | None = None
    max_error_rate: float | None = None
    max_measured_error_rate: float | None = None
    max_new_classes: int | None = None
    max_class_share_change: float | None = None
    min_canary_recall: float | None = None
    max_conflicting_copies: int | None = None
    max_leaks: int | None = None
    max_slice_ratio: float | None = None
    max_input_issues_share: float | None = None


@dataclass(frozen=True)
class Measures:
    """What an audit measured; None: not measured.

    Rows that people want to remove do not count, except in `classes`, which compares the data of two versions.
    """

    scored: int
    issues: int
    class_issues: Mapping[str, tuple[int, int]]  # by scored class: its rows, and the flagged ones among them
    rare_classes: Collection[str] = ()
    new_issues: int | None = None  # compared with the predecessor
    measured_error_rate: float | None = None  # by people, on this version
    canary_recall: float | None = None
    dismissed: int = 0  # rows that the detector flagged but people judged fine or remove; `issues` has none of them
    not_compared: str | None = None  # why it could not be compared with its predecessor
    classes: ClassDifferences | None = None  # compared with the predecessor
    error_range: ErrorRange | None = None  # the share of wrong labels
    copies: Duplicates | None = None  # None if the contents of the rows are unknown
    has_splits: bool = False
    slices: Slices | None = None  # None if the config names no slices
    quality: QualityFound | None = None  # as for copies
    rows: int = 0  # of all statuses


def judge_limits(limits: Limits, measures: Measures, *, has_predecessor: bool) -> Gate | None:
    """Compare what was measured with the limits.

    A rule is broken if the measured value is beyond the limit; its interval does not matter. Only `max_error_rate`
    and `max_slice_ratio` compare a range: they are broken if the whole range is above the limit. `max_error_rate` warns
    if a part of it is. Broken rules fail the gate, but without a predecessor they only warn. A value that was not
    measured breaks no rule. If there is a predecessor that cannot be compared, limits on what changed since then warn.
    A detector that flags nothing and misses most planted errors breaks a rule of its own, even without limits.

    Returns:
        The verdict and the rules. None if there are no limits and the detector is not blind.
    """
    rules = list(_limited(limits, measures))
    blind = _blind(measures)
    if not rules and blind.outcome != Outcome.FAILED:
        return None
    rules.append(blind)
    outcomes = {rule.outcome for rule in rules}
    verdict = GateVerdict.PASSED
    if Outcome.FAILED in outcomes and has_predecessor:
        verdict = GateVerdict.FAILED
    elif outcomes & {Outcome.FAILED, Outcome.WARNED}:
        verdict = GateVerdict.WARNED
    return Gate(verdict, _sentence(verdict, rules), tuple(rules))


def _limited(limits: Limits, measures: Measures) -> Iterator[Rule]:
    """Yield a rule for each limit, in their order; with a limit for each of several classes, one for each of them."""
    for name in (field.name for field in fields(limits)):
        limit: float | Mapping[str, float] | None = getattr(limits, name)
        if isinstance(limit, Mapping):
            for class_name, most in limit.items():
                yield _of_class(f"{name}: {class_name}", class_name, most, measures)
        elif limit is not None:
            yield _CHECKS[name](name, limit, measures)


def _flagged_share(rule: str, limit: float, measures: Measures) -> Rule:
    what = f"{measures.issues:,} of {measures.scored:,} scored rows are flagged"
    return _share_at_most(rule, measures.issues / measures.scored, limit, what)


def _worst_class(rule: str, limit: float, measures: Measures) -> Rule:
    shares = {class_name: issues / max(1, rows) for class_name, (rows, issues) in measures.class_issues.items()}
    # The name makes the choice unique if shares are equal.
    worst = min(shares, key=lambda class_name: (-shares[class_name], class_name))
    more = sum(share > limit for share in shares.values()) - 1
    others = f"; {more:,} more {'class is' if more == 1 else 'classes are'} above the limit" if more > 0 else ""
    rows, issues = measures.class_issues[worst]
    what = f"{issues:,} of {rows:,} rows labeled {quoted(worst)}, the worst class, are flagged"
    return _share_at_most(rule, shares[worst], limit, what, others)


def _of_class(rule: str, class_name: str, limit: float, measures: Measures) -> Rule:
    if class_name in measures.class_issues:
        rows, issues = measures.class_issues[class_name]
        what = f"{issues:,} of {rows:,} rows labeled {quoted(class_name)} are flagged"
        return _share_at_most(rule, issues / max(1, rows), limit, what)
    if class_name in measures.rare_classes:
        return _not_measured(rule, limit, f"class {quoted(class_name)} has too few rows and was set aside")
    # Otherwise a mistyped name would turn the limit off.
    sentence = f"No row of this version has the label {quoted(class_name)}, which the config limits."
    return Rule(rule, None, limit, Outcome.FAILED, sentence)


def _new_issues(rule: str, limit: float, measures: Measures) -> Rule:
    if measures.new_issues is None:
        return _not_compared(rule, limit, measures)
    are = "row is" if measures.new_issues == 1 else "rows are"
    return _count_at_most(rule, measures.new_issues, limit, f"{are} newly flagged")


def _new_issues_share(rule: str, limit: float, measures: Measures) -> Rule:
    if measures.new_issues is None:
        return _not_compared(rule, limit, measures)
    what = f"{measures.new_issues:,} of {measures.scored:,} scored rows are newly flagged"
    return _share_at_most(rule, measures.new_issues / measures.scored, limit, what)


def _error_rate(rule: str, limit: float, measures: Measures) -> Rule:
    found = measures.error_range
    if found is None:
        return _not_measured(rule, limit, "no row has a score")
    # The value next to the limit is the one that decides.
    if found.low > limit:
        outcome, measured, which = Outcome.FAILED, found.low, "and the whole range is above it"
    elif found.high <= limit:
        outcome, measured, which = Outcome.PASSED, found.high, "and the whole range is within it"
    else:
        outcome, measured = Outcome.WARNED, found.estimate
        which = "which is inside this range. More verdicts would narrow it"
    what = range_in_words(found, measures.scored, f"{measures.scored:,} labels")
    return Rule(rule, measured, limit, outcome, f"{what}; the limit is {_percents(limit)[0]}, {which}.")


def _measured_error_rate(rule: str, limit: float, measures: Measures) -> Rule:
    rate = measures.measured_error_rate
    if rate is None:
        return _not_measured(rule, limit, "no random sample of this version has enough verdicts")
    return _share_at_most(rule, rate, limit, "reviewers of a random sample found this share of wrong labels")


def _new_classes(rule: str, limit: float, measures: Measures) -> Rule:
    classes = measures.classes
    if classes is None:
        return _not_compared(rule, limit, measures)
    names = f": {named_classes(classes.new_names, classes.new)}" if classes.new else ""
    return _count_at_most(rule, classes.new, limit, f"{'class is' if classes.new == 1 else 'classes are'} new{names}")


def _class_share_change(rule: str, limit: float, measures: Measures) -> Rule:
    if measures.classes is None:
        return _not_compared(rule, limit, measures)
    largest = measures.classes.largest
    if largest is None:
        return Rule(rule, 0.0, limit, Outcome.PASSED, "Every class has the same share of the labeled rows as before.")
    before, now = _percents(largest.share_before, largest.share)
    change, most = _percents(largest.change, limit)
    what = f"The share of {quoted(largest.class_name)} among the labeled rows changed from {before} to {now}"
    sentence = f"{what}. The difference is {change}; the limit is {most}."
    return Rule(rule, largest.change, limit, _at_most(largest.change, limit), sentence)


def _canary_recall(rule: str, limit: float, measures: Measures) -> Rule:
    recall = measures.canary_recall
    if recall is None:
        return _not_measured(rule, limit, "too few rows can be trusted to plant errors")
    outcome = Outcome.FAILED if recall < limit else Outcome.PASSED
    measured, least = _percents(recall, limit)
    return Rule(rule, recall, limit, outcome, f"{measured} of the planted errors are caught; the limit is {least}.")


def _conflicting_copies(rule: str, limit: float, measures: Measures) -> Rule:
    if measures.copies is None:
        return _not_measured(rule, limit, _UNKNOWN_CONTENTS)
    found = measures.copies.conflicts
    have = "group of copies has" if found == 1 else "groups of copies have"
    return _count_at_most(rule, found, limit, f"{have} different labels")


def _leaks(rule: str, limit: float, measures: Measures) -> Rule:
    if measures.copies is None:
        return _not_measured(rule, limit, _UNKNOWN_CONTENTS)
    # Otherwise the rule would hold if a column of splits was not found.
    if not measures.has_splits:
        return _not_measured(rule, limit, "the dataset has no splits")
    found = measures.copies.leaks
    are = "group of copies is" if found == 1 else "groups of copies are"
    return _count_at_most(rule, found, limit, f"{are} in several splits")


def _slice_ratio(rule: str, limit: float, measures: Measures) -> Rule:
    """Return a rule on the lower end of the interval, because the worst of many ratios is high by chance."""
    if measures.slices is None:
        return _not_measured(rule, limit, "the config names no columns in dataset.slices")
    if not measures.slices.worst:
        sentence = "No slice has more wrong labels than the others, beyond chance."
        return Rule(rule, None, limit, Outcome.PASSED, sentence)
    # They are in the order of `low`, the highest first.
    worst = measures.slices.worst[0]
    outcome = Outcome.PASSED if worst.low is None else _at_most(worst.low, limit)
    sentence = f"{ratio_in_words(worst)}. The limit is {limit:g}, and it applies to the lower end of the interval."
    return Rule(rule, worst.low, limit, outcome, sentence)


def _input_issues_share(rule: str, limit: float, measures: Measures) -> Rule:
    quality = measures.quality
    if quality is None:
        return _not_measured(rule, limit, _UNKNOWN_CONTENTS)
    share = quality.rows / max(1, measures.rows)
    what = f"{quality.rows:,} of {measures.rows:,} rows have inputs that are hard to use"
    # An issue that too many rows have is not listed, but still an issue.
    issue, normal = max(quality.normal.items(), key=lambda pair: pair[1], default=("", 0.0))
    if normal > share:
        share, what = normal, f"So many rows have the issue {issue.replace('_', ' ')!r} that they are not listed"
    return _share_at_most(rule, share, limit, what)


# One for each field of `Limits`.
_CHECKS: Mapping[str, Callable[[str, float, Measures], Rule]] = {
    "max_flagged_share": _flagged_share,
    "max_class_flagged_share": _worst_class,
    "max_new_issues": _new_issues,
    "max_new_issues_share": _new_issues_share,
    "max_error_rate": _error_rate,
    "max_measured_error_rate": _measured_error_rate,
    "max_new_classes": _new_classes,
    "max_class_share_change": _class_share_change,
    "min_canary_recall": _canary_recall,
    "max_conflicting_copies": _conflicting_copies,
    "max_leaks": _leaks,
    "max_slice_ratio": _slice_ratio,
    "max_input_issues_share": _input_issues_share,
}


def _blind(measures: Measures) -> Rule:
    recall = measures.canary_recall
    if measures.issues or measures.dismissed:
        outcome, sentence = Outcome.PASSED, "The detector flags rows, so it is not blind."
    elif recall is None:
        outcome = Outcome.NOT_MEASURED
        sentence = "No row is flagged, and no errors could be planted to check whether the detector is blind."
    elif recall < BLIND_BELOW:
        outcome = Outcome.FAILED
        sentence = f"The detector is blind: it flags no row and catches {_percents(recall)[0]} of the planted errors."
    else:
        outcome = Outcome.PASSED
        share = _percents(recall)[0]
        sentence = f"The detector flags no row, but catches {share} of the planted errors: it is not blind."
    return Rule("blind_detector", recall, BLIND_BELOW, outcome, sentence)


def _at_most(measured: float, limit: float) -> Outcome:
    return Outcome.FAILED if measured > limit else Outcome.PASSED


def _share_at_most(rule: str, measured: float, limit: float, what: str, more: str = "") -> Rule:
    share, most = _percents(measured, limit)
    sentence = f"{what[0].upper()}{what[1:]} ({share}); the limit is {most}{more}."
    return Rule(rule, measured, limit, _at_most(measured, limit), sentence)


def _count_at_most(rule: str, count: int, limit: float, what: str) -> Rule:
    return Rule(rule, count, limit, _at_most(count, limit), f"{count:,} {what}; the limit is {limit:,}.")


def _not_compared(rule: str, limit: float, measures: Measures) -> Rule:
    if measures.not_compared is None:
        return _not_measured(rule, limit, "there is no previous audit to compare")
    sentence = f"Not measured, because the previous audit cannot be compared: {measures.not_compared}"
    return Rule(rule, None, limit, Outcome.WARNED, sentence)


def _not_measured(rule: str, limit: float, why: str) -> Rule:
    return Rule(rule, None, limit, Outcome.NOT_MEASURED, f"Not measured: {why}.")


def _sentence(verdict: GateVerdict, rules: list[Rule]) -> str:
    broken = [rule.rule for rule in rules if rule.outcome == Outcome.FAILED]
    warned = [rule.rule for rule in rules if rule.outcome == Outcome.WARNED]
    undecided = (Outcome.NOT_MEASURED, Outcome.WARNED)
    unknown = sum(rule.measured is None and rule.outcome in undecided for rule in rules)
    not_measured = f" ({unknown:,} could not be measured)" if unknown else ""
    if warned and not broken:
        return f"The gate warns: {_why_undecided(rules)}"
    if not broken:
        passed = len(rules) - unknown
        return f"The gate passed: {passed:,} {'rule holds' if passed == 1 else 'rules hold'}{not_measured}."
    are = f"{len(broken):,} of {len(rules):,} rules {'is' if len(broken) == 1 else 'are'} broken{not_measured}"
    if verdict == GateVerdict.WARNED:
        return f"The gate warns: {are}: {', '.join(broken)}. Without a previous audit, nothing fails."
    return f"The gate failed: {are}: {', '.join(broken)}."


def _why_undecided(rules: list[Rule]) -> str:
    warned = [rule for rule in rules if rule.outcome == Outcome.WARNED]
    inside = [rule.rule for rule in warned if rule.measured is not None]
    not_compared = [rule.rule for rule in warned if rule.measured is None]
    parts = []
    if not_compared:
        parts.append(f"the previous audit cannot be compared. Not measured: {', '.join(not_compared)}.")
    if inside:
        parts.append(f"the limit is inside the range. Not decided: {', '.join(inside)}.")
    first, *more = parts
    return " ".join([first, *(f"{part[0].upper()}{part[1:]}" for part in more)])


def _percents(*shares: float) -> list[str]:
    """Return shares in percent, with enough digits that different shares look different."""
    digits = 1
    while True:
        texts = [f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%" for share in shares]
        if len(set(texts)) == len(set(shares)) or digits == 12:
            return texts
        digits += 1
