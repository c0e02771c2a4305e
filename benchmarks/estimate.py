"""The estimated seconds of a fold divided by the seconds that it takes, three times.

    python benchmarks/estimate.py

A machine without other load gave 0.99 to 1.01. Other load can change one of the two measurements several times.
"""

from __future__ import annotations

import time

import numpy as np

from labelaudit.model.estimate import estimate_seconds
from labelaudit.model.fold import FoldData, fit_fold
from labelaudit.model.image_inputs import ImageInputs
from labelaudit.model.recipes import choose_recipe

_ROWS, _HELD_OUT, _CLASSES, _SHAPE = 1_600, 400, 10, (3, 32, 32)


def main() -> None:
    """Print a ratio for each of three folds of small images."""
    labels = np.arange(_ROWS + _HELD_OUT) % _CLASSES
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), *_SHAPE[1:], _SHAPE[0]), np.uint8)
    data = FoldData(
        "image",
        ImageInputs(pixels, np.arange(len(labels))),
        labels,
        _CLASSES,
        np.arange(_ROWS),
        np.arange(_ROWS, len(labels)),
    )
    recipe = choose_recipe("image", rows=_ROWS, num_classes=_CLASSES, input_shape=_SHAPE, epochs=5)
    for _ in range(3):
        expected = estimate_seconds(
            recipe,
            kind="image",
            rows=_ROWS,
            held_out=_HELD_OUT,
            num_classes=_CLASSES,
            input_shape=_SHAPE,
            device="cpu",
        )
        started = time.perf_counter()
        fit_fold(data, recipe, device="cpu")
        seconds = time.perf_counter() - started
        print(f"estimated {expected:.2f} s, took {seconds:.2f} s, ratio {expected / seconds:.2f}")  # noqa: T201


if __name__ == "__main__":
    main()
