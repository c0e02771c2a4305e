"""Small datasets, and audits of them in this process."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from labelaudit.audit import run_audit
from labelaudit.audits.audit_plan import Plan
from labelaudit.audits.references import AuditReference, EncodingReference, FoldReference, PlanReference
from labelaudit.config import AuditConfig, build_config
from labelaudit.pipeline.encode import encode_shard
from labelaudit.pipeline.train import train_and_commit

P = ParamSpec("P")
T = TypeVar("T")

CLASSES = ("apple", "pear", "plum")


def fruit(rows: int = 240, seed: int = 0) -> pd.DataFrame:
    """Return rows of three well separated classes. Every twentieth label is wrong; `true_label` has the right one."""
    generator = np.random.default_rng(seed)
    right = generator.integers(0, 3, rows)
    given = np.where(np.arange(rows) % 20 == 7, (right + 1) % 3, right)
    values = generator.normal(size=(rows, 4)) + 4 * np.eye(3, 4)[right]
    frame = pd.DataFrame(values, columns=["weight", "length", "colour", "noise"])
    frame.insert(0, "id", [f"fruit-{number:04d}" for number in range(rows)])
    frame["label"] = [CLASSES[label] for label in given]
    frame["true_label"] = [CLASSES[label] for label in right]
    return frame


def write_fruit(path: Path, frame: pd.DataFrame | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (fruit() if frame is None else frame).to_parquet(path, index=False)
    return path


def png(pixels: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def write_squares(folder: Path, per_class: int = 20) -> Path:
    """Write an image folder: 8x8 images with a red or blue square at a random place."""
    generator = np.random.default_rng(0)
    for name, channel in (("red", 0), ("blue", 2)):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = generator.integers(0, 60, (8, 8, 3), dtype=np.uint8)
            row, column = generator.integers(0, 4, 2)
            pixels[row : row + 4, column : column + 4, channel] += 180
            (folder / name / f"{number:02d}.png").write_bytes(png(pixels))
    return folder


def write_reviews(path: Path, rows: int = 120) -> Path:
    """Write short texts as JSONL. Their words depend on the class."""
    generator = np.random.default_rng(0)
    words = {
        "good": ["great", "lovely", "excellent", "fine", "happy"],
        "bad": ["awful", "broken", "poor", "sad", "late"],
    }
    common = ["the", "parcel", "came", "to", "our", "house", "on", "a", "monday", "with", "some", "paper"]
    with path.open("w") as file:
        for number in range(rows):
            label = ("good", "bad")[number % 2]
            text = [*generator.choice(words[label], 3), *generator.choice(common, 6)]
            generator.shuffle(text)
            file.write(json.dumps({"id": f"r{number}", "text": " ".join(text), "label": label}) + "\n")
    return path


def settings(url: object, output: object, **sections: Any) -> AuditConfig:
    """Return a config that trains quickly: few epochs, on the CPU, and no encoder unless `model` names one."""
    values: dict[str, Any] = {
        "dataset": {"url": str(url), **sections.pop("dataset", {})},
        "model": {"encoder": "none", **sections.pop("model", {})},
        "training": {"epochs": 4, "device": "cpu", "precision": "float32", **sections.pop("training", {})},
        "cross_validation": {"folds": 3, **sections.pop("cross_validation", {})},
        "output": {"url": str(output)},
        **sections,
    }
    return build_config(values)


class InProcess:
    """A caller that runs every step in this process, including the training of folds, and records the calls."""

    def __init__(self) -> None:
        self.progress = Quiet()
        self.steps: list[str] = []
        self.references: list[PlanReference] = []

    def call(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.steps.append(step.__name__)
        return step(*args, **kwargs)

    def encode(
        self, config: AuditConfig, reference: PlanReference, encoding: EncodingReference, shards: list[int]
    ) -> None:
        for shard in shards:
            self.call(encode_shard, reference, encoding, shard)

    def end_workers(self) -> None:
        pass

    def train_folds(self, config: AuditConfig, reference: PlanReference, folds: list[int]) -> list[FoldReference]:
        self.references.append(reference)
        return [self.call(train_and_commit, reference, fold) for fold in folds]


class Quiet:
    """Progress that prints nothing, and records the epochs and the encoded rows."""

    def __init__(self) -> None:
        self.epochs: list[tuple[int, int, int]] = []
        self.encodings: list[tuple[str, int, int]] = []
        self.rows: list[tuple[int, int, int]] = []

    def prepared(self, plan: Plan) -> None:
        pass

    def encoding(self, place: str, rows: int, stored: int) -> None:
        self.encodings.append((place, rows, stored))

    def encoded(self, shard: int, rows: int, of: int) -> None:
        self.rows.append((shard, rows, of))

    def training(self, place: str) -> None:
        pass

    def epoch(self, fold: int, epoch: int, epochs: int, loss: float) -> None:
        self.epochs.append((fold, epoch, epochs))


def audit(config: AuditConfig, caller: InProcess | None = None) -> AuditReference:
    return run_audit(config, caller or InProcess())


def table(audit: AuditReference, name: str) -> pa.Table:
    """Return a published table of a local audit."""
    return pq.read_table(Path(audit.audit_url) / f"{name}.parquet", partitioning=None)


def fold_bytes(audit: AuditReference) -> dict[str, bytes]:
    """Return the published probabilities by file."""
    folder = Path(audit.audit_url) / "pred_probs"
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}
