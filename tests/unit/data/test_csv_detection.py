from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelaudit.data import csv_survey
from labelaudit.data.csv_detection import find_dialect
from labelaudit.data.csv_dialect import CsvOptions
from labelaudit.data.delimited import read_tables
from labelaudit.errors import DatasetError

MARKS = ('"', "")
TEXT = "CSV: quotation marks are text"


def _find(source, **options):
    return find_dialect(source, [file.path for file in source.files()], CsvOptions(**options))


def _rows(source, found):
    """All rows of all files as Arrow reads them."""
    rows = []
    for file in source.files():
        names = csv_survey.read_names(source, file.path, found.dialect)
        for table in read_tables(source, file.path, names, found.dialect):
            rows += [tuple(row[name] for name in names) for row in table.to_pylist()]
    return rows


@pytest.mark.parametrize(
    ("name", "text", "delimiter", "sentences"),
    [
        ("a.csv", "a,b\n1,2\n", ",", ()),
        ("a.tsv", "a\tb\n1,5\t2\n", "\t", ()),
        ("a.tsv", "a,b\n1,2\n", ",", ("CSV: the delimiter is a comma",)),
        ("a.csv", "a\tb\n1\t2\n", "\t", ("CSV: the delimiter is a tab",)),
        ("a.csv", "a|b\n1|2\n", "|", ("CSV: the delimiter is '|'",)),
        # The header has more commas than semicolons, and each row has one decimal comma.
        ("a.csv", "id;weight, kg;b\n1;2,5;3\n4;5,5;6\n", ";", ("CSV: the delimiter is a semicolon",)),
        ("a.csv", 'a;b\n"x\n,y";2\n', ";", ("CSV: the delimiter is a semicolon",)),
        ("a.csv", "sep=;\r\na;b\r\n1;2\r\n", ";", ("CSV: the delimiter is a semicolon",)),
        ("a.csv", "sep=,\na,b\n1,2\n", ",", ()),
        ("a.csv", "a\n1\n2\n", ",", ()),
    ],
)
def test_the_delimiter_splits_rows_like_the_header(make_dataset, name, text, delimiter, sentences):
    source = make_dataset({name: text})
    found = _find(source)
    assert (found.dialect.delimiter, found.sentences) == (delimiter, sentences)
    assert found.dialect.rows == {name: len(_rows(source, found))}


def test_marks_in_a_tsv_file_do_not_swallow_lines(make_dataset):
    text = "id\ttext\n" + "".join(f"{i}\t{MARKS[i % 5 > 0]}words of row {i}\n" for i in range(20))
    source = make_dataset({"a.tsv": text})
    found = _find(source)
    assert found.dialect.quote is None
    assert found.sentences[0].startswith(TEXT)
    assert _rows(source, found)[5] == ("5", '"words of row 5')
    assert found.dialect.rows == {"a.tsv": 20}


def test_lone_marks_that_enclose_whole_lines_are_text(make_dataset):
    # Read as quoted, the file is valid and has two rows less.
    text = 'id\ttext\tlabel\n1\t"\tx\n2\tb\tx\n3\t"\tx\n4\td\tx\n'
    source = make_dataset({"a.tsv": text})
    found = _find(source)
    assert found.sentences[0].startswith(TEXT)
    assert [row[1] for row in _rows(source, found)] == ['"', "b", '"', "d"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a,b\n"x, ""y""\nz",1\n', ('x, "y"\nz', "1")),
        ('a,b\n"x\n\ny",1\n', ("x\n\ny", "1")),
        ('a,b\n5" wide,1\n', ('5" wide', "1")),
        ('a,b\n"he said \\"x\\", then",1\n', ('he said "x", then', "1")),
        ("'a','b'\n'x,y','1'\n", ("x,y", "1")),
        ('a,b\r\n"x,y",1\r\n', ("x,y", "1")),
        ('"a\nb",c\n"x,y",1\n', ("x,y", "1")),
        ('a,b\n"' + "x" * 200_000 + '",1\n', ("x" * 200_000, "1")),
    ],
)
def test_quoted_values_are_read_whole(make_dataset, text, expected):
    source = make_dataset({"a.csv": text})
    found = _find(source)
    assert _rows(source, found) == [expected]


