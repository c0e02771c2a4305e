"""What verdicts measure: the precision of the flags, and the share of wrong labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from labelaudit.findings import ErrorRate, Estimate, JudgedFlags, Precision, StratumProgress
from labelaudit.reviews.interval import CONFIDENCE, Stratum, stratified, wilson
from labelaudit.reviews.sampling import Sample, SampledStratum
from labelaudit.reviews.verdicts import LabeledExample, Verdict
from labelaudit.schemas import Decision

# A sample that is only partly reviewed needs this many rows. Rows that were reviewed for another reason, such as the
# worst flags, may by chance be the first rows of the random order. That start is not random, because it ends at the
# first row that was not interesting. It is hardly ever this long by chance.
REVIEWED_START = 20


class ReviewMeasures(NamedTuple):
    """What the verdicts on a dataset measure; None if there are too few."""

    precision: Precision | None
    error_rate: ErrorRate | None
    sample: Sample | None = None  # the one that `error_rate` is from, if it is of this version


def measure(verdicts: Mapping[LabeledExample, Verdict], samples: Iterable[Sample], fingerprint: str) -> ReviewMeasures:
    """Return the measures for the version with this fingerprint.

    Among the samples of this version, the one with the most reviewed rows counts. If none has enough, the error rate is
    that of the version that was sampled last, found in the same way; `same_version` is then False.

    Args:
        verdicts: The current verdicts.
        samples: All samples of the dataset.
        fingerprint: The fingerprint of the version.
    """
    rates = {sample: rate for sample in samples if (rate := error_rate(sample, verdicts)) is not None}
    if not rates:
        return ReviewMeasures(_precisions(verdicts, None), None)
    own = [sample for sample in rates if sample.fingerprint == fingerprint]
    last = max(rates, key=_age)
    of_one_version = own or [sample for sample in rates if sample.fingerprint == last.fingerprint]
    chosen = max(of_one_version, key=lambda sample: (_rows_reviewed(rates[sample]), _age(sample)))
    rate = replace(rates[chosen], same_version=bool(own))
    return ReviewMeasures(_precisions(verdicts, chosen), rate, chosen if own else None)


def precision(verdicts: Iterable[Verdict]) -> JudgedFlags | None:
    """Return the share of `wrong` among reviewed flags, with Wilson's limits; None if there are none.

    Rows that were not flagged when they were reviewed do not count.
    """
    return _share(verdict for verdict in verdicts if verdict.was_flagged)


def error_rate(sample: Sample, verdicts: Mapping[LabeledExample, Verdict]) -> ErrorRate | None:
    """Return the share of wrong labels in the sampled version; None if too few rows are reviewed.

    In each stratum, all drawn rows must be reviewed, or a start of at least `REVIEWED_START` rows. The share is that of
    the rows that stay: those judged `remove` are left out, and each stratum loses the same share of its rows.
    """
    strata = progress(sample, verdicts)
    strict = _limits(strata, [stratum.wrong for stratum in strata])
    if strict is None or not all(stratum.judged >= min(stratum.sampled, REVIEWED_START) for stratum in strata):
        return None
    return ErrorRate(
        strict.estimate,
        strict.low,
        strict.high,
        confidence=CONFIDENCE,
        with_ambiguous=_limits(strata, [stratum.wrong + stratum.ambiguous for stratum in strata]),
        version=sample.version,
        audit_id=sample.audit_id,
        fingerprint=sample.fingerprint,
        seed=sample.seed,
        sampled_at=sample.created_at,
        strata=strata,
        same_version=True,
    )


def progress(sample: Sample, verdicts: Mapping[LabeledExample, Verdict]) -> tuple[StratumProgress, ...]:
    """Return how much of each stratum is reviewed."""
    return tuple(_progress(stratum, stratum.reviewed(verdicts)) for stratum in sample.strata)


def _progress(stratum: SampledStratum, reviewed: Sequence[Verdict]) -> StratumProgress:
    return StratumProgress(stratum.name, stratum.rows, len(stratum.sampled), len(reviewed), **_counts(reviewed))


def _precisions(verdicts: Mapping[LabeledExample, Verdict], sample: Sample | None) -> Precision | None:
    reviewed = precision(verdicts.values())
    if reviewed is None:
        return None
    return Precision(**vars(reviewed), random=None if sample is None else random_precision(sample, verdicts))


def random_precision(sample: Sample, verdicts: Mapping[LabeledExample, Verdict]) -> JudgedFlags | None:
    """Return the share of wrong labels among all flags of the sampled audit; None if too few are reviewed.

    The flagged rows of a stratum that were drawn are a random sample of all its flagged rows. Rows judged ambiguous or
    to be removed are left out, as if they had not been drawn. The limits of one stratum are Wilson's, as those of
    `precision`.
    """
    parts, counted = [], []
    for stratum in sample.strata:
        reviewed = stratum.reviewed(verdicts)
        flagged = [verdict for verdict, is_flagged in zip(reviewed, stratum.flags, strict=False) if is_flagged]
        counts = _counts(flagged)
        counted += flagged
        # The share of flags that stay is that of the reviewed ones.
        staying = len(flagged) - counts[Decision.REMOVE.value]
        flags = stratum.flags_in_all if not flagged else round(stratum.flags_in_all * staying / len(flagged))
        if flags:
            parts.append(Stratum(flags, counts["wrong"] + counts["fine"], counts["wrong"]))
    if len(parts) < 2:
        return _share(counted)
    interval = stratified(parts)
    return None if interval is None else JudgedFlags(*interval, **_counts(counted))


def _share(verdicts: Iterable[Verdict]) -> JudgedFlags | None:
    counts = _counts(verdicts)
    interval = wilson(counts["wrong"], counts["wrong"] + counts["fine"])
    return None if interval is None else JudgedFlags(*interval, **counts)


def _limits(strata: Sequence[StratumProgress], counted: Sequence[int]) -> Estimate | None:
    parts = [_staying(one, count) for one, count in zip(strata, counted, strict=True)]
    interval = stratified(parts)
    return None if interval is None else Estimate(*interval)


def _staying(stratum: StratumProgress, counted: int) -> Stratum:
    """Return the stratum without the rows that are to be removed, as far as the reviewed rows show."""
    staying = stratum.judged - stratum.remove
    if not stratum.remove:
        return Stratum(stratum.rows, staying, counted)
    # With all reviewed rows to be removed, nothing is known of those that are not reviewed.
    share = staying / stratum.judged if staying else 1.0
    return Stratum(staying + round((stratum.rows - stratum.judged) * share), staying, counted)


def _counts(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Return the number of verdicts by decision."""
    counted = Counter(verdict.verdict for verdict in verdicts)
    return {decision.value: counted[decision] for decision in Decision}


def _rows_reviewed(rate: ErrorRate) -> int:
    return sum(stratum.judged for stratum in rate.strata)


def _age(sample: Sample) -> tuple[str, str, int]:
    return sample.created_at, sample.audit_id, sum(len(stratum.sampled) for stratum in sample.strata)
