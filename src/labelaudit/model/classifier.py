"""A scikit-learn classifier around any torch module."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data
from torch import nn

from labelaudit.errors import TrainingError
from labelaudit.model.batches import Rows, bind_rows
from labelaudit.model.device import repeatable, resolve_device, resolve_precision, seeded
from labelaudit.model.networks import MLP
from labelaudit.model.training import OnEpoch, Training, check_outputs, predict, train

# Rows whose outputs are looked at before the first step.
_PROBE_ROWS = 8
# What arrays are checked for and turned into; images keep their uint8.
_CHECKS = {"accept_sparse": "csr", "dtype": [np.float32, np.uint8], "allow_nd": True}


class TorchClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Trains a fresh module in every `fit`, and predicts class probabilities with it.

    X is an array, a tensor or a DataFrame of numbers (n, features) or an array (n, ...); a scipy sparse
    matrix (n, features); or, with `dataset`, the numbers (n,) of rows of that dataset, so that nothing is
    copied per fold. The same seed, threads and machine give the same weights; torch's global random state
    is left as it was.

    Args:
        module: class or function that returns a torch.nn.Module with outputs (B, num_classes). It is called
            with `module_kwargs`, and with `num_classes` and `input_shape` (of one example) where it takes
            them. A module with `accepts_sparse = True` gets sparse COO batches for sparse X.
        module_kwargs: arguments of `module`.
        output_kind: what the module returns: "logits", "log_probabilities" or "probabilities".
        optimizer: "adamw" or "sgd" (Nesterov momentum 0.9).
        learning_rate: the peak of the schedule.
        weight_decay: of weights; biases and normalisation layers do not decay.
        epochs, batch_size: batches of one epoch differ by one row at most.
        schedule: "one_cycle", "cosine" or "constant".
        label_smoothing: share of the target that is spread over all classes.
        average_share: share of all steps over which the weights are averaged (exponentially); 0 for none.
        crop_padding: images are shifted by up to so many pixels in training.
        flip: half of the images are mirrored in training. Predictions are averaged over a few such views.
        device: "auto" (CUDA if there), "cpu", "cuda" or "cuda:<number>".
        precision: "auto", "float32" or "bfloat16" (autocast).
        seed: of initial weights, dropout, order and augmentation.
        dataset: array, tensor, sparse matrix, DataFrame or `ImageInputs` (N rows) that X then counts into.
        on_epoch: called as on_epoch(epoch, epochs, mean loss) after each epoch.

    Attributes:
        classes_ (K,), n_features_in_, module_ (on the CPU), device_, precision_, losses_ (one per epoch).
    """

    def __init__(
        self,
        module: Callable[..., nn.Module] = MLP,
        *,
        module_kwargs: dict[str, Any] | None = None,
        output_kind: str = "logits",
        optimizer: str = "adamw",
        learning_rate: float = 1e-2,
        weight_decay: float = 1e-4,
        epochs: int = 20,
        batch_size: int = 64,
        schedule: str = "one_cycle",
        label_smoothing: float = 0.0,
        average_share: float = 0.0,
        crop_padding: int = 0,
        flip: bool = False,
        device: str = "auto",
        precision: str = "auto",
        seed: int = 0,
        dataset: Any = None,
        on_epoch: OnEpoch | None = None,
    ) -> None:
        self.module = module
        self.module_kwargs = module_kwargs
        self.output_kind = output_kind
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.epochs = epochs
        self.batch_size = batch_size
        self.schedule = schedule
        self.label_smoothing = label_smoothing
        self.average_share = average_share
        self.crop_padding = crop_padding
        self.flip = flip
        self.device = device
        self.precision = precision
        self.seed = seed
        self.dataset = dataset
        self.on_epoch = on_epoch

    def fit(self, X: Any, y: Any) -> Self:
        """Train on X with the labels `y` (n,) of any type.

        Raises `TrainingError` (device missing, loss not finite, outputs not of `output_kind`), `ConfigError`
        (a setting is unknown), or scikit-learn's ValueError where X or y cannot be used.
        """
        data, index, labels = self._training_data(X, y)
        check_classification_targets(labels)
        self.classes_, targets = np.unique(labels, return_inverse=True)
        device = resolve_device(self.device)
        with seeded(self.seed, device), repeatable(device):
            rows, module = self._module_for(data, device)
            self.precision_ = resolve_precision(self.precision, device, module)
            self._probe(module, rows, index)
            self.losses_ = train(
                module,
                rows,
                index,
                torch.from_numpy(targets.astype(np.int64)),
                self._training(),
                device=device,
                generator=torch.Generator().manual_seed(self.seed),
                on_epoch=self.on_epoch,
            )
        self.device_ = str(device)
        self.module_ = module.cpu().eval()
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities (n, K) float32, columns in the order of `classes_`; rows sum to 1."""
        check_is_fitted(self)
        data, index = self._prediction_data(X)
        device = resolve_device(self.device)
        module = self.module_.to(device)
        rows = bind_rows(data, device, keep_sparse=_accepts_sparse(module))
        if rows.shape != self.input_shape_:
            raise TrainingError(f"X has examples of shape {rows.shape}; the fit saw {self.input_shape_}.")
        with repeatable(device):
            probabilities = predict(
                module,
                rows,
                index,
                batch_size=max(self.batch_size, 256),
                device=device,
                precision=self.precision_,
                output_kind=self.output_kind,
                crop_padding=self.crop_padding,
                flip=self.flip,
            )
        self.module_.cpu()
        return probabilities.numpy()

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class (n,) of each row."""
        best = self.predict_proba(X).argmax(axis=1)
        classes: np.ndarray = self.classes_[best]
        return classes

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.non_deterministic = False
        return tags

    def __sklearn_clone__(self) -> Self:
        # The bound dataset is shared: it is read only, and scikit-learn would copy it for every fold.
        bare = copy.copy(self)
        bare.dataset = None
        twin: Self = BaseEstimator.__sklearn_clone__(bare)
        twin.dataset = self.dataset
        return twin

    def _training_data(self, X: Any, y: Any) -> tuple[Any, torch.Tensor, np.ndarray]:
        """What rows are taken from, the numbers of the rows, and their labels."""
        if self.dataset is None:
            values, labels = validate_data(self, X, y, **_CHECKS)
            return values, torch.arange(values.shape[0]), labels
        index = _row_numbers(X, _length(self.dataset))
        labels = column_or_1d(y, warn=True)
        check_consistent_length(index, labels)
        self.n_features_in_ = 1
        return self.dataset, index, labels

    def _prediction_data(self, X: Any) -> tuple[Any, torch.Tensor]:
        if self.dataset is None:
            values = validate_data(self, X, reset=False, **_CHECKS)
            return values, torch.arange(values.shape[0])
        return self.dataset, _row_numbers(X, _length(self.dataset))

    def _module_for(self, data: Any, device: torch.device) -> tuple[Rows, nn.Module]:
        self.input_shape_ = tuple(int(size) for size in data.shape[1:])
        sizes = {"num_classes": len(self.classes_), "input_shape": self.input_shape_}
        module = self.module(**_accepted(self.module, sizes), **(self.module_kwargs or {}))
        if not isinstance(module, nn.Module):
            raise TrainingError(f"module returned a {type(module).__name__}; it must return a torch.nn.Module.")
        module = module.to(device)
        if any(isinstance(layer, nn.Conv2d) for layer in module.modules()):
            module = module.to(memory_format=torch.channels_last)
        return bind_rows(data, device, keep_sparse=_accepts_sparse(module)), module

    def _probe(self, module: nn.Module, rows: Rows, index: torch.Tensor) -> None:
        module.eval()
        with torch.no_grad():
            outputs = module(rows.take(index[:_PROBE_ROWS]))
        check_outputs(outputs, self.output_kind, len(self.classes_))

    def _training(self) -> Training:
        return Training(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            optimizer=self.optimizer,
            schedule=self.schedule,
            label_smoothing=self.label_smoothing,
            output_kind=self.output_kind,
            precision=self.precision_,
            crop_padding=self.crop_padding,
            flip=self.flip,
            average_share=self.average_share,
        )


def _accepts_sparse(module: nn.Module) -> bool:
    return bool(getattr(module, "accepts_sparse", False))


def _accepted(factory: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments that a callable names, or all of them where it takes any."""
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # built-in types have no signature
        return {}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return arguments
    return {name: value for name, value in arguments.items() if name in parameters}


def _length(dataset: Any) -> int:
    return int(dataset.shape[0]) if sparse.issparse(dataset) else len(dataset)


def _row_numbers(X: Any, length: int) -> torch.Tensor:
    numbers = np.asarray(X)
    numbers = numbers[:, 0] if numbers.ndim == 2 and numbers.shape[1] == 1 else numbers
    if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer):
        raise TrainingError(
            f"with a bound dataset X holds row numbers, integers of shape (n,); got {numbers.dtype} {numbers.shape}."
        )
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= length):
        raise TrainingError(
            f"X asks for rows {numbers.min()} to {numbers.max()} of a dataset of {length}: give 0 to {length - 1}."
        )
    return torch.from_numpy(numbers.astype(np.int64))
