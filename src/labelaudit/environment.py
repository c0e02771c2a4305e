"""What an audit records about where it ran: package versions and the machine."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform

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
    """Versions of Python and of the reported packages that are installed.

    An audit of local files without a Prefect API needs neither Prefect nor s3fs.
    """
    found = {"python": platform.python_version()}
    for name in _REPORTED_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def machine() -> dict[str, str]:
    """The machine that prepared the audit, in words."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
    }


def package_version() -> str:
    return importlib.metadata.version("labelaudit")
