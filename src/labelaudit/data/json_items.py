"""The objects in a JSON file, one after the other: one on each line (JSON Lines), or in one array."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Collection, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import BinaryIO, NamedTuple, TypeVar

from labelaudit.codec import Json, JsonObject
from labelaudit.errors import DatasetError

_T = TypeVar("_T")

READ_BYTES = 4 << 20
MAX_ITEM_BYTES = 64 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BETWEEN_ITEMS = re.compile(r"[\s,]*")


class Item(NamedTuple):
    """An object, its place such as "line 3", and about how many bytes it has."""

    place: str
    record: JsonObject
    size: int


def read_items(
    handle: BinaryIO, path: str, *, checks_keys: bool = False, wanted: Collection[int] | None = None
) -> Iterator[Item]:
    """Yield all objects of a file in order, or the wanted ones, in bounded memory.

    Args:
        handle: the opened file.
        path: its name, for messages.
        checks_keys: whether to check that no object has the same key twice, which takes longer.
        wanted: numbers of objects, counted from 0. Lines of others are not parsed, and nothing after the last one is
            read.

    Raises:
        DatasetError: the file is not JSON Lines and not an array of objects, or an object is too large.
    """
    blocks = iter(partial(handle.read, READ_BYTES), b"")
    head = next(blocks, b"").removeprefix(BYTE_ORDER_MARK)
    while not head.strip() and (more := next(blocks, b"")):
        head += more
    blocks = chain([head], blocks)
    if head.lstrip()[:1] == b"[" and not _is_one_line_of_many(head):
        return _only_wanted(enumerate(_array_items(blocks, path)), wanted)
    lines = _only_wanted(enumerate(_filled_lines(blocks, path)), wanted)
    return _line_items(lines, path, checks_keys=checks_keys)


def short(value: object) -> str:
    """Return a value for a message, cut off after 80 characters."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    text = repr(value) if isinstance(value, str | list | dict) and not isinstance(value, bytes) else text
    return text if len(text) <= 80 else text[:77] + "..."


def _is_one_line_of_many(head: bytes) -> bool:
    """Return whether the first line is a complete array and others follow, so each line is an array."""
    first, _, rest = head.partition(b"\n")
    return first.rstrip().endswith(b"]") and rest.lstrip()[:1] == b"["


def _only_wanted(numbered: Iterable[tuple[int, _T]], wanted: Collection[int] | None) -> Iterator[_T]:
    if wanted is None:
        yield from (value for _, value in numbered)
        return
    last = max(wanted, default=-1)
    for number, value in numbered:
        if number > last:
            return
        if number in wanted:
            yield value


def _filled_lines(blocks: Iterable[bytes], path: str) -> Iterator[tuple[int, bytes, bool]]:
    """Yield the number from 1 of each line that is not blank, the line, and whether a line end follows it."""
    for number, (line, is_ended) in enumerate(_lines(blocks, path), start=1):
        if line.strip():
            yield number, line, is_ended


def _line_items(lines: Iterable[tuple[int, bytes, bool]], path: str, *, checks_keys: bool) -> Iterator[Item]:
    for number, line, is_ended in lines:
        place = f"line {number}"
        try:
            record: Json = json.loads(line)
        except (ValueError, RecursionError) as error:
            is_cut = not is_ended and isinstance(error, json.JSONDecodeError)
            cause = " It is the last line and does not end, so the file may be cut off." if is_cut else ""
            raise DatasetError(
                f"{path}, {place} is not valid JSON ({short(str(error))}): {short(line)}.{cause} "
                "Write one JSON object per line."
            ) from error
        if not isinstance(record, dict):
            raise DatasetError(
                f"{path}, {place} is {short(line)}, not a JSON object. "
                "Write one object per line (`jq -c '.[]'` converts a JSON array)."
            )
        # Counting colons is quicker than looking at each key. Nested objects and colons in texts are checked in vain.
        if checks_keys and line.count(b'":') + line.count(b'" :') != len(record):
            json.loads(line, object_pairs_hook=partial(_unique_keys, path=path, place=place))
        yield Item(place, record, len(line))


def _lines(blocks: Iterable[bytes], path: str) -> Iterator[tuple[bytes, bool]]:
    """Yield each line, and whether a line end follows it."""
    rest = b""
    number = 0
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        number += len(lines)
        for line in lines:
            yield line, True
        if len(rest) > MAX_ITEM_BYTES:
            raise DatasetError(
                f"{path}, line {number + 1} is longer than {MAX_ITEM_BYTES >> 20} MiB. Write one JSON object per line."
            )
    yield rest, False


def _array_items(blocks: Iterable[bytes], path: str) -> Iterator[Item]:
    texts = _texts(blocks, path)
    buffer = next(texts, "").lstrip()
    position, number = 1, 0  # after the bracket
    place = ""
    decoder = json.JSONDecoder(object_pairs_hook=lambda pairs: _unique_keys(pairs, path=path, place=place))
    while True:
        separator = _BETWEEN_ITEMS.match(buffer, position)
        start = separator.end() if separator else position
        if buffer[start : start + 1] == "]":
            break
        place = f"item {number + 1}"
        try:
            record, position = decoder.raw_decode(buffer, start)
        except (ValueError, RecursionError) as error:
            # The item may continue in the next block.
            more = next(texts, None)
            if more is None or len(buffer) - start > MAX_ITEM_BYTES:
                raise DatasetError(
                    f"{path}, {place} is not valid JSON ({short(str(error))}): {short(buffer[start : start + 100])}. "
                    "The file may be damaged or cut off. Write it again."
                ) from error
            buffer, position = buffer[start:] + more, 0
            continue
        if not isinstance(record, dict):
            raise DatasetError(f"{path}, {place} is {short(record)}, not a JSON object. Write an array of objects.")
        number += 1
        yield Item(place, record, position - start)
    if buffer[start + 1 :].strip() or any(text.strip() for text in texts):
        raise DatasetError(f"{path} contains text after the end of its JSON array. Write one array, or JSON Lines.")


def _texts(blocks: Iterable[bytes], path: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for block in blocks:
            yield decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not valid JSON: it is not UTF-8 ({error}). Write it again.") from error


def _unique_keys(pairs: list[tuple[str, Json]], *, path: str, place: str) -> JsonObject:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        key = next(key for key in keys if keys.count(key) > 1)
        raise DatasetError(f"{path}, {place} has the key {key!r} twice. Remove one of the two.")
    return record
