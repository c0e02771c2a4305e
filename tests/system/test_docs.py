"""README and docs are correct: commands, config, Python and SQL run, and the lists of keys and columns are complete."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import duckdb
import pandas as pd
import pytest
import yaml
from pydantic import BaseModel

from labelaudit import schemas
from labelaudit.config import AuditConfig, parse_config
from labelaudit.model.classifier import TorchClassifier
from support.audits import fruit
from support.commands import labelaudit
from support.paths import ROOT

# Commands of the README train five folds of them with the default recipe.
ROWS = 160
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, s3_server: str) -> Iterator[Path]:
    """Return a user's folder with the files of the README, and create its buckets in S3."""
    folder = tmp_path_factory.mktemp("user")
    fruit(ROWS).to_csv(folder / "fruit.csv", index=False)
    generator_labels = fruit(ROWS)
    pred_probs = pd.get_dummies(generator_labels.true_label).to_numpy(float) * 0.8 + 0.2 / 3
    generator_labels[["id", "label"]].assign(pred_probs=list(pred_probs)).to_parquet(folder / "oof.parquet")
    (folder / "audit.yaml").write_text(blocks("yaml")[0])
    environment = {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "LABELAUDIT_CACHE_DIR": str(folder / "cache"),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        for bucket in ("datasets", "audits"):
            client.create_bucket(Bucket=bucket)
        client.upload_file(str(folder / "fruit.csv"), "datasets", "fruit/v3/fruit.csv")
        environment |= {name: os.environ[name] for name in os.environ if name not in environment}
        yield folder


def _call(command: str, folder: Path) -> str:
    """Call a command of the README in this process, and return its standard output."""
    name, *arguments = shlex.split(command)
    assert name == "labelaudit"
    # All commands share the user's cache, although a fixture gives each test its own.
    done = labelaudit(*arguments, folder=folder, LABELAUDIT_CACHE_DIR=str(folder / "cache"))
    assert done.code == 0, done.err
    return done.out


COMMANDS = [block for block in blocks("bash") if block.startswith("labelaudit")]


def test_every_block_of_the_readme_is_tried() -> None:
    assert [name for name, _ in BLOCKS] == ["bash"] * 4 + ["yaml", "bash", "python"] + ["bash"] * 3 + ["python", "sql"]
    assert len(COMMANDS) == 7
    assert blocks("bash")[0] == "make demo\nmake test\n"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.split()[:3]))
def test_commands(folder: Path, command: str) -> None:
    if "review" in command:
        # The review needs the audit of an earlier command. If that is published, it is found at once.
        _call(COMMANDS[1], folder)
    out = _call(command, folder)
    if "review" in command:
        assert out == ""
    elif "check" in command:
        assert f"{ROWS} scored" in out
    elif "publish-version" in command:
        assert out == "s3://datasets/fruit/v4\n"
    else:
        assert re.search(r"dataset=\w+/version=\w+/audit=\w+$", out.strip())


def test_sql(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _call(COMMANDS[1], folder)
    monkeypatch.chdir(folder)
    rows = duckdb.sql(blocks("sql")[0]).fetchall()
    assert [row[1] for row in rows] == [ROWS]
    assert 5 < rows[0][2] < 30


@pytest.mark.slow
def test_python(folder: Path) -> None:
    """Without a Prefect API, the flow starts Prefect's temporary server like any flow."""
    script = "import os\nos.environ['PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS'] = '120'\n"
    (folder / "audit.py").write_text(script + blocks("python")[0])
    home = folder / "prefect"
    done = subprocess.run(
        [sys.executable, "audit.py"],
        cwd=folder,
        env={**os.environ, "PREFECT_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "/audits/dataset=fruit/version=" in done.stdout


def test_the_guide_to_the_estimator(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "estimator.md").read_text()
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    names: dict[str, object] = {"__name__": "guide"}
    exec(compile(code, "docs/estimator.md", "exec"), names)
    assert float(capsys.readouterr().out.splitlines()[-1]) > 0.9


def test_the_guide_names_every_parameter_of_training() -> None:
    text = (ROOT / "docs" / "estimator.md").read_text()
    for name in TorchClassifier().get_params():
        assert re.search(rf"\b{name}\b", text), name


def test_the_classifier_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(blocks("python")[1], "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert "'torchclassifier__module__hidden': (" in out
    assert float(out.split()[-1]) > 0.9


def test_every_seed_has_its_row() -> None:
    linked = set(re.findall(r"\]\((tests/contract/seeds/\w+\.py)\)", README))
    assert linked == {
        f"tests/contract/seeds/{path.name}" for path in (ROOT / "tests" / "contract" / "seeds").glob("test_*.py")
    }


def test_the_guide_to_operations() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    config = parse_config(re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[0])
    assert config.workers.kind == "work-pool"
    deployed = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())["deployments"]
    for deployment in deployed:
        assert re.search(rf"/{deployment['name'].removesuffix('digits')}", text), deployment["name"]
    automations = yaml.safe_load((ROOT / "deployments" / "automations.yaml").read_text())["automations"]
    for automation in automations:
        assert f"| {automation['name'].removeprefix('labelaudit: ')} |" in text
    (event,) = json.loads(re.findall(r"-d '(\[.*?\])'", text, re.DOTALL)[0])
    trigger = next(one["triggers"][0] for one in deployed if "triggers" in one)
    assert [event["event"]] == trigger["expect"]
    assert set(event["payload"]) == set(trigger["parameters"])


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_two_commands_are_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for command in blocks("bash")[0].split("\n")[:-1]:
        assert re.search(rf"^{command.removeprefix('make ')}:", makefile, re.MULTILINE)


def test_the_picture_is_there() -> None:
    for path in re.findall(r"\]\((docs/[^)]+)\)", README):
        assert (ROOT / path).is_file(), path


def test_every_config_key_is_explained() -> None:
    text = (ROOT / "docs" / "config.md").read_text()
    keys = list(_keys(AuditConfig))
    for section, _, key in (key.rpartition(".") for key in keys):
        assert f"`{section}.{key}`" in text or (f"`.{key}`" in text and f"`{section}." in text), f"{section}.{key}"
    assert set(re.findall(r"^\| `([\w.]+)`", text, re.MULTILINE)) <= set(keys)


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _keys(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_the_config_of_the_readme_is_valid() -> None:
    assert parse_config(blocks("yaml")[0]).cross_validation.folds == 5


def test_every_column_is_explained() -> None:
    text = (ROOT / "docs" / "tables.md").read_text()
    for name in (
        "examples",
        "issues",
        "classes",
        "confusions",
        "folds",
        "changes",
        "class_changes",
        "trend",
        "canaries",
        "outliers",
        "slices",
    ):
        section = text.split(f"## {name}.parquet")[1].split("\n## ")[0]
        for column in getattr(schemas, name.upper()).names:
            assert f"`{column}`" in section, f"{name}.{column}"
