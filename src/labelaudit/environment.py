"""The package versions and the machine that an audit records."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
from functools import cache

import psutil

_REPORTED_PACKAGES = (
    "labelaudit",
    "torch",
    "torchvision",
    "scikit-learn",
    "cleanlab",
    "numpy",
    "pandas",
    "pyarrow",
    "prefect",
    "s3fs",
)


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the reported packages that are installed."""
    # Prefect and s3fs are optional: audits of local files without a Prefect API do not need them.
    found = {"python": platform.python_version()}
    for name in _REPORTED_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = _installed_version(name)
    return found


def machine() -> dict[str, str]:
    """Return a description of this machine: system, cores and memory."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
    }


def package_version() -> str:
    """Return the version of labelaudit."""
    return _installed_version("labelaudit")


@cache  # reading the metadata of all packages takes 15 ms
def _installed_version(name: str) -> str:
    return importlib.metadata.version(name)
