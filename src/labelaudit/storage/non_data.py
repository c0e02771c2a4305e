"""Names of files that tools leave next to data. They never contain examples."""

from __future__ import annotations

from fnmatch import fnmatchcase

# The claim of an upload that has not finished.
CLAIM = "_uploading.json"
_FILES = ("_SUCCESS", "_metadata", "_common_metadata", "*.crc", ".DS_Store", "Thumbs.db", "desktop.ini", "._*", CLAIM)
_FOLDERS = ("__MACOSX",)


def is_non_data(path: str) -> bool:
    """Return whether a file is known not to be data, so it need not be listed as left out."""
    *folders, name = path.split("/")
    return any(folder in _FOLDERS for folder in folders) or any(fnmatchcase(name, pattern) for pattern in _FILES)


def is_hidden(path: str) -> bool:
    """Return whether a name in the path begins with a dot."""
    return any(part.startswith(".") for part in path.split("/"))
