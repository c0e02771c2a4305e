from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.data.columns import Columns, resolve_columns
from labelaudit.data.dataset import Examples, set_aside_rare_classes
from labelaudit.data.digests import digest_bytes
from labelaudit.data.readers import BatchHead, read_batches
from labelaudit.data.slice_values import encoded_values
from labelaudit.errors import DatasetError
from labelaudit.strings import Strings


def _columns(**changes):
    values = {
        "format": "parquet", "kind": "text", "label": "label", "id": "id", "group": None, "inputs": ("text",),
        "input_types": (), "label_names": (), "image_size": (0, 0), "image_channels": 0, "guesses": (),
    }  # fmt: skip
    return Columns(**{**values, **changes})


def _examples(rows, *, batch_size=1000, has_ids=True, **changes):
    """Examples from (id, text, label) or (id, text, label, group); an empty text is unreadable."""
    batches = []
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        readable = np.array([bool(row[1]) for row in part])
        batches.append(
            BatchHead(
                file="a.parquet",
                first_row=start,
                ids=Strings([row[0] for row in part]) if has_ids else None,
                labels=pa.array([row[2] for row in part], pa.string()),
                groups=Strings([row[3] for row in part]) if rows and len(rows[0]) > 3 else None,
                digests=Strings([digest_bytes(row[1].encode()) for row in part]),
                readable=readable,
                problems=dict.fromkeys(np.flatnonzero(~readable).tolist(), "empty text"),
            )
        )
    return Examples.from_batches(batches, _columns(id="id" if has_ids else None, **changes))


def _shown(examples):
    columns = (examples.example_id, examples.given_label, examples.status, examples.label)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_rows_are_in_the_order_of_their_ids():
    examples = _examples([("b", "x", "dog"), ("a", "y", "cat"), ("é", "w", "dog"), ("B", "z", "dog")], batch_size=2)
    assert _shown(examples) == [
        ("B", "dog", "scored", 1), ("a", "cat", "scored", 0),
        ("b", "dog", "scored", 1), ("é", "dog", "scored", 1),
    ]  # fmt: skip
    assert examples.class_names == ("cat", "dog")
    assert examples.row.tolist() == [3, 1, 0, 2]
    assert examples.position.tolist() == [3, 1, 0, 2]
    assert examples.file.tolist() == ["a.parquet"] * 4
    assert examples.group.tolist() == examples.content_digest.tolist()


def test_every_row_has_a_status_and_the_first_rule_wins():
    examples = _examples(
        [
            ("same", "x", "cat"), ("same", "x", "cat"),
            ("conflict", "x", "cat"), ("conflict", "x", "dog"), ("conflict", "x", "dog"),
            ("broken", "", None), ("broken", "y", "cat"),
            ("blank", "y", None), ("blank", "y", None),
            ("whole", "z", "dog"), ("none", "", "dog"),
        ]
    )  # fmt: skip
    assert sorted(_shown(examples), key=str) == sorted([
        ("blank", None, "unlabeled", -1), ("blank", None, "duplicate_id", -1),
        ("broken", "cat", "duplicate_id", -1), ("broken", None, "unreadable", -1),
        ("conflict", "cat", "duplicate_id", -1), ("conflict", "dog", "duplicate_id", -1),
        ("conflict", "dog", "duplicate_id", -1), ("none", "dog", "unreadable", -1),
        ("same", "cat", "scored", 0), ("same", "cat", "duplicate_id", -1), ("whole", "dog", "scored", 1),
    ], key=str)  # fmt: skip
    assert examples.status_counts() == {
        "scored": 2, "rare_class": 0, "unlabeled": 1, "unreadable": 2, "duplicate_id": 6,
    }  # fmt: skip
    assert [problem for problem in examples.problem if problem] == ["empty text"] * 2
    assert examples.all_class_counts() == {"cat": 4, "dog": 4}


def test_ids_are_made_from_the_content_and_copies_are_numbered():
    rows = [("", "x", "dog"), ("", "y", "cat"), ("", "x", "cat"), ("", "x", None)]
    examples = _examples(rows, has_ids=False)
    x, y = digest_bytes(b"x")[:16], digest_bytes(b"y")[:16]
    expected = {(x, "cat"), (f"{x}-2", "dog"), (f"{x}-3", None), (y, "cat")}
    assert set(zip(examples.example_id, examples.given_label, strict=True)) == expected
    assert examples.example_id.tolist() == sorted(examples.example_id)
    assert examples.status_counts()["scored"] == 3


def test_many_copies_stay_in_the_order_of_their_ids():
    examples = _examples([("", "x", "dog")] * 12, has_ids=False)
    assert examples.example_id.tolist() == sorted(examples.example_id)
    assert len(set(examples.example_id)) == 12


def test_a_group_column_gives_groups_and_blanks_stand_alone():
    examples = _examples([("a", "x", "cat", "g"), ("b", "y", "dog", None)])
    assert examples.group.tolist() == ["g", digest_bytes(b"y")]


