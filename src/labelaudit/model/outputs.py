"""Checks of the outputs of a module, and their conversion to log-probabilities."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import nn

from labelaudit.errors import ConfigError, LabelauditError, TrainingError
from labelaudit.model.device import is_out_of_memory
from labelaudit.text import listing

OUTPUT_KINDS = ("logits", "log_probabilities", "probabilities")

# Largest deviation of the sum of a row of probabilities from 1. That of a bfloat16 softmax is at most half of it.
_SUM_TOLERANCE = 0.02
# With fewer rows, logits may sum to 1 by chance.
_FEWEST_ROWS_TO_RECOGNISE = 4
_SMALLEST_PROBABILITY = 1e-12
# How CUDA, its libraries and HIP begin the messages of their errors.
_DEVICE_ERROR = re.compile(r"CUDA|cuDNN|cuBLAS|CUBLAS|CUDNN|HIP error|NCCL|device-side")
# What modules raise for inputs that they cannot process.
_FORWARD_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)


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
        raise TrainingError(
            f"The network returned {_described(outputs)} for a batch of {batch}, not one tensor of shape ({batch}, K). "
            "Change what it returns: one score per class for each row."
        )
    if not outputs.is_floating_point():
        raise TrainingError(
            f"The network returned numbers of type {outputs.dtype}. Let it return scores or probabilities, which are "
            "fractions."
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
            f"The network returned outputs of shape {tuple(outputs.shape)}, but {num_classes} classes need "
            f"({batch}, {num_classes}). Give its last layer {num_classes} outputs (num_classes)."
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


def run_module(module: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Return what `module` returns for a batch (B, ...).

    Raises:
        TrainingError: The module cannot process the batch. The error of the module is its cause.
    """
    try:
        outputs: torch.Tensor = module(inputs)
    except _FORWARD_ERRORS as error:
        if isinstance(error, LabelauditError) or _is_of_device(error):
            raise
        raise TrainingError(_forward_problem(module, inputs, error)) from error
    return outputs


def _is_of_device(error: Exception) -> bool:
    """Return whether the device failed, not the module. Every later call may fail then, so a new process is needed."""
    return isinstance(error, RuntimeError) and (is_out_of_memory(error) or _DEVICE_ERROR.search(str(error)) is not None)


def _forward_problem(module: nn.Module, inputs: torch.Tensor, error: Exception) -> str:
    cause = (str(error).strip() or type(error).__name__).splitlines()[0][:300].rstrip(".!")
    if len(inputs) == 1 and "more than 1 value per channel" in cause:
        return (
            f"The network cannot be trained on a batch of one row, because it has batch normalisation ({cause}). "
            "Set batch_size to at least 2, and train on at least 2 rows."
        )
    return (
        f"The network {type(module).__name__} cannot process a batch of shape {tuple(inputs.shape)} and type "
        f"{inputs.dtype}: {cause}. Use a network for examples of shape {tuple(inputs.shape[1:])}, or change the inputs."
    )


def _described(outputs: object) -> str:
    if isinstance(outputs, torch.Tensor):
        return f"a tensor of shape {tuple(outputs.shape)}"
    name = type(outputs).__name__
    if isinstance(outputs, Mapping):
        return f"a {name} with {listing([str(key) for key in outputs], shown=5)}"
    if isinstance(outputs, tuple | list):
        parts = [str(tuple(part.shape)) if isinstance(part, torch.Tensor) else type(part).__name__ for part in outputs]
        return f"a {name} of {listing(parts, shown=5)}"
    return f"a {name}"


def _kind_of(scores: torch.Tensor) -> str:
    def sums_to_one(values: torch.Tensor) -> bool:
        return bool(((values.sum(1) - 1).abs() < _SUM_TOLERANCE).all())

    if bool((scores >= 0).all()) and sums_to_one(scores):
        return "probabilities"
    if bool((scores <= 0).all()) and sums_to_one(scores.exp()):
        return "log_probabilities"
    return "logits"
