"""Tries FiftyOne with fiftyone-brain on prepared photographs.

    python benchmarks/peers/try_fiftyone.py <folder of prepare.py> [<folder for exports>]

It needs a MongoDB server. Without the one that FiftyOne downloads, set FIFTYONE_DATABASE_URI.
"""

from __future__ import annotations

import sys
import tempfile

import fiftyone as fo
import fiftyone.brain as fob
import numpy as np
import pandas as pd
from fiftyone import ViewField as F
from measures import Prepared, read_prepared, say, say_labels, say_pairs, timed

_THRESHOLDS = (0.2, 0.1, 0.05, 0.03)


def main() -> None:
    """Try one capability after the other."""
    data = read_prepared()
    fo.config.show_progress_bars = False
    with timed("load"):
        dataset = loaded(data)
    label_errors(dataset, data)
    copies(dataset, data)
    with timed("uniqueness, the nearest to an outlier score"):
        fob.compute_uniqueness(dataset, embeddings=data.features)
        unique = np.array(dataset.values("uniqueness"))
        say(f"classes of the 10 most unique rows {[data.classes[data.labels[row]] for row in unique.argsort()[-10:]]}")
    with timed("representativeness"):
        fob.compute_representativeness(dataset, embeddings=data.features)
    with timed("map, PCA"):
        fob.compute_visualization(dataset, embeddings=data.features, method="pca", brain_key="map")
    with timed("map, UMAP"):
        fob.compute_visualization(dataset, embeddings=data.features, method="umap", brain_key="umap", seed=0)
    with timed("neighbours of one row"):
        fob.compute_similarity(dataset, embeddings=data.features, brain_key="similar", backend="sklearn")
        say(str(dataset.sort_by_similarity(dataset.first().id, k=6, brain_key="similar").values("ground_truth.label")))
    own_code(dataset, data)


def loaded(data: Prepared, name: str = "peers") -> fo.Dataset:
    """Return a dataset with given labels and predictions."""
    dataset = fo.Dataset(name, overwrite=True, persistent=True)
    samples = []
    for row, path in enumerate(data.images):
        probabilities = data.pred_probs[row]
        predicted = int(probabilities.argmax())
        sample = fo.Sample(path, tags=["train" if row % 5 else "test"], example_id=data.ids[row])
        sample["ground_truth"] = fo.Classification(label=data.classes[data.labels[row]])
        sample["prediction"] = fo.Classification(
            label=data.classes[predicted], confidence=float(probabilities[predicted]), logits=np.log(probabilities)
        )
        samples.append(sample)
    dataset.add_samples(samples)
    return dataset


def label_errors(dataset: fo.Dataset, data: Prepared) -> None:
    """Rank rows by the mistakenness of their labels; FiftyOne sets no cut."""
    for use_logits in (False, True):
        with timed(f"mistakenness, use_logits={use_logits}"):
            fob.compute_mistakenness(dataset, "prediction", "ground_truth", use_logits=use_logits)
            doubt = np.array(dataset.values("mistakenness"))
            say(f"from {doubt.min():.2f} to {doubt.max():.2f}, mean {doubt.mean():.3f}")
            say_labels("mistakenness above 0.5 (own cut)", data, doubt, doubt > 0.5)
    with timed("evaluation"):
        results = dataset.evaluate_classifications("prediction", "ground_truth", eval_key="evaluation")
        differs = ~np.array(dataset.values("evaluation"))
        say_labels("prediction differs from label", data, differs.astype(float), differs)
        say(str(results.metrics()))


def copies(dataset: fo.Dataset, data: Prepared) -> None:
    """Find copies by files and by features, and leaks between two splits."""
    row_of = {sample_id: row for row, sample_id in enumerate(dataset.values("id"))}
    with timed("exact duplicates"):
        groups = fob.compute_exact_duplicates(dataset)
        say_pairs("exact", data, [(row_of[one], row_of[other]) for one, others in groups.items() for other in others])
    for threshold in _THRESHOLDS:
        with timed(f"near duplicates, threshold {threshold}"):
            index = fob.compute_near_duplicates(dataset, threshold=threshold, embeddings=data.features)
            near = [(row_of[a], row_of[b]) for a, others in index.neighbors_map.items() for b, _ in others]
            say_pairs(f"near, threshold {threshold}", data, near)
            conflicts = sum(data.labels[a] != data.labels[b] for a, b in near)
            say(f"with different labels (own code): {conflicts}")
    for threshold in (0.2, 0.03):
        with timed(f"leaks, threshold {threshold}"):
            leaks = fob.compute_leaky_splits(
                dataset, ["train", "test"], threshold=threshold, embeddings=data.features
            ).leaks_view()
            planted = sum((a % 5 > 0) != (b % 5 > 0) for a, b in data.copies)
            say(f"{len(leaks)} rows; {planted} planted pairs are in both splits")


def own_code(dataset: fo.Dataset, data: Prepared) -> None:
    """Write what FiftyOne leaves to its users: slices, verdicts, exports, versions, a gate."""
    with timed("verdict as tag and saved view"):
        doubtful = dataset.sort_by("mistakenness", reverse=True).limit(100)
        doubtful.limit(3).tag_samples("wrong")
        dataset.save_view("doubtful", doubtful, overwrite=True)
        say(str(dataset.load_saved_view("doubtful").count_sample_tags()))
    with timed("verdicts in the next version: merged by id"):
        newer = loaded(data, "peers-2")
        changed = dataset.match_tags("wrong").first()["example_id"]
        sample = newer.one(F("example_id") == changed)
        sample["ground_truth"] = sample["prediction"]  # the label was corrected
        sample.save()
        dataset.merge_samples(newer, key_field="example_id")
        say(f"{len(dataset)} rows, tags {dataset.count_sample_tags()}; one of the labels was corrected meanwhile")
        fo.delete_dataset("peers-2")
    with timed("slices"):
        say(str(dataset.match(F("prediction.confidence") > 0.9).count_values("ground_truth.label")))
    with tempfile.TemporaryDirectory() as temporary:
        folder = sys.argv[2] if len(sys.argv) > 2 else temporary
        with timed("export as CSV"):
            dataset.export(f"{folder}/csv", dataset_type=fo.types.CSVDataset, export_media=False)
        with timed("export as Parquet (own code)"):
            pd.DataFrame({name: dataset.values(name) for name in ("example_id", "ground_truth.label")}).to_parquet(
                f"{folder}/labels.parquet"
            )
    for path in ("s3://bucket/picture.jpg", "text.txt"):
        with timed(f"a row at {path}"):
            sample = fo.Sample(path)
            say(f"{sample.filepath}, {sample.media_type}")


if __name__ == "__main__":
    main()
