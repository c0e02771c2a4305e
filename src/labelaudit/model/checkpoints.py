"""Checkpoints: what a killed training goes on from, and how it is recognised."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any, Self

from labelaudit.errors import ConfigError, StorageError
from labelaudit.model.packing import pack, unpack
from labelaudit.model.progress import Progress
from labelaudit.model.saving import replace_file

_FINISHED = ("remove", "leave", "keep")
_SUFFIX = ".checkpoint"


class Checkpoints:
    """Where trainings keep their state between epochs, and how often.

    A training is known by a digest of all that it begins with: settings, first weights, seed, labels, weights of
    rows, and a sample of the rows. So several share one place, and a changed one starts anew. What is damaged is
    ignored with a warning.

    Args:
        place: a folder, or a mapping from names to bytes, such as `fsspec.get_mapper(url)`.
        minutes: least time between two writes; 0 writes after every epoch.
        finished: what becomes of a training that has ended: "remove" its checkpoint, "leave" it as it was written
            last, or "keep" its end too, so that none is repeated where several belong together. With "leave" and
            "keep" the place is yours to empty.

    Raises `ConfigError` for negative minutes, an unknown `finished`, and where the folder is a file.
    """

    def __init__(
        self, place: str | Path | MutableMapping[str, bytes], minutes: float = 10.0, *, finished: str = "remove"
    ) -> None:
        if not minutes >= 0:
            raise ConfigError(f"minutes {minutes} between checkpoints must not be negative; 0 is after every epoch.")
        if finished not in _FINISHED:
            raise ConfigError(f"finished {finished!r} is unknown: use one of {', '.join(_FINISHED)}.")
        if isinstance(place, str | Path) and Path(place).is_file():
            raise ConfigError(f"checkpoints are kept in a folder, and {place} is a file: give another place.")
        self._place = _Folder(Path(place)) if isinstance(place, str | Path) else place
        self._minutes = minutes
        self._finished = finished
        self._written = time.monotonic()
        # What is not written yet, such as trainings that ended since the last write.
        self._waiting: dict[str, bytes] = {}

    def resume(self, name: str, progress: Progress) -> None:
        """Take up the training `name` where it was left; nothing changes where no sound checkpoint is there."""
        data = self._waiting.get(name) or self._place.get(name)
        if data is None:
            return
        try:
            kept = unpack(data, progress.device)
            if not isinstance(kept, dict) or kept.get("name") != name:
                raise StorageError("It is not that of this training.")
            progress.restore(kept["state"])
        except StorageError as error:
            warnings.warn(f"The checkpoint {name} is ignored, and its training starts anew. {error}", stacklevel=2)

    def after_epoch(self, name: str, progress: Progress) -> None:
        """Write the state of a training where it is time to, or do with one that has ended what was asked for."""
        if progress.has_ended and self._finished != "keep":
            if self._finished == "remove":
                # What cannot be removed does no harm.
                with contextlib.suppress(KeyError, OSError, StorageError):
                    del self._place[name]
            return
        is_due = time.monotonic() - self._written >= 60 * self._minutes
        if progress.has_ended or is_due:
            self._waiting[name] = pack({"name": name, "state": progress.state()})
        if is_due:
            self._write()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Clones of an estimator share place and clock.
        return self

    def _write(self) -> None:
        try:
            for name, data in self._waiting.items():
                self._place[name] = data
        except (OSError, StorageError) as error:
            # The training itself is worth more than its checkpoint.
            warnings.warn(f"A checkpoint could not be written, and the training goes on: {error}", stacklevel=3)
        else:
            self._waiting.clear()
        self._written = time.monotonic()


class _Folder(MutableMapping[str, bytes]):
    """Files of a folder, replaced as a whole; the folder is made for the first one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> bytes:
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError as error:
            raise KeyError(name) from error

    def __setitem__(self, name: str, data: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        replace_file(self._path(name), lambda beside: beside.write_bytes(data))

    def __delitem__(self, name: str) -> None:
        try:
            self._path(name).unlink()
        except FileNotFoundError as error:
            raise KeyError(name) from error

    def __iter__(self) -> Iterator[str]:
        return (path.stem for path in sorted(self._folder.glob(f"*{_SUFFIX}")))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{_SUFFIX}"
