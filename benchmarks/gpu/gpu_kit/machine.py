"""The machine on which the figures were measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from gpu_kit.jobs import REPOSITORY
from gpu_kit.utilisation import first_visible_gpu

_PACKAGES = (
    *("torch", "torchvision", "numpy", "scipy", "pandas", "scikit-learn"),
    *("pyarrow", "cleanlab", "pillow", "safetensors"),
)
# In another process, so that the runner has no CUDA context.
_CUDA = "import torch; print(torch.version.cuda, torch.backends.cudnn.version(), torch.cuda.is_available())"


USABLE = "CUDA device usable"


def machine_facts(commit: str | None, site: Path) -> dict[str, str | None]:
    """Return names and values in the order of the report; None if something is missing.

    Packages in the folder `site` precede those of the machine.
    """
    gpu = _gpu()
    cuda = _cuda()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit or _commit(),
        "GPU": gpu[0],
        "GPU memory": gpu[1],
        "driver": gpu[2],
        "CUDA": cuda[0],
        "cuDNN": cuda[1],
        USABLE: cuda[2],
        "CPU cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Python": platform.python_version(),
        **{name: installed_version(name, site) for name in _PACKAGES},
    }


def _gpu() -> tuple[str | None, str | None, str | None]:
    """Return name, memory and driver of the GPU."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None, None, None
    query = ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    answer = _output([tool, "-i", first_visible_gpu(), *query])
    parts = [part.strip() for part in (answer or "").split(",")]
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else (None, None, None)


def _cuda() -> tuple[str | None, str | None, str]:
    """Return versions of CUDA and cuDNN that torch was built with, and whether it can use a device."""
    answer = (_output([sys.executable, "-c", _CUDA]) or "").split()
    if len(answer) != 3:
        return None, None, "no: torch cannot be imported"
    known = [None if part == "None" else part for part in answer]
    return known[0], known[1], "yes" if answer[2] == "True" else "no"


def _commit() -> str | None:
    git = ["git", "-C", str(REPOSITORY)]
    commit = _output([*git, "rev-parse", "--short=12", "HEAD"])
    if commit is None:
        return None
    return f"{commit} with local changes" if _output([*git, "status", "--porcelain"]) else commit


def installed_version(package: str, site: Path) -> str | None:
    """Return the version that the points import; None if they cannot import it."""
    found = importlib.metadata.distributions(name=package, path=[str(site), *sys.path])
    return next((distribution.version for distribution in found), None)


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
