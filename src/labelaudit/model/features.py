"""A scikit-learn transformer around a trained torch module: its layers as features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import nn

from labelaudit.model.device import input_dtype, resolve_device, resolve_precision, seeded
from labelaudit.model.estimator import TorchEstimator, check_shape, example_shape, row_count
from labelaudit.model.layer_values import layer_values
from labelaudit.model.layers import named_layer
from labelaudit.model.weights import load_weights


class TorchFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, TorchEstimator):  # type: ignore[misc]
    """Turns X into what a layer of a trained module gives: features for any scikit-learn estimator.

    The module is used as it is and never trained: `fit` only builds it and looks at the shape of X. X comes in
    the forms that `TorchClassifier` takes, row numbers of `dataset` included.

    Args:
        module: a torch.nn.Module (of which a copy is kept), or a class or function that returns one; that is
            called with its nested arguments (`module__<name>`), and with `input_shape` where it takes it.
        weights: file with a state dict, safetensors or from torch.save; never unpickled. None keeps the
            weights that the module has.
        layer: the layer whose output is wanted, as `module.named_modules()` names it; None for that of the
            whole module.
        batch_size: rows at a time, at least; more where examples are small.
        device: "auto" (CUDA if there), "cpu", "cuda" or "cuda:<number>"; never another one than asked for.
        precision: "auto", "float32", "bfloat16" (autocast) or "float64".
        num_workers: processes that read a torch Dataset ahead.
        random_state: seed of the weights of a module that is built and not loaded.
        dataset: what X counts the rows of, as for `TorchClassifier`.

    Attributes:
        module_, device_, precision_, input_shape_ (of one example); n_features_in_, feature_names_in_.
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
        dataset: Any = None,
        **module__arguments: Any,
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

    def fit(self, X: Any, y: Any = None) -> Self:
        """Build the module, and try it on the first row of X. `y` is ignored.

        Raises `ConfigError` (no such layer, weights of another module), `TrainingError` (the device is missing,
        the layer gives no features), or scikit-learn's ValueError where X cannot be used.
        """
        return self._adopt(self._attempt()._fit(X))

    def _fit(self, X: Any) -> Self:
        data, index = self._input(X, reset=True)
        device = resolve_device(self.device)
        shape = example_shape(data, index)
        with seeded(self._seed(), device):
            module = self._new_module(input_shape=shape)
        if self.weights is not None:
            load_weights(module, Path(self.weights))
        named_layer(module, self.layer or "")
        self.module_ = module.to(device, input_dtype(self.precision)).eval()
        self.device_ = str(device)
        self.precision_ = resolve_precision(self.precision, device, module)
        self.input_shape_ = shape
        first = torch.zeros(1, dtype=torch.int64) if index is None else index[:1]
        self._n_features_out = next(self._values(data, first, device)).shape[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Features (n, F) float32 of the rows of X; what has more dimensions than two is flattened."""
        return np.concatenate(list(self.transform_batches(X)))

    def transform_batches(self, X: Any) -> Iterator[np.ndarray]:
        """The rows of `transform`, in order, batch by batch: for `partial_fit`, or for more than fits in memory."""
        check_is_fitted(self)
        data, index = self._input(X, reset=False)
        check_shape(example_shape(data, index), self.input_shape_)
        device = resolve_device(self.device)
        numbers = torch.arange(row_count(data)) if index is None else index
        for values in self._values(data, numbers, device):
            yield values.numpy()

    def _values(self, data: Any, index: torch.Tensor, device: torch.device) -> Iterator[torch.Tensor]:
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
