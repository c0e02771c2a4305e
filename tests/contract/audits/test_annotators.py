"""Whole audits with the answers of several annotators: labels, tables, page, the next version, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from labelaudit.audit import audit_probabilities
from labelaudit.audits.audit_plan import load_plan
from labelaudit.audits.comparison import compare_published
from labelaudit.audits.published import PublishedAudit, find_audit
from labelaudit.config import AuditConfig, build_config
from labelaudit.data.annotations import read_answers
from labelaudit.data.majority_vote import majority_of
from labelaudit.detection.answer_evidence import AnsweredRows, right_shares, weigh_answers
from labelaudit.detection.answers import Answers, probabilities_of_cells
from labelaudit.detection.probability_blocks import ArrayBlocks
from labelaudit.detection.row_scores import score_blocks
from labelaudit.errors import ConfigError, DatasetError
from labelaudit.pipeline.check import check_dataset
from labelaudit.pipeline.decoded_inputs import load_table_inputs, open_inputs
from labelaudit.pipeline.external_probabilities import ExternalProbabilities, LoadedProbabilities, read_probabilities
from labelaudit.pipeline.plan import prepare
from labelaudit.reviews.clean_labels import CleaningRules
from labelaudit.reviews.files import clean_rows
from labelaudit.schemas import ANNOTATORS, ANSWERS, CONSENSUS, EXAMPLES, ISSUES
from labelaudit.storage.store import open_dataset
from labelaudit.versions.discover import look_at_version
from support.audits import CLASSES, InProcess, audit, fruit, settings, write_fruit, write_squares

ROWS = 180
PEOPLE = ("ann", "bob", "cid", "dan", "eve")


def answered(frame: pd.DataFrame, *, lazy: str | None = None, seed: int = 0) -> pd.DataFrame:
    """Return three answers to each row. Four of five are right; those of the lazy annotator are always `apple`."""
    generator = np.random.default_rng(seed)
    rows = []
    for id, label in zip(frame.id, frame.true_label, strict=True):
        for who in generator.choice(PEOPLE, 3, replace=False):
            other = CLASSES[(CLASSES.index(label) + int(generator.integers(1, 3))) % 3]
            answer = label if generator.random() < 0.8 else other
            rows.append((id, str(who), "apple" if who == lazy else answer))
    return pd.DataFrame(rows, columns=["id", "annotator", "label"])


def config(
    folder: Path, version: str, *, annotations: str | None = "{version}-answers.parquet", **dataset: object
) -> AuditConfig:
    named = {"name": "fruit", "version": version, "id": "id", **dataset}
    if annotations is not None:
        named["annotations"] = str(folder / annotations)
    return settings(folder / "{version}.parquet", folder / "out", dataset=named, cross_validation={"folds": 2})


def write(folder: Path, version: str, frame: pd.DataFrame, answers: pd.DataFrame) -> None:
    write_fruit(folder / f"{version}.parquet", frame)
    answers.to_parquet(folder / f"{version}-answers.parquet", index=False)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Audit v1, whose labels have errors of their own; and v2 without labels, in which eve became lazy."""
    folder = tmp_path_factory.mktemp("annotators")
    frame = fruit(ROWS)
    write(folder, "v1", frame.drop(columns="true_label"), answered(frame))
    write(folder, "v2", frame.drop(columns=["true_label", "label"]), answered(frame, lazy="eve"))
    for version in ("v1", "v2"):
        audit(config(folder, version))
    return folder


def published(folder: Path, version: str) -> PublishedAudit:
    return find_audit(version, dataset_url=f"{folder}/out/dataset=fruit")


