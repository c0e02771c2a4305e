"""Estimate how long an audit of a scanned dataset takes, from a few steps of its work. Imports torch."""

from __future__ import annotations

import time

import numpy as np

from labelaudit.config import AuditConfig
from labelaudit.data.dataset import Examples
from labelaudit.model.device import limited_threads, resolve_device
from labelaudit.model.encoders.encoder_spec import EncoderSpec
from labelaudit.model.encoders.load import load_encoder
from labelaudit.model.estimate import estimate_seconds
from labelaudit.model.estimate_on_features import (
    REFERENCES,
    FeatureShape,
    measured_on,
    neighbours_seconds,
    probe_seconds,
)
from labelaudit.model.recipes import Recipe
from labelaudit.pipeline.decoded_inputs import input_shape
from labelaudit.pipeline.plan import Scan
from labelaudit.pipeline.view_choice import ON_FEATURES, ViewChoice, configured_weights

# About as long as a news item.
_TEXT = "the quick brown fox jumps over the lazy dog in the morning " * 4


def audit_seconds(
    config: AuditConfig,
    scanned: Scan,
    examples: Examples,
    recipe: Recipe,
    choice: ViewChoice,
    parallel: int,
    threads: int,
) -> float:
    """Estimate the seconds of encoding and training on this machine, from a few steps on random data of the same shape.

    That is without reading the dataset. All rows count as not encoded yet.

    Args:
        parallel, threads: folds at a time, and CPU threads of each.

    Raises:
        LabelauditError: training a fold would fail, for example because the network cannot be built.
    """
    scored = int((examples.label >= 0).sum())
    fold = 0.0
    if "network" in choice.names:
        fold += _network_seconds(config, scanned, examples, recipe, threads)
    if any(view in ON_FEATURES for view in choice.names):
        fold += _seconds_on_features(config, scanned, examples, choice, threads)
    folds = config.cross_validation.folds * config.cross_validation.repeats
    seconds = -(-folds // parallel) * fold
    if choice.encoder is not None:
        seconds += scored * _seconds_per_row(config, choice.encoder, threads) / parallel
    return seconds


def _network_seconds(config: AuditConfig, scanned: Scan, examples: Examples, recipe: Recipe, threads: int) -> float:
    scored = int((examples.label >= 0).sum())
    held_out = scored // config.cross_validation.folds
    return estimate_seconds(
        recipe,
        kind=scanned.columns.kind,
        rows=scored - held_out,
        held_out=held_out,
        num_classes=len(examples.class_names),
        input_shape=input_shape(scanned.columns),
        device=config.training.device,
        precision=config.training.precision,
        threads=threads,
    )


def _seconds_on_features(
    config: AuditConfig, scanned: Scan, examples: Examples, choice: ViewChoice, threads: int
) -> float:
    scored = int((examples.label >= 0).sum())
    held_out = scored // config.cross_validation.folds
    dim = scanned.columns.vector_length if choice.encoder is None else choice.encoder.dim
    fold = FeatureShape(scored - held_out, held_out, dim, len(examples.class_names))
    device = config.training.device
    measure = measured_on(device)
    seconds = 0.0
    with limited_threads(threads):
        if "probe" in choice.names:
            seconds += probe_seconds(fold, measure)
        if "neighbours" in choice.names:
            seconds += neighbours_seconds(fold, measure, REFERENCES[resolve_device(device).type])
    return seconds


def _seconds_per_row(config: AuditConfig, spec: EncoderSpec, threads: int) -> float:
    with configured_weights(config) as weights, limited_threads(threads):
        encoder = load_encoder(spec, weights=weights, device=config.training.device)
        count = encoder.batch_size
        generator = np.random.default_rng(0)
        images = generator.integers(0, 256, (count, spec.input_size, spec.input_size, 3), np.uint8)
        inputs = images if spec.kind == "image" else [_TEXT] * count
        encoder.encode(inputs)
        started = time.perf_counter()
        encoder.encode(inputs)
        return (time.perf_counter() - started) / count
