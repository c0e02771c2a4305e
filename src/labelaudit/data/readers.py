"""Datasets as a stream of batches: ids, labels, groups, digests and inputs, in reading order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.data.columns import Columns
from labelaudit.data.csv_dialect import PLAIN_NUMBERS
from labelaudit.data.digests import digest_bytes, digest_rows
from labelaudit.data.file_layout import IMAGE_FOLDER, Layout, printable_path
from labelaudit.data.image_files import ImageFiles, NamedImageFiles
from labelaudit.data.images import decode_images
from labelaudit.data.slice_values import encoded_values
from labelaudit.data.source import Source
from labelaudit.data.split_names import split_name
from labelaudit.data.tables import MAX_ROWS, read_tables, read_wanted_tables
from labelaudit.data.values import family, float_limit, to_categories, to_numbers, to_strings, without_encoding
from labelaudit.data.vectors import VectorReader
from labelaudit.data.wanted_rows import WantedRows, paths_of
from labelaudit.errors import DatasetError
from labelaudit.strings import Strings

MAX_IMAGE_ROWS = 1_024
MAX_PIXEL_BYTES = 32 << 20  # of decoded images in one batch
MAX_VECTOR_BYTES = 32 << 20  # of vectors in one batch


@dataclass(frozen=True)
class BatchHead:
    """n consecutive rows of one file, without their inputs.

    In an image folder each row is a file: `file` is "" and the ids are the paths.
    """

    file: str
    first_row: int
    ids: Strings | None  # None: no id column
    labels: pa.Array  # as stored; null if they are the majority of the annotations
    groups: Strings | None  # None: no group column
    digests: Strings  # blake2b-128 of the input, in hex
    readable: np.ndarray  # (n,) bool
    problems: dict[int, str] = field(default_factory=dict)  # why a row is unreadable, by its offset
    splits: list[str | None] | None = None  # None: the dataset has no splits
    slices: tuple[pa.DictionaryArray, ...] = ()  # of strings, in the order of `Columns.slices`

    def head(self) -> BatchHead:
        """Return the batch without its inputs, to free their memory."""
        return BatchHead(
            self.file,
            self.first_row,
            self.ids,
            self.labels,
            self.groups,
            self.digests,
            self.readable,
            self.problems,
            self.splits,
            self.slices,
        )


@dataclass(frozen=True)
class Batch(BatchHead):
    """A batch with its inputs.

    Attributes:
        inputs: for images (n, height, width, channels) uint8, zeros if unreadable; for text the input columns,
            large_string without nulls; for vectors (n, d) float32, zeros if unreadable; for tables the input columns,
            float64 for numbers and large_string for categories, null if missing.
        sizes: for images (n, 2) int32, original width and height, zeros if unreadable; None for other kinds.
    """

    inputs: np.ndarray | pa.Table = field(kw_only=True)
    sizes: np.ndarray | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class _Inputs:
    values: np.ndarray | pa.Table
    digests: list[str]
    problems: dict[int, str]
    sizes: np.ndarray | None = None


def read_batches(source: Source, columns: Columns, threads: int = 1) -> Iterator[Batch]:
    """Yield a dataset in the order of its files and rows, in bounded memory.

    Args:
        source: the files of the version.
        columns: how they are read.
        threads: images that are decoded side by side.

    Raises:
        DatasetError: a file cannot be read, or the files no longer match `columns`.
    """
    layout = columns.find_layout(source)
    images = ImageFiles(source, layout.images)
    if layout.format == IMAGE_FOLDER:
        yield from _read_image_folder(images, layout, columns, threads)
        return
    named = [columns.label, columns.id, columns.group, columns.split, *columns.slices, *columns.inputs]
    wanted = list(dict.fromkeys(name for name in named if name is not None))
    pieces = read_tables(source, layout, wanted, label=columns.label, max_rows=_max_rows(columns))
    vectors = VectorReader(columns.inputs[0], columns.vector_length)
    for file, split, first_row, table in pieces:
        if columns.kind == "image":
            encoded, references = _encoded_images(images, file, table.column(columns.inputs[0]))
            inputs = _decode(columns, encoded, references, threads)
        elif columns.kind == "text":
            inputs = _text_inputs(table.select(list(columns.inputs)))
        elif columns.kind == "vector":
            inputs = _Inputs(*vectors.read(table.column(columns.inputs[0]), printable_path(file)))
        else:
            inputs = _table_inputs(columns, table)
        yield Batch(
            printable_path(file),
            first_row,
            None if columns.id is None else names_of(table, columns.id, file),
            _labels(table, columns.label),
            None if columns.group is None else names_of(table, columns.group, file),
            Strings(inputs.digests),
            _readable(table.num_rows, inputs.problems),
            inputs.problems,
            _splits(columns, split, table, file),
            tuple(encoded_values(table.column(name)) for name in columns.slices),
            inputs=inputs.values,
            sizes=inputs.sizes,
        )
    vectors.check()


def _labels(table: pa.Table, name: str | None) -> pa.Array:
    return pa.nulls(table.num_rows) if name is None else without_encoding(table.column(name))


def _splits(columns: Columns, of_file: str | None, table: pa.Table, file: str) -> list[str | None] | None:
    """Return the split of each row; None if the dataset has no splits."""
    if columns.split is not None:
        names = names_of(table, columns.split, file).tolist()
        return [None if name is None else split_name(name) or name for name in names]
    return None if of_file is None else [of_file] * table.num_rows


def _read_image_folder(images: ImageFiles, layout: Layout, columns: Columns, threads: int) -> Iterator[Batch]:
    step = _max_rows(columns)
    for start in range(0, len(layout.images), step):
        paths: list[str | None] = [file.path for file in layout.images[start : start + step]]
        names: list[str | None] = [printable_path(file.path) for file in layout.images[start : start + step]]
        folders = [name.split("/")[0] if name and "/" in name else None for name in names]
        inputs = _decode(columns, images.read(paths), paths, threads)
        readable = _readable(len(paths), inputs.problems)
        yield Batch(
            "", start, Strings(names), pa.array(folders, pa.string()), None, Strings(inputs.digests), readable,
            inputs.problems, inputs=inputs.values, sizes=inputs.sizes,
        )  # fmt: skip


def _max_rows(columns: Columns) -> int:
    if columns.kind == "vector":
        return max(1, min(MAX_ROWS, MAX_VECTOR_BYTES // (4 * columns.vector_length)))
    if columns.kind != "image":
        return MAX_ROWS
    height, width = columns.image_size
    return max(1, min(MAX_IMAGE_ROWS, MAX_PIXEL_BYTES // (height * width * columns.image_channels)))


def _readable(rows: int, problems: dict[int, str]) -> np.ndarray:
    readable = np.ones(rows, dtype=bool)
    readable[list(problems)] = False
    return readable


def names_of(table: pa.Table, name: str, file: str) -> Strings:
    """Return ids or groups as strings; None if null or blank.

    Raises:
        DatasetError: floats are too large for exact whole numbers, so different ids may have become equal.
    """
    column = table.column(name)
    if pa.types.is_floating(column.type):
        limit = float_limit(column.type)
        large = column.filter(pc.greater_equal(pc.abs(column), limit))
        if len(large):
            raise DatasetError(
                f"Column {name!r} in {file} contains {large[0].as_py():.0f} as a {column.type}. Its whole numbers are "
                f"exact only below {limit}, so different ids may have become equal. Write it as integers or strings."
            )
    strings = to_strings(column)
    is_blank = pc.equal(pc.utf8_trim_whitespace(strings), "")
    return Strings(pc.if_else(is_blank, pa.scalar(None, strings.type), strings))


def _encoded_images(
    images: ImageFiles | NamedImageFiles, file: str, column: pa.ChunkedArray
) -> tuple[Iterable[tuple[bytes | None, str]], list[str | None]]:
    """Return bytes, or why there are none, of each image of a column; and the paths of those that are not in it."""
    values = column.to_pylist()
    if family(column.type) == "string":
        values = [{"bytes": None, "path": value} for value in values]
    elif not pa.types.is_struct(column.type):
        values = [{"bytes": value, "path": None} for value in values]
    references = [_reference(value) for value in values]
    if not any(references):
        return ((value and value["bytes"], "") for value in values), references
    pairs = zip(values, references, images.load(file, references), strict=True)
    return (data if reference else (value and value["bytes"], "") for value, reference, data in pairs), references


def _reference(value: dict[str, bytes | str | None] | None) -> str | None:
    """Return the path of an image whose bytes are not in the table, else None."""
    path = None if value is None or value["bytes"] is not None else value.get("path")
    return path if isinstance(path, str) and path.strip() else None


def _decode(
    columns: Columns, encoded: Iterable[tuple[bytes | None, str]], references: list[str | None], threads: int
) -> _Inputs:
    """Return pixels, digests and problems in one pass: only as many encoded files are in memory as threads decode."""
    digests: list[str] = []
    unread: dict[int, str] = {}

    def contents() -> Iterator[bytes | None]:
        for index, ((content, reason), reference) in enumerate(zip(encoded, references, strict=True)):
            digests.append(digest_bytes(_digested(content, reference)))
            if reason:
                unread[index] = reason
            yield content

    size, channels = columns.image_size, columns.image_channels
    sizes = np.zeros((len(references), 2), np.int32)
    pixels, problems = decode_images(
        contents(), len(references), size, channels, columns.image_ranges, sizes, threads=threads
    )
    # The reason why a file was not read is more useful than "no bytes".
    return _Inputs(pixels, digests, {index: unread.get(index, problem) for index, problem in problems.items()}, sizes)


def _digested(content: bytes | None, reference: str | None) -> bytes:
    """Return what an image's digest is made from: its bytes, or its path if it has none."""
    return content if content is not None else b"\0missing\0" + (reference or "").encode("utf-8", "surrogateescape")