def test_tables_and_summary(versions: Path) -> None:
    found = published(versions, "v1")
    consensus = found.table("consensus.parquet", CONSENSUS).to_pandas().set_index("example_id")
    annotators = found.table("annotators.parquet", ANNOTATORS).to_pandas()
    answers = found.table("answers.parquet", ANSWERS).to_pandas()
    given = answered(fruit(ROWS)).sort_values(["id", "annotator"])
    assert answers[["example_id", "annotator", "label"]].to_numpy().tolist() == given.to_numpy().tolist()
    assert answers.p_right.between(0, 1).all()
    truth = fruit(ROWS).set_index("id")
    assert consensus.index.tolist() == sorted(truth.index)
    assert (consensus.consensus_label == truth.true_label.reindex(consensus.index)).mean() > 0.9
    assert (consensus.is_other_label == (consensus.consensus_label != consensus.given_label)).all()
    assert (consensus.num_annotations == 3).all()
    assert sorted(consensus.opinion_rank) == list(range(1, ROWS + 1))
    assert sorted(annotators.annotator) == sorted(PEOPLE)
    assert annotators.answers.sum() == len(answers) == 3 * ROWS
    assert annotators.quality_high.is_monotonic_increasing
    summary = found.summary()
    assert summary.annotators is not None
    assert (summary.annotators.annotators, summary.annotators.answers, summary.annotators.rows) == (5, 3 * ROWS, ROWS)
    assert summary.annotators.other_labels == consensus.is_other_label.sum()
    assert not summary.annotators.are_labels_answers
    assert any(note.startswith("The consensus of 5 annotators and the model differs") for note in summary.notes)
    assert f"{3 * ROWS} answers of 5 annotators to {ROWS} rows are used." in summary.notes
    page = found.read("report.html").decode()
    section = page.partition('<section id="annotators"')[2].partition("</section>")[0]
    assert "Rows that most need another opinion" in section
    assert all(name in section for name in PEOPLE)
    gallery = page.partition('<section id="examples"')[2].partition("</section>")[0]
    assert gallery.count("answers: <bdi>") == summary.issues


def test_cleaned_labels_are_those_of_annotators_and_model(versions: Path) -> None:
    found = published(versions, "v1")
    consensus = found.table("consensus.parquet", CONSENSUS).to_pandas().set_index("example_id")
    issues = found.table("issues.parquet", ISSUES).to_pandas().set_index("example_id")
    clean = clean_rows(found, CleaningRules(relabel_above=0.0)).to_pandas().set_index("example_id")
    unflagged = clean.drop(index=issues.index)
    expected = consensus.consensus_label.reindex(unflagged.index)
    assert (unflagged.label == expected).all()
    assert ((unflagged.action == "relabel") == (expected != unflagged.given_label)).all()
    # The model alone would have changed other rows.
    predicted = consensus.predicted_label.reindex(unflagged.index)
    assert (predicted != expected).any()
    assert (clean.label[issues.index] == issues.suggested_label).all()


def test_answers_find_wrong_labels(versions: Path) -> None:
    examples = published(versions, "v1").table("examples.parquet", EXAMPLES).to_pandas().set_index("example_id")
    truth = fruit(ROWS).set_index("id")
    is_wrong = (truth.label != truth.true_label).reindex(examples.index)
    assert examples.is_label_issue[is_wrong].mean() > 0.8
    assert examples.is_label_issue[~is_wrong].mean() < 0.05


def test_the_majority_is_the_label_of_a_dataset_without_labels(versions: Path) -> None:
    found = published(versions, "v2")
    examples = found.table("examples.parquet", EXAMPLES).to_pandas().set_index("example_id")
    votes = answered(fruit(ROWS), lazy="eve").groupby("id").label.agg(lambda labels: labels.mode().tolist())
    assert all(examples.given_label[id] in winners for id, winners in votes.items())
    summary = found.summary()
    assert summary.annotators is not None
    assert summary.annotators.are_labels_answers
    assert any(note.startswith("The labels are the majority of the answers") for note in summary.notes)
    assert found.table("annotators.parquet", ANNOTATORS)["annotator"][0].as_py() == "eve"


def test_a_worse_annotator_is_reported_in_the_next_version(versions: Path) -> None:
    before, now = published(versions, "v1"), published(versions, "v2")
    start = "1 annotator is right less often than in version v1: eve "
    assert any(note.startswith(start) for note in now.summary().notes)
    assert any(note.startswith(start) for note in compare_published(before, now).changes.notes)
    assert not any("right less often" in note for note in compare_published(now, before).changes.notes)


def test_a_check_says_how_labels_are_made(versions: Path) -> None:
    found = check_dataset(config(versions, "v2"), parallel=1, threads=1)
    assert found.columns["label"] == "the majority of the annotations"
    assert found.annotations == (f"{3 * ROWS} answers of 5 annotators to {ROWS} rows are used.",)
    assert "annotations: ids in 'id', annotators in 'annotator', labels in 'label'" in found.guesses
    assert check_dataset(config(versions, "v1", annotations=None), parallel=1, threads=1).annotations == ()


