"""Rows of a dataset as inputs of an encoder: read and decoded in threads while the encoder works."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TypeVar

import numpy as np

from labelaudit.audits.fold_files import in_background
from labelaudit.data.columns import Columns
from labelaudit.data.images import decode_image, quiet
from labelaudit.data.readers import EncodedImage, WantedText, read_wanted_images, read_wanted_texts
from labelaudit.data.source import Source
from labelaudit.data.wanted_rows import WantedRows
from labelaudit.errors import DatasetError
from labelaudit.pipeline.encoding_list import RowsToEncode
from labelaudit.read_ahead import mapped_ahead

_T = TypeVar("_T")

# Images that wait for a batch or are being decoded, for each thread. They are encoded files of some 100 KiB.
_AHEAD_PER_THREAD = 4
# Texts that are sorted by length at once, so that a batch has little padding.
_SORTED_TEXTS = 1_024
_SORTED_CHARACTERS = 2**23

# The positions of rows in their list, and images (b, S, S, 3) uint8 or b texts.
InputBatch = tuple[np.ndarray, np.ndarray | list[str]]


class WantedInputs:
    """The inputs of some rows for an encoder.

    Args:
        source: the files of the version.
        columns: how they are read.
        rows: which rows.
        input_size: side of the images that the encoder gets, in pixels; 0 for texts.
    """

    def __init__(self, source: Source, columns: Columns, rows: RowsToEncode, input_size: int) -> None:
        self._source = source
        self._columns = columns
        self._rows = rows
        self._size = input_size
        self._pending = {digest: position for position, digest in enumerate(rows.digests)}

    def batches(self, batch_size: int, threads: int) -> Generator[InputBatch, None, None]:
        """Yield all rows in batches. The next batch is read and decoded while the caller works.

        Raises:
            DatasetError: a row has changed since the list was made, or an image cannot be decoded.
        """
        make = self._image_batches if self._columns.kind == "image" else self._text_batches
        with quiet():
            yield from in_background(make(batch_size, threads))
        if self._pending:
            place = self._place(min(self._pending.values()))
            raise DatasetError(
                f"{self._source.url} has changed since this audit began: {place} no longer has the same content. "
                "Run the audit again to audit the present content."
            )

    def _image_batches(self, batch_size: int, threads: int) -> Iterator[InputBatch]:
        columns = replace(self._columns, image_size=(self._size, self._size), image_channels=3)

        def decode(image: EncodedImage) -> tuple[str, np.ndarray | str]:
            decoded = decode_image(image.content, columns.image_size, 3, columns.image_ranges)
            return image.digest(), (image.reason or decoded) if isinstance(decoded, str) else decoded

        images = read_wanted_images(self._source, columns, self._wanted())
        decoded = mapped_ahead(decode, images, threads, _AHEAD_PER_THREAD * threads)
        taken = ((position, pixels) for digest, pixels in decoded if (position := self._take(digest)) is not None)
        for batch in _batched(taken, batch_size):
            pixels = np.empty((len(batch), self._size, self._size, 3), np.uint8)
            for number, (position, value) in enumerate(batch):
                if isinstance(value, str):
                    raise DatasetError(
                        f"The image in {self._place(position)} of {self._source.url} cannot be decoded for the "
                        f"encoder: {value}. Repair the image, or set model.encoder to none."
                    )
                pixels[number] = value
            yield np.array([position for position, _ in batch]), pixels

    def _text_batches(self, batch_size: int, threads: int) -> Iterator[InputBatch]:
        for portion in _portions(read_wanted_texts(self._source, self._columns, self._wanted())):
            texts = [joined_text(self._columns.inputs, text.texts) for text in portion]
            positions = [self._take(text.digest) for text in portion]
            present = [number for number, position in enumerate(positions) if position is not None]
            present.sort(key=lambda number: len(texts[number]))
            for batch in _batched(present, batch_size):
                yield np.array([positions[number] for number in batch]), [texts[number] for number in batch]

    def _wanted(self) -> WantedRows:
        return self._rows.by_file()

    def _take(self, digest: str) -> int | None:
        """Return the position of a content the first time that it is read; None for contents that are not wanted."""
        return self._pending.pop(digest, None)

    def _place(self, position: int) -> str:
        file, row = self._rows.file[position], int(self._rows.row[position])
        return str(file) if self._columns.format == "image_folder" else f"{file} row {row}"


def joined_text(names: Iterable[str], texts: Iterable[str]) -> str:
    """Return the texts of a row as one, a line each, those of later names in the alphabet first.

    The order does not depend on a config, because the content digest does not either. In this order, a title comes
    before a body or a text, and a question before its answer: encoders cut long texts at their end.
    """
    ordered = sorted(zip(names, texts, strict=True), reverse=True)
    return "\n".join(text for _, text in ordered if text.strip())


def _batched(values: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(values)
    while batch := list(islice(iterator, size)):
        yield batch


def _portions(texts: Iterable[WantedText]) -> Iterator[list[WantedText]]:
    portion: list[WantedText] = []
    characters = 0
    for text in texts:
        portion.append(text)
        characters += sum(map(len, text.texts))
        if len(portion) == _SORTED_TEXTS or characters > _SORTED_CHARACTERS:
            yield portion
            portion, characters = [], 0
    if portion:
        yield portion
