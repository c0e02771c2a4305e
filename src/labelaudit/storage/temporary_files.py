"""Temporary files on the local disk that exist as long as a value does."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import BinaryIO

from labelaudit.storage.cache import Cache
from labelaudit.storage.file_on_disk import pieces


class TemporaryFiles:
    """A private folder in the cache, which is removed with this value.

    If the process is killed, the cache removes it later.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="staging-", dir=Cache().root))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self._count = 0

    def new(self) -> Path:
        """Return the path of a file that does not exist yet."""
        self._count += 1
        return self.folder / str(self._count)

    def fetch(self, source: BinaryIO) -> Path:
        """Copy a file piece by piece."""
        path = self.new()
        with path.open("wb") as file:
            file.writelines(pieces(source))
        return path