def test_changed_answers_are_another_audit_but_train_nothing_again(tmp_path: Path) -> None:
    frame = fruit(ROWS)
    write(tmp_path, "v1", frame.drop(columns="true_label"), answered(frame))
    first = audit(config(tmp_path, "v1"))
    state = look_at_version(config(tmp_path, "v1"))
    shuffled = answered(frame).sample(frac=1, random_state=0)
    shuffled.to_parquet(tmp_path / "v1-answers.parquet", index=False)
    assert audit(config(tmp_path, "v1")).audit_id == first.audit_id
    answered(frame, seed=1).to_parquet(tmp_path / "v1-answers.parquet", index=False)
    caller = InProcess()
    second = audit(config(tmp_path, "v1"), caller)
    assert second.audit_id != first.audit_id
    changed = look_at_version(config(tmp_path, "v1"))
    assert state is not None
    assert changed is not None
    assert state.state != changed.state


def test_answers_that_do_not_fit_are_notes(tmp_path: Path) -> None:
    frame = fruit(ROWS)
    others = [("unknown-1", "ann", "plum"), ("unknown-2", "ann", "plum"), ("fruit-0000", "zoe", "unsure")]
    extra = pd.DataFrame(others, columns=["id", "annotator", "label"])
    answers = answered(frame)
    answers = answers[answers.id != "fruit-0001"]
    write(tmp_path, "v1", frame.drop(columns="true_label"), pd.concat([answers, extra]))
    found = check_dataset(config(tmp_path, "v1"), parallel=1, threads=1)
    assert found.annotations == (
        f"{3 * ROWS - 3} answers of 5 annotators to {ROWS - 1} rows are used. 1 scored row has no answer.",
        "2 answers do not count, because the dataset does not have 2 of the ids ('unknown-1', 'unknown-2').",
        "1 answer does not count, because no class with this name is audited ('unsure': 1). If one is another "
        "name of a class, use dataset.rename.",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "other-" + pd.Series(range(540)).astype(str)}, r"None of the 540 ids in dataset\.annotations"),
        ({"label": "yes"}, r"Only 0 of 540 answers name a class that is audited\. The answers are 'yes'"),
    ],
)
def test_answers_of_another_dataset(tmp_path: Path, change: dict[str, object], message: str) -> None:
    frame = fruit(ROWS)
    write(tmp_path, "v1", frame.drop(columns="true_label"), answered(frame).assign(**change))
    with pytest.raises(DatasetError, match=message):
        prepare(config(tmp_path, "v1"))
    assert message.partition("\\")[0] in str(check_problem(tmp_path))


def check_problem(folder: Path) -> str | None:
    return check_dataset(config(folder, "v1"), parallel=1, threads=1).problem


def test_places_that_are_refused(tmp_path: Path) -> None:
    frame = fruit(ROWS).drop(columns="true_label")
    write(tmp_path, "v1", frame, answered(fruit(ROWS)))
    with pytest.raises(DatasetError, match=r"Nothing is stored at .*v1-missing.* Check dataset\.annotations"):
        prepare(config(tmp_path, "v1", annotations="{version}-missing.parquet"))
    waiting = look_at_version(config(tmp_path, "v1", annotations="{version}-missing.parquet"))
    assert waiting is not None
    assert waiting.incomplete is not None
    assert "no annotations" in waiting.incomplete or "changed less than" in waiting.incomplete
    inside = settings(tmp_path, tmp_path.parent / "out", dataset={"annotations": str(tmp_path / "v1-answers.parquet")})
    with pytest.raises(ConfigError, match=r"is inside dataset\.url, so its rows would be audited"):
        prepare(inside)
    write_fruit(tmp_path / "v3.parquet", frame.drop(columns="id"))
    (tmp_path / "v3-answers.parquet").write_bytes((tmp_path / "v1-answers.parquet").read_bytes())
    with pytest.raises(DatasetError, match=r"names rows by id, but no column of the dataset looks like an id"):
        prepare(config(tmp_path, "v3", id=None))


def test_external_probabilities(tmp_path: Path) -> None:
    frame = fruit(ROWS)
    answered(frame).to_parquet(tmp_path / "answers.parquet", index=False)
    truth = np.array([CLASSES.index(label) for label in frame.true_label])
    probabilities = list((0.05 + 0.85 * np.eye(3)[truth]).astype(np.float32))
    columns = {"id": frame.id, "pred_probs": probabilities}

    def detect(name: str, **more: object) -> PublishedAudit:
        path = tmp_path / f"{name}.parquet"
        pd.DataFrame({**columns, **more}).to_parquet(path, index=False)
        dataset = {"url": str(path), "name": name, "annotations": str(tmp_path / "answers.parquet")}
        made = build_config({"dataset": dataset, "output": {"url": str(tmp_path / "out")}})
        return find_audit(audit_probabilities(made, ExternalProbabilities(str(path))).audit_url)

    with_labels, voted = detect("labels", label=frame.label), detect("votes")
    for found, are_answers in ((with_labels, False), (voted, True)):
        summary = found.summary()
        assert summary.annotators is not None
        assert summary.annotators.are_labels_answers is are_answers
        assert len(found.table("consensus.parquet", CONSENSUS)) == ROWS
    columns["row"] = columns.pop("id")
    with pytest.raises(DatasetError, match=r"but the probabilities have no ids\. Name them with --id"):
        detect("rows", label=frame.label)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.parametrize("labels", ["names", "numbers", "majority"])
