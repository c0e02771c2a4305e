"""A scikit-learn transformer that returns the outputs of a layer of a trained torch module."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import nn

from labelaudit.model.aliases import Container
from labelaudit.model.construction import complete, is_incomplete
from labelaudit.model.device import input_dtype, isolated, resolve_device, resolve_precision
from labelaudit.model.estimator import TorchEstimator, check_shape, example_shape, row_count
from labelaudit.model.layer_values import layer_values
from labelaudit.model.layers import named_layer
from labelaudit.model.weights import load_weights


class TorchFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, TorchEstimator):  # type: ignore[misc]
    """A transformer from X to the outputs of a layer of a trained module: features for any scikit-learn estimator.

    The module is never trained. `fit` only builds it and checks the shape of X. X has one of the types that
    `TorchClassifier` accepts, including row numbers of `dataset`.

    Args:
        module: A torch.nn.Module (which is copied), or a class or function that returns one. It is called with its
            nested arguments (`module__<name>`), and with `input_shape` if it accepts it.
        weights: File with a state dict, safetensors or from torch.save. It is never unpickled. None keeps the weights
            of the module.
        layer: Name of the layer in `module.named_modules()`; None for the output of the whole module.
        batch_size: Smallest number of rows at a time. Larger batches are used if examples are small.
        device: "auto" (CUDA if available), "cpu", "cuda" or "cuda:<number>". A device that is missing is an error.
        precision: "auto", "float32", "bfloat16" (autocast) or "float64".
        num_workers: Number of processes that read a torch Dataset ahead.
        random_state: Seed of the weights of a module that is built and not loaded.
        dataset: The data to which row numbers in X refer, as in `TorchClassifier`.

    Attributes:
        module_: The module.
        device_: Name of the device that was used.
        precision_: "float32", "bfloat16" or "float64".
        input_shape_: Shape of one example.
        n_features_in_: As in scikit-learn.
        feature_names_in_: As in scikit-learn.
    """

    def __init__(
        self,
        module: Callable[..., nn.Module] | nn.Module,
        *,
        weights: str | Path | None = None,
        layer: str | None = None,
        batch_size: int = 64,
        device: str = "auto",
        precision: str = "float32",
        num_workers: int = 0,
        random_state: int | np.random.RandomState | None = 0,
        dataset: Container = None,
        **module__arguments: object,
    ) -> None:
        self.module = module
        self.weights = weights
        self.layer = layer
        self.batch_size = batch_size
        self.device = device
        self.precision = precision
        self.num_workers = num_workers
        self.random_state = random_state
        self.dataset = dataset
        self._store_nested(module__arguments)

    def fit(self, X: Container, y: Container = None) -> Self:
        """Build the module, and run it on the first row of X. `y` is ignored.

        Raises:
            ConfigError: The layer does not exist, or the weights belong to another module.
            TrainingError: The device is missing, or the layer returns no features.
            ValueError: X is not valid (scikit-learn's checks).
        """
        return self._adopt(self._attempt()._fit(X))

    def _fit(self, X: Container) -> Self:
        data, index = self._input(X, reset=True)
        device = resolve_device(self.device)
        shape = example_shape(data, index)
        first = torch.zeros(1, dtype=torch.int64) if index is None else index[:1]
        with isolated(self._seed(), device):
            module = self._new_module(input_shape=shape)
            if is_incomplete(module):
                rows = self._bind(data, index, torch.device("cpu"), module, self.precision)
                complete(module.to(input_dtype(self.precision)), rows.take(first))
        if self.weights is not None:
            load_weights(module, Path(self.weights))
        named_layer(module, self.layer or "")
        self.module_ = module.to(device, input_dtype(self.precision)).eval()
        self.device_ = str(device)
        self.precision_ = resolve_precision(self.precision, device, module)
        self.input_shape_ = shape
        with isolated(0, device):
            self._n_features_out = next(self._values(data, first, device)).shape[1]
        return self

    def transform(self, X: Container) -> np.ndarray:
        """Return features (n, F) float32 of the rows of X. Outputs with more than two dimensions are flattened."""
        return np.concatenate(list(self.transform_batches(X)))

    def transform_batches(self, X: Container) -> Iterator[np.ndarray]:
        """Yield the rows of `transform` in batches, for `partial_fit` or for more rows than fit into memory."""
        check_is_fitted(self)
        data, index = self._input(X, reset=False)
        check_shape(example_shape(data, index), self.input_shape_)
        device = resolve_device(self.device)
        numbers = torch.arange(row_count(data)) if index is None else index
        batches = self._values(data, numbers, device)
        for number in itertools.count():
            with isolated(number, device):  # not while the caller has the batch
                values = next(batches, None)
            if values is None:
                return
            yield values.numpy()

    def _values(self, data: Container, index: torch.Tensor, device: torch.device) -> Iterator[torch.Tensor]:
        module = self.module_.to(device)
        yield from layer_values(
            module,
            named_layer(module, self.layer or ""),
            self._bind(data, index, device, module, self.precision_),
            index,
            side="output",
            batch_size=self.batch_size,
            device=device,
            precision=self.precision_,
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = []
        return tags
