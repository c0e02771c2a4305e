"""What a module returns, checked, and as log-probabilities."""

from __future__ import annotations

import torch

from labelaudit.errors import ConfigError, TrainingError

OUTPUT_KINDS = ("logits", "log_probabilities", "probabilities")

# How far a row of probabilities may be from summing to 1: bfloat16 softmax is within half of it.
_SUM_TOLERANCE = 0.02
# Logits of fewer rows may sum to 1 by chance.
_ROWS_TO_TELL_LOGITS = 4
_SMALLEST_PROBABILITY = 1e-12


def check_output_kind(output_kind: str) -> None:
    if output_kind not in OUTPUT_KINDS:
        raise ConfigError(f"output_kind {output_kind!r} is unknown: use {' or '.join(OUTPUT_KINDS)}.")


def log_scores(outputs: torch.Tensor, output_kind: str, batch: int) -> torch.Tensor:
    """Outputs of a module as log-probabilities up to a constant per row, (B, K) float32 (float64 stays).

    Raises `TrainingError` where they are not (B, K).
    """
    if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2 or len(outputs) != batch:
        got = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise TrainingError(f"the network returned {got} for a batch of {batch}; it must return ({batch}, K).")
    scores = outputs.float() if outputs.dtype in (torch.bfloat16, torch.float16) else outputs
    return scores.clamp_min(_SMALLEST_PROBABILITY).log() if output_kind == "probabilities" else scores


def check_outputs(outputs: torch.Tensor, output_kind: str, num_classes: int, batch: int) -> None:
    """Refuse outputs that are not what `output_kind` says.

    Raises `TrainingError`. A softmax taken twice would train, and quietly give flat probabilities.
    """
    log_scores(outputs, output_kind, batch)
    scores = outputs.detach().float()
    if outputs.shape[1] != num_classes:
        raise TrainingError(
            f"the network returned {outputs.shape[1]} columns for {num_classes} classes; "
            "its last layer must have num_classes outputs."
        )
    if num_classes == 1 or not bool(scores.isfinite().all()):
        return  # one column says nothing; what is not finite is reported with its epoch and batch
    looks = _looks_like(scores)
    if output_kind == "logits":
        # Log-probabilities are valid logits: their softmax is the distribution itself.
        right = looks != "probabilities" or len(scores) < _ROWS_TO_TELL_LOGITS
    else:
        right = looks == output_kind
    if not right:
        raise TrainingError(
            f"output_kind is {output_kind!r}, but the network returns {looks} "
            f"(its first row sums to {float(scores[0].sum()):.3g}). Set output_kind={looks!r}, "
            "or change its last layer."
        )


def _looks_like(scores: torch.Tensor) -> str:
    def sums_to_one(values: torch.Tensor) -> bool:
        return bool(((values.sum(1) - 1).abs() < _SUM_TOLERANCE).all())

    if bool((scores >= 0).all()) and sums_to_one(scores):
        return "probabilities"
    if bool((scores <= 0).all()) and sums_to_one(scores.exp()):
        return "log_probabilities"
    return "logits"
