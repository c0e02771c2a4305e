"""External probabilities in folders of files: all rows in natural order, and errors that name the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelaudit.audit import audit_probabilities
from labelaudit.codec import from_record
from labelaudit.config import build_config
from labelaudit.errors import DatasetError
from labelaudit.findings import Summary
from labelaudit.pipeline.external_probabilities import ExternalProbabilities, LoadedProbabilities, read_probabilities
from support.simulated import all_rows

ROWS = 144
RIGHT = np.arange(ROWS) * 7 % 3
GIVEN = np.where(np.arange(ROWS) % 12 == 0, (RIGHT + 1) % 3, RIGHT)
NAMES = np.array(["ant", "bee", "fly"])
PRED_PROBS = 0.05 + 0.85 * np.eye(3)[RIGHT] - np.arange(ROWS)[:, None] * [1e-5, 0, -1e-5]
IDS = [f"i{number:03d}" for number in range(ROWS)]
# Twelve parts: by text, part-10 comes before part-2.
PIECES = np.array_split(np.arange(ROWS), 12)


def table_of(rows: np.ndarray, **columns: object) -> pa.Table:
    values = {"id": np.array(IDS)[rows], "label": NAMES[GIVEN[rows]], "pred_probs": list(PRED_PROBS[rows]), **columns}
    return pa.table({name: value for name, value in values.items() if value is not None})


def write_parts(folder: Path, name: str = "part-{}.parquet", **columns: object) -> Path:
    for number, rows in enumerate(PIECES):
        path = folder / name.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table_of(rows, **columns), path)
    return folder


def write_arrays(folder: Path, values: np.ndarray) -> Path:
    folder.mkdir()
    for number, rows in enumerate(PIECES):
        np.save(folder / f"part-{number}.npy", values[rows])
    return folder


def read(url: object, **arguments: object) -> LoadedProbabilities:
    return read_probabilities(ExternalProbabilities(str(url), **arguments))  # type: ignore[arg-type]


def check_all_rows(loaded: LoadedProbabilities) -> None:
    examples = loaded.rows.examples
    assert examples.example_id.tolist() == IDS
    assert examples.given_label.tolist() == NAMES[GIVEN].tolist()
    np.testing.assert_allclose(all_rows(loaded.probabilities), PRED_PROBS, atol=1e-6)
    assert examples.position.tolist() == list(range(ROWS))


@pytest.mark.parametrize("name", ["part-{}.parquet", "part-{}", "fold={}/part.snappy.parquet", "a/b{}/data.pq"])
def test_parquet_parts_in_any_names(tmp_path: Path, name: str) -> None:
    folder = write_parts(tmp_path / "oof", name)
    (folder / "_SUCCESS").write_bytes(b"")
    (folder / ".part-0.parquet.crc").write_bytes(b"crc")
    pq.write_metadata(table_of(PIECES[0]).schema, folder / "_common_metadata")
    loaded = read(f"{folder}/")
    check_all_rows(loaded)
    last = name.format(11)
    assert loaded.rows.examples.file[-1] == last
    assert loaded.rows.examples.row[-1] == 11
    assert loaded.notes[0] == (
        f"{folder}/: 144 rows of 12 files in the natural order of their paths ({name.format(0)} to {last})"
    )
    assert not loaded.left_out


def test_the_same_rows_as_from_one_file(tmp_path: Path) -> None:
    pq.write_table(table_of(np.arange(ROWS)), tmp_path / "all.parquet")
    one, many = read(tmp_path / "all.parquet"), read(write_parts(tmp_path / "oof"))
    check_all_rows(one)
    assert one.rows.examples.fingerprint == many.rows.examples.fingerprint
    assert not any("144 rows" in note for note in one.notes)


def test_a_folder_of_one_part(tmp_path: Path) -> None:
    (tmp_path / "oof").mkdir()
    pq.write_table(table_of(np.arange(ROWS)), tmp_path / "oof" / "part-0")
    loaded = read(tmp_path / "oof")
    check_all_rows(loaded)
    assert "144 rows of 1 file in the natural order of their paths (part-0)" in loaded.notes[0]


def test_types_may_differ_between_parts(tmp_path: Path) -> None:
    """A part without labels has the type null, and writers encode columns with few values as dictionaries."""
    folder = write_parts(tmp_path / "oof")
    encoded = table_of(PIECES[3], label=pa.array(NAMES[GIVEN[PIECES[3]]]).dictionary_encode())
    pq.write_table(encoded, folder / "part-3.parquet")
    pq.write_table(table_of(PIECES[5], label=pa.nulls(len(PIECES[5]))), folder / "part-5.parquet")
    pq.write_table(table_of(PIECES[0][:0]), folder / "part-12.parquet")
    half = pa.array(list(PRED_PROBS[PIECES[7]]), pa.list_(pa.float32()))
    pq.write_table(table_of(PIECES[7], pred_probs=half), folder / "part-7.parquet")
    loaded = read(folder)
    assert len(loaded.rows.examples.label) == ROWS
    assert len(loaded.probabilities) == ROWS - len(PIECES[5])


def test_labels_in_the_names_of_folders(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": IDS, "pred_probs": list(PRED_PROBS), "label": NAMES[GIVEN]})
    frame.to_parquet(tmp_path / "oof", partition_cols=["label"])
    examples = read(tmp_path / "oof").rows.examples
    assert examples.example_id.tolist() == IDS
    assert examples.given_label.tolist() == NAMES[GIVEN].tolist()
    assert set(examples.file) == {path.relative_to(tmp_path / "oof").as_posix() for path in tmp_path.rglob("*.parquet")}


def test_folders_of_arrays(tmp_path: Path) -> None:
    probabilities = write_arrays(tmp_path / "probabilities", PRED_PROBS)
    labels, ids = write_arrays(tmp_path / "labels", NAMES[GIVEN]), write_arrays(tmp_path / "ids", np.array(IDS))
    loaded = read(probabilities, label=str(labels), id=f"{ids}/")
    check_all_rows(loaded)
    assert loaded.rows.examples.file[[0, -1]].tolist() == ["part-0.npy", "part-11.npy"]
    assert sum("144 rows of 12 files" in note for note in loaded.notes) == 3
    table = write_parts(tmp_path / "oof", pred_probs=None, id=None)
    check_all_rows(read(table, pred_probs=str(probabilities), id=str(ids)))


def test_a_column_comes_before_a_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_arrays(tmp_path / "label", np.zeros(ROWS, dtype=int))
    check_all_rows(read(write_parts(tmp_path / "oof"), label="label"))


def test_other_files_are_left_out_and_named(tmp_path: Path) -> None:
    folder = write_parts(tmp_path / "oof")
    (folder / "README.md").write_text("How these were made.")
    (folder / "curve.png").write_bytes(b"\x89PNG")
    loaded = read(folder)
    check_all_rows(loaded)
    (left,) = loaded.left_out
    assert (left.kind, left.count, left.names) == ("file", 2, ("README.md", "curve.png"))
    config = build_config({"dataset": {"url": str(folder)}, "output": {"url": str(tmp_path / "audits")}})
    audit = audit_probabilities(config, ExternalProbabilities(str(folder), label="label"))
    assert left in from_record(Summary, json.loads((Path(audit.audit_url) / "summary.json").read_text())).left_out


def _other_columns(folder: Path) -> None:
    write_parts(folder)
    pq.write_table(table_of(PIECES[4], id=None, note=["x"] * len(PIECES[4])), folder / "part-4.parquet")


def _damaged(folder: Path) -> None:
    write_parts(folder)
    (folder / "part-4.parquet").write_bytes((folder / "part-4.parquet").read_bytes()[:-9])


def _other_format(folder: Path) -> None:
    write_parts(folder)
    (folder / "more.csv").write_text("id,label\n1,ant\n")


def _other_folders(folder: Path) -> None:
    write_parts(folder, "fold={}/part.parquet")
    pq.write_table(table_of(PIECES[0]), folder / "part.parquet")


def _other_classes(folder: Path) -> None:
    for number, names in enumerate((NAMES, NAMES[::-1])):
        folder.mkdir(exist_ok=True)
        metadata = {"class_names": json.dumps(names.tolist())}
        table = table_of(PIECES[number]).replace_schema_metadata(metadata)
        pq.write_table(table, folder / f"part-{number}.parquet")


def _other_rows(folder: Path) -> None:
    write_arrays(folder, PRED_PROBS)
    np.save(folder / "part-4.npy", PRED_PROBS[:5, :2])


def _pickled(folder: Path) -> None:
    write_arrays(folder, PRED_PROBS)
    np.save(folder / "part-4.npy", np.array([{}], dtype=object), allow_pickle=True)


def _only_text(folder: Path) -> None:
    folder.mkdir()
    (folder / "README.md").write_text("Nothing yet.")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_other_columns, r"part-4\.parquet in .*has other columns than part-0\.parquet: it lacks id and also has note"),
        (_damaged, r"part-4\.parquet in .*oof cannot be read as Parquet"),
        (_other_format, r"oof contains csv \(more\.csv\), parquet \(part-0\.parquet\), but .* only Parquet or only"),
        (_other_folders, r"The folders of .*oof name different columns: .* has \['fold'\], but part\.parquet has none"),
        (_other_classes, r"metadata of part-0\.parquet \(ant, bee, fly\) are not those of part-1\.parquet \(fly, bee"),
        (_other_rows, r"part-4\.npy in .* contains an array of shape \(5, 2\) and dtype float64, which does not fit"),
        (_pickled, r"part-4\.npy in .*oof is not a \.npy file of numbers or strings"),
        (_only_text, r"oof has no data files, only README\.md\. Name a folder of Parquet or \.npy files"),
        (lambda folder: folder.mkdir(), r"oof has no files\. Name a folder"),
    ],
)  # fmt: skip
def test_refused_with_the_name_of_the_file(tmp_path: Path, write: Callable[[Path], None], message: str) -> None:
    write(tmp_path / "oof")
    with pytest.raises(DatasetError, match=message):
        read(tmp_path / "oof", label=None)


def test_a_name_that_is_neither_column_nor_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="has no column 'lable'"):
        read(write_parts(tmp_path / "oof"), label="lable")
