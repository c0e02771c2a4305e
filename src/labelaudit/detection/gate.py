"""The gate, which compares what an audit measured with the limits of a config."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from labelaudit.detection.class_shares import named_classes, quoted
from labelaudit.findings import (
    ClassDifferences,
    Duplicates,
    ErrorRange,
    Gate,
    GateVerdict,
    Outcome,
    QualityFound,
    Rule,
    Slices,
)
from labelaudit.shares import range_in_words, ratio_in_words

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
    """What an audit measured; None: not measured."""

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
    checks: list[Callable[[Limits, Measures], list[Rule]]] = [
        _flagged_share,
        _class_flagged_share,
        _new_issues,
        _error_rate,
        _measured_error_rate,
        _new_classes,
        _class_share_change,
        _canary_recall,
        _conflicting_copies,
        _leaks,
        _slice_ratio,
        _input_issues_share,
    ]
    rules = [rule for check in checks for rule in check(limits, measures)]
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


def _flagged_share(limits: Limits, measures: Measures) -> list[Rule]:
    if limits.max_flagged_share is None:
        return []
    what = f"{measures.issues:,} of {measures.scored:,} scored rows are flagged"
    share = measures.issues / measures.scored
    return [_at_most("max_flagged_share", share, limits.max_flagged_share, what)]


def _class_flagged_share(limits: Limits, measures: Measures) -> list[Rule]:
    """Return one rule for all classes, or one for each class that the config names."""
    name, limit = "max_class_flagged_share", limits.max_class_flagged_share
    if limit is None:
        return []
    if isinstance(limit, Mapping):
        return [_of_class(f"{name}: {class_name}", class_name, most, measures) for class_name, most in limit.items()]
    shares = {class_name: issues / rows for class_name, (rows, issues) in measures.class_issues.items()}
    # The name makes the choice unique if shares are equal.
    worst = min(shares, key=lambda class_name: (-shares[class_name], class_name))
    more = sum(share > limit for share in shares.values()) - 1
    others = f"; {more:,} more {'class is' if more == 1 else 'classes are'} above the limit" if more > 0 else ""
    rows, issues = measures.class_issues[worst]
    what = f"{issues:,} of {rows:,} rows labeled {quoted(worst)}, the worst class, are flagged"
    return [_at_most(name, shares[worst], limit, what, others)]


def _of_class(rule: str, class_name: str, limit: float, measures: Measures) -> Rule:
    if class_name in measures.class_issues:
        rows, issues = measures.class_issues[class_name]
        what = f"{issues:,} of {rows:,} rows labeled {quoted(class_name)} are flagged"
        return _at_most(rule, issues / rows, limit, what)
    if class_name in measures.rare_classes:
        return _not_measured(rule, limit, f"class {quoted(class_name)} has too few rows and was set aside")
    # Otherwise a mistyped name would turn the limit off.
    sentence = f"No row of this version has the label {quoted(class_name)}, which the config limits."
    return Rule(rule, None, limit, Outcome.FAILED, sentence)


def _new_issues(limits: Limits, measures: Measures) -> list[Rule]:
    limited = {"max_new_issues": limits.max_new_issues, "max_new_issues_share": limits.max_new_issues_share}
    known = {name: limit for name, limit in limited.items() if limit is not None}
    new = measures.new_issues
    if new is None:
        return [_not_compared(name, limit, measures) for name, limit in known.items()]
    rules = []
    if limits.max_new_issues is not None:
        most = limits.max_new_issues
        outcome = Outcome.FAILED if new > most else Outcome.PASSED
        sentence = f"{new:,} {'row is' if new == 1 else 'rows are'} newly flagged; the limit is {most:,}."
        rules.append(Rule("max_new_issues", new, most, outcome, sentence))
    if limits.max_new_issues_share is not None:
        what = f"{new:,} of {measures.scored:,} scored rows are newly flagged"
        rules.append(_at_most("max_new_issues_share", new / measures.scored, limits.max_new_issues_share, what))
    return rules


def _error_rate(limits: Limits, measures: Measures) -> list[Rule]:
    name, limit, found = "max_error_rate", limits.max_error_rate, measures.error_range
    if limit is None:
        return []
    if found is None:
        return [_not_measured(name, limit, "no row has a score")]
    # The value next to the limit is the one that decides.
    outcome, measured, which = (
        Outcome.WARNED,
        found.estimate,
        "which is inside this range. More verdicts would narrow it",
    )
    if found.low > limit:
        outcome, measured, which = Outcome.FAILED, found.low, "and the whole range is above it"
    elif found.high <= limit:
        outcome, measured, which = Outcome.PASSED, found.high, "and the whole range is within it"
    what = range_in_words(found, measures.scored, f"{measures.scored:,} labels")
    return [Rule(name, measured, limit, outcome, f"{what}; the limit is {_percents(limit)[0]}, {which}.")]


def _measured_error_rate(limits: Limits, measures: Measures) -> list[Rule]:
    name, limit, rate = "max_measured_error_rate", limits.max_measured_error_rate, measures.measured_error_rate
    if limit is None:
        return []
    if rate is None:
        return [_not_measured(name, limit, "no random sample of this version has enough verdicts")]
    return [_at_most(name, rate, limit, "reviewers of a random sample found this share of wrong labels")]


def _new_classes(limits: Limits, measures: Measures) -> list[Rule]:
    name, limit, classes = "max_new_classes", limits.max_new_classes, measures.classes
    if limit is None:
        return []
    if classes is None:
        return [_not_compared(name, limit, measures)]
    outcome = Outcome.FAILED if classes.new > limit else Outcome.PASSED
    names = f": {named_classes(classes.new_names, classes.new)}" if classes.new else ""
    sentence = (
        f"{classes.new:,} {'class is' if classes.new == 1 else 'classes are'} new{names}; the limit is {limit:,}."
    )
    return [Rule(name, classes.new, limit, outcome, sentence)]


def _class_share_change(limits: Limits, measures: Measures) -> list[Rule]:
    name, limit, classes = "max_class_share_change", limits.max_class_share_change, measures.classes
    if limit is None:
        return []
    if classes is None:
        return [_not_compared(name, limit, measures)]
    largest = classes.largest
    if largest is None:
        return [Rule(name, 0.0, limit, Outcome.PASSED, "Every class has the same share of the labeled rows as before.")]
    before, now = _percents(largest.share_before, largest.share)
    change, most = _percents(largest.change, limit)
    outcome = Outcome.FAILED if largest.change > limit else Outcome.PASSED
    what = f"The share of {quoted(largest.class_name)} among the labeled rows changed from {before} to {now}"
    return [Rule(name, largest.change, limit, outcome, f"{what}. The difference is {change}; the limit is {most}.")]


def _canary_recall(limits: Limits, measures: Measures) -> list[Rule]:
    name, limit, recall = "min_canary_recall", limits.min_canary_recall, measures.canary_recall
    if limit is None:
        return []
    if recall is None:
        return [_not_measured(name, limit, "too few rows can be trusted to plant errors")]
    outcome = Outcome.FAILED if recall < limit else Outcome.PASSED
    measured, least = _percents(recall, limit)
    return [Rule(name, recall, limit, outcome, f"{measured} of the planted errors are caught; the limit is {least}.")]


def _conflicting_copies(limits: Limits, measures: Measures) -> list[Rule]:
    name, limit = "max_conflicting_copies", limits.max_conflicting_copies
    if limit is None:
        return []
    if measures.copies is None:
        return [_not_measured(name, limit, _UNKNOWN_CONTENTS)]
    found = measures.copies.conflicts
    outcome = Outcome.FAILED if found > limit else Outcome.PASSED
    what = "group of copies has" if found == 1 else "groups of copies have"
    return [Rule(name, found, limit, outcome, f"{found:,} {what} different labels; the limit is {limit:,}.")]


def _leaks(limits: Limits, measures: Measures) -> list[Rule]:
    name, limit = "max_leaks", limits.max_leaks
    if limit is None:
        return []
    if measures.copies is None:
        return [_not_measured(name, limit, _UNKNOWN_CONTENTS)]
    # Otherwise the rule would hold if a column of splits was not found.
    if not measures.has_splits:
        return [_not_measured(name, limit, "the dataset has no splits")]
    found = measures.copies.leaks
    outcome = Outcome.FAILED if found > limit else Outcome.PASSED
    what = "group of copies is" if found == 1 else "groups of copies are"
    return [Rule(name, found, limit, outcome, f"{found:,} {what} in several splits; the limit is {limit:,}.")]


def _slice_ratio(limits: Limits, measures: Measures) -> list[Rule]:
    """Return a rule on the lower end of the interval, because the worst of many ratios is high by chance."""
    name, limit, slices = "max_slice_ratio", limits.max_slice_ratio, measures.slices
    if limit is None:
        return []
    if slices is None:
        return [_not_measured(name, limit, "the config names no columns in dataset.slices")]
    if not slices.worst:
        sentence = "No slice has more wrong labels than the others, beyond chance."
        return [Rule(name, None, limit, Outcome.PASSED, sentence)]
    # They are in the order of `low`, the highest first.
    worst = slices.worst[0]
    outcome = Outcome.FAILED if worst.low is not None and worst.low > limit else Outcome.PASSED
    sentence = f"{ratio_in_words(worst)}. The limit is {limit:g}, and it applies to the lower end of the interval."
    return [Rule(name, worst.low, limit, outcome, sentence)]


def _input_issues_share(limits: Limits, measures: Measures) -> list[Rule]:
    name, limit = "max_input_issues_share", limits.max_input_issues_share
    if limit is None:
        return []
    if measures.quality is None:
        return [_not_measured(name, limit, _UNKNOWN_CONTENTS)]
    quality = measures.quality
    share = quality.rows / max(1, measures.rows)
    what = f"{quality.rows:,} of {measures.rows:,} rows have inputs that are hard to use"
    # An issue that too many rows have is not listed, but still an issue.
    issue, normal = max(quality.normal.items(), key=lambda pair: pair[1], default=("", 0.0))
    if normal > share:
        share, what = normal, f"So many rows have the issue {issue.replace('_', ' ')!r} that they are not listed"
    return [_at_most(name, share, limit, what)]


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


def _at_most(rule: str, measured: float, limit: float, what: str, more: str = "") -> Rule:
    outcome = Outcome.FAILED if measured > limit else Outcome.PASSED
    share, most = _percents(measured, limit)
    return Rule(rule, measured, limit, outcome, f"{what[0].upper()}{what[1:]} ({share}); the limit is {most}{more}.")


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
