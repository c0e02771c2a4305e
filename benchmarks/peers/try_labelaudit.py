"""Measures published audits of labelaudit as the other tools are measured.

    python benchmarks/peers/try_labelaudit.py <folder of prepare.py> <audit>...

`<audit>` is the folder of an audit of `labelaudit run` on the dataset, or of `labelaudit detect` on
`probabilities.parquet`.
"""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from measures import Prepared, pairs_of_groups, read_prepared, say, say_labels, say_pairs


def main() -> None:
    """Print the figures of each audit."""
    data = read_prepared()
    for folder in map(Path, sys.argv[2:]):
        measure(data, folder)


def measure(data: Prepared, folder: Path) -> None:
    """Print what an audit found."""
    row_of = {example_id: row for row, example_id in enumerate(data.ids)}
    examples = pq.read_table(folder / "examples.parquet").to_pydict()
    order = [row_of[example_id] for example_id in examples["example_id"]]
    doubt, flags = np.zeros(len(order)), np.zeros(len(order), bool)
    doubt[order] = np.array(examples["p_wrong_without_verdicts"], float)
    flags[order] = np.array(examples["is_label_issue"], bool)
    say_labels("labelaudit", data, doubt, flags)
    say(f"mean of p_wrong {doubt.mean():.3f}, share of wrong labels {data.is_wrong.mean():.3f}")
    say(f"mean of p_wrong of flagged rows {doubt[flags].mean():.2f}")
    say(f"range {json.dumps(json.loads((folder / 'summary.json').read_text()).get('error_range'))}")
    if not (folder / "duplicates.parquet").exists():
        return
    table = pq.read_table(folder / "duplicates.parquet").to_pylist()
    table.sort(key=lambda row: row["cluster"])
    groups = [[row_of[row["example_id"]] for row in group] for _, group in groupby(table, lambda row: row["cluster"])]
    say_pairs("duplicates.parquet", data, pairs_of_groups(groups))
    say(f"groups with different labels {sum(len({int(data.labels[row]) for row in group}) > 1 for group in groups)}")


if __name__ == "__main__":
    main()
