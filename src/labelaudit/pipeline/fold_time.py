"""Estimate how long a fold of a scanned dataset takes, from a few training steps. Imports torch."""

from __future__ import annotations

from labelaudit.config import AuditConfig
from labelaudit.data.dataset import Examples
from labelaudit.model.estimate import estimate_seconds
from labelaudit.model.recipes import Recipe
from labelaudit.pipeline.decoded_inputs import input_shape
from labelaudit.pipeline.plan import Scan


def fold_seconds(config: AuditConfig, scanned: Scan, examples: Examples, recipe: Recipe, threads: int) -> float:
    """Estimate the seconds of one fold on this machine by training for a few steps on random data of the same shape.

    Raises:
        LabelauditError: training a fold would fail, for example because the network cannot be built.
    """
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
