"""What verdicts say about a detector and about labels: precision of its flags, share of wrong labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from labelaudit.reviews.interval import CONFIDENCE, Interval, Stratum, stratified, wilson
from labelaudit.reviews.sampling import FLAGGED, Sample, SampledStratum
from labelaudit.reviews.verdicts import Judged, Verdict
from labelaudit.schemas import Decision

# Of a sample that is not judged to its end, so many rows must be. Rows that were judged for another reason, such as
# the worst flags, may by chance stand at the beginning of the random order, where nobody has begun with the sample;
# the start then ends at the first row that nobody cared for, and is no random one. So long it hardly gets by chance.
JUDGED_START = 20


def measure(verdicts: Mapping[Judged, Verdict], samples: Iterable[Sample], fingerprint: str) -> dict[str, Any]:
    """`precision` and `error_rate` of all that was judged so far; None where nothing was.

    verdicts: those of `newest`; fingerprint: of the version that this is about. Of the samples of this version the one
    with the most rows judged counts. Where enough is judged of none, the error rate is that of the version that was
    sampled last, found in the same way; `same_version` tells.
    """
    rates = {sample: rate for sample in samples if (rate := error_rate(sample, verdicts)) is not None}
    if not rates:
        return {"precision": _precisions(verdicts, None), "error_rate": None}
    own = [sample for sample in rates if sample.fingerprint == fingerprint]
    last = max(rates, key=_age)
    of_one_version = own or [sample for sample in rates if sample.fingerprint == last.fingerprint]
    chosen = max(of_one_version, key=lambda sample: (_rows_judged(rates[sample]), _age(sample)))
    return {
        "precision": _precisions(verdicts, chosen),
        "error_rate": {**rates[chosen], "same_version": bool(own)},
    }


def precision(verdicts: Iterable[Verdict]) -> dict[str, Any] | None:
    """Share of `wrong` among the flags that were judged wrong or fine, with Wilson's limits; None without any.

    Rows that were not flagged when they were judged do not count.
    """
    counts = _counts(verdict for verdict in verdicts if verdict.was_flagged)
    interval = wilson(counts["wrong"], counts["wrong"] + counts["fine"])
    return None if interval is None else {**interval._asdict(), **counts}


def error_rate(sample: Sample, verdicts: Mapping[Judged, Verdict]) -> dict[str, Any] | None:
    """Share of wrong labels among the scored rows of the sampled audit; None while too few are judged.

    Of each stratum all that was drawn must be judged, or a start of at least `JUDGED_START` rows.
    `estimate`, `low` and `high` count the verdicts of `wrong` alone; `with_ambiguous` the ambiguous ones too.
    """
    judged = [_counts(stratum.judged(verdicts)) for stratum in sample.strata]
    strict = _interval(sample.strata, judged, "wrong")
    if strict is None or not all(map(_is_enough, sample.strata, judged)):
        return None
    wide = _interval(sample.strata, judged, "wrong", "ambiguous")
    return {
        **strict._asdict(),
        "confidence": CONFIDENCE,
        "with_ambiguous": None if wide is None else wide._asdict(),
        "version": sample.version,
        "audit_id": sample.audit_id,
        "fingerprint": sample.fingerprint,
        "seed": sample.seed,
        "sampled_at": sample.created_at,
        "strata": progress(sample, verdicts),
    }


def progress(sample: Sample, verdicts: Mapping[Judged, Verdict]) -> list[dict[str, Any]]:
    """Of each stratum: its rows, how many were drawn, how many of their random order are judged, and as what."""
    rows = []
    for stratum in sample.strata:
        judged = stratum.judged(verdicts)
        facts = {"name": stratum.name, "rows": stratum.rows, "sampled": len(stratum.sampled), "judged": len(judged)}
        rows.append({**facts, **_counts(judged)})
    return rows


def _precisions(verdicts: Mapping[Judged, Verdict], sample: Sample | None) -> dict[str, Any] | None:
    """Precision over all flags that were judged, and, as `random`, over those of the measured sample alone."""
    reviewed = precision(verdicts.values())
    if reviewed is None:
        return None
    flagged = [stratum for stratum in (sample.strata if sample else ()) if stratum.name == FLAGGED]
    counts = _counts(verdict for stratum in flagged for verdict in stratum.judged(verdicts))
    interval = wilson(counts["wrong"], counts["wrong"] + counts["fine"])
    return {**reviewed, "random": None if interval is None else {**interval._asdict(), **counts}}


def _is_enough(stratum: SampledStratum, counts: dict[str, int]) -> bool:
    return sum(counts.values()) >= min(len(stratum.sampled), JUDGED_START)


def _interval(strata: Sequence[SampledStratum], judged: Sequence[dict[str, int]], *what: str) -> Interval | None:
    return stratified(
        [
            Stratum(stratum.rows, sum(counts.values()), sum(counts[name] for name in what))
            for stratum, counts in zip(strata, judged, strict=True)
        ]
    )


def _counts(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Verdicts by decision, in the order of `Decision`."""
    counted = Counter(verdict.verdict for verdict in verdicts)
    return {decision.value: counted[decision] for decision in Decision}


def _rows_judged(rate: Mapping[str, Any]) -> int:
    return sum(stratum["judged"] for stratum in rate["strata"])


def _age(sample: Sample) -> tuple[str, str, int]:
    return sample.created_at, sample.audit_id, sum(len(stratum.sampled) for stratum in sample.strata)
