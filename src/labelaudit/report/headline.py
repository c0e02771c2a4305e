"""The headline of an audit: one sentence on how many labels look wrong, and how good the flags are."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from labelaudit.findings import Findings, Promise, RateBasis, staying_rows
from labelaudit.report.gallery import text_excerpt
from labelaudit.schemas import Status
from labelaudit.shares import fraction_in_words, percent, range_in_words
from labelaudit.text import in_one_direction

# Characters of a class name in a sentence.
_NAME_LENGTH = 60
# Below this share of scored rows, the headline begins with the rows that are missing.
FEW_SCORED = 0.9
# Promised shares have no decimals that people wrote, such as 80 %.
_PROMISED_DIGITS = 4


def headline(findings: Findings, status_counts: Mapping[str, int], confusions: pa.Table) -> str:
    """Return one sentence on what an audit found. If many rows were not scored, it begins with them.

    Args:
        findings: what detection found.
        status_counts: number of rows by status.
        confusions: CONFUSIONS. The first pair is named if it has flags.
    """
    total, scored = sum(status_counts.values()), status_counts.get(Status.SCORED, 0)
    if not scored:
        return f"None of the {total:,} rows could be scored."
    stay = staying_rows(scored, findings.review)
    wrong = range_in_words(findings.error_range, stay, f"{stay:,} labels") + _reviewed(findings)
    if scored < FEW_SCORED * total:
        few = f"Only {scored:,} of {total:,} rows ({percent(scored / total)}) could be scored. Among these, "
        wrong = few + wrong[0].lower() + wrong[1:]
    return f"{wrong}; {_flags(findings)}{_pair(confusions)}."


def _reviewed(findings: Findings) -> str:
    rate = None if findings.review is None else findings.review.error_rate
    if findings.error_range.basis != RateBasis.VERDICTS or rate is None:
        return ""
    judged = sum(stratum.judged for stratum in rate.strata)
    return f" ({100 * rate.confidence:g}\N{NO-BREAK SPACE}% interval from {judged:,} reviewed rows)"


def _flags(findings: Findings) -> str:
    issues, precision, promised = findings.issues, findings.flag_precision, findings.promise or Promise()
    if not issues or precision is None:
        if promised.precision is None:
            return "none is flagged"
        return f"none is flagged, because no list of labels is expected to be {_promise(promised.precision)} wrong"
    if issues == 1:
        return f"1 is flagged, {'probably' if precision >= 0.5 else 'perhaps'} correctly"
    if promised.precision is not None:
        return f"{issues:,} are flagged so that {_promise(promised.precision)} of them are expected to be wrong"
    if promised.recall is not None:
        found = f"{_promise(promised.recall)} of the wrong labels are expected among them"
        return f"{issues:,} are flagged so that {found}, {fraction_in_words(precision)} of them correctly"
    return f"{issues:,} are flagged, {fraction_in_words(precision)} of them correctly"


def _promise(share: float) -> str:
    return f"{100 * share:.{_PROMISED_DIGITS}g}\N{NO-BREAK SPACE}%"


def _pair(confusions: pa.Table) -> str:
    """Return the most frequent pair of flagged rows in brackets, or empty text if nothing is flagged."""
    first = confusions.slice(0, 1).to_pylist()
    if not first or not first[0]["examples"]:
        return ""
    given, suggested = (
        text_excerpt(in_one_direction(first[0][side]), _NAME_LENGTH) for side in ("given_label", "suggested_label")
    )
    most_often = "" if first[0]["examples"] == 1 and len(confusions) == 1 else "most often "
    return f" ({most_often}{given} \N{RIGHTWARDS ARROW} {suggested})"
