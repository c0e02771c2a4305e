"""Outputs of a module: the check of their kind, and their log-probabilities."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from labelaudit.errors import ConfigError, InputError, TrainingError
from labelaudit.model.outputs import OUTPUT_KINDS, check_output_kind, check_outputs, log_scores, run_module

LOGITS = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0], [0.0, 0.1, 0.0], [-1.0, 2.0, 2.0]])
FORMS = {"logits": LOGITS, "log_probabilities": LOGITS.log_softmax(1), "probabilities": LOGITS.softmax(1)}


def test_the_same_distribution_in_every_form() -> None:
    for kind, outputs in FORMS.items():
        torch.testing.assert_close(log_scores(outputs, kind, 4).softmax(1), LOGITS.softmax(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("declared", OUTPUT_KINDS)
@pytest.mark.parametrize("returned", OUTPUT_KINDS)
def test_a_wrong_output_kind_is_refused(declared: str, returned: str, dtype: torch.dtype) -> None:
    outputs = FORMS[returned].to(dtype)
    # Log-probabilities are valid logits: their softmax is the distribution itself.
    if declared == returned or (declared, returned) == ("logits", "log_probabilities"):
        check_outputs(outputs, declared, 3, 4)
    else:
        with pytest.raises(
            TrainingError, match=rf"The output_kind is '{declared}', but the network returns {returned}"
        ):
            check_outputs(outputs, declared, 3, 4)


def test_the_message_says_what_to_set() -> None:
    with pytest.raises(TrainingError, match=r"\(its first row sums to 1\)\. Set output_kind='probabilities', or"):
        check_outputs(FORMS["probabilities"], "logits", 3, 4)


def test_logits_of_few_rows_may_sum_to_1_by_chance() -> None:
    check_outputs(FORMS["probabilities"][:3], "logits", 3, 3)


@given(rows=st.lists(st.lists(st.floats(-50, 50), min_size=3, max_size=3), min_size=1, max_size=6))
def test_every_distribution_is_known_as_what_it_is(rows: list[list[float]]) -> None:
    logits = torch.tensor(rows)
    check_outputs(logits.softmax(1), "probabilities", 3, len(rows))
    check_outputs(logits.log_softmax(1), "log_probabilities", 3, len(rows))


def test_what_is_not_finite_and_a_single_class_are_let_through() -> None:
    check_outputs(torch.full((4, 3), math.nan), "probabilities", 3, 4)
    check_outputs(torch.ones(4, 1), "logits", 1, 4)


def test_outputs_of_another_shape_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"of shape \(4, 2\), but 3 classes need \(4, 3\)\. Give its last"):
        check_outputs(torch.zeros(4, 2), "logits", 3, 4)
    with pytest.raises(
        TrainingError, match=r"a tensor of shape \(4, 3, 1\) for a batch of 4, not one tensor of shape \(4, K"
    ):
        check_outputs(torch.zeros(4, 3, 1), "logits", 3, 4)
    with pytest.raises(TrainingError, match=r"returned a tensor of shape \(5, 3\) for a batch of 4"):
        log_scores(torch.zeros(5, 3), "logits", 4)
    with pytest.raises(
        TrainingError,
        match=r"returned a tuple of \(4, 3\) for a batch of 4, .* Change what it returns: one score per class",
    ):
        log_scores((torch.zeros(4, 3),), "logits", 4)  # type: ignore[arg-type]


def test_half_precision_becomes_float32_and_float64_stays() -> None:
    for given_type, expected in (
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ):
        assert log_scores(LOGITS.to(given_type), "logits", 4).dtype == expected


def test_a_probability_of_0_has_a_finite_logarithm() -> None:
    assert log_scores(torch.tensor([[0.0, 1.0]]), "probabilities", 1).tolist() == [
        pytest.approx([math.log(1e-12), 0.0])
    ]


def test_outputs_are_not_changed() -> None:
    outputs = torch.tensor([[0.0, 1.0]])
    log_scores(outputs, "probabilities", 1)
    assert outputs.tolist() == [[0.0, 1.0]]


def test_kinds_are_checked() -> None:
    for kind in OUTPUT_KINDS:
        check_output_kind(kind)
    with pytest.raises(ConfigError, match=r"output_kind 'scores' is unknown\. Use logits or log_probabilities or"):
        check_output_kind("scores")


def test_errors_of_a_module_name_the_batch() -> None:
    with pytest.raises(TrainingError, match=r"Linear cannot process a batch of shape \(4, 2\) and type") as caught:
        run_module(nn.Linear(3, 2), torch.zeros(4, 2))
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("error", [KeyError("a"), InputError("ours"), torch.OutOfMemoryError("CUDA out of memory")])
def test_other_errors_of_a_module_stay(error: Exception) -> None:
    def fail(inputs: torch.Tensor) -> torch.Tensor:
        raise error

    with pytest.raises(type(error)) as caught:
        run_module(fail, torch.zeros(1))  # type: ignore[arg-type]
    assert caught.value is error


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"logits": 1}, r"returned a dict with logits for a batch of 4"),
        (None, r"returned a NoneType for a batch of 4"),
        (torch.zeros(4, 3, dtype=torch.int64), r"returned numbers of type torch.int64\. Let it return scores"),
    ],
)
def test_outputs_that_are_not_scores_are_refused(outputs: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        check_outputs(outputs, "logits", 3, 4)
