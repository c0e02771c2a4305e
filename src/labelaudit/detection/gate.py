"""The gate: limits of a config against what an audit measured, as a table of rules and one verdict."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from labelaudit.findings import Gate, GateVerdict, Outcome, Rule

# A detector that flags nothing and misses this share of planted errors sees nothing.
BLIND_BELOW = 0.5
_NAME_LENGTH = 60


@dataclass(frozen=True)
class Limits:
    """What a config allows; None: anything."""

    max_flagged_share: float | None = None
    max_class_flagged_share: float | Mapping[str, float] | None = None
    max_new_issues: int | None = None
    max_new_issues_share: float | None = None
    max_measured_error_rate: float | None = None
    min_canary_recall: float | None = None


@dataclass(frozen=True)
class Measures:
    """What an audit measured. None: it could not."""

    scored: int
    issues: int
    class_issues: Mapping[str, tuple[int, int]]  # by scored class: its rows, and how many of them are flagged
    rare_classes: Collection[str] = ()
    new_issues: int | None = None  # against the predecessor
    measured_error_rate: float | None = None  # by people, on this version
    canary_recall: float | None = None
    dismissed: int = 0  # rows that the detector flagged, too, but people judged fine: not among the issues
    not_compared: str | None = None  # why new issues could not be counted, though there is a predecessor


def judge_limits(limits: Limits, measures: Measures, *, has_predecessor: bool) -> Gate | None:
    """Hold what was measured against the limits.

    A rule is broken where the measured value itself, not the end of its interval, is beyond the limit. Broken rules
    fail the gate; without a predecessor they only warn. What could not be measured breaks nothing, but is shown; new
    issues that could not be counted, because the predecessor cannot be compared with, warn. A
    detector that flags nothing and misses most planted errors breaks a rule of its own, also without limits.

    Returns:
        None where there are no limits and the detector is not blind.
    """
    checks: list[Callable[[Limits, Measures], list[Rule]]] = [
        _flagged_share,
        _class_flagged_share,
        _new_issues,
        _measured_error_rate,
        _canary_recall,
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
    """One rule for all classes, or one per class that the config names."""
    name, limit = "max_class_flagged_share", limits.max_class_flagged_share
    if limit is None:
        return []
    if isinstance(limit, Mapping):
        return [_of_class(f"{name}: {class_name}", class_name, most, measures) for class_name, most in limit.items()]
    shares = {class_name: issues / rows for class_name, (rows, issues) in measures.class_issues.items()}
    # Of classes with the same share the first by name.
    worst = min(shares, key=lambda class_name: (-shares[class_name], class_name))
    more = sum(share > limit for share in shares.values()) - 1
    others = f"; {more:,} more {'class is' if more == 1 else 'classes are'} above the limit" if more > 0 else ""
    rows, issues = measures.class_issues[worst]
    what = f"of the rows labeled {_quoted(worst)}, the worst class, {issues:,} of {rows:,} are flagged"
    return [_at_most(name, shares[worst], limit, what, others)]


def _of_class(rule: str, class_name: str, limit: float, measures: Measures) -> Rule:
    if class_name in measures.class_issues:
        rows, issues = measures.class_issues[class_name]
        what = f"of the rows labeled {_quoted(class_name)}, {issues:,} of {rows:,} are flagged"
        return _at_most(rule, issues / rows, limit, what)
    if class_name in measures.rare_classes:
        return _not_measured(rule, limit, f"class {_quoted(class_name)} has too few rows and was set aside")
    # A mistyped name would be a limit that never holds anybody back.
    sentence = f"No row of this version is labeled {_quoted(class_name)}, which the config names."
    return Rule(rule, None, limit, Outcome.FAILED, sentence)


def _new_issues(limits: Limits, measures: Measures) -> list[Rule]:
    limited = {"max_new_issues": limits.max_new_issues, "max_new_issues_share": limits.max_new_issues_share}
    known = {name: limit for name, limit in limited.items() if limit is not None}
    new, problem = measures.new_issues, measures.not_compared
    if new is None and problem is not None:
        sentence = f"Not measured, because the audit before cannot be compared with: {problem}"
        return [Rule(name, None, limit, Outcome.WARNED, sentence) for name, limit in known.items()]
    if new is None:
        return [_not_measured(name, limit, "no audit before was compared with") for name, limit in known.items()]
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


def _measured_error_rate(limits: Limits, measures: Measures) -> list[Rule]:
    name, limit, rate = "max_measured_error_rate", limits.max_measured_error_rate, measures.measured_error_rate
    if limit is None:
        return []
    if rate is None:
        return [_not_measured(name, limit, "nobody judged a random sample of this version")]
    return [_at_most(name, rate, limit, "of a random sample that people judged, this share is wrong")]


def _canary_recall(limits: Limits, measures: Measures) -> list[Rule]:
    name, limit, recall = "min_canary_recall", limits.min_canary_recall, measures.canary_recall
    if limit is None:
        return []
    if recall is None:
        return [_not_measured(name, limit, "too few rows can be trusted to plant errors")]
    outcome = Outcome.FAILED if recall < limit else Outcome.PASSED
    measured, least = _percents(recall, limit)
    return [Rule(name, recall, limit, outcome, f"{measured} of the planted errors are caught; at least {least} must.")]


def _blind(measures: Measures) -> Rule:
    recall = measures.canary_recall
    if measures.issues or measures.dismissed:
        outcome, sentence = Outcome.PASSED, "The detector flags rows: it is not blind."
    elif recall is None:
        outcome = Outcome.NOT_MEASURED
        sentence = "No row is flagged, and no errors could be planted to tell whether the detector sees any."
    elif recall < BLIND_BELOW:
        outcome = Outcome.FAILED
        sentence = f"The detector is blind: it flags no row, and catches {_percents(recall)[0]} of the planted errors."
    else:
        outcome = Outcome.PASSED
        sentence = f"No row is flagged, but {_percents(recall)[0]} of the planted errors are: the detector sees."
    return Rule("blind_detector", recall, BLIND_BELOW, outcome, sentence)


def _at_most(rule: str, measured: float, limit: float, what: str, more: str = "") -> Rule:
    outcome = Outcome.FAILED if measured > limit else Outcome.PASSED
    share, most = _percents(measured, limit)
    return Rule(rule, measured, limit, outcome, f"{what[0].upper()}{what[1:]} ({share}); the limit is {most}{more}.")


def _not_measured(rule: str, limit: float, why: str) -> Rule:
    return Rule(rule, None, limit, Outcome.NOT_MEASURED, f"Not measured: {why}.")


def _sentence(verdict: GateVerdict, rules: list[Rule]) -> str:
    broken = [rule.rule for rule in rules if rule.outcome == Outcome.FAILED]
    warned = [rule.rule for rule in rules if rule.outcome == Outcome.WARNED]
    unknown = len(warned) + sum(rule.outcome == Outcome.NOT_MEASURED for rule in rules)
    open_ends = f" ({unknown:,} could not be measured)" if unknown else ""
    if warned and not broken:
        return f"The gate warns: the audit before cannot be compared with, so not measured: {', '.join(warned)}."
    if not broken:
        held = len(rules) - unknown
        return f"The gate passed: {held:,} {'rule holds' if held == 1 else 'rules hold'}{open_ends}."
    are = f"{len(broken):,} of {len(rules):,} rules {'is' if len(broken) == 1 else 'are'} broken{open_ends}"
    if verdict == GateVerdict.WARNED:
        return f"The gate warns: {are}: {', '.join(broken)}. Nothing fails, because there is no audit before."
    return f"The gate failed: {are}: {', '.join(broken)}."


def _percents(*shares: float) -> list[str]:
    """Shares in percent, with as many digits as it takes to tell unequal ones apart."""
    digits = 1
    while True:
        texts = [f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%" for share in shares]
        if len(set(texts)) == len(set(shares)) or digits == 12:
            return texts
        digits += 1


def _quoted(class_name: str) -> str:
    shown = class_name if len(class_name) <= _NAME_LENGTH else f"{class_name[: _NAME_LENGTH - 1]}…"
    return f"{shown!r}"
