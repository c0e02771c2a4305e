"""Tries cleanlab's Datalab and CleanVision on a prepared dataset.

python benchmarks/peers/try_datalab.py <folder of prepare.py> [annotations.parquet]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from cleanlab import Datalab
from cleanlab.classification import CleanLearning
from cleanlab.dataset import overall_label_health_score
from cleanlab.multiannotator import get_label_quality_multiannotator
from cleanvision import Imagelab
from datasets import Dataset, Image
from measures import Prepared, pairs_of_groups, read_prepared, say, say_labels, say_pairs, timed
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main() -> None:
    """Try one capability after the other."""
    data = read_prepared()
    datalab(data)
    with timed("CleanLearning trains the model itself"):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
        found = CleanLearning(model, seed=0).find_label_issues(data.features, data.labels)
        say_labels("CleanLearning", data, -found["label_quality"].to_numpy(), found["is_label_issue"].to_numpy())
    if data.images:
        cleanvision(data)
    if len(sys.argv) > 2:
        annotators(data, sys.argv[2])


def datalab(data: Prepared) -> None:
    """Run all default checks of Datalab, with images if there are any."""
    columns: dict[str, object] = {"label": data.labels.tolist()}
    if data.images:
        columns["image"] = data.images
    rows = Dataset.from_dict(columns)
    if data.images:
        rows = rows.cast_column("image", Image())
    lab = Datalab(rows, label_name="label", image_key="image" if data.images else None, verbosity=0)
    with timed("Datalab, all default checks"):
        lab.find_issues(features=data.features, pred_probs=data.pred_probs)
    say(lab.issue_summary.to_string())
    found = lab.get_issues("label")
    doubt = 1 - found["label_score"].to_numpy()
    say_labels("Datalab", data, doubt, found["is_label_issue"].to_numpy())
    say(f"mean of 1 - label_score {doubt.mean():.3f}, share of wrong labels {data.is_wrong.mean():.3f}")
    say(f"1 - label_score of flagged rows {doubt[found['is_label_issue']].mean():.2f}")
    health = overall_label_health_score(data.labels, data.pred_probs, verbose=False)
    say(f"estimated share of wrong labels, without a range: {1 - health:.3f}")
    near = lab.get_issues("near_duplicate")["near_duplicate_sets"]
    pairs = {(row, int(other)) for row, others in enumerate(near) for other in np.atleast_1d(others)}
    say_pairs("Datalab near_duplicate", data, pairs)
    conflicts = {(min(a, b), max(a, b)) for a, b in pairs if data.labels[a] != data.labels[b]}
    say(f"of these with different labels (own code): {len(conflicts)}")
    outliers = lab.get_issues("outlier")
    say(f"outliers {int(outliers['is_outlier_issue'].sum())}")
    for name in ("spurious_correlations", "underperforming_group"):
        with timed(name):
            info = lab.get_info(name)
            say(str({key: str(value)[:600] for key, value in info.items()}))
    own_code(lab, data, pairs)
    with tempfile.TemporaryDirectory() as folder, timed("save and load"):
        lab.save(folder, force=True)
        Datalab.load(folder)
        say(str(sorted(path.name for path in Path(folder).iterdir())))


def own_code(lab: Datalab, data: Prepared, pairs: set[tuple[int, int]]) -> None:
    """Write what Datalab leaves to its users: leaks, slices, clean labels, a comparison, a gate, Parquet."""
    splits = ["train" if row % 5 else "test" for row in range(len(data.ids))]
    found = lab.get_issues("label").assign(id=data.ids, split=splits)
    with timed("leaks (own code, 1 line)"):
        leaks = {tuple(sorted(pair)) for pair in pairs if found["split"][pair[0]] != found["split"][pair[1]]}
        say(f"{len(leaks)} pairs")
    with timed("slices (own code, 1 line)"):
        say(str(found.groupby("split")["is_label_issue"].mean().to_dict()))
    with timed("clean labels as Parquet (own code, 1 line)"), tempfile.TemporaryDirectory() as folder:
        found[~found["is_label_issue"]][["id", "given_label"]].to_parquet(f"{folder}/clean.parquet")
    with timed("two versions (own code, 2 lines)"):
        both = found.merge(found.assign(is_label_issue=found["label_score"] < 0.1), on="id", suffixes=("", "_before"))
        say(str(both.value_counts(["is_label_issue", "is_label_issue_before"]).to_dict()))
    with timed("gate (own code, 1 line)"):
        say(f"passes: {bool(found['is_label_issue'].mean() < 0.2)}")


def cleanvision(data: Prepared) -> None:
    """Find copies and images of low quality from pixels."""
    position = {path: row for row, path in enumerate(data.images)}
    with timed("CleanVision"):
        lab = Imagelab(filepaths=data.images, verbose=False)
        lab.find_issues(n_jobs=1, verbose=False)
        say(lab.issue_summary.to_string())
        for kind in ("exact_duplicates", "near_duplicates"):
            groups = [[position[str(path)] for path in group] for group in lab.info[kind]["sets"]]
            say_pairs(f"CleanVision {kind}", data, pairs_of_groups(groups))


def annotators(data: Prepared, path: str) -> None:
    """Find a consensus of several answers per row, and the quality of annotators."""
    answers = pd.read_parquet(path)
    wide = answers.assign(label=answers["label"].map(data.classes.index)).pivot_table(
        index="id", columns="annotator", values="label", aggfunc="first"
    )
    with timed("consensus of several annotators"):
        result = get_label_quality_multiannotator(wide.loc[data.ids], data.pred_probs, verbose=False)
        consensus = result["label_quality"]["consensus_label"].to_numpy()
        true_label = np.where(data.is_wrong, 1 - data.labels, data.labels)  # two classes
        say(f"wrong: majority {data.is_wrong.sum()}, consensus {int((consensus != true_label).sum())}")
        say(result["annotator_stats"].head(3).to_string())


if __name__ == "__main__":
    main()
