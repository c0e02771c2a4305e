"""A scikit-learn classifier around any torch module."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, assert_all_finite
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d
from torch import nn

from labelaudit.errors import ConfigError, InputError
from labelaudit.model import saving
from labelaudit.model.aliases import Container, Kwargs
from labelaudit.model.batches import Rows, as_numpy
from labelaudit.model.checkpoints import Checkpoints
from labelaudit.model.construction import complete, is_incomplete
from labelaudit.model.device import input_dtype, isolated, resolve_device, resolve_precision
from labelaudit.model.estimator import TorchEstimator, check_shape, example_shape, row_count
from labelaudit.model.hyperparameters import Hyperparameters
from labelaudit.model.layer_values import last_layer_features
from labelaudit.model.layers import input_width, last_layer
from labelaudit.model.networks import MLP
from labelaudit.model.optimizers import Optimizer, freeze, make_optimizer
from labelaudit.model.outputs import check_output_kind, check_outputs, run_module
from labelaudit.model.schedules import Schedule, constant
from labelaudit.model.splits import InnerSplit, hold_out
from labelaudit.model.targets import ClassWeight, check_class_labels, encode_labels, training_weights
from labelaudit.model.training import Callback, Labeled, Training, predict, print_epoch, train
from labelaudit.model.training_dynamics import TrainingDynamics
from labelaudit.row_dynamics import Dynamics

# Rows whose outputs are checked before the first step.
_PROBE_ROWS = 8


class TorchClassifier(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, TorchEstimator):  # type: ignore[misc]
    """A scikit-learn classifier that trains a torch module and predicts class probabilities.

    X is an array (n, ...) of any number type, a tensor on any device, a DataFrame of numbers, a scipy sparse
    matrix or a map-style torch Dataset. With `dataset`, X contains row numbers (n,) of that dataset, so nothing is
    copied per fold. y (n,) may have any label type. Inputs are not copied as a whole and never changed. Results are
    new NumPy arrays; their columns are in the order of `classes_`.

    Every `fit` trains a fresh module: what `module` returns, or a copy if `module` is a torch.nn.Module. The same
    seed, number of threads and machine give the same weights, regardless of what ran before. (On a GPU this needs
    deterministic torch kernels; those of cuDNN are.) The global random state of torch does not change. Threads of a
    process share it, so fits and predictions in several threads take turns. Arguments of the
    module and the optimizer are parameters with nested names, such as `module__hidden=(64,)` and
    `optimizer__weight_decay=1e-3`.

    Args:
        module: A torch.nn.Module with outputs (B, K), or a class or function that returns one. It is called with its
            nested arguments, and with `num_classes` and `input_shape` (of one example) if it accepts them. Models of
            torchvision and lazy layers work. Modules
            get float32; integers if a layer is an embedding or has an `integer_dtype`; sparse COO batches of sparse X
            if they have `accepts_sparse = True`.
        output_kind: What the module returns: "logits", "log_probabilities" or "probabilities". It is checked.
        optimizer: "adamw", "sgd" (Nesterov momentum 0.9), "muon" (see `labelaudit.model.muon`) or a class of
            torch.optim. Weight decay applies to weights, not to biases and normalisation layers. With "muon" it does
            not apply to the last layer and embeddings either.
        learning_rate: The peak of the schedule.
        learning_rate_factors: Factors of the learning rate by pattern of parameter names (`fnmatch`), such as
            {"backbone.*": 0.1}. The first pattern that matches applies.
        frozen: Patterns of the names of parameters that are not trained. The statistics of their layers do not change.
        epochs: Passes over the training rows.
        batch_size: Largest number of rows in a batch. Batches of one epoch differ by at most one row. For an odd number
            of rows in batches of 2, one batch has 3, because batch normalisation cannot use a single row.
        schedule: "one_cycle", "triangular", "cosine", "constant", or a function from training progress (0..1) to a
            share of the learning rate.
        class_weight: None, "balanced", or a dict from label to weight. Labels that do not occur are ignored if every
                class has a weight.
        label_smoothing: Share of the target that is spread over all classes.
        gradient_clip: Largest norm of the gradient of a step, or None.
        average_share: Share of all steps over which weights are averaged (exponentially). 0 turns averaging off.
        early_stopping: Hold out `validation_fraction` of the rows (stratified; by groups if `fit` gets them), stop
            after `n_iter_no_change` epochs without a lower loss on them, and keep the weights of the best epoch.
        validation_fraction: Share of the rows that `early_stopping` holds out.
        n_iter_no_change: Epochs without improvement before `early_stopping` ends the training.
        crop_padding: Largest random shift of images in training, in pixels.
        flip: Mirror half of the images in training. With `crop_padding` or `flip`, predictions are averaged over a
            few such views.
        warm_start: Let `fit` continue with the weights of the previous fit.
        device: "auto" (CUDA if available), "cpu", "cuda" or "cuda:<number>". A device that is missing is an error.
        precision: "auto", "float32", "bfloat16" (autocast) or "float64".
        compile: Train through torch.compile. A dict contains its arguments.
        num_workers: Number of processes that read a torch Dataset ahead. 0 reads it in this process.
        random_state: Seed of initial weights, dropout, order and augmentation. None uses a different seed each time.
        dataset: Array, tensor, sparse matrix, DataFrame, torch Dataset or `ImageInputs` (N rows) to which the row
            numbers in X refer. Clones share it.
        checkpoint: A folder or `Checkpoints` in which `fit` saves its state every 10 minutes. If `fit` is killed, the
            same `fit` resumes from there.
        callbacks: Functions (epoch, module), called after each `Epoch`. Training ends if one returns True.
        record_dynamics: Let `fit` record how each row was learned, in `dynamics_`. This needs no further forward pass.
        verbose: Write a line to standard error after each epoch.

    Attributes:
        classes_: (K,), the labels in sorted order.
        n_features_in_: As in scikit-learn.
        feature_names_in_: As in scikit-learn.
        n_iter_: Number of epochs trained in total.
        history_: One dict for each epoch of the last fit (see `Epoch`).
        dynamics_: With `record_dynamics`, the `Dynamics` of the rows of the last `fit`, in their order (NaN for rows
            that `early_stopping` held out). They come from the training batches, so augmentation, dropout and label
            smoothing make them noisy. They are not saved.
        module_: The trained module.
        device_: Name of the device that was used.
        precision_: "float32", "bfloat16" or "float64".
        input_shape_: Shape of one example.
    """

    _nesting: ClassVar[tuple[str, ...]] = ("module", "optimizer")

    n_iter_: int
    dynamics_: Dynamics
    _optimizer: Optimizer | None

    def __init__(
        self,
        module: Callable[..., nn.Module] | nn.Module = MLP,
        *,
        output_kind: str = "logits",
        optimizer: str | Callable[..., Optimizer] = "adamw",
        learning_rate: float = 1e-2,
        learning_rate_factors: Mapping[str, float] | None = None,
        frozen: Sequence[str] = (),
        epochs: int = 20,
        batch_size: int = 64,
        schedule: str | Schedule = "one_cycle",
        class_weight: ClassWeight | None = None,
        label_smoothing: float = 0.0,
        gradient_clip: float | None = None,
        average_share: float = 0.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        crop_padding: int = 0,
        flip: bool = False,
        warm_start: bool = False,
        device: str = "auto",
        precision: str = "auto",
        compile: bool | Kwargs = False,
        num_workers: int = 0,
        random_state: int | np.random.RandomState | None = 0,
        dataset: Container = None,
        checkpoint: Checkpoints | str | Path | None = None,
        callbacks: Sequence[Callback] = (),
        record_dynamics: bool = False,
        verbose: bool = False,
        **module__and_optimizer__arguments: object,
    ) -> None:
        self.module = module
        self.output_kind = output_kind
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.learning_rate_factors = learning_rate_factors
        self.frozen = frozen
        self.epochs = epochs
        self.batch_size = batch_size
        self.schedule = schedule
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.gradient_clip = gradient_clip
        self.average_share = average_share
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.crop_padding = crop_padding
        self.flip = flip
        self.warm_start = warm_start
        self.device = device
        self.precision = precision
        self.compile = compile
        self.num_workers = num_workers
        self.random_state = random_state
        self.dataset = dataset
        self.checkpoint = checkpoint
        self.callbacks = callbacks
        self.record_dynamics = record_dynamics
        self.verbose = verbose
        self._store_nested(module__and_optimizer__arguments)

    def fit(self, X: Container, y: Container, sample_weight: Container = None, groups: Container = None) -> Self:
        """Train on X (n rows) with the labels `y` (n,) of any type.

        Args:
            sample_weight: (n,) weights of the rows in the loss. Only their ratios matter.
            groups: (n,) any type. `early_stopping` keeps the rows of a group on one side of its split.

        Raises:
            InputError: X, y, weights or groups are not valid. scikit-learn's own checks raise ValueError.
            TrainingError: The device is missing, the module cannot process X, the loss is not finite, or the outputs
                are not of `output_kind`.
            ConfigError: A setting is unknown or out of range, or the module cannot be built.
        """
        return self._adopt(self._attempt()._fit(X, y, sample_weight, groups))

    def partial_fit(
        self, X: Container, y: Container, classes: Container = None, sample_weight: Container = None
    ) -> Self:
        """Train one more epoch on X and y, at the constant `learning_rate`, with the same optimizer as before.

        Args:
            classes: (K,) all labels that may ever occur. The first call needs them.
            sample_weight: (n,) weights of the rows in the loss. Only their ratios matter.

        Raises:
            InputError, TrainingError, ConfigError: As in `fit`.
        """
        return self._adopt(self._attempt()._partial_fit(X, y, classes, sample_weight))

    def _fit(self, X: Container, y: Container, sample_weight: Container, groups: Container) -> Self:
        fresh = not (self.warm_start and hasattr(self, "module_"))
        data, index, labels = self._labeled_input(X, y, reset=fresh)
        classes = np.unique(labels) if fresh else self.classes_
        labeled = Labeled(index, encode_labels(labels, classes), self._weights(labels, classes, sample_weight))
        return self._train(data, labeled, classes, groups, fresh=fresh)

    def _partial_fit(self, X: Container, y: Container, classes: Container, sample_weight: Container) -> Self:
        fresh = not hasattr(self, "module_")
        if fresh and classes is None:
            raise InputError(
                "The first call of partial_fit does not have the classes. Pass all labels that may occur as classes=."
            )
        known = np.unique(as_numpy(classes)) if fresh else self.classes_
        if not fresh and classes is not None and not np.array_equal(np.unique(as_numpy(classes)), known):
            raise InputError(
                f"Classes {classes} differ from those of earlier calls, {known}. Pass the same classes, or none."
            )
        data, index, labels = self._labeled_input(X, y, reset=fresh)
        labeled = Labeled(index, encode_labels(labels, known), self._weights(labels, known, sample_weight))
        return self._train(data, labeled, known, None, fresh=fresh, one_more=True)

    def predict_proba(self, X: Container) -> np.ndarray:
        """Return class probabilities (n, K) float32 (float64 if `precision` is), in the order of `classes_`."""
        return self._predict(X, logarithms=False)

    def predict_log_proba(self, X: Container) -> np.ndarray:
        """Return logarithms of class probabilities (n, K). They are exact even if a probability rounds to 0."""
        return self._predict(X, logarithms=True)

    def decision_function(self, X: Container) -> np.ndarray:
        """Return log-probabilities (n, K); for two classes the log-odds (n,) of the second."""
        logs = self._predict(X, logarithms=True)
        odds: np.ndarray = logs[:, 1] - logs[:, 0] if logs.shape[1] == 2 else logs
        return odds

    def predict(self, X: Container) -> np.ndarray:
        """Return the most probable class (n,) of each row."""
        best = self._predict(X, logarithms=True).argmax(axis=1)
        classes: np.ndarray = self.classes_[best]
        return classes

    def score(self, X: Container, y: Container, sample_weight: Container = None) -> float:
        """Return the accuracy on X with the labels `y` (n,)."""
        return float(super().score(X, as_numpy(y), sample_weight))

    def transform(self, X: Container) -> np.ndarray:
        """Return the inputs of the last linear layer (n, features) float32: features that the module has learned.

        If that layer runs at many positions of an example, such as pixels, the result is the mean over them.

        Raises:
            ConfigError: The module has no such layer.
        """
        device = resolve_device(self.device)
        with isolated(0, device):
            module, rows, index = self._ready(X, device)
            features = last_layer_features(
                module, rows, index, batch_size=self.batch_size, device=device, precision=self.precision_
            )
        result: np.ndarray = features.numpy()
        return result

    def save(self, folder: str | Path) -> None:
        """Write weights (safetensors) and everything else (JSON) into `folder`; see `labelaudit.model.saving`."""
        check_is_fitted(self)
        saving.save(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path, **params: object) -> Self:
        """Return the classifier that `save` wrote.

        Functions and classes are not saved, except those of labelaudit and torch.optim. Pass yours again, as
        `module=MyModule`. For a classifier from a GPU, pass `device="cpu"` on a machine without one.

        Args:
            params: Parameters that replace saved ones.

        Raises:
            ConfigError: A function or class is missing.
            StorageError: The folder does not contain a saved classifier.
        """
        return saving.load(cls, Path(folder), params)

    @classmethod
    def from_hyperparameters(
        cls, module: Callable[..., nn.Module] | nn.Module, hyperparameters: Hyperparameters, **params: Any
    ) -> Self:
        """Return a classifier that trains `module` with `hyperparameters`; `params` are its other parameters."""
        # A field that is not a parameter of the classifier is a TypeError, not a silent default.
        shared = {field.name: getattr(hyperparameters, field.name) for field in fields(Hyperparameters)}
        options = {f"optimizer__{name}": value for name, value in shared.pop("optimizer_kwargs").items()}
        return cls(module, **shared, **options, **params)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = []
        tags.non_deterministic = False
        return tags

    @property
    def _n_features_out(self) -> int:
        return input_width(last_layer(self.module_)[1])

    def _labeled_input(
        self, X: Container, y: Container, *, reset: bool
    ) -> tuple[Container, torch.Tensor | None, np.ndarray]:
        """Return the data, the row numbers in it (None: all), and their labels."""
        if y is None:
            # scikit-learn's tools look for exactly these words.
            raise InputError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        data, index = self._input(X, reset=reset)
        labels = as_numpy(y)
        check_class_labels(labels)
        labels = column_or_1d(labels, warn=True)
        assert_all_finite(labels, input_name="y")
        check_consistent_length(range(row_count(data) if index is None else len(index)), labels)
        check_classification_targets(labels)
        return data, index, labels

    def _weights(self, labels: np.ndarray, classes: np.ndarray, sample_weight: Container) -> torch.Tensor | None:
        """Return the weights (n,) of rows and classes together, with mean 1; None if all are the same."""
        weights = training_weights(sample_weight, self.class_weight, classes, labels)
        return None if weights is None else torch.from_numpy(weights).to(input_dtype(self.precision))

    def _train(
        self,
        data: Container,
        labeled: Labeled,
        classes: np.ndarray,
        groups: Container,
        *,
        fresh: bool,
        one_more: bool = False,
    ) -> Self:
        check_output_kind(self.output_kind)
        device = resolve_device(self.device)
        trained = 0 if fresh else self.n_iter_
        seed = self._seed(trained)
        all_rows = len(labeled)
        split = self._inner_split(labeled, groups, seed, one_more=one_more)
        labeled = split.training
        dynamics = None
        if self.record_dynamics and not one_more:
            dynamics = TrainingDynamics(len(labeled), len(classes), device)
        with isolated(seed, device):
            start = self._fresh if fresh else self._continued
            module, rows, trainable = start(data, labeled, len(classes), device)
            precision = resolve_precision(self.precision, device, module)
            training = self._training(len(classes), precision, one_more=one_more)
            optimizer = self._optimizer if one_more and not fresh else None
            optimizer = optimizer or self._new_optimizer(module, trainable, training)
            history = train(
                self._compiled(module),
                rows,
                labeled,
                training,
                optimizer,
                device=device,
                generator=torch.Generator().manual_seed(seed),
                validation=split.validation,
                callbacks=[*self.callbacks, *([print_epoch] if self.verbose else [])],
                checkpoints=None if one_more else self._checkpoints(),
                dynamics=dynamics,
            )
        self.classes_ = classes
        self.input_shape_ = rows.shape
        self.precision_ = precision
        self.device_ = str(device)
        self.history_ = [asdict(epoch) for epoch in history]
        self.n_iter_ = trained + len(history)
        self.module_ = module.eval()
        self.__dict__.pop("dynamics_", None)
        if dynamics is not None:
            self.dynamics_ = dynamics.result().at_rows(split.positions, all_rows)
        self._trainable = trainable
        self._optimizer = optimizer if one_more else None
        return self

    def _inner_split(self, labeled: Labeled, groups: Container, seed: int, *, one_more: bool) -> InnerSplit:
        if groups is not None:
            groups = column_or_1d(as_numpy(groups))
            check_consistent_length(labeled.targets, groups)
        if not self.early_stopping or one_more:
            return InnerSplit(labeled)
        return hold_out(labeled, self.validation_fraction, groups=groups, seed=seed)

    def _fresh(
        self, data: Container, labeled: Labeled, num_classes: int, device: torch.device
    ) -> tuple[nn.Module, Rows, frozenset[str]]:
        """Return a new module, the rows to train it on, and the names of its trainable parameters."""
        shape = example_shape(data, labeled.index)
        module = self._new_module(num_classes=num_classes, input_shape=shape).to(device, input_dtype(self.precision))
        rows = self._bind(data, labeled.index, device, module, self.precision)
        probe = labeled.numbers(torch.arange(min(_PROBE_ROWS, len(labeled))))
        if is_incomplete(module):
            complete(module, rows.take(probe))
        if any(isinstance(layer, nn.Conv2d) for layer in module.modules()):
            module = module.to(memory_format=torch.channels_last)
        module.eval()
        with torch.no_grad():
            outputs = run_module(module, rows.take(probe))
        check_outputs(outputs, self.output_kind, num_classes, len(probe))
        return module, rows, frozenset(name for name, value in module.named_parameters() if value.requires_grad)

    def _continued(
        self, data: Container, labeled: Labeled, num_classes: int, device: torch.device
    ) -> tuple[nn.Module, Rows, frozenset[str]]:
        """Return the module of the previous fit, the rows to train it on, and its trainable parameters."""
        # An optimizer cannot continue on another device or with another number type.
        same = (str(device), input_dtype(self.precision)) == (self.device_, input_dtype(self.precision_))
        # Copied together, so that the optimizer refers to the parameters of the copied module.
        module, self._optimizer = copy.deepcopy((self.module_, self._optimizer if same else None))
        module = module.to(device, input_dtype(self.precision))
        rows = self._bind(data, labeled.index, device, module, self.precision)
        check_shape(rows.shape, self.input_shape_)
        return module, rows, self._trainable

    def _new_optimizer(self, module: nn.Module, trainable: frozenset[str], training: Training) -> Optimizer:
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name in trainable)
        freeze(module, self.frozen)
        return make_optimizer(
            module,
            training.optimizer,
            learning_rate=training.learning_rate,
            options=training.optimizer_kwargs,
            factors=self.learning_rate_factors or {},
        )

    def _checkpoints(self) -> Checkpoints | None:
        if self.checkpoint is not None and self.random_state is None:
            raise ConfigError(
                "With random_state=None every training is different, so none can resume from a checkpoint. "
                "Set random_state to a number, or checkpoint to None."
            )
        return Checkpoints(self.checkpoint) if isinstance(self.checkpoint, str | Path) else self.checkpoint

    def _compiled(self, module: nn.Module) -> nn.Module:
        if self.compile is False:
            return module
        options = {} if self.compile is True else dict(self.compile)
        return torch.compile(module, **options)  # type: ignore[return-value]

    def _training(self, num_classes: int, precision: str, *, one_more: bool) -> Training:
        # Neither class has defaults, so mypy reports a hyper-parameter that is missing here.
        return Training(
            epochs=1 if one_more else self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            optimizer_kwargs=self._nested("optimizer"),
            schedule=constant if one_more else self.schedule,
            label_smoothing=self.label_smoothing,
            crop_padding=self.crop_padding,
            flip=self.flip,
            average_share=0.0 if one_more else self.average_share,
            num_classes=num_classes,
            output_kind=self.output_kind,
            precision=precision,
            gradient_clip=self.gradient_clip,
            n_iter_no_change=self.n_iter_no_change if self.early_stopping and not one_more else None,
        )

    def _ready(self, X: Container, device: torch.device) -> tuple[nn.Module, Rows, torch.Tensor]:
        """Return the trained module, the rows to predict from, and the numbers (n,) of those to predict."""
        check_is_fitted(self)
        data, index = self._input(X, reset=False)
        module = self.module_.to(device)
        rows = self._bind(data, index, device, module, self.precision_)
        check_shape(rows.shape, self.input_shape_)
        return module, rows, torch.arange(len(rows)) if index is None else index

    def _predict(self, X: Container, *, logarithms: bool) -> np.ndarray:
        device = resolve_device(self.device)
        # A Dataset may draw random numbers.
        with isolated(0, device):
            module, rows, index = self._ready(X, device)
            predicted = predict(
                module,
                rows,
                index,
                batch_size=self.batch_size,
                num_classes=len(self.classes_),
                device=device,
                precision=self.precision_,
                output_kind=self.output_kind,
                crop_padding=self.crop_padding,
                flip=self.flip,
                logarithms=logarithms,
            )
        result: np.ndarray = predicted.numpy()
        return result
