"""Encode the rows of a version whose features are not stored yet, shard by shard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from labelaudit.audits.audit_plan import Plan
from labelaudit.audits.references import EncodingReference, PlanReference, ShardReference


def plan_encoding(reference: PlanReference) -> EncodingReference | None:
    """Find the scored rows without stored features, and divide them into shards; None if no view needs features."""
    raise NotImplementedError


def encode_shard(
    reference: PlanReference,
    encoding: EncodingReference,
    shard: int,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    threads: int | None = None,
    is_pinned: bool = False,
) -> ShardReference:
    """Encode one shard and store its features; return at once if they are stored already.

    Args:
        on_progress: Called with the rows encoded so far and the rows of the shard.
        threads: limit of CPU threads; None keeps those of the process.
        is_pinned: this process sees only the GPUs of its shard.
    """
    raise NotImplementedError


def missing_shards(reference: PlanReference, encoding: EncodingReference, shards: list[int]) -> list[int]:
    """Return those of the shards that are not stored yet."""
    raise NotImplementedError


@contextmanager
def open_features(reference: PlanReference, plan: Plan) -> Iterator[np.ndarray]:
    """Yield the features of all rows in canonical order, (N, d) float16, memory-mapped; zeros if not scored."""
    raise NotImplementedError
