"""The Dockerfile and the files that it copies. Building an image needs an engine, see docs/containers.md."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from support.paths import ROOT

BIN = Path(sys.executable).parent
DOCKERFILE = ROOT / "docker" / "Dockerfile"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instructions() -> list[tuple[str, str]]:
    """Return name and arguments of each instruction, with continued lines joined and without comments."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    pairs = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(name, " ".join(arguments.split())) for name, arguments in pairs]


def arguments(name: str) -> list[str]:
    return [text for found, text in instructions() if found == name]


def sources() -> list[str]:
    """Return the paths that are copied from the build context."""
    copies = [shlex.split(text) for text in arguments("COPY") if not text.startswith("--from=")]
    return [source for words in copies for source in words[:-1]]


def is_sent(path: str) -> bool:
    """Return whether .dockerignore lets a path into the build context. The last pattern that matches the path or a
    folder above it decides."""
    parts = path.strip("/").split("/")
    above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    decision = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip().removeprefix("!")
        if not pattern or pattern.startswith("#"):
            continue
        expression = re.escape(pattern).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(expression, candidate) for candidate in above):
            decision = line.startswith("!")
    return decision


def test_hadolint_has_no_complaint() -> None:
    done = subprocess.run([BIN / "hadolint", DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("source", sorted(set(sources())))
def test_every_source_is_in_the_build_context(source: str) -> None:
    path = ROOT / source
    assert path.exists()
    assert is_sent(source)
    tracked = subprocess.run(["git", "ls-files", source], cwd=ROOT, capture_output=True, text=True, check=True)
    files = tracked.stdout.split()
    assert files
    assert [file for file in files if not is_sent(file)] == []


@pytest.mark.parametrize(
    "path", [".venv/bin/python", ".git/config", "docker/.env", "deployments/.env", "tests/conftest.py", "uv.lock"]
)
def test_nothing_else_is_sent(path: str) -> None:
    assert not is_sent(path)


def test_stages_start_from_one_pinned_image() -> None:
    images = [text.split()[0] for text in arguments("FROM")]
    stages = {text.split()[-1] for text in arguments("FROM") if " AS " in text}
    outside = [image for image in images if image not in stages]
    assert outside == [images[0]]
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", images[0])


def test_the_python_of_the_image_is_supported() -> None:
    minor = re.match(r"python:(3\.\d+)", arguments("FROM")[0])
    assert minor is not None
    assert SpecifierSet(PROJECT["requires-python"]).contains(minor[1])


def test_it_runs_as_a_user_with_a_number() -> None:
    """Kubernetes checks `runAsNonRoot` by user number."""
    assert [name for name, _ in instructions()].index("USER") > 0
    assert arguments("USER") == ["10001:10001"]


def test_labels_agree_with_the_project() -> None:
    labels = dict(pair.split("=", 1) for pair in shlex.split(arguments("LABEL")[0]))
    for label, key in (("version", "version"), ("licenses", "license"), ("title", "name")):
        assert labels[f"org.opencontainers.image.{label}"] == PROJECT[key]


def test_everything_is_written_below_the_writable_folders() -> None:
    variables = dict(pair.split("=", 1) for pair in shlex.split(arguments("ENV")[-1]))
    for name in ("HOME", "PREFECT_HOME", "PREFECT_SERVER_UI_STATIC_DIRECTORY"):
        assert variables[name].startswith("/tmp"), name
    for name in ("LABELAUDIT_CACHE_DIR", "TORCH_HOME"):
        assert variables[name].startswith("/cache"), name
    assert (variables["DO_NOT_TRACK"], variables["PREFECT_SERVER_ANALYTICS_ENABLED"]) == ("1", "false")
    assert not [name for name in variables if re.search("SECRET|PASSWORD|AUTH|_KEY", name)]


def _install(lock: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "docker" / "install-requirements", lock, lock.parent / "environment"],
        env={"PATH": f"{BIN}:{os.environ['PATH']}", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_cpu_image_needs_an_index(tmp_path: Path) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text("torch==2.15.0\n")
    done = _install(lock, DEVICE="cpu")
    assert done.returncode != 0
    assert "DEVICE=cpu needs TORCH_CPU_INDEX" in done.stderr


def test_a_mistyped_device_is_refused(tmp_path: Path) -> None:
    done = _install(tmp_path / "some.lock", DEVICE="cuda")
    assert done.returncode == 2
    assert "DEVICE is 'cuda'; it must be gpu or cpu." in done.stderr


def test_a_cpu_image_leaves_out_cuda(tmp_path: Path) -> None:
    """The list of packages is written before the installation, which fails here because there is no environment."""
    lock = tmp_path / "requirements.lock"
    lock.write_text((ROOT / "docker" / "requirements.lock").read_text())
    assert _install(lock, DEVICE="cpu", TORCH_CPU_INDEX="file:///nowhere").returncode != 0
    before = re.findall(r"^[^\s=]+", lock.read_text(), re.MULTILINE)
    after = re.findall(r"^[^\s=]+", (tmp_path / "requirements.lock.cpu").read_text(), re.MULTILINE)
    left_out = set(before) - set(after)
    assert {"torch", "torchvision", "triton", "nvidia-nccl-cu13", "cuda-toolkit"} <= left_out
    assert all(re.match("torch|triton|nvidia-|cuda-", name) for name in left_out)
    assert {"prefect", "numpy", "nvidia-nccl-cu13"} & set(after) == {"prefect", "numpy"}
    assert after == [name for name in before if name not in left_out]