def _text_inputs(table: pa.Table) -> _Inputs:
    texts = pa.table({name: pc.fill_null(to_strings(table.column(name)), "") for name in table.column_names})
    columns = [column.to_pylist() for column in texts.columns]
    problems = {
        index: "empty text" for index, row in enumerate(zip(*columns, strict=True)) if not any(map(str.strip, row))
    }
    if len(columns) > 1:
        return _Inputs(texts, digest_rows(texts), problems)
    return _Inputs(texts, [digest_bytes(text.encode()) for text in columns[0]], problems)


def _table_inputs(columns: Columns, table: pa.Table) -> _Inputs:
    numbers = columns.csv.numbers if columns.csv else PLAIN_NUMBERS
    types = zip(columns.inputs, columns.input_types, strict=True)
    try:
        arrays = {
            name: to_numbers(table.column(name), numbers) if type == "number" else to_categories(table.column(name))
            for name, type in types
        }
    except pa.ArrowInvalid as error:
        raise DatasetError(
            f"A column of numbers now contains other values ({error}). Publish changed data as a new version."
        ) from error
    inputs = pa.table(arrays)
    present = np.zeros(table.num_rows, dtype=bool)
    for name in columns.inputs:
        present |= inputs.column(name).is_valid().to_numpy()
    problems = {int(index): "all inputs are missing" for index in np.flatnonzero(~present)}
    return _Inputs(inputs, digest_rows(inputs), problems)


