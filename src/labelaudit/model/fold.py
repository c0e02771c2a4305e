"""One fold: a network is trained on some rows and predicts the others. Worker processes call this."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import nn

from labelaudit.errors import TrainingError
from labelaudit.model.aliases import Container, Kwargs
from labelaudit.model.build import build_network
from labelaudit.model.checkpoints import Checkpoints
from labelaudit.model.classifier import TorchClassifier
from labelaudit.model.device import enough_memory, resolve_device
from labelaudit.model.image_inputs import ImageInputs
from labelaudit.model.networks import STEM_FILTERS, Pixels, stem_size
from labelaudit.model.progress import Epoch
from labelaudit.model.recipes import Recipe
from labelaudit.model.standardize import standardized
from labelaudit.model.table import plain_columns, table_encoder
from labelaudit.model.training import Callback, prediction_batch_size
from labelaudit.model.whitening import whitening_filters
from labelaudit.row_dynamics import Dynamics, MeanDynamics

# Called as on_epoch(epoch, epochs, loss) after each epoch. Epochs are counted over all members.
OnEpoch = Callable[[int, int, float], None]
FoldInputs: TypeAlias = ImageInputs | sparse.csr_matrix | np.ndarray | pd.DataFrame

# Enough images for their mean and deviation. Reading all of them would delay the first step.
_STATISTICS_ROWS = 10_000
_STATISTICS_PIXELS = 2**18
_WHITENED_ROWS = 500
_WHITENED_PIXELS = 500 * 64 * 64
# The second step also needs the memory that the optimizer allocated in the first. A third is like all others.
_REHEARSED_STEPS = 3
# N-grams times classes: 128 MiB of weights, and three times as much for the optimizer.
_MAX_WEIGHTS = 2**25


@dataclass(frozen=True, eq=False)
class FoldData:
    """The rows of a dataset, and how one fold divides them.

    Attributes:
        kind: "image", "text", "vector" or "table".
        inputs: `ImageInputs`, CSR counts of `hash_texts`, (N, d) float32, or a DataFrame, by kind, with N rows. Only
            read.
        labels: (N,) int64 in 0..num_classes-1 at `train_rows`. Other entries are ignored.
        num_classes: Number of classes.
        train_rows: Numbers of the rows to train on.
        held_out_rows: Numbers of the rows to predict.
    """

    kind: str
    inputs: FoldInputs
    labels: np.ndarray
    num_classes: int
    train_rows: np.ndarray
    held_out_rows: np.ndarray

    def targets(self) -> np.ndarray:
        """Return the labels of the training rows.

        Raises:
            TrainingError: A class has no training row.
        """
        return training_targets(self.labels, self.num_classes, self.train_rows)


def training_targets(labels: np.ndarray, num_classes: int, train_rows: np.ndarray) -> np.ndarray:
    """Return the labels of the training rows.

    Raises:
        TrainingError: A class has no training row.
    """
    targets: np.ndarray = np.asarray(labels)[train_rows]
    missing = np.setdiff1d(np.arange(num_classes), targets)
    if len(missing):
        raise TrainingError(
            f"In this fold, {len(missing)} of {num_classes} classes have no training row (first: class "
            f"{missing[0]}), so their probabilities would be zero. Use fewer folds, or set these classes aside."
        )
    return targets


@dataclass(frozen=True)
class FoldFit:
    """The result of a fold. All fields except `pred_probs` and `dynamics` are JSON-able.

    Attributes:
        pred_probs: (n, K) float32, in the order of the held-out rows.
        dynamics: Of the training rows, in their order, averaged over members; None for views without epochs.
        training_loss: Loss of the last epoch, averaged over members.
        losses: Loss of each epoch, averaged over members.
        chosen: What was chosen inside the fold, by name, such as a penalty or a temperature.
    """

    pred_probs: np.ndarray
    dynamics: Dynamics | None
    training_loss: float
    losses: list[float]
    epochs: int
    members: int
    seconds: float
    device: str
    precision: str
    threads: int
    seed: int
    chosen: dict[str, float] = field(default_factory=dict)


@enough_memory()
def fit_fold(
    data: FoldData,
    recipe: Recipe,
    *,
    device: str = "auto",
    precision: str = "auto",
    seed: int = 0,
    on_epoch: OnEpoch | None = None,
    checkpoints: Checkpoints | None = None,
) -> FoldFit:
    """Train on the training rows of a fold, and predict its held-out rows.

    Args:
        on_epoch: Called after each epoch. Epochs are counted over all members.
        checkpoints: Where an unfinished fold is saved and resumed. Finished members are trained again unless it keeps
            them.

    Raises:
        TrainingError: A class has no training row, the device is missing, its memory is too small, or the loss is not
            finite.
        ConfigError: The network cannot be built.
    """
    started = time.monotonic()
    targets = data.targets()
    network = partial(build_network, recipe.network, network_kwargs=network_kwargs(recipe, data))
    train, held_out, dataset = encode(data, seed=seed)
    probabilities, losses = [], []
    dynamics = MeanDynamics(len(targets))
    for member in range(recipe.members):
        classifier = TorchClassifier.from_hyperparameters(
            network,
            recipe,
            device=device,
            precision=precision,
            random_state=_member_seed(seed, member),
            dataset=dataset,
            checkpoint=checkpoints,
            callbacks=[] if on_epoch is None else [_epoch_counter(on_epoch, member, recipe)],
            record_dynamics=True,
        ).fit(train, targets)
        dynamics.add(classifier.dynamics_)
        probabilities.append(classifier.predict_proba(held_out))
        losses.append([epoch["loss"] for epoch in classifier.history_])
    mean_losses = [float(loss) for loss in np.mean(losses, axis=0)]
    return FoldFit(
        pred_probs=_mean_distribution(probabilities),
        dynamics=dynamics.result(),
        training_loss=mean_losses[-1],
        losses=mean_losses,
        epochs=recipe.epochs,
        members=recipe.members,
        seconds=time.monotonic() - started,
        device=classifier.device_,
        precision=classifier.precision_,
        threads=torch.get_num_threads(),
        seed=seed,
    )


def rehearse_fold(
    data: FoldData,
    recipe: Recipe,
    *,
    device: str = "auto",
    precision: str = "auto",
    seed: int = 0,
) -> np.ndarray:
    """Do what `fit_fold` does, without most of its steps: it needs the same memory and little time.

    Returns:
        Random probabilities (n, K), with the shape and dtype of the fold's result.
    """
    targets = data.targets()
    network = partial(build_network, recipe.network, network_kwargs=network_kwargs(recipe, data))
    train, held_out, dataset = encode(data, seed=seed)
    # All classes, so that the network has its real size.
    few = np.union1d(np.unique(targets, return_index=True)[1], np.arange(_REHEARSED_STEPS * recipe.batch_size))
    few = few[few < len(targets)]
    # With so few steps, weights are averaged only if the share is large.
    short = replace(recipe, epochs=1, average_share=0.9 if recipe.average_share else 0.0)
    classifier = TorchClassifier.from_hyperparameters(
        network, short, device=device, precision=precision, random_state=seed, dataset=dataset, record_dynamics=True
    ).fit(train[few], targets[few])
    at_once = prediction_batch_size(data.inputs.shape[1:], recipe.batch_size, resolve_device(device))
    classifier.predict_proba(held_out[:at_once])
    drawn = np.random.default_rng(seed).random((len(data.held_out_rows), data.num_classes), np.float32)
    return _mean_distribution([drawn.copy() for _ in range(recipe.members)])


def encode(data: FoldData, *, seed: int) -> tuple[Container, Container, Container]:
    """Return X to train on, X to predict, and the dataset to which their row numbers refer.

    The dataset is None if both X are data themselves. Encoders (TF-IDF, means and deviations, imputation,
    quantiles, categories) are fitted on the training rows alone.
    """
    inputs: Container = data.inputs
    if data.kind == "image":
        return data.train_rows, data.held_out_rows, inputs
    if data.kind == "table":
        table = plain_columns(inputs)
        encoder = table_encoder(seed=seed, rows=len(data.train_rows))
        train = encoder.fit_transform(table.iloc[data.train_rows]).astype(np.float32)
        return train, encoder.transform(table.iloc[data.held_out_rows]).astype(np.float32), None
    if data.kind == "vector":
        return *standardized(inputs, data.train_rows, data.held_out_rows), None
    # The import takes half a second in every worker, and the other kinds do not need it.
    from sklearn.feature_extraction.text import TfidfTransformer

    counts = inputs[data.train_rows]
    columns = frequent_ngrams(counts, limit=_MAX_WEIGHTS // data.num_classes)
    tfidf = TfidfTransformer(sublinear_tf=True)
    return tfidf.fit_transform(counts[:, columns]), tfidf.transform(inputs[data.held_out_rows][:, columns]), None


def frequent_ngrams(counts: sparse.csr_matrix, *, limit: int) -> np.ndarray:
    """Return the columns of `counts`, ascending, that occur in at least two texts: at most the `limit` most frequent.

    An n-gram of a single text says nothing about other texts, and most n-grams are like this.
    """
    texts = np.bincount(counts.indices, minlength=counts.shape[1])
    common = np.flatnonzero(texts > 1)
    return np.sort(common[np.argsort(-texts[common], kind="stable")[:limit]])


def network_kwargs(recipe: Recipe, data: FoldData) -> Kwargs:
    """Return the recipe's arguments; for the network for images, with statistics of the training rows' pixels."""
    inputs = data.inputs
    if recipe.network != "cnn" or not isinstance(inputs, ImageInputs):
        return dict(recipe.network_kwargs)
    mean, std = pixel_statistics(inputs, data.train_rows)
    size, _ = stem_size(inputs.shape[1:])
    # Large images contain more patches. Fewer images are enough, and more would not fit into memory.
    wanted = max(4, min(_WHITENED_ROWS, _WHITENED_PIXELS // math.prod(inputs.pixels.shape[1:3])))
    picked = np.sort(inputs.positions[data.train_rows])[:: -(-len(data.train_rows) // wanted)]
    pixels = torch.from_numpy(inputs.pixels[picked]).permute(0, 3, 1, 2)
    filters = whitening_filters(Pixels(mean, std)(pixels), count=STEM_FILTERS, size=size)
    return {"mean": mean, "std": std, "stem_filters": filters, **recipe.network_kwargs}


def pixel_statistics(images: ImageInputs, rows: np.ndarray) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation per channel, in 0..1, of the images `rows`, or of 10,000 of them.

    They are computed from integer histograms, so the order of rows does not matter.
    """
    picked = np.sort(images.positions[rows])[:: -(-len(rows) // _STATISTICS_ROWS)]
    channels = images.pixels.shape[3]
    counts = np.zeros((channels, 256), np.int64)
    at_once = max(1, _STATISTICS_PIXELS // math.prod(images.pixels.shape[1:3]))
    for start in range(0, len(picked), at_once):
        pixels = images.pixels[picked[start : start + at_once]]
        for channel in range(channels):
            counts[channel] += np.bincount(pixels[..., channel].ravel(), minlength=256)
    values, share = np.arange(256) / 255, counts / counts.sum(axis=1, keepdims=True)
    mean = share @ values
    # A constant channel is shifted but not scaled.
    std = np.maximum(np.sqrt(np.maximum(share @ values**2 - mean**2, 0)), 1 / 255)
    return mean.tolist(), std.tolist()


def _member_seed(seed: int, member: int) -> int:
    return int(np.random.SeedSequence([seed, member]).generate_state(1)[0])


def _epoch_counter(on_epoch: OnEpoch, member: int, recipe: Recipe) -> Callback:
    total = recipe.epochs * recipe.members

    def count(epoch: Epoch, module: nn.Module) -> None:
        on_epoch(member * epoch.epochs + epoch.epoch, total, epoch.loss)

    return count


def _mean_distribution(probabilities: list[np.ndarray]) -> np.ndarray:
    mean = np.mean(probabilities, axis=0, dtype=np.float64)
    distribution: np.ndarray = (mean / mean.sum(axis=1, keepdims=True)).astype(np.float32)
    return distribution
