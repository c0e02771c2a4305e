"""TorchClassifier against a hand-written loop and skorch, with the same module, steps and batch sizes.

    python benchmarks/estimator.py             all cases, 5 rounds
    python benchmarks/estimator.py mlp --rounds 9

Each round runs every contender once, in turn, in fresh processes. Figures are medians over rounds. The bare loop is
written by hand on tensors, with the optimizer of TorchClassifier (torch's fused kernels). "bare, plain" is the same
loop with the optimizer's default settings, which most people use. Prints the machine, seconds, ratios to the bare loop,
accuracies, and peak memory relative to the size of the data.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from labelaudit.model.networks import Pixels

# Predictions to time in one process, because one may take only a hundredth of a second.
PREDICTIONS = 5


class TableNet(nn.Sequential):
    """A network from numbers to class scores, with one hidden layer of 64."""

    def __init__(self, features: int = 32, classes: int = 5) -> None:
        super().__init__(nn.Linear(features, 64), nn.ReLU(), nn.Linear(64, classes))


class ImageNet(nn.Sequential):
    """A network from grey 28x28 images to scores of 10 classes, with two convolutions after the layers `first`."""

    def __init__(self, *first: nn.Module) -> None:
        super().__init__(
            *first,
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 49, 10),
        )


@dataclass(frozen=True)
class Case:
    """A module and its data. `make` returns X (float32) and y (int64)."""

    title: str
    module: Callable[[], nn.Module]
    make: Callable[[], tuple[np.ndarray, np.ndarray]]
    batch_size: int
    epochs: int
    contenders: tuple[str, ...]


def table(rows: int, features: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, features), np.float32)
    y = np.empty(rows, np.int64)
    directions = rng.standard_normal((features, classes), np.float32)
    for start in range(0, rows, 65536):  # in parts, so that the peak memory is that of the fit
        y[start : start + 65536] = (X[start : start + 65536] @ directions).argmax(1)
    return X, y


def images(rows: int = 10_000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, rows)
    shapes = rng.random((10, 1, 28, 28), np.float32)
    return (shapes[y] + rng.standard_normal((rows, 1, 28, 28), np.float32)).astype(np.float32), y


def large_table() -> tuple[np.ndarray, np.ndarray]:
    return table(1_000_000, 50, 5)


CASES = {
    "mlp": Case(
        "MLP 32-64-5, 50,000 rows, batch 128, 5 epochs",
        TableNet,
        lambda: table(50_000, 32, 5),
        128,
        5,
        ("ours", "bare", "bare, plain", "skorch"),
    ),
    "cnn": Case(
        "CNN, 10,000 images of 28x28, batch 128, 2 epochs",
        ImageNet,
        images,
        128,
        2,
        ("ours", "bare", "bare, plain", "skorch"),
    ),
    "large": Case(
        "MLP 50-64-5, 1,000,000 rows, batch 1024, 1 epoch",
        lambda: TableNet(50),
        large_table,
        1024,
        1,
        ("ours", "bare"),
    ),
    "mapped": Case(
        "CNN, the same images as uint8: rows of a memory map by number, or in memory",
        lambda: ImageNet(Pixels([0.4], [0.2])),
        images,
        128,
        2,
        ("ours, mapped", "ours"),
    ),
}


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Bare:
    """A hand-written loop on tensors."""

    def __init__(self, case: Case, *, fused: bool) -> None:
        self.case, self.fused = case, fused

    def fit(self, X: np.ndarray, y: np.ndarray) -> None:
        inputs, targets = torch.from_numpy(X), torch.from_numpy(y)
        torch.manual_seed(0)
        self.module = self.case.module()
        if inputs.ndim == 4:
            self.module = self.module.to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(self.module.parameters(), lr=3e-3, weight_decay=0.0, fused=self.fused or None)
        self.module.train()
        steps = -(-len(X) // self.case.batch_size)
        for _ in range(self.case.epochs):
            for batch in torch.randperm(len(X)).tensor_split(steps):
                optimizer.zero_grad()
                loss = functional.cross_entropy(self.module(inputs[batch]), targets[batch])
                loss.backward()
                optimizer.step()

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        self.module.eval()
        with torch.inference_mode():
            parts = [self.module(part).softmax(1) for part in torch.from_numpy(X).split(1024)]
        return torch.cat(parts).numpy()


def ours(case: Case, **changes: Any) -> Any:
    from labelaudit import TorchClassifier

    return TorchClassifier(
        case.module,
        epochs=case.epochs,
        batch_size=case.batch_size,
        schedule="constant",
        learning_rate=3e-3,
        optimizer__weight_decay=0.0,
        precision="float32",
        device="cpu",
        **changes,
    )


def skorch(case: Case) -> Any:
    from skorch import NeuralNetClassifier

    return NeuralNetClassifier(
        case.module,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=0.0,
        lr=3e-3,
        batch_size=case.batch_size,
        max_epochs=case.epochs,
        iterator_train__shuffle=True,
        iterator_valid__batch_size=1024,
        train_split=None,
        verbose=0,
        device="cpu",
    )


def measure(name: str, contender: str, threads: int) -> dict[str, float]:
    """Return seconds of a fit and of a prediction of all rows, accuracy, and the peak memory that the fit adds."""
    torch.set_num_threads(threads)
    case = CASES[name]
    X, y = case.make()
    data_bytes = X.nbytes + y.nbytes
    if contender == "ours, mapped" or name == "mapped":
        return measure_mapped(case, X, y, mapped=contender == "ours, mapped")
    makers: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours(case),
        "bare": lambda: Bare(case, fused=True),
        "bare, plain": lambda: Bare(case, fused=False),
        "skorch": lambda: skorch(case),
    }
    few = 2 * case.batch_size
    warm_up = makers[contender]()  # not timed
    warm_up.fit(X[:few], y[:few])
    warm_up.predict_proba(X[:few])
    before = peak_bytes()
    figures = timed(makers[contender](), X, y)
    return {**figures, "extra_memory": (figures["peak"] - before) / data_bytes}


def measure_mapped(case: Case, X: np.ndarray, y: np.ndarray, *, mapped: bool) -> dict[str, float]:
    from labelaudit.model.image_inputs import ImageInputs

    scaled = np.clip(X * 40 + 100, 0, 255).astype(np.uint8)
    ours(case).fit(scaled[:256], y[:256])
    if not mapped:
        return timed(ours(case), scaled, y)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pixels.bin"
        scaled.transpose(0, 2, 3, 1).tofile(path)
        pixels = np.memmap(path, np.uint8, "r", shape=(len(X), 28, 28, 1))
        dataset = ImageInputs(pixels, np.arange(len(X)))
        return timed(ours(case, dataset=dataset), np.arange(len(X)), y)


def timed(estimator: Any, X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    started = time.perf_counter()
    estimator.fit(X, y)
    fitted, peak = time.perf_counter(), peak_bytes()
    predictions = []
    for _ in range(PREDICTIONS):
        begun = time.perf_counter()
        probabilities = estimator.predict_proba(X)
        predictions.append(time.perf_counter() - begun)
    return {
        "fit": fitted - started,
        "predict": statistics.median(predictions),
        "accuracy": float((probabilities.argmax(1) == y).mean()),
        "peak": peak,
    }


def measure_imports() -> dict[str, float]:
    """Return the seconds to import the classifier after torch, and after torch and scikit-learn."""
    started = time.perf_counter()
    import sklearn.base  # noqa: F401

    own = time.perf_counter()
    import labelaudit.model.classifier  # noqa: F401

    done = time.perf_counter()
    return {"after torch": done - started, "after torch and scikit-learn": done - own}


def in_a_process(arguments: list[str]) -> dict[str, float]:
    result = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(result.stderr)
    figures: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return figures


def compare(name: str, rounds: int, threads: int) -> None:
    case = CASES[name]
    runs: dict[str, list[dict[str, float]]] = {contender: [] for contender in case.contenders}
    for _ in range(rounds):
        for contender in case.contenders:
            runs[contender].append(in_a_process(["--one", contender, "--threads", str(threads), name]))
    medians = {
        contender: {key: statistics.median(run[key] for run in measured) for key in measured[0]}
        for contender, measured in runs.items()
    }
    base = medians["bare" if "bare" in medians else "ours"]
    say(f"\n{case.title}")
    for contender, figures in medians.items():
        extra = (
            f", peak memory of the fit +{figures['extra_memory']:.1%} of the data" if "extra_memory" in figures else ""
        )
        say(
            f"  {contender:12}  fit {figures['fit']:7.3f} s ({figures['fit'] / base['fit']:.2f}x)   "
            f"predict_proba {figures['predict']:7.3f} s ({figures['predict'] / base['predict']:.2f}x)   "
            f"accuracy {figures['accuracy']:.4f}{extra}"
        )


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help=f"cases to run: {', '.join([*CASES, 'imports'])} (default: all)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    cases = options.cases or [*CASES, "imports"]
    unknown = set(cases) - {*CASES, "imports"}
    if unknown:
        parser.error(f"Case {sorted(unknown)[0]!r} is unknown. Use {', '.join([*CASES, 'imports'])}.")
    if options.one:
        (name,) = cases
        say(json.dumps(measure_imports() if name == "imports" else measure(name, options.one, options.threads)))
        return
    say(
        f"{platform.machine()}, {os.cpu_count()} cores, {options.threads} thread(s), "
        f"Python {platform.python_version()}, torch {torch.__version__}, median of {options.rounds} rounds"
    )
    for name in cases:
        if name != "imports":
            compare(name, options.rounds, options.threads)
            continue
        runs = [in_a_process(["--one", "imports", "imports"]) for _ in range(options.rounds)]
        for key in runs[0]:
            say(f"\nimport of labelaudit.model.classifier {key}: {statistics.median(run[key] for run in runs):.3f} s")


if __name__ == "__main__":
    main()