ROWS = st.lists(
    st.tuples(
        st.text("ab\n\0é", max_size=2).map(lambda text: "i" + text),
        st.sampled_from(["x", "y", ""]),
        st.sampled_from(["cat", "dog", None]),
        st.sampled_from(["g", "h", None]),
    ),
    min_size=1,
    max_size=12,
).filter(lambda rows: any(row[2] for row in rows))


@given(rows=ROWS, order=st.randoms(use_true_random=False), has_ids=st.booleans(), batch_size=st.integers(1, 12))
def test_neither_the_order_of_rows_nor_batches_change_anything(rows, order, has_ids, batch_size):
    expected = _examples(rows, has_ids=has_ids)
    shuffled = rows.copy()
    order.shuffle(shuffled)
    examples = _examples(shuffled, has_ids=has_ids, batch_size=batch_size)
    assert examples.fingerprint == expected.fingerprint
    assert _shown(examples) == _shown(expected)
    assert sorted(examples.position) == list(range(len(rows)))
    read_again = np.array([digest_bytes(row[1].encode()) for row in shuffled], dtype=object)
    assert examples.content_digest.tolist() == read_again[examples.position].tolist()
    scored = examples.example_id[examples.status == "scored"].tolist()
    assert len(set(scored)) == len(scored)


@given(first=ROWS, second=ROWS)
def test_other_rows_have_another_fingerprint(first, second):
    def content(rows):
        return sorted([(row[0], row[1], row[2] or "", row[3] or digest_bytes(row[1].encode())) for row in rows])

    same = content(first) == content(second)
    assert (_examples(first).fingerprint == _examples(second).fingerprint) == same


def test_the_fingerprint_does_not_run_values_together():
    assert _examples([("ab", "x", "c")]).fingerprint != _examples([("a", "x", "bc")]).fingerprint
    assert _examples([("a", "x", "c")]).fingerprint != _examples([("a", "x", "c")], kind="table").fingerprint


def test_one_content_has_one_fingerprint_in_every_format(make_dataset):
    ids, sizes, labels = ["007", "8", "x"], [1.5, 2.0, 3.0], ["a", "b", "a"]
    table = pa.table({"id": ids, "size": sizes, "kind": ["u", "v", None], "label": labels})
    csv = "label,kind,size,id\na,u,1.5,007\nb,v,2,8\na,,3,x\n"
    jsonl = (
        '{"id": "x", "size": 3, "label": "a"}\n{"id": "007", "size": 1.5, "kind": "u", "label": "a"}\n'
        '{"id": "8", "size": 2, "kind": "v", "label": "b"}\n'
    )
    contents = [
        {"a.parquet": table},
        {"1.parquet": table.slice(2), "x/2.parquet": table.slice(0, 2)},
        {"a.csv": csv},
        {"a.jsonl": jsonl},
    ]
    fingerprints = set()
    for files in contents:
        source = make_dataset(files)
        columns = resolve_columns(source, id="id", input=["size", "kind"])
        fingerprints.add(Examples.from_batches(read_batches(source, columns), columns).fingerprint)
    assert len(fingerprints) == 1


def test_an_image_folder_is_read_by_its_paths(make_dataset, png):
    source = make_dataset({"10/1.png": png(1), "9/1.png": png(2), "9/2.png": b"x", "0.png": png(3)})
    columns = resolve_columns(source)
    examples = Examples.from_batches(read_batches(source, columns), columns)
    assert _shown(examples) == [
        ("0.png", None, "unlabeled", -1), ("10/1.png", "10", "scored", 1),
        ("9/1.png", "9", "scored", 0), ("9/2.png", "9", "unreadable", -1),
    ]  # fmt: skip
    assert examples.file.tolist() == examples.example_id.tolist()
    assert examples.row.tolist() == [0] * 4


def test_the_table_of_examples_survives_parquet():
    examples = _examples([("b", "x", "dog"), ("a", "", "cat"), ("c", "z", None)])
    buffer = io.BytesIO()
    pq.write_table(examples.to_table(), buffer)
    rebuilt = Examples.from_table(pq.read_table(buffer))
    for name, value in vars(examples).items():
        if isinstance(value, np.ndarray):
            assert getattr(rebuilt, name).dtype == value.dtype, name
            assert getattr(rebuilt, name).tolist() == value.tolist(), name
        elif isinstance(value, Strings):
            assert getattr(rebuilt, name).arrow.equals(value.arrow), name
        else:
            assert getattr(rebuilt, name) == value