def test_external_probabilities_with_numbers_of_classes(tmp_path: Path, labels: str, suffix: str) -> None:
    """The columns of probabilities are not in the order of the names, so each number must be read as its class."""
    names = ("plum", "apple", "pear")
    frame = fruit(ROWS)
    numbers = {name: number for number, name in enumerate(names)}
    truth = frame.true_label.map(numbers).to_numpy()
    columns = {"id": frame.id, "pred_probs": list((0.05 + 0.85 * np.eye(3)[truth]).astype(np.float32))}
    if labels != "majority":
        columns["label"] = frame.label if labels == "names" else frame.label.map(numbers)
    pd.DataFrame(columns).to_parquet(tmp_path / "p.parquet", index=False)
    given = answered(frame)
    found = {}
    for kind, label in (("names", given.label), ("numbers", given.label.map(numbers))):
        path = tmp_path / f"{kind}.{suffix}"
        table = given.assign(label=label)
        table.to_parquet(path, index=False) if suffix == "parquet" else table.to_csv(path, index=False)
        dataset = {"url": str(tmp_path / "p.parquet"), "name": kind, "annotations": str(path)}
        made = build_config({"dataset": dataset, "output": {"url": str(tmp_path / "out")}})
        source = ExternalProbabilities(str(tmp_path / "p.parquet"), class_names=names)
        found[kind] = find_audit(audit_probabilities(made, source).audit_url)
    for name, schema in (("examples", EXAMPLES), ("consensus", CONSENSUS), ("annotators", ANNOTATORS)):
        tables = [one.table(f"{name}.parquet", schema) for one in found.values()]
        assert tables[0].equals(tables[1])
    assert found["names"].table("answers.parquet", ANSWERS).equals(found["numbers"].table("answers.parquet", ANSWERS))
    assert (found["numbers"].table("consensus.parquet", CONSENSUS).to_pandas().consensus_label.isin(CLASSES)).all()


def test_external_answers_with_other_labels(tmp_path: Path) -> None:
    frame = fruit(ROWS)
    numbers = frame.label.map({name: number for number, name in enumerate(CLASSES)})
    probabilities = list((0.05 + 0.85 * np.eye(3)[numbers]).astype(np.float32))
    path = tmp_path / "p.parquet"
    pd.DataFrame({"id": frame.id, "label": numbers, "pred_probs": probabilities}).to_parquet(path, index=False)
    # Counted from 1, so 1 and 2 would be other classes.
    given = answered(frame)
    given["label"] = given.label.map({name: number for number, name in enumerate(CLASSES, start=1)})
    given.to_parquet(tmp_path / "answers.parquet", index=False)
    dataset = {"url": str(path), "annotations": str(tmp_path / "answers.parquet")}
    made = build_config({"dataset": dataset, "output": {"url": str(tmp_path / "out")}})
    with pytest.raises(
        DatasetError, match=r"\('3'\) are neither a class of the probabilities \('apple', 'pear', 'plum'\)"
    ):
        audit_probabilities(made, ExternalProbabilities(str(path), class_names=CLASSES))


def read_numbered(folder: Path, labels: str | None, answers: str, truth: str) -> LoadedProbabilities:
    """Read 60 rows of the classes 1, 2 and 3, whose numbers are 0, 1 and 2, and an answer to each."""
    ids = [f"row-{number:02}" for number in range(60)]
    right = np.array([int(name) for name in truth * 10]) - 1
    columns: dict[str, object] = {"id": ids, "pred_probs": list((0.05 + 0.85 * np.eye(3)[right]).astype(np.float32))}
    if labels is not None:
        columns["label"] = list(labels * 10)
    pd.DataFrame(columns).to_parquet(folder / "p.parquet", index=False)
    answered = pd.DataFrame({"id": ids, "annotator": "ann", "label": list(answers * 10)})
    answered.to_parquet(folder / "answers.parquet", index=False)
    source = ExternalProbabilities(str(folder / "p.parquet"), class_names=("1", "2", "3"))
    return read_probabilities(source, {}, read_answers(open_dataset(str(folder / "answers.parquet"))))


