"""The encoding of CSV files: a byte order mark, else UTF-8, else a guess from the bytes that are not ASCII."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from functools import partial
from itertools import chain

import charset_normalizer

from labelaudit.data.compression import open_decompressed
from labelaudit.data.source import Source
from labelaudit.errors import DatasetError

CHECKED_BYTES = 4 << 20
# Lines that are not ASCII, from which an encoding is guessed.
SAMPLE_LINES = 1_000
SAMPLE_BYTES = 64 << 10
BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
# What spreadsheets and databases write. Rare encodings would only add wrong guesses.
GUESSED_ENCODINGS = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r"),
    *("gb18030", "big5", "cp949", "cp932", "euc_jp", "cp850", "mac_roman"),
)
JAPANESE = ("cp932", "euc_jp")
KANA = re.compile("[\u3041-\u30ff]")


def bom_encoding(source: Source, path: str) -> str | None:
    """Return the encoding that the byte order mark of a file names, else None."""
    with open_decompressed(source, path) as handle:
        head = handle.read(3)
    return next((name for mark, name in BYTE_ORDER_MARKS.items() if head.startswith(mark)), None)


def normalized_encoding(name: str) -> str:
    """Return the name that Python uses for a codec.

    Raises:
        DatasetError: Python does not have this codec for text.
    """
    try:
        "".encode(name)
        found = codecs.lookup(name).name
    except (LookupError, ValueError) as error:
        raise DatasetError(
            f"dataset.csv.encoding is {name!r}, which Python does not know. Use a name such as utf-8 or cp1252."
        ) from error
    return "utf-8" if found == "utf-8-sig" else found


def guess_encoding(source: Source, paths: Sequence[str]) -> str:
    """Return the probable encoding of files that are not all UTF-8.

    Raises:
        DatasetError: some of the text is UTF-8, so there are several encodings, or a file is damaged.
    """
    utf8: str | None = None
    other: str | None = None
    sample = b""
    for path in paths:
        is_utf8, lines = _unusual_lines(source, path)
        if is_utf8:
            utf8 = utf8 or (path if lines else None)
            continue
        other = other or path
        sample = (sample + b"".join(lines))[:SAMPLE_BYTES]
        if any(map(_is_utf8, lines)) and sum(map(_is_utf8, lines)) * 2 >= len(lines):
            raise DatasetError(f"{path} is UTF-8, but {_at(source, path)} is not valid. {_REMEDY}")
    if utf8 and other:
        raise DatasetError(
            f"{utf8} is UTF-8, but {other} is not: {_at(source, other)} is not valid. Write all files in UTF-8."
        )
    return _most_likely(sample)


def undecodable(source: Source, path: str, encoding: str) -> DatasetError:
    """Return the error for a file that is not in an encoding that was named or guessed."""
    return DatasetError(f"{path} is not {encoding}: {_at(source, path, encoding)} is not valid. {_REMEDY}")


_REMEDY = "Correct the file, or set dataset.csv.encoding to its encoding, such as cp1252."


def _at(source: Source, path: str, encoding: str = "utf-8") -> str:
    """Return the place of the first bytes that are not in an encoding, as text."""
    decoder = codecs.getincrementaldecoder(encoding)()
    start, line = 0, 1
    with open_decompressed(source, path) as handle:
        for block in chain(iter(partial(handle.read, CHECKED_BYTES), b""), [b""]):
            pending, _ = decoder.getstate()
            try:
                line += decoder.decode(block, final=not block).count("\n")
            except UnicodeDecodeError as error:
                line += (pending + block)[: error.start].count(b"\n")
                return f"byte {start - len(pending) + error.start} (line {line})"
            except UnicodeError:  # UTF-16 without a byte order mark
                break
            start += len(block)
    return "its beginning"


def _unusual_lines(source: Source, path: str) -> tuple[bool, list[bytes]]:
    """Return whether a file is UTF-8, and the first lines that are not ASCII."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_utf8 = True
    lines: list[bytes] = []
    rest = b""
    with open_decompressed(source, path) as handle:
        for block in chain(iter(partial(handle.read, CHECKED_BYTES), b""), [b""]):
            if len(lines) < SAMPLE_LINES:
                *whole, rest = (rest + block).split(b"\n")
                whole += [] if block else [rest]
                lines += [line + b"\n" for line in whole if not line.isascii()]
            try:
                if is_utf8:
                    decoder.decode(block, final=not block)
            except UnicodeDecodeError:
                is_utf8 = False
    return is_utf8, lines[:SAMPLE_LINES]


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _most_likely(sample: bytes) -> str:
    for name in JAPANESE:
        text = sample.decode(name, errors="replace")
        letters = [letter for letter in text if not letter.isascii()]
        # Chinese and Korean bytes that are read as Japanese contain few kana.
        if letters and len(KANA.findall(text)) > 0.3 * len(letters):
            return name
    best = charset_normalizer.from_bytes(sample, cp_isolation=list(GUESSED_ENCODINGS)).best()
    found = best.encoding if best is not None else "cp1252"
    # Central and western Europe share most letters and the marks of Word. The western encoding is the common one.
    is_western = sample.decode("cp1252", errors="replace") == sample.decode(found, errors="replace")
    return "cp1252" if is_western else found