def _in_slices(rows, batches):
    """Examples from (id, text, label), with the value of each row in the column "batch"."""
    heads = [
        BatchHead(
            file="a.parquet",
            first_row=start,
            ids=Strings([row[0] for row in rows[start : start + 2]]),
            labels=pa.array([row[2] for row in rows[start : start + 2]], pa.string()),
            groups=None,
            digests=Strings([digest_bytes(row[1].encode()) for row in rows[start : start + 2]]),
            readable=np.ones(len(rows[start : start + 2]), bool),
            slices=(encoded_values(pa.array(batches[start : start + 2], pa.string())),),
        )
        for start in range(0, len(rows), 2)
    ]
    return Examples.from_batches([head.head() for head in heads], _columns(slices=("batch",)))


def test_slices_follow_their_rows():
    rows = [("c", "x", "dog"), ("a", "y", "cat"), ("b", "z", "dog")]
    examples = _in_slices(rows, ["new", None, "old"])
    assert examples.slices["batch"].arrow.to_pylist() == ["missing", "old", "new"]
    assert examples.fingerprint == _examples(rows).fingerprint
    for table in (examples.to_table(), pa.concat_tables(examples.tables(2))):
        rebuilt = Examples.from_table(table)
        assert rebuilt.slices["batch"].arrow.to_pylist() == ["missing", "old", "new"]
        assert rebuilt.example_id.tolist() == ["a", "b", "c"]
    chosen = Examples.from_columns(examples.to_table().select(["example_id", "slice_batch"]))
    assert chosen.slices["batch"].names == ("missing", "new", "old")


def test_too_many_slices_are_refused():
    rows = [(f"{row:03d}", "x", "dog") for row in range(60)]
    with pytest.raises(DatasetError, match=r"Column 'batch' \(dataset\.slices\) has 60 different values in 60 rows"):
        _in_slices(rows, [str(row) for row in range(60)])


def test_another_table_is_refused():
    with pytest.raises(DatasetError, match=r"cannot have the columns a\. Prepare the dataset again"):
        Examples.from_table(pa.table({"a": [1]}))


def test_no_rows_are_refused():
    with pytest.raises(DatasetError, match="The dataset has no rows"):
        Examples.from_batches([], _columns())


def test_a_label_column_without_labels_is_refused():
    with pytest.raises(DatasetError, match="Column 'label' has no label in any of 2 rows"):
        _examples([("a", "x", None), ("b", "x", " ")])


def test_a_missing_id_is_refused_with_its_place():
    rows = [("a", "x", "cat"), (None, "x", "cat"), (None, "x", "cat")]
    with pytest.raises(
        DatasetError,
        match=r"2 of 3 rows have no id in column 'id': a.parquet row 1, a.parquet row 2\.",
    ):
        _examples(rows, batch_size=2)


def _many(**counts):
    return [(f"{name}{index}", f"{name} {index}", name) for name, count in counts.items() for index in range(count)]


def test_rare_classes_are_set_aside_and_still_counted():
    examples = set_aside_rare_classes(_examples(_many(ant=5, bee=4, cow=6)), folds=5, policy="set_aside")
    assert examples.class_names == ("ant", "cow")
    assert examples.status_counts()["rare_class"] == 4
    assert set(examples.label[examples.given_label == "bee"]) == {-1}
    assert set(examples.label[examples.given_label == "cow"]) == {1}
    assert examples.all_class_counts() == {"ant": 5, "bee": 4, "cow": 6}


def test_copies_of_one_input_do_not_make_a_class_frequent():
    rows = _many(ant=5, cow=5) + [(f"copy{index}", "one text", "bee") for index in range(20)]
    assert set_aside_rare_classes(_examples(rows), folds=5, policy="set_aside").class_names == ("ant", "cow")


def test_rows_that_are_not_scored_do_not_count_for_a_class():
    rows = [*_many(ant=5, cow=5, bee=4), ("bee9", "", "bee")]
    examples = set_aside_rare_classes(_examples(rows), folds=5, policy="set_aside")
    assert examples.class_names == ("ant", "cow")
    assert examples.status[examples.example_id.find(["bee9"])].tolist() == ["unreadable"]


def test_rare_classes_may_be_an_error():
    examples = _examples(_many(ant=5, bee=4, cow=6))
    with pytest.raises(DatasetError, match=r"1 classes have fewer than 5 independent examples: bee\."):
        set_aside_rare_classes(examples, folds=5, policy="error")
    assert set_aside_rare_classes(examples, folds=4, policy="error").class_names == ("ant", "bee", "cow")


def test_fewer_than_two_classes_are_refused():
    with pytest.raises(
        DatasetError, match=r"Only 1 of 2 classes can be trained \(13 rows, 13 of them usable\).* lower"
    ):
        set_aside_rare_classes(_examples(_many(ant=9, bee=4)), folds=5, policy="set_aside")


def test_a_column_of_ids_as_label_is_suspected():
    rows = [(f"i{index}", f"text {index}", f"name {index}") for index in range(50)]
    with pytest.raises(DatasetError, match=r"Only 0 of 50 classes can be trained .* probably ids or quantities"):
        set_aside_rare_classes(_examples(rows), folds=5, policy="set_aside")
