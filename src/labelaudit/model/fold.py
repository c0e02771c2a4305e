"""One fold: a network trained on some rows predicts the others. What a worker process calls."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import nn

from labelaudit.errors import TrainingError
from labelaudit.model.build import build_network
from labelaudit.model.checkpoints import Checkpoints
from labelaudit.model.classifier import TorchClassifier
from labelaudit.model.device import enough_memory, resolve_device
from labelaudit.model.image_inputs import ImageInputs
from labelaudit.model.networks import STEM_FILTERS, Pixels, stem_size
from labelaudit.model.progress import Epoch
from labelaudit.model.recipes import Recipe
from labelaudit.model.table import plain_columns, table_encoder
from labelaudit.model.training import Callback, predicted_batch
from labelaudit.model.whitening import whitening_filters

# Called as on_epoch(epoch, epochs, mean loss) after each epoch.
OnEpoch = Callable[[int, int, float], None]
Inputs: TypeAlias = ImageInputs | sparse.csr_matrix | pd.DataFrame

# Enough images for their mean and deviation; all of them would be read before the first step.
_STATISTICS_ROWS = 10_000
_STATISTICS_PIXELS = 2**18
_WHITENED_ROWS = 500
_WHITENED_PIXELS = 500 * 64 * 64
# The second step holds what the optimizer keeps from the first; a third is like all others.
_REHEARSED_STEPS = 3
# N-grams times classes: weights of 128 MiB, and thrice as much for the optimizer.
_MAX_WEIGHTS = 2**25


@dataclass(frozen=True)
class FoldFit:
    """What a fold gave. All but `pred_probs` is JSON-able.

    `pred_probs` (n, K) float32 in the order of the held-out rows; `training_loss` is that of the last epoch,
    `losses` that of every epoch, averaged over members.
    """

    pred_probs: np.ndarray
    training_loss: float
    losses: list[float]
    epochs: int
    members: int
    seconds: float
    device: str
    precision: str
    threads: int
    seed: int


@enough_memory()
def fit_fold(
    inputs: Inputs,
    labels: np.ndarray,
    train_rows: np.ndarray,
    held_out_rows: np.ndarray,
    *,
    kind: str,
    num_classes: int,
    recipe: Recipe,
    device: str = "auto",
    precision: str = "auto",
    seed: int = 0,
    on_epoch: OnEpoch | None = None,
    checkpoints: Checkpoints | None = None,
) -> FoldFit:
    """Train on `train_rows` and predict `held_out_rows`, both row numbers of `inputs` (N rows).

    Args:
        inputs: `ImageInputs`, CSR counts of `hash_texts`, or a DataFrame, by `kind`. Only read.
        labels: (N,) int64 in 0..num_classes-1 at `train_rows`; other entries are not looked at.
        on_epoch: called as on_epoch(epoch, epochs, loss); the epochs of all members are counted on.
        checkpoints: from where an unfinished fold goes on; members that ended are repeated unless it keeps them.

    Raises:
        TrainingError: a class has no training row, the asked device is missing, its memory is too small, the loss is
            not finite.
        ConfigError: the network cannot be built.
    """
    started = time.monotonic()
    targets = np.asarray(labels)[train_rows]
    _check_classes(targets, num_classes)
    network = partial(build_network, recipe.network, network_kwargs=network_kwargs(recipe, inputs, train_rows))
    train, held_out, dataset = encode(kind, inputs, train_rows, held_out_rows, num_classes=num_classes, seed=seed)
    probabilities, losses = [], []
    for member in range(recipe.members):
        classifier = TorchClassifier(
            network,
            **classifier_settings(recipe),
            device=device,
            precision=precision,
            random_state=_member_seed(seed, member),
            dataset=dataset,
            checkpoint=checkpoints,
            callbacks=[] if on_epoch is None else [_counted(on_epoch, member, recipe)],
        ).fit(train, targets)
        probabilities.append(classifier.predict_proba(held_out))
        losses.append([epoch["loss"] for epoch in classifier.history_])
    mean_losses = [float(loss) for loss in np.mean(losses, axis=0)]
    return FoldFit(
        pred_probs=_mean_distribution(probabilities),
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
    inputs: Inputs,
    labels: np.ndarray,
    train_rows: np.ndarray,
    held_out_rows: np.ndarray,
    *,
    kind: str,
    num_classes: int,
    recipe: Recipe,
    device: str = "auto",
    precision: str = "auto",
    seed: int = 0,
) -> np.ndarray:
    """What `fit_fold` does, but for most of its steps: it takes the same memory and little time.

    Returns probabilities (n, K) of the shape and type that the fold would give, drawn at random.
    """
    targets = np.asarray(labels)[train_rows]
    _check_classes(targets, num_classes)
    network = partial(build_network, recipe.network, network_kwargs=network_kwargs(recipe, inputs, train_rows))
    train, held_out, dataset = encode(kind, inputs, train_rows, held_out_rows, num_classes=num_classes, seed=seed)
    # All classes, so that the network has its real size.
    few = np.union1d(np.unique(targets, return_index=True)[1], np.arange(_REHEARSED_STEPS * recipe.batch_size))
    few = few[few < len(targets)]
    # So few steps are averaged over only where the share is large.
    short = replace(recipe, epochs=1, average_share=0.9 if recipe.average_share else 0.0)
    classifier = TorchClassifier(
        network, **classifier_settings(short), device=device, precision=precision, random_state=seed, dataset=dataset
    ).fit(train[few], targets[few])
    at_once = predicted_batch(inputs.shape[1:], recipe.batch_size, resolve_device(device))
    classifier.predict_proba(held_out[:at_once])
    drawn = np.random.default_rng(seed).random((len(held_out_rows), num_classes), np.float32)
    return _mean_distribution([drawn.copy() for _ in range(recipe.members)])


def encode(
    kind: str, inputs: Any, train_rows: np.ndarray, held_out_rows: np.ndarray, *, num_classes: int, seed: int
) -> tuple[Any, Any, Any]:
    """X to train on, X to predict, and the dataset that both count into (None where they are the data).

    Whatever is fitted (TF-IDF, imputation, quantiles, categories) is fitted on the training rows alone.
    """
    if kind == "image":
        return train_rows, held_out_rows, inputs
    if kind == "table":
        table = plain_columns(inputs)
        encoder = table_encoder(seed=seed, rows=len(train_rows))
        train = encoder.fit_transform(table.iloc[train_rows]).astype(np.float32)
        return train, encoder.transform(table.iloc[held_out_rows]).astype(np.float32), None
    # Half a second in every worker, which those of images and tables need not pay.
    from sklearn.feature_extraction.text import TfidfTransformer

    counts = inputs[train_rows]
    kept = frequent_ngrams(counts, most=_MAX_WEIGHTS // num_classes)
    weights = TfidfTransformer(sublinear_tf=True)
    return weights.fit_transform(counts[:, kept]), weights.transform(inputs[held_out_rows][:, kept]), None


def frequent_ngrams(counts: sparse.csr_matrix, *, most: int) -> np.ndarray:
    """Columns of `counts`, ascending, that occur in two texts or more: the `most` frequent of them.

    An n-gram of a single text tells nothing about the others, and nearly all are such.
    """
    texts = np.bincount(counts.indices, minlength=counts.shape[1])
    common = np.flatnonzero(texts > 1)
    return np.sort(common[np.argsort(-texts[common], kind="stable")[:most]])


def network_kwargs(recipe: Recipe, inputs: Inputs, train_rows: np.ndarray) -> dict[str, Any]:
    """The recipe's arguments; the network for images also gets what is known of the pixels of the training rows."""
    if recipe.network != "cnn" or not isinstance(inputs, ImageInputs):
        return recipe.network_kwargs
    mean, std = pixel_statistics(inputs, train_rows)
    size, _ = stem_size(inputs.shape[1:])
    # Large images have more patches each: fewer are enough, and more would not fit into memory.
    wanted = max(4, min(_WHITENED_ROWS, _WHITENED_PIXELS // math.prod(inputs.pixels.shape[1:3])))
    picked = np.sort(inputs.positions[train_rows])[:: -(-len(train_rows) // wanted)]
    pixels = torch.from_numpy(inputs.pixels[picked]).permute(0, 3, 1, 2)
    filters = whitening_filters(Pixels(mean, std)(pixels), count=STEM_FILTERS, size=size)
    return {"mean": mean, "std": std, "stem_filters": filters, **recipe.network_kwargs}


def pixel_statistics(images: ImageInputs, rows: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel, in 0..1, of the images `rows`; of at most 10,000 of them.

    From histograms of whole numbers, so that the result does not depend on the order of rows.
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
    # A channel that is the same everywhere is only shifted.
    std = np.maximum(np.sqrt(np.maximum(share @ values**2 - mean**2, 0)), 1 / 255)
    return mean.tolist(), std.tolist()


def _check_classes(targets: np.ndarray, num_classes: int) -> None:
    missing = np.setdiff1d(np.arange(num_classes), targets)
    if len(missing):
        raise TrainingError(
            f"{len(missing)} of {num_classes} classes have no training row in this fold (first: class "
            f"{missing[0]}); their probabilities would be zeros. Use fewer folds, or set such classes aside."
        )


def classifier_settings(recipe: Recipe) -> dict[str, Any]:
    """What a recipe says about `TorchClassifier`."""
    names = TorchClassifier().get_params().keys() & {field.name for field in fields(recipe)}
    options = {f"optimizer__{name}": value for name, value in recipe.optimizer_kwargs.items()}
    return {**{name: getattr(recipe, name) for name in names}, **options}


def _member_seed(seed: int, member: int) -> int:
    return int(np.random.SeedSequence([seed, member]).generate_state(1)[0])


def _counted(on_epoch: OnEpoch, member: int, recipe: Recipe) -> Callback:
    total = recipe.epochs * recipe.members

    def count(epoch: Epoch, module: nn.Module) -> None:
        on_epoch(member * epoch.epochs + epoch.epoch, total, epoch.loss)

    return count


def _mean_distribution(probabilities: list[np.ndarray]) -> np.ndarray:
    mean = np.mean(probabilities, axis=0, dtype=np.float64)
    distribution: np.ndarray = (mean / mean.sum(axis=1, keepdims=True)).astype(np.float32)
    return distribution
