"""Checkpoints, from which a killed training resumes."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Self

from labelaudit.errors import ConfigError, StorageError
from labelaudit.model.packing import pack, unpack
from labelaudit.model.progress import Progress
from labelaudit.model.saving import replace_file

_FINISHED = ("remove", "leave", "keep")
_SUFFIX = ".checkpoint"


class Checkpoints:
    """Where and how often trainings save their state between epochs.

    A training is identified by a digest of its settings, initial weights, seed, labels, row weights and a sample of its
    rows. Several trainings can share one place, and a changed training starts from the beginning. A damaged checkpoint
    is ignored with a warning.

    Args:
        place: A folder, or a mapping from names to bytes, such as `fsspec.get_mapper(url)`.
        minutes: Least time between two writes. 0 writes after every epoch.
        finished: What happens when a training ends: "remove" its checkpoint, "leave" the last one that was written, or
            "keep" its final state, so that no finished training is repeated (useful if several belong together). With
            "leave" and "keep" you must empty the place yourself.

    Raises:
        ConfigError: `minutes` is negative, `finished` is unknown, or the folder is a file.
    """

    def __init__(
        self, place: str | Path | MutableMapping[str, bytes], minutes: float = 10.0, *, finished: str = "remove"
    ) -> None:
        if not minutes >= 0:
            raise ConfigError(
                f"The minutes between checkpoints are {minutes}. Use 0 (after every epoch) or a positive number."
            )
        if finished not in _FINISHED:
            raise ConfigError(f"The value {finished!r} of finished is unknown. Use one of {', '.join(_FINISHED)}.")
        if isinstance(place, str | Path) and Path(place).is_file():
            raise ConfigError(f"Checkpoints need a folder, but {place} is a file. Choose another place.")
        self._place = _Folder(Path(place)) if isinstance(place, str | Path) else place
        self._minutes = minutes
        self._finished = finished
        self._written = time.monotonic()
        # States not yet written, such as those of trainings that ended since the last write.
        self._unwritten: dict[str, bytes] = {}

    def resume(self, name: str, progress: Progress) -> None:
        """Load the state of the training `name` into `progress`, if there is a valid checkpoint."""
        data = self._unwritten.get(name) or self._place.get(name)
        if data is None:
            return
        try:
            saved = unpack(data, progress.device)
            if not isinstance(saved, dict) or saved.get("name") != name:
                raise StorageError("It belongs to another training.")
            progress.restore(saved["state"])
        except StorageError as error:
            warnings.warn(
                f"The checkpoint {name} is ignored, so its training starts from the beginning. {error}", stacklevel=2
            )

    def after_epoch(self, name: str, progress: Progress) -> None:
        """Save the state of a training if it is due. Remove, leave or keep it if the training has ended."""
        if progress.has_ended and self._finished != "keep":
            if self._finished == "remove":
                # A leftover checkpoint does no harm.
                with contextlib.suppress(KeyError, OSError, StorageError):
                    del self._place[name]
            return
        is_due = time.monotonic() - self._written >= 60 * self._minutes
        if progress.has_ended or is_due:
            self._unwritten[name] = pack({"name": name, "state": progress.state()})
        if is_due:
            self._write()

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        # Clones of an estimator share place and clock.
        return self

    def _write(self) -> None:
        try:
            for name, data in self._unwritten.items():
                self._place[name] = data
        except (OSError, StorageError) as error:
            # A failed write must not end the training.
            warnings.warn(f"A checkpoint could not be written. The training continues. {error}", stacklevel=3)
        else:
            self._unwritten.clear()
        self._written = time.monotonic()


class _Folder(MutableMapping[str, bytes]):
    """Files of a folder, replaced atomically. The folder is created with the first one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> bytes:
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError as error:
            raise KeyError(name) from error

    def __setitem__(self, name: str, data: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        replace_file(self._path(name), lambda path: path.write_bytes(data))

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
