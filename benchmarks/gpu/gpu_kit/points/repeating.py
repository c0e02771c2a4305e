"""Point 6: the same seed twice, in two processes: the same bytes, or how far apart.

python -m gpu_kit.points.repeating FILE.npz DEVICE IMAGES      what each process runs
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gpu_kit.datasets import CLASSES, draw_images
from gpu_kit.jobs import Job

TITLE = "The same seed twice"
_TABLE = "table, MLP, AdamW, float32"
_TEXT = "sparse n-grams, AdamW, float32"
_MUON = "images, small CNN, Muon, bfloat16, crops and flips"
_FLOAT = "images, small CNN, AdamW, float32"
# It has overlapping pools, and CUDA does not guarantee the order in which their gradients are added.
_RESNET = "images, torchvision resnet18, AdamW, bfloat16"
_PROMISED = (_TABLE, _TEXT, _MUON, _FLOAT)


def measure(job: Job) -> None:
    files = [job.work / f"repeated-{number}.npz" for number in (1, 2)]
    command = [sys.executable, "-m", "gpu_kit.points.repeating"]
    # At the same time, because results must not depend on other work of the device.
    processes = [subprocess.Popen([*command, str(file), job.device, str(job.sizes.repeated_images)]) for file in files]
    codes = [process.wait() for process in processes]
    if any(codes):
        raise RuntimeError("A process that trains ended with an error; its messages are in the log.")
    first, second = (np.load(file) for file in files)
    for name in first.files:
        _compare(job, name, first[name], second[name])
    job.record.note(
        "Each training ran in two processes at the same time, with the same seed; compared are the probabilities that "
        "it predicts. Networks of your own repeat themselves if their CUDA kernels do."
    )


def _compare(job: Job, name: str, first: np.ndarray, second: np.ndarray) -> None:
    if not np.isfinite(first).all():
        raise RuntimeError(f"{name}: the probabilities are not finite.")
    same = first.tobytes() == second.tobytes()
    difference = float(np.abs(first.astype(np.float64) - second).max())
    outcome = "same bytes" if same else f"largest difference {difference:.2g}"
    if name in _PROMISED:
        job.record.figure(name, outcome, target="same bytes", is_met=same)
    else:
        job.record.figure(name, outcome)


def predictions(device: str, images: int) -> dict[str, np.ndarray]:
    """Return probabilities (n, K) by case, of networks trained with seed 0."""
    from scipy import sparse

    from labelaudit import TorchClassifier
    from labelaudit.model.build import build_network
    from labelaudit.model.image_inputs import ImageInputs
    from labelaudit.model.networks import MLP, Ngrams, SmallResNet

    pixels, classes = draw_images(0, images)
    rows = np.arange(images)
    generator = np.random.default_rng(0)
    X = generator.standard_normal((images, 32)).astype(np.float32)
    counts = sparse.random(images, 5_000, density=0.01, format="csr", dtype=np.float32, random_state=0)
    assert len(np.unique(classes)) == len(CLASSES)

    def fitted(module: Any, data: Any, **settings: Any) -> np.ndarray:
        classifier = TorchClassifier(module, epochs=2, batch_size=64, device=device, random_state=0, **settings)
        probabilities: np.ndarray = classifier.fit(data, classes).predict_proba(data)
        return probabilities

    bound = {"dataset": ImageInputs(pixels, rows), "learning_rate": 1e-3}
    views = {"crop_padding": 2, "flip": True, "average_share": 0.2}
    resnet = partial(build_network, "torchvision:resnet18")
    return {
        _TABLE: fitted(MLP, X, precision="float32", module__dropout=0.3),
        _TEXT: fitted(Ngrams, counts, precision="float32"),
        _MUON: fitted(SmallResNet, rows, precision="bfloat16", optimizer="muon", **views, **bound),
        _FLOAT: fitted(SmallResNet, rows, precision="float32", **bound),
        _RESNET: fitted(resnet, rows, precision="bfloat16", **bound),
    }


if __name__ == "__main__":
    np.savez(Path(sys.argv[1]), **predictions(sys.argv[2], int(sys.argv[3])))  # type: ignore[arg-type]
