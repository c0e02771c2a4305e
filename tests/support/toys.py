"""Small data, modules and classifiers for the tests of the estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.datasets import make_classification
from torch import nn
from torch.utils.data import Dataset

from labelaudit.model.batches import ArrayRows
from labelaudit.model.classifier import TorchClassifier
from labelaudit.model.networks import MLP

CPU = torch.device("cpu")
X, Y = make_classification(120, 6, n_informative=4, n_classes=3, random_state=0)
X = X.astype(np.float32)
# Whole numbers of one byte, which every number type can represent.
WHOLE = np.abs(X * 20).astype(np.int8)
SMALL = TorchClassifier(MLP, module__hidden=(8,), epochs=5, batch_size=32, device="cpu")


def small(**changes: Any) -> TorchClassifier:
    """Return a classifier that fits in a fraction of a second."""
    return clone(SMALL).set_params(**changes)


def own(module: Any, **changes: Any) -> TorchClassifier:
    """Return a classifier like `small` around another module."""
    return TorchClassifier(module, **{"epochs": 5, "batch_size": 32, "device": "cpu", **changes})


def weights(classifier: TorchClassifier) -> dict[str, np.ndarray]:
    return {name: value.cpu().numpy().copy() for name, value in classifier.module_.state_dict().items()}


def same_weights(first: TorchClassifier, second: TorchClassifier) -> bool:
    ours, theirs = weights(first), weights(second)
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


class RowDataset(Dataset[Any]):
    """A dataset whose items are (row, label), like a user's."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, row: int) -> tuple[np.ndarray, int]:
        return self.values[row], -1


class DictLater(RowDataset):
    """Rows of which one is a dict."""

    def __getitem__(self, row: int) -> Any:
        return {"x": 1} if row == 40 else super().__getitem__(row)


class Uncopied(Dataset[Any]):
    """A dataset that must not be copied."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[row]

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        raise AssertionError("the dataset was copied")

    def __copy__(self) -> Any:
        raise AssertionError("the dataset was copied")


class Normed(nn.Module):
    """A body with batch normalisation, and a head."""

    def __init__(self, num_classes: int, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(input_shape[0], 8, bias=False), nn.BatchNorm1d(8), nn.ReLU())
        self.head = nn.Linear(8, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.body(x))
        return logits


class Tied(nn.Module):
    """Two names for one weight."""

    def __init__(self, num_classes: int, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.first = nn.Linear(input_shape[0], input_shape[0], bias=False)
        self.second = nn.Linear(input_shape[0], input_shape[0], bias=False)
        self.second.weight = self.first.weight
        self.head = nn.Linear(input_shape[0], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.second(torch.relu(self.first(x))))
        return logits


class InPlace(nn.Module):
    """Doubles its own input, in place or not, before a linear layer."""

    def __init__(self, num_classes: int, input_shape: tuple[int, ...], in_place: bool = True) -> None:
        super().__init__()
        self.in_place = in_place
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(input_shape).numel(), num_classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        doubled = x.mul_(2) if self.in_place else x * 2
        logits: torch.Tensor = self.head(doubled)
        return logits


POINTS = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.2, 0.9], [0.8, 0.1], [0.1, 1.0], [1.0, 0.2]])


def array_rows(values: torch.Tensor) -> ArrayRows:
    return ArrayRows(values, CPU, floats=torch.float32, integers=torch.float32)


def linear() -> nn.Linear:
    """Return a layer that is the identity until it is trained."""
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(2))
        layer.bias.zero_()
    return layer
