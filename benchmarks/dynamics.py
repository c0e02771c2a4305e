"""What recording training dynamics costs: a fold with and without it.

    python benchmarks/dynamics.py                     image and table on the CPU, 5 rounds
    python benchmarks/dynamics.py image --device cuda --rows 20000 --rounds 9

A fold is what `fit_fold` does after encoding: it trains the default network with the recipe of the data's size, and
predicts the held-out rows. Each round runs both, in changing order, in this process. The data is random, which does not
matter for the time. On the CPU, seconds are CPU time. Prints medians, their ratio, and the median ratio of a round.
The difference of two folds is noisy on a busy machine, so the calls that record are also timed by themselves. On a GPU,
that is the time of the CPU to start the kernels.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from labelaudit.model.build import build_network
from labelaudit.model.classifier import TorchClassifier
from labelaudit.model.image_inputs import ImageInputs
from labelaudit.model.recipes import Recipe, choose_recipe
from labelaudit.model.training_dynamics import TrainingDynamics

KINDS = {"image": (3, 32, 32), "table": (32,)}
CLASSES = 10
HELD_OUT = 0.2


def fold(kind: str, rows: int, epochs: int | None, device: str) -> Callable[[bool], float]:
    """Return a function that runs one fold, with or without dynamics, and returns its seconds."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, rows)
    shape = KINDS[kind]
    data: ImageInputs | np.ndarray = rng.standard_normal((rows, *shape), np.float32)
    if kind == "image":
        pixels = rng.integers(0, 256, (rows, *shape[1:], shape[0]), np.uint8)
        data = ImageInputs(pixels, np.arange(rows))
    trained = np.arange(int(rows * (1 - HELD_OUT)))
    recipe: Recipe = choose_recipe(kind, rows=len(trained), num_classes=CLASSES, input_shape=shape, epochs=epochs)
    network = partial(build_network, recipe.network, network_kwargs=dict(recipe.network_kwargs))

    # On the CPU, the time of the process: other processes of a busy machine do not disturb it.
    clock = time.process_time if device == "cpu" else time.perf_counter

    def run(is_recorded: bool) -> float:
        started = clock()
        for member in range(recipe.members):
            classifier = TorchClassifier.from_hyperparameters(
                network, recipe, device=device, dataset=data, random_state=member, record_dynamics=is_recorded
            ).fit(trained, labels[trained])
            classifier.predict_proba(np.arange(len(trained), rows))
        return clock() - started

    return run


class Timed:
    """Adds up the seconds of all calls that record."""

    def __init__(self) -> None:
        self.seconds = 0.0
        for name in ("begin_epoch", "add_batch", "end_epoch"):
            setattr(TrainingDynamics, name, self._timed(getattr(TrainingDynamics, name)))

    def _timed(self, method: Callable[..., None]) -> Callable[..., None]:
        def call(*args: object) -> None:
            started = time.perf_counter()
            method(*args)
            self.seconds += time.perf_counter() - started

        return call


def recording_share(timed: Timed, run: Callable[[bool], float], rounds: int) -> float:
    """Return the median share of a fold's wall time that recording takes."""
    shares = []
    for _ in range(rounds):
        timed.seconds, started = 0.0, time.perf_counter()
        run(True)
        shares.append(timed.seconds / (time.perf_counter() - started))
    return statistics.median(shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=list(KINDS), choices=[*KINDS, []])
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--epochs", type=int, help="of the recipe, if it is not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    machine = torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else platform.machine()
    _write(f"{machine}, {torch.get_num_threads()} threads, torch {torch.__version__}, {options.rows:,} rows")
    for kind in options.kinds:
        run = fold(kind, options.rows, options.epochs, options.device)
        run(True)
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for number in range(options.rounds):
            for is_recorded in (False, True) if number % 2 else (True, False):
                seconds[is_recorded].append(run(is_recorded))
        plain, recorded = (statistics.median(seconds[key]) for key in (False, True))
        paired = statistics.median(b / a for a, b in zip(seconds[False], seconds[True], strict=True))
        _write(
            f"{kind}: {plain:.3f} s without, {recorded:.3f} s with dynamics: {recorded / plain - 1:+.1%}; "
            f"median of rounds {paired - 1:+.1%}"
        )
    timed = Timed()  # last, because its methods stay
    for kind in options.kinds:
        share = recording_share(timed, fold(kind, options.rows, options.epochs, options.device), options.rounds)
        _write(f"{kind}: recording takes {share:.2%} of a fold")


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
