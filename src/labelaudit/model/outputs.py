"""Checks of the outputs of a module, and their conversion to log-probabilities."""

from __future__ import annotations

import torch

from labelaudit.errors import ConfigError, TrainingError

OUTPUT_KINDS = ("logits", "log_probabilities", "probabilities")

# Largest deviation of the sum of a row of probabilities from 1. That of a bfloat16 softmax is at most half of it.
_SUM_TOLERANCE = 0.02
# With fewer rows, logits may sum to 1 by chance.
_FEWEST_ROWS_TO_RECOGNISE = 4
_SMALLEST_PROBABILITY = 1e-12


def check_output_kind(output_kind: str) -> None:
    """Check that `output_kind` is one of `OUTPUT_KINDS`.

    Raises:
        ConfigError: It is not.
    """
    if output_kind not in OUTPUT_KINDS:
        raise ConfigError(f"The output_kind {output_kind!r} is unknown. Use {' or '.join(OUTPUT_KINDS)}.")


def log_scores(outputs: torch.Tensor, output_kind: str, batch: int) -> torch.Tensor:
    """Return outputs (B, K) of a module as log-probabilities, up to a constant per row.

    Returns:
        (B, K) float32; float64 stays.

    Raises:
        TrainingError: The outputs do not have the shape (B, K).
    """
    if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2 or len(outputs) != batch:
        got = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise TrainingError(
            f"The network returned {got} for a batch of {batch}, not ({batch}, K). Change what it returns."
        )
    scores = outputs.float() if outputs.dtype in (torch.bfloat16, torch.float16) else outputs
    return scores.clamp_min(_SMALLEST_PROBABILITY).log() if output_kind == "probabilities" else scores


def check_outputs(outputs: torch.Tensor, output_kind: str, num_classes: int, batch: int) -> None:
    """Check that outputs are what `output_kind` says.

    Without this check, a second softmax would train and silently return flat probabilities.

    Raises:
        TrainingError: The outputs have another kind or another number of columns.
    """
    log_scores(outputs, output_kind, batch)
    scores = outputs.detach().float()
    if outputs.shape[1] != num_classes:
        raise TrainingError(
            f"The network returned {outputs.shape[1]} columns for {num_classes} classes. "
            "Give its last layer num_classes outputs."
        )
    if num_classes == 1 or not bool(scores.isfinite().all()):
        return  # One column cannot be checked. Values that are not finite are reported with their epoch and batch.
    found = _kind_of(scores)
    if output_kind == "logits":
        # Log-probabilities are valid logits: their softmax is the distribution itself.
        is_right = found != "probabilities" or len(scores) < _FEWEST_ROWS_TO_RECOGNISE
    else:
        is_right = found == output_kind
    if not is_right:
        raise TrainingError(
            f"The output_kind is {output_kind!r}, but the network returns {found} "
            f"(its first row sums to {float(scores[0].sum()):.3g}). Set output_kind={found!r}, "
            "or change its last layer."
        )


def _kind_of(scores: torch.Tensor) -> str:
    def sums_to_one(values: torch.Tensor) -> bool:
        return bool(((values.sum(1) - 1).abs() < _SUM_TOLERANCE).all())

    if bool((scores >= 0).all()) and sums_to_one(scores):
        return "probabilities"
    if bool((scores <= 0).all()) and sums_to_one(scores.exp()):
        return "log_probabilities"
    return "logits"
