"""Writes what every tool gets: contents, features, and out-of-fold probabilities of one model.

    labelaudit run <dataset>.parquet --id id --label label --ignore true_label --ignore copy_of --output <audits>
    python benchmarks/peers/prepare.py <dataset>.parquet <audits> <folder>

The dataset has `id`, `label`, `true_label`, and `image`, `text` or numbers. Features of images and texts are those that
the audit stored. The folder then contains `rows.parquet`, `features.npy`, `pred_probs.npy`, `probabilities.parquet`
(for `labelaudit detect`) and, for photographs, `images/<row>.jpg`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

_FOLDS = 5


def main() -> None:
    """Write the files."""
    source, audits, folder = map(Path, sys.argv[1:4])
    folder.mkdir(parents=True, exist_ok=True)
    table = pq.read_table(source)
    numbers = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    if numbers:
        features = StandardScaler().fit_transform(np.column_stack([table[name].to_numpy() for name in numbers]))
    else:
        features = stored_features(audits, table["id"].to_pylist())
    classes, labels = np.unique(table["label"].to_pylist(), return_inverse=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    pred_probs = cross_val_predict(model, features, labels, cv=folds, method="predict_proba").astype(np.float32)
    np.save(folder / "features.npy", features.astype(np.float32))
    np.save(folder / "pred_probs.npy", pred_probs)
    kept = [name for name in ("id", "label", "true_label", "copy_of", "text") if name in table.column_names]
    pq.write_table(table.select(kept), folder / "rows.parquet")
    external = table.select(["id", "label"]).append_column("pred_probs", pa.array(list(pred_probs)))
    metadata = {"class_names": json.dumps(classes.tolist())}
    pq.write_table(external.replace_schema_metadata(metadata), folder / "probabilities.parquet")
    if "image" in table.column_names:
        (folder / "images").mkdir(exist_ok=True)
        for row, image in enumerate(table["image"].to_pylist()):
            (folder / "images" / f"{row:05}.jpg").write_bytes(image["bytes"])


def stored_features(audits: Path, ids: list[str]) -> np.ndarray:
    """Return the features that an audit stored next to itself, in the order of the ids."""
    examples = pq.read_table(next(audits.glob("dataset=*/version=*/audit=*/examples.parquet"))).to_pydict()
    digest_of = dict(zip(examples["example_id"], examples["content_digest"], strict=True))
    features: dict[str, np.ndarray] = {}
    for index in audits.glob("dataset=*/_features/*/*.json"):
        shard = pq.read_table(index.with_suffix(".parquet")).to_pydict()
        for digest, values in zip(shard["content_digest"], shard["features"], strict=True):
            features[digest] = np.frombuffer(values, np.float16)
    return np.stack([features[digest_of[example_id]] for example_id in ids]).astype(np.float32)


if __name__ == "__main__":
    main()
