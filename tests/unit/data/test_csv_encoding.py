from __future__ import annotations

import pytest

from labelaudit.data import csv_encoding
from labelaudit.data.csv_dialect import CsvOptions
from labelaudit.data.csv_encoding import guess_encoding, normalized_encoding
from labelaudit.data.file_layout import find_layout
from labelaudit.data.table_survey import survey_tables
from labelaudit.data.tables import read_tables
from labelaudit.errors import DatasetError

TEXTS = {
    "cp1252": "Die Straße ist schön und größer, le café est très agréable",
    "cp1250": "Zażółć gęślą jaźń, bardzo dobry film",
    "cp1251": "Этот фильм мне очень понравился, спасибо",
    "cp1253": "Αυτή η ταινία ήταν πολύ καλή",
    "cp932": "この映画はとても良かったです。また見たい。",
    "euc_jp": "この映画はとても良かったです。また見たい。",
    "gb18030": "这部电影非常好看。我很喜欢。",
    "big5": "這部電影非常好看。我很喜歡。",
    "cp949": "이 영화는 정말 재미있었어요.",
}


def _read(source, **options):
    survey = survey_tables(source, find_layout(source), csv=CsvOptions(**options))
    pieces = read_tables(source, survey.layout, ["b"])
    return [value for piece in pieces for value in piece.rows.column("b").to_pylist()], survey.sentences


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_byte_order_mark_names_the_encoding(make_dataset, encoding):
    mark = "\ufeff" if encoding.endswith("e") else ""
    values, sentences = _read(make_dataset({"a.csv": f"{mark}a,b\n1,é猫\n".encode(encoding)}))
    assert values == ["é猫"]
    is_utf8 = encoding == "utf-8-sig"
    assert sentences == (() if is_utf8 else ("CSV: the encoding is utf-16, by the byte order mark",))


@pytest.mark.parametrize("encoding", TEXTS)
def test_other_encodings_are_guessed_and_reported(make_dataset, encoding):
    text = "a,b\n" + "".join(f'{row},"{TEXTS[encoding]}"\n' for row in range(20))
    values, sentences = _read(make_dataset({"a.csv": text.encode(encoding)}))
    assert set(values) == {TEXTS[encoding]}
    assert sentences == (
        f"CSV: the files are not UTF-8; {encoding} is a guess. If letters are wrong, set dataset.csv.encoding",
    )


@pytest.mark.parametrize("text", ["a,b\n1,café\n", "a,b\n1,it\u2019s \u201cgood\u201d\n", "a,b\n1,größer\n"])
def test_a_few_western_letters_are_cp1252(make_dataset, text):
    values, sentences = _read(make_dataset({"a.csv": text.encode("cp1252")}))
    assert values == [text.split("1,")[1].strip()]
    assert "cp1252 is a guess" in sentences[0]


def test_the_config_names_the_encoding(make_dataset):
    source = make_dataset({"a.csv": "a,b\n1,naïve\n".encode("cp850")})
    assert _read(source, encoding="cp850") == (["naïve"], ())


def test_a_shard_of_ascii_fits_any_encoding(make_dataset):
    source = make_dataset({"1.csv": "a,b\n1,x\n", "2.csv": "a,b\n1,é\n".encode("cp1252")})
    assert _read(source)[0] == ["x", "é"]


@pytest.mark.parametrize("block", [3, 1 << 20])
@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"1.csv": "a,b\n1,é\n".encode(), "2.csv": b"a,b\n1,\xe9\n"},
            r"1.csv is UTF-8, but 2.csv is not: byte 6 \(line 2\) is not valid",
        ),
        ({"1.csv": "a,b\n1,é\n2,é\n".encode() + b"3,\xe9\n"}, r"1.csv is UTF-8, but byte 16 \(line 4\) is not valid"),
        ({"1.csv": "a,b\n1,é\n2,é\n".encode()[:-2]}, r"1.csv is UTF-8, but byte 11 \(line 3\) is not valid"),
    ],
)
def test_damaged_utf8_is_named_with_its_place(make_dataset, monkeypatch, files, message, block):
    monkeypatch.setattr(csv_encoding, "CHECKED_BYTES", block)
    source = make_dataset(files)
    with pytest.raises(DatasetError, match=message):
        guess_encoding(source, list(files))


def test_names_of_encodings():
    assert normalized_encoding("UTF8") == normalized_encoding("utf-8-sig") == "utf-8"
    assert normalized_encoding("latin1") == "iso8859-1"
    with pytest.raises(DatasetError, match=r"dataset\.csv\.encoding is 'x', which Python does not know"):
        normalized_encoding("x")