@pytest.mark.parametrize(
    ("labels", "answers", "expected_labels", "expected_answers"),
    [
        # Read as names, and as numbers, because one of them is no name.
        ("123123", "112233", "123123", "112233"),
        ("012012", "112211", "123123", "223322"),
        ("112211", "012012", "223322", "123123"),
        (None, "012012", "123123", "123123"),
        # Next to names, an answer that is none stays.
        ("123123", "123?12", "123123", "123?12"),
    ],
)
def test_labels_and_answers_are_read_in_the_same_way(
    tmp_path: Path, labels: str | None, answers: str, expected_labels: str, expected_answers: str
) -> None:
    loaded = read_numbered(tmp_path, labels, answers, truth=expected_labels)
    assert "".join(map(str, loaded.rows.examples.label + 1)) == expected_labels * 10
    assert loaded.answers is not None
    assert "".join(loaded.answers.labels[number] for number in loaded.answers.label) == expected_answers * 10


def test_labels_and_answers_that_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"so '1' would mean '1' as a label and '2' as an answer\. Use names in both"
    ):
        read_numbered(tmp_path, "123123", "012012", truth="123123")


def test_workers_that_decode_the_dataset_know_its_labels(versions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another machine, the cache does not have the version yet."""
    reference = prepare(config(versions, "v2"))
    monkeypatch.setenv("LABELAUDIT_CACHE_DIR", str(versions / "another-machine"))
    with open_inputs(reference, load_plan(reference)) as folder:
        assert len(load_table_inputs(folder)) == ROWS


def test_the_majority_replaces_the_column_of_labels_only_if_that_is_ignored(tmp_path: Path) -> None:
    frame = fruit(ROWS)
    write(tmp_path, "v1", frame.drop(columns="true_label"), answered(frame))
    given = check_dataset(config(tmp_path, "v1"), parallel=1, threads=1)
    voted = check_dataset(config(tmp_path, "v1", ignore=["label"]), parallel=1, threads=1)
    assert given.columns["label"] == "label"
    assert voted.columns["label"] == "the majority of the annotations"
    assert given.fingerprint != voted.fingerprint


def test_answers_to_the_images_of_a_folder(tmp_path: Path) -> None:
    folder = write_squares(tmp_path / "squares", per_class=6)
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    rows = [(path, who, path.partition("/")[0]) for path in paths for who in ("ann", "bob")]
    pd.DataFrame(rows, columns=["path", "who", "label"]).to_csv(tmp_path / "answers.csv", index=False)
    dataset = {"annotations": str(tmp_path / "answers.csv")}
    named = {"annotation_columns": {"id": "path", "annotator": "who"}}
    found = check_dataset(settings(folder, tmp_path / "out", dataset={**dataset, **named}), parallel=1, threads=1)
    assert found.annotations == ("24 answers of 2 annotators to 12 rows are used.",)


def test_real_answers(shared_data: Path) -> None:
    """Answers alone, without a model: weighing annotators is better than counting them."""
    answers = read_answers(open_dataset(str(shared_data / "polarity-annotations.parquet")))
    truth = pd.read_parquet(shared_data / "polarity.parquet").set_index("id").true_label
    majority = majority_of(answers)
    is_right = majority.labels_of(answers.ids) == truth.reindex(answers.ids.tolist()).to_numpy(object)
    assert is_right.mean() > 0.88
    unknown = ArrayBlocks(np.full((len(answers.ids), 2), 0.5, np.float32))
    joined = Answers(answers.id, answers.annotator, answers.label, answers.annotators, len(answers.ids), 2)
    answered_rows = AnsweredRows(joined, probabilities_of_cells(joined.cells, unknown))
    found = weigh_answers(answered_rows, score_blocks(majority.label.astype(np.int64), unknown), np.full(2500, 0.1))
    weighed = np.where(found.p_wrong > 0.5, 1 - majority.label, majority.label)
    best = np.array(answers.labels, object)[weighed] == truth.reindex(answers.ids.tolist()).to_numpy(object)
    assert best.mean() > is_right.mean() + 0.01
    right = truth.reindex(answers.ids.tolist()).to_numpy(object)[answers.id]
    accuracy = pd.Series(np.array(answers.labels, object)[answers.label] == right)
    by_person = accuracy.groupby(answers.annotator).agg(["mean", "size"])
    has_some = by_person["size"].to_numpy() >= 10
    quality = right_shares(joined, found.p_right).share
    assert np.corrcoef(quality[has_some], by_person["mean"][has_some])[0, 1] > 0.85
