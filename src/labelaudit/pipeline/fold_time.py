"""How long a fold of a scanned dataset takes, measured by training for a few steps. Imports torch."""

from __future__ import annotations

from labelaudit.config import AuditConfig
from labelaudit.data.dataset import Examples
from labelaudit.model.estimate import estimate_seconds
from labelaudit.model.recipes import Recipe
from labelaudit.pipeline.decoded_inputs import input_shape
from labelaudit.pipeline.plan import Scan


def fold_seconds(config: AuditConfig, scanned: Scan, examples: Examples, recipe: Recipe, threads: int) -> float:
    """Expected seconds of one fold on this machine; trains on random data of the dataset's shape for a few steps.

    Raises what training a fold would raise, such as `ConfigError` for a network that cannot be built.
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
