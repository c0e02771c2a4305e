"""How long a fold takes, measured by a few steps on random data of its shape."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from scipy import sparse

from labelaudit.model.build import build_network
from labelaudit.model.classifier import TorchClassifier
from labelaudit.model.fold import FoldInputs
from labelaudit.model.image_inputs import ImageInputs
from labelaudit.model.recipes import Recipe
from labelaudit.model.training import batch_count

# Steps that the long fit takes more than the short one. The difference excludes what a fit does only once.
_EXTRA_STEPS = 6
_PREDICTED_ROWS = 512
# N-grams of a news item, and hashed n-grams that a fold of a few thousand texts keeps.
_NGRAMS_PER_TEXT, _KEPT_NGRAMS = 100, 30_000


def estimate_seconds(
    recipe: Recipe,
    *,
    kind: str,
    rows: int,
    held_out: int,
    num_classes: int,
    input_shape: Sequence[int],
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
) -> float:
    """Return the expected seconds of one fold on this machine.

    Measures a few real steps, so it raises the errors that a fold would raise. It does not include the time to read
    and encode the dataset, and to start a process.

    Args:
        rows: Number of rows to train on in one fold.
        held_out: Number of rows to predict in one fold.
        input_shape: (C, H, W) for images, (hashed features,) for texts, (d,) for vectors, (columns,) for
            tables.
        threads: Number of CPU threads; None keeps torch's current number.

    Raises:
        ConfigError, TrainingError: As in `labelaudit.model.fold.fit_fold`.
    """
    batch_size = min(recipe.batch_size, rows)
    examples = max(2 * batch_size, _PREDICTED_ROWS)
    dataset = _random_inputs(kind, examples, tuple(input_shape))
    classifier = TorchClassifier.from_hyperparameters(
        partial(build_network, recipe.network, network_kwargs=dict(recipe.network_kwargs)),
        replace(recipe, epochs=1, batch_size=batch_size),
        device=device,
        precision=precision,
        dataset=dataset,
    )
    # The short fit sees each class a few times, so the network has its real size.
    short = max(2, math.ceil(3 * num_classes / batch_size))

    def fit(steps: int) -> None:
        numbers = np.arange(steps * batch_size)
        classifier.fit(numbers % examples, numbers % num_classes)

    with _threads(threads):
        fit(short)
        longer, shorter = _seconds(partial(fit, short + _EXTRA_STEPS)), _seconds(partial(fit, short))
        step = (longer - shorter) / _EXTRA_STEPS
        if step <= 0:
            # The machine was busy during the short fits. Too long an estimate is better than none.
            step = longer / (short + _EXTRA_STEPS)
        predict = _seconds(lambda: classifier.predict_proba(np.arange(_PREDICTED_ROWS))) / _PREDICTED_ROWS
    steps = recipe.epochs * batch_count(rows, batch_size)
    return recipe.members * (steps * step + held_out * predict)


@contextlib.contextmanager
def _threads(threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _seconds(work: Callable[[], object]) -> float:
    """The shorter of two measurements, because the machine may be busy."""
    measured = []
    for _ in range(2):
        started = time.perf_counter()
        work()
        measured.append(time.perf_counter() - started)
    return min(measured)


def _random_inputs(kind: str, rows: int, input_shape: tuple[int, ...]) -> FoldInputs | np.ndarray:
    rng = np.random.default_rng(0)
    if kind == "image":
        channels, height, width = input_shape
        pixels = rng.integers(0, 256, (rows, height, width, channels), np.uint8)
        return ImageInputs(pixels, np.arange(rows))
    if kind == "text":
        features = min(input_shape[0], _KEPT_NGRAMS)
        per_text = min(_NGRAMS_PER_TEXT, features)
        return sparse.random_array(
            (rows, features), density=per_text / features, format="csr", dtype=np.float32, rng=rng
        )
    return rng.standard_normal((rows, *input_shape), np.float32)