class EncodedImage(NamedTuple):
    """An image as it is stored."""

    file: str  # as `Examples` name it
    row: int
    content: bytes | None  # None: it is missing
    reason: str  # why; else empty
    path: str | None  # of the image, if its bytes are not in a table

    def digest(self) -> str:
        """Return the content digest, as `read_batches` does."""
        return digest_bytes(_digested(self.content, self.path))


class WantedText(NamedTuple):
    """A row of texts."""

    file: str
    row: int
    digest: str
    texts: tuple[str, ...]  # of the input columns, in their order


def read_wanted_images(source: Source, columns: Columns, wanted: WantedRows) -> Iterator[EncodedImage]:
    """Yield only the wanted rows of a dataset of images, in the order of files and rows, without decoding them.

    Raises:
        StorageError: a file is missing.
    """
    images = NamedImageFiles(source, lambda: ImageFiles(source, columns.find_layout(source).images))
    paths = paths_of(source, wanted)
    if columns.format == IMAGE_FOLDER:
        for name, (content, reason) in zip(paths, images.read(paths), strict=True):
            yield EncodedImage(printable_path(name), 0, content, reason, name)
        return
    layout = columns.layout_of(paths)
    # Not more rows, because all bytes of one table are in memory.
    tables = read_wanted_tables(source, layout, columns.inputs, wanted, max_rows=_max_rows(columns))
    for file, numbers, table in tables:
        encoded, references = _encoded_images(images, file, table.column(0))
        for row, (content, reason), path in zip(numbers.tolist(), encoded, references, strict=True):
            yield EncodedImage(printable_path(file), row, content, reason, path)


def read_wanted_texts(source: Source, columns: Columns, wanted: WantedRows) -> Iterator[WantedText]:
    """Yield only the wanted rows of a dataset of texts, in the order of files and rows.

    Raises:
        StorageError: a file is missing.
    """
    layout = columns.layout_of(paths_of(source, wanted))
    for file, numbers, table in read_wanted_tables(source, layout, columns.inputs, wanted):
        inputs = _text_inputs(table)
        assert isinstance(inputs.values, pa.Table)
        rows = zip(*(column.to_pylist() for column in inputs.values.columns), strict=True)
        for row, digest, texts in zip(numbers.tolist(), inputs.digests, rows, strict=True):
            yield WantedText(printable_path(file), row, digest, texts)
