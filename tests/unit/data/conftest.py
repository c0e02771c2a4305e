"""A source over a local folder, and datasets written into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from labelaudit.errors import StorageError


class SourceFile(NamedTuple):
    path: str
    size: int


class FolderSource:
    """The files below a local folder, or one local file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)
        self.opened: list[str] = []

    def files(self) -> list[SourceFile]:
        if self.root.is_file():
            return [SourceFile(self.root.name, self.root.stat().st_size)]
        found = [path for path in self.root.rglob("*") if path.is_file()]
        return sorted(SourceFile(path.relative_to(self.root).as_posix(), path.stat().st_size) for path in found)

    def open(self, path: str) -> BinaryIO:
        self.opened.append(path)
        try:
            return (self.root if self.root.is_file() else self.root / path).open("rb")
        except OSError as error:
            raise StorageError(str(error)) from error


@pytest.fixture(scope="session")
def open_source() -> Callable[[Path], FolderSource]:
    return FolderSource


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., FolderSource]:
    """Writes {path: bytes | str | Arrow table (as Parquet)} into a fresh folder."""
    numbers = iter(range(100))

    def make(files: Mapping[str, bytes | str | pa.Table]) -> FolderSource:
        root = tmp_path / f"dataset{next(numbers)}"
        root.mkdir()
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, pa.Table):
                pq.write_table(content, path)
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)
        return FolderSource(root)

    return make


@pytest.fixture(scope="session")
def png() -> Callable[..., bytes]:
    """An encoded image of one colour."""

    def encode(colour: object = 0, *, size: tuple[int, int] = (8, 6), mode: str = "L", format: str = "PNG") -> bytes:
        buffer = BytesIO()
        Image.new(mode, size, colour).save(buffer, format)  # type: ignore[arg-type]
        return buffer.getvalue()

    return encode


@pytest.fixture(scope="session")
def noise_image() -> Callable[[int], bytes]:
    """A different small colour image for each seed."""

    def encode(seed: int) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        buffer = BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    return encode
