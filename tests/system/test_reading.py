"""The work of a team on real label errors: comparing versions, verdicts in a browser, an audit that remembers, a gate.

The rows are half of those of cifar10n-5k. Instead of pictures they contain stored probabilities of a small network, so
that an audit trains in seconds.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from playwright.sync_api import Page, expect

from support.browsing import dashboard, move, open_browser, press, shown_id
from support.commands import Done, labelaudit

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(2400)]

ROWS = 2_500
FIXED, REMOVED, FLIPPED = 50, 25, 30
NOISE = 0.05
VERDICTS = 12


class Team(NamedTuple):
    folder: Path
    truth: dict[str, str]
    audits: dict[str, Path]  # the audit's folder by version
    codes: dict[str, int]  # the exit code of `labelaudit run` by version


def flip(frame: pd.DataFrame, ids: list[str], classes: list[str]) -> None:
    """Give rows the next class, in place."""
    rows = frame.index[frame["id"].isin(ids)]
    frame.loc[rows, "label"] = [classes[(classes.index(label) + 1) % 10] for label in frame.loc[rows, "label"]]


def write_versions(folder: Path, frame: pd.DataFrame) -> None:
    classes = sorted(frame["true_label"].unique())
    ids = frame["id"].sample(frac=1, random_state=0).tolist()
    is_wrong = dict(zip(frame["id"], frame["label"] != frame["true_label"], strict=True))
    fixed = [name for name in ids if is_wrong[name]][:FIXED]
    right = [name for name in ids if not is_wrong[name]]
    removed, flipped = right[:REMOVED], right[REMOVED : REMOVED + FLIPPED]
    second = frame[~frame["id"].isin(removed)].copy()
    second.loc[second["id"].isin(fixed), "label"] = second["true_label"]
    flip(second, flipped, classes)
    fourth = second.copy()
    still_right = [name for name in right[REMOVED + FLIPPED :] if name in set(second["id"])]
    flip(fourth, still_right[: round(NOISE * len(second))], classes)
    # Version 3 is version 2 in another order and in other files.
    versions = {"v1": [frame], "v2": [second], "v4": [fourth]}
    shuffled = second.sample(frac=1, random_state=1)
    versions["v3"] = [shuffled.iloc[:700], shuffled.iloc[700:1500], shuffled.iloc[1500:]]
    for version, shards in versions.items():
        (folder / version).mkdir(parents=True)
        for number, shard in enumerate(shards):
            shard.drop(columns="true_label").to_parquet(folder / version / f"part-{number}.parquet", index=False)


def run(folder: Path, *arguments: str) -> Done:
    done = labelaudit(*arguments, folder=folder, LABELAUDIT_CACHE_DIR=str(folder / "cache"))
    assert done.code in (0, 3), done.err
    return done


def audit(folder: Path, version: str) -> tuple[Path, int]:
    done = run(folder, "run", "cifar10n.yaml", "--version", version)
    return Path(done.out.splitlines()[-1]), done.code


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Team:
    folder = tmp_path_factory.mktemp("team")
    frame = pq.read_table(shared_data / "cifar10n-5k.parquet", columns=["id", "label", "true_label"]).to_pandas()[:ROWS]
    pred_probs = np.load(shared_data / "cifar10n-5k-pred-probs.npy")[:ROWS]
    frame = frame.assign(**{f"p{number}": column for number, column in enumerate(pred_probs.T)})
    write_versions(folder / "data", frame)
    config = {
        "dataset": {
            "name": "cifar10n",
            "url": str(folder / "data" / "{version}"),
            "label": "label",
            "id": "id",
        },
        "training": {"epochs": 6, "device": "cpu"},
        "cross_validation": {"folds": 3},
        "gate": {"max_new_issues_share": 0.025, "min_canary_recall": 0.5},
        "output": {"url": str(folder / "audits")},
    }
    (folder / "cifar10n.yaml").write_text(yaml.safe_dump(config))
    done = {version: audit(folder, version) for version in ("v1", "v2", "v3")}
    truth = dict(zip(frame["id"], frame["true_label"], strict=True))
    return Team(folder, truth, {v: path for v, (path, _) in done.items()}, {v: code for v, (_, code) in done.items()})


def examples(path: Path) -> dict[str, dict[str, Any]]:
    return {row["example_id"]: row for row in pq.read_table(path / "examples.parquet").to_pylist()}


def summary(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((path / "summary.json").read_text())
    return loaded


def counted_by_hand(before: dict[str, dict[str, Any]], now: dict[str, dict[str, Any]]) -> Counter[str]:
    """Count the changes of issues row by row. Here no content changes, and every row is scored."""
    counts: Counter[str] = Counter()
    for example_id in before.keys() | now.keys():
        old, new = before.get(example_id), now.get(example_id)
        was, is_now = bool(old and old["is_label_issue"]), bool(new and new["is_label_issue"])
        if not was and not is_now:
            continue
        is_same = old is not None and new is not None and old["given_label"] == new["given_label"]
        if was and is_now:
            counts["persistent"] += 1
        elif is_same:
            counts["flapping"] += 1
        elif is_now:
            counts["new"] += 1
        else:
            counts["gone" if new is None else "fixed"] += 1
    return counts


def without_zeros(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def test_versions_are_compared(team: Team) -> None:
    changes = summary(team.audits["v2"])["changes"]
    assert changes["predecessor"]["version"] == "v1"
    assert without_zeros(changes["data"]) == {"relabeled": FIXED + FLIPPED, "removed": REMOVED}
    expected = counted_by_hand(examples(team.audits["v1"]), examples(team.audits["v2"]))
    assert without_zeros(changes["issues"]) == dict(expected)
    assert expected["new"] > 0.5 * FLIPPED
    assert summary(team.audits["v1"])["changes"] is None


def test_another_order_in_other_files_is_no_change(team: Team) -> None:
    changes = summary(team.audits["v3"])["changes"]
    assert changes["predecessor"]["version"] == "v2"
    assert without_zeros(changes["data"]) == {}
    assert set(without_zeros(changes["issues"])) == {"persistent"}
    table = pq.read_table(team.audits["v3"] / "changes.parquet")
    assert set(table["issue_change"].to_pylist()) == {"persistent"}
    dataset = str(team.folder / "audits" / "dataset=cifar10n")
    found = json.loads(run(team.folder, "diff", "v2", "v3", "--dataset", dataset, "--json").out)
    assert found["data"] == changes["data"]
    assert found["issues"] == changes["issues"]


def test_the_gate_lets_pass_and_holds(team: Team) -> None:
    assert team.codes == {"v1": 0, "v2": 0, "v3": 0}
    assert [summary(team.audits[version])["gate"]["verdict"] for version in ("v1", "v2", "v3")] == ["passed"] * 3
    path, code = audit(team.folder, "v4")
    assert code == 3
    gate = summary(path)["gate"]
    assert gate["verdict"] == "failed"
    broken = [rule["rule"] for rule in gate["rules"] if rule["outcome"] == "failed"]
    assert broken == ["max_new_issues_share"]
    # The audit is published although its gate failed.
    assert (path / "manifest.json").exists()


def test_verdicts_made_in_the_browser_are_remembered(team: Team) -> None:
    flagged = pq.read_table(team.audits["v3"] / "issues.parquet").to_pylist()
    before = examples(team.audits["v3"])
    classes = sorted(set(team.truth.values()))
    made: dict[str, str | None] = {}
    cache = team.folder / "dashboard" / "cache"
    cache.parent.mkdir()
    output = team.folder / "audits"
    with dashboard(output, cache, "--reviewer", "ann") as url, open_browser() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(f"{url}/review")
        choose_audit(page, "v3")
        move(page, "Enter")
        for row in flagged[:VERDICTS]:
            example_id = row["example_id"]
            shown_id(page, example_id)
            right = team.truth[example_id]
            is_fine = right == row["given_label"]
            made[example_id] = None if is_fine else right
            press(page, "f" if is_fine else str((classes.index(right) + 1) % 10))
        shown_id(page, flagged[VERDICTS]["example_id"])
    path, code = audit(team.folder, "v3")
    assert code == 0
    assert path != team.audits["v3"]
    after = examples(path)
    fine = {example_id for example_id, right in made.items() if right is None}
    wrong = {example_id: right for example_id, right in made.items() if right is not None}
    was_flagged = {example_id for example_id, row in before.items() if row["is_label_issue"]}
    assert {example_id for example_id, row in after.items() if row["is_label_issue"]} == was_flagged - fine
    assert {name: row["right_label"] for name, row in after.items() if row["verdict"] == "wrong"} == wrong
    assert {name for name, row in after.items() if row["verdict"] == "fine"} == fine
    review = summary(path)["review"]
    assert review["known_wrong"] == len(wrong)
    assert review["dismissed"] == len(fine)
    assert review["precision"]["estimate"] == pytest.approx(len(wrong) / VERDICTS)
    # Nothing was trained again.
    assert folds(path) == folds(team.audits["v3"])


def choose_audit(page: Page, version: str) -> None:
    page.get_by_role("combobox", name="Audit").click()
    page.get_by_role("option").filter(has_text=version).click()
    expect(page.locator(".subject").first).to_contain_text(version)


def folds(path: Path) -> pa.Table:
    return pq.read_table(path / "folds.parquet")