def test_the_limit_of_the_csv_module_stays_as_it_was(make_dataset):
    before = csv.field_size_limit()
    _find(make_dataset({"a.csv": 'a,b\n"x",2\n'}))
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\n1,2\n1,2,3\n", {}, r"a.csv, line 3 cannot be read as CSV: it has 3 fields, but the header has 2"),
        ("a,b\n1,2\n\n3", {}, r"a.csv, line 4 .*it has 1 fields, but the header has 2"),
        (
            "a,b\n1,2,3\n4,5,6\n",
            {},
            r"line 1 .*each row has 3 fields, but the header has 2\. .*row names may be missing",
        ),
        ('a,b\n"x,y",1\n"z,1\n', {}, r"a.csv, line 3 cannot be read as CSV: the file ends inside a quoted value"),
        ('a,b\n"x" y,1,2\n', {}, r"line 2 cannot be read as CSV: .*Correct the file, or set dataset.csv.delimiter"),
        ('a,b\n"x" y,1\n', {"quote": '"'}, "line 2 .*a quotation mark is followed by text instead of the end"),
        ('a,b\n"x,y",1\n', {"quote": "none"}, r"line 1 .*each row has 3 fields"),
        ('a,b\n"x \\"y\\", z",\\N\n', {}, r"line 2 .*it contains \\N for a missing value"),
        ("a,b\n1,2\na,b\n3,4\n", {}, "a.csv, line 3 is the same as the header line 'a,b'"),
        ("a,b\n1,\0\n", {}, r"a.csv, line 2 contains a NUL character\. .*utf-16-le"),
        ("\n\n", {}, "a.csv has no header line"),
        (
            "a,b\n1,2\n",
            {"delimiter": ";"},
            r"dataset.csv.delimiter is ';', but the header of a.csv does not contain it",
        ),
        ("a,b\n1,2\n", {"delimiter": "::"}, "dataset.csv.delimiter is '::'. Set it to one character"),
        ("a,b\n1,2\n", {"quote": "''"}, r"""dataset.csv.quote is "''". Set it to one character"""),
        ("a,b\n1,2\n", {"encoding": "utf-99"}, "dataset.csv.encoding is 'utf-99', which Python does not know"),
        ("a,b\n1,2\n", {"encoding": "hex"}, "dataset.csv.encoding is 'hex', which Python does not know"),
        ("a,b\n1,é\n", {"encoding": "ascii"}, r"a.csv is not ascii: byte 6 \(line 2\) is not valid"),
        ("a,b\n1,2\n", {"encoding": "utf-16"}, "a.csv is not utf-16: its beginning is not valid"),
    ],
)
def test_a_file_that_fits_no_dialect_is_named_with_the_line(make_dataset, text, options, message):
    with pytest.raises(DatasetError, match=message):
        _find(make_dataset({"a.csv": text}), **options)


def test_a_value_that_is_too_long_is_named(make_dataset, monkeypatch):
    monkeypatch.setattr(csv_survey, "MAX_FIELD", 1 << 20)
    with pytest.raises(DatasetError, match=r"line 3 .*a value is longer than 1 Mi characters"):
        _find(make_dataset({"a.csv": 'a,b\n"x,y",1\n"' + "z" * (2 << 20) + '",1\n'}))


@pytest.mark.parametrize("delimiter", ["\\t", "tab", "\t"])
def test_a_tab_can_be_configured_by_name(make_dataset, delimiter):
    assert _find(make_dataset({"a.csv": "a,x\tb\n1\t2\n"}), delimiter=delimiter).dialect.delimiter == "\t"


def test_the_config_decides_on_marks(make_dataset):
    source = make_dataset({"a.tsv": 'a\tb\n"x"\t1\n'})
    assert _rows(source, _find(source)) == [("x", "1")]
    found = _find(source, quote="none")
    assert _rows(source, found) == [('"x"', "1")]
    assert found.sentences == ()


def test_all_shards_have_one_dialect(make_dataset):
    quoted, text = 'a\tb\n"x"\t1\n', 'a\tb\n"x y\t1\n'
    source = make_dataset({"1.tsv": quoted, "2.tsv": text})
    # The marks of the first file enclose its values, so those of the second are mistakes.
    with pytest.raises(DatasetError, match=r"2.tsv, line 2 cannot be read as CSV: the file ends inside a quoted value"):
        _find(source)
    with pytest.raises(DatasetError, match=r"2.csv, line 2 .*it has 1 fields|2.csv, line 1"):
        _find(make_dataset({"1.csv": "a,b\n1,2\n", "2.csv": "a;b\n1,5;2\n"}))


def test_rows_that_arrow_reads_are_compared_with_the_rows_that_were_counted(make_dataset):
    source = make_dataset({"a.csv": "a,b\n1,2\n3,4\n"})
    dialect = _find(source).dialect
    (source.root / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DatasetError, match=r"a.csv has 1 rows, but 2 rows were counted before"):
        list(read_tables(source, "a.csv", ["a"], dialect))


def test_configured_missing_texts_are_null_in_all_columns(make_dataset):
    source = make_dataset({"a.csv": 'a,b\n-999,x\n1,"-999"\n'})
    assert _rows(source, _find(source, missing=("-999",))) == [(None, "x"), ("1", None)]


VALUES = st.text(alphabet=st.sampled_from('ab ,;\t|"\\\n\r1é'), max_size=8)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=6),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_python_writes_is_read_back(rows, delimiter, end):
    """All values are quoted and the dialect is given, so that nothing is left to guess."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([("first", "second", "third"), *rows])
    source = _memory(buffer.getvalue())
    found = _find(source, delimiter=delimiter, quote='"')
    assert _rows(source, found) == rows
    assert found.dialect.rows == {"a.csv": len(rows)}


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet=st.sampled_from('ab,;\t"\\\n\r'), max_size=60))
def test_arrow_reads_the_rows_that_the_survey_counts_or_an_error_is_raised(text):
    source = _memory("first,second\n" + text)
    try:
        found = _find(source)
        rows = _rows(source, found)
    except DatasetError:
        return
    assert found.dialect.rows == {"a.csv": len(rows)}


class _Memory:
    """A source of one file in memory."""

    url = "memory"

    def __init__(self, data: bytes) -> None:
        self.data = data

    def files(self):
        return [type("File", (), {"path": "a.csv", "size": len(self.data)})]

    def open(self, path):
        return io.BytesIO(self.data)


def _memory(text: str) -> _Memory:
    return _Memory(text.encode())
