"""What an audit finds, as values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A share and its limits, each 0..1."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class JudgedFlags(Estimate):
    """The share of wrong labels among flags that were judged wrong or fine, and the verdicts on them."""

    wrong: int
    fine: int
    ambiguous: int


@dataclass(frozen=True)
class Precision(JudgedFlags):
    """Precision over all judged flags, and over those of a random sample."""

    random: JudgedFlags | None


@dataclass(frozen=True)
class StratumProgress:
    """Rows of one stratum of a sample: all, drawn, judged in their order, and the verdicts on these."""

    name: str
    rows: int
    sampled: int
    judged: int
    wrong: int
    fine: int
    ambiguous: int


@dataclass(frozen=True)
class ErrorRate(Estimate):
    """The share of wrong labels among the scored rows of a sampled audit."""

    confidence: float
    with_ambiguous: Estimate | None  # the same, with ambiguous labels counted as wrong
    version: str
    audit_id: str
    fingerprint: str
    seed: int
    sampled_at: str  # ISO 8601, UTC
    strata: tuple[StratumProgress, ...]
    same_version: bool  # whether the sample is of the audited version


@dataclass(frozen=True)
class Review:
    """Verdicts of people on a version, and what they measure.

    `verdicts` counts those that apply by `schemas.Decision`; `ended` are verdicts on content or labels that changed;
    `dismissed` rows are flagged by the detector but judged fine; `known_wrong` rows still have a label that was judged
    wrong.
    """

    verdicts: dict[str, int]
    ended: int
    dismissed: int
    known_wrong: int
    precision: Precision | None
    error_rate: ErrorRate | None
