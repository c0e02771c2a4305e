"""Predictions on tensors: distributions for any batch size, averaged over views."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from labelaudit.errors import TrainingError
from labelaudit.model.training import predict, prediction_batch_size
from support.toys import CPU, POINTS, array_rows, linear


def predicted(module: nn.Module, data: torch.Tensor, index: torch.Tensor, **changes: Any) -> torch.Tensor:
    arguments = {"batch_size": 1, "num_classes": 2, "device": CPU, "precision": "float32", "output_kind": "logits"}
    return predict(module, array_rows(data), index, **{**arguments, **changes})


def test_predictions_are_distributions_for_any_batch_size() -> None:
    many, index = POINTS * 50, torch.tensor([4, 0, 5])
    one = predicted(linear(), many, index)
    torch.testing.assert_close(one, predicted(linear(), many, index, batch_size=10))
    torch.testing.assert_close(one, many[index].softmax(1))
    torch.testing.assert_close(predicted(linear(), many, index, logarithms=True), many[index].log_softmax(1))
    assert one.dtype == torch.float32
    assert not one.requires_grad
    assert float((one.double().sum(1) - 1).abs().max()) < 1e-6


def test_more_rows_than_fit_in_a_batch_are_predicted_in_order() -> None:
    index = torch.arange(6).repeat(2000)
    torch.testing.assert_close(predicted(linear(), POINTS, index), POINTS[index].softmax(1))


def test_batches_for_prediction_are_larger_if_examples_are_small() -> None:
    assert prediction_batch_size((6,), 64, CPU) == 2048
    assert prediction_batch_size((2**15,), 8, CPU) == 16
    assert prediction_batch_size((2**15,), 8, torch.device("cuda:0")) == 128
    assert prediction_batch_size((2**15,), 64, CPU) == 64
    assert prediction_batch_size((), 64, CPU) == 2048


def test_predicting_takes_the_module_out_of_training_and_refuses_wrong_outputs() -> None:
    module = nn.Sequential(linear(), nn.Dropout(0.9)).train()
    torch.testing.assert_close(predicted(module, POINTS, torch.arange(6)), POINTS.softmax(1))
    assert not module.training
    with pytest.raises(TrainingError, match=r"but the network returns probabilities"):
        predicted(nn.Sequential(linear(), nn.Softmax(1)), POINTS, torch.arange(6))
    with pytest.raises(TrainingError, match=r"returned outputs of shape \(6, 2\), but 3 classes need \(6, 3\)"):
        predicted(linear(), POINTS, torch.arange(6), num_classes=3)


def test_predictions_average_the_log_probabilities_of_views() -> None:
    image = torch.zeros(1, 1, 1, 3)
    image[..., 0] = 1
    module = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False))
    with torch.no_grad():
        module[1].weight.copy_(torch.tensor([[4.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    index = torch.tensor([0])
    straight = predicted(module, image, index)
    both = predicted(module, image, index, flip=True)
    torch.testing.assert_close(straight, torch.tensor([[4.0, 0.0]]).softmax(1))
    log_mean = (torch.tensor([[4.0, 0.0]]).log_softmax(1) + torch.tensor([[0.0, 0.0]]).log_softmax(1)) / 2
    torch.testing.assert_close(both, log_mean.softmax(1))
    assert not torch.equal(predicted(module, image, index, crop_padding=2), straight)
