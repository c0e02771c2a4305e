"""How long a fold will take, from a few steps on random data of the right shape."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from scipy import sparse

from labelaudit.model.build import build_network
from labelaudit.model.classifier import TorchClassifier
from labelaudit.model.fold import Inputs, classifier_settings
from labelaudit.model.image_inputs import ImageInputs
from labelaudit.model.recipes import Recipe

# Steps that the long fit makes more than the short one; the difference is free of what a fit does once.
_STEPS = 6
_PREDICTED = 512
# N-grams of a news item, and the share of all hashed ones that a fold of a few thousand texts keeps.
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
    """Expected seconds of one fold on this machine, with so many CPU threads (None: torch's present number).

    Times a few real steps, so it fails where a fold would: the network cannot be built or returns no class
    scores, the device is missing. Reading and encoding the dataset, and starting a process, are not in it.

    Args:
        rows, held_out: rows that one fold is trained on, and rows that it predicts.
        input_shape: images (C, H, W), texts (hashed features,), tables (columns,).

    Raises:
        ConfigError, TrainingError: as `labelaudit.model.fold.fit_fold`.
    """
    batch_size = min(recipe.batch_size, rows)
    examples = max(2 * batch_size, _PREDICTED)
    dataset = _random_inputs(kind, examples, tuple(input_shape))
    classifier = TorchClassifier(
        partial(build_network, recipe.network, network_kwargs=recipe.network_kwargs),
        **{**classifier_settings(recipe), "epochs": 1, "batch_size": batch_size},
        device=device,
        precision=precision,
        dataset=dataset,
    )
    # The short fit sees every class a few times, so that the network has its real size.
    short = max(2, math.ceil(3 * num_classes / batch_size))

    def fit(steps: int) -> None:
        numbers = np.arange(steps * batch_size)
        classifier.fit(numbers % examples, numbers % num_classes)

    with _threads(threads):
        fit(short)
        step = max(_seconds(partial(fit, short + _STEPS)) - _seconds(partial(fit, short)), 0.0) / _STEPS
        predict = _seconds(lambda: classifier.predict_proba(np.arange(_PREDICTED))) / _PREDICTED
    steps = recipe.epochs * math.ceil(rows / batch_size)
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
    """The shorter of two tries: the machine may be busy with other things."""
    tries = []
    for _ in range(2):
        started = time.perf_counter()
        work()
        tries.append(time.perf_counter() - started)
    return min(tries)


def _random_inputs(kind: str, rows: int, input_shape: tuple[int, ...]) -> Inputs | np.ndarray:
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
