"""Read some rows of a version and encode them. Imports torch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

import numpy as np

from labelaudit.audits.audit_plan import Plan
from labelaudit.audits.references import PlanReference
from labelaudit.model.device import limited_threads
from labelaudit.model.encoders.encoder_spec import EncoderSpec
from labelaudit.model.encoders.load import Encoder, reused_encoder
from labelaudit.pipeline.encoder_inputs import WantedInputs
from labelaudit.pipeline.encoder_weights import local_weights
from labelaudit.pipeline.encoding_list import RowsToEncode
from labelaudit.storage.store import open_dataset


def encode_rows(
    reference: PlanReference,
    plan: Plan,
    spec: EncoderSpec,
    rows: RowsToEncode,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    threads: int | None = None,
    is_pinned: bool = False,
) -> np.ndarray:
    """Return the features of n rows, (n, d) float16.

    Args:
        on_progress: Called with the rows encoded so far and n.
        threads: limit of CPU threads; None keeps those of the process.
        is_pinned: this process sees only its own GPUs, so `cuda:<n>` means the GPU that it sees.

    Raises:
        DatasetError: a row has changed since this audit began, or cannot be decoded.
        ConfigError: the weights on this machine are others than in the spec.
        TrainingError: the encoder returned features that are not finite, or the device is missing.
    """
    columns = plan.columns
    assert columns is not None, "no dataset is read for external probabilities"
    source = open_dataset(reference.dataset_url, reference.storage_options, marker=reference.marker)
    inputs = WantedInputs(source, columns, rows, spec.input_size)
    features = np.empty((len(rows), spec.dim), np.float16)
    done = 0
    with limited_threads(threads):
        encoder = _loaded(reference, plan, spec, is_pinned)
        batches = inputs.batches(encoder.batch_size, threads or len(os.sched_getaffinity(0)))
        with contextlib.closing(batches):
            for positions, batch in batches:
                features[positions] = encoder.encode(batch)
                done += len(positions)
                if on_progress is not None:
                    on_progress(done, len(rows))
    return features


def _loaded(reference: PlanReference, plan: Plan, spec: EncoderSpec, is_pinned: bool) -> Encoder:
    # Not with `training.precision`: features of all configs are stored together, so they must be alike.
    device = plan.config.training.device
    device = device.partition(":")[0] if is_pinned else device
    if spec.weights is None:
        return reused_encoder(spec, device=device)
    with local_weights(spec.weights, reference.storage_options, reference.cache_bytes) as weights:
        return reused_encoder(spec, weights=weights, device=device)
