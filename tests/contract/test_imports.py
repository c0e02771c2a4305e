"""Which heavy packages each command imports: a table that must be exact, so that nothing heavy creeps in unseen.

One interpreter forks once per command, so that no command sees what another one has imported.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from labelaudit.config import AuditConfig
from labelaudit.pipeline.plan import prepare
from support.audits import audit, fruit, settings

pytestmark = pytest.mark.slow  # each command imports its packages anew

HEAVY = (
    *("torch", "torch._dynamo", "torchvision", "sklearn", "scipy", "scipy.stats", "cleanlab"),
    *("prefect", "streamlit", "duckdb", "s3fs"),
)
DATASET = "out/dataset=fruit"
# Command -> its exit code, and what it imports of HEAVY. In this order: the later ones read files of the earlier ones.
COMMANDS: dict[str, tuple[int, set[str]]] = {
    "--help": (0, set()),
    "check fruit.csv": (0, set()),
    "check texts.csv": (0, set()),
    "check fruit.csv --estimate": (0, {"torch", "sklearn", "scipy", "scipy.stats"}),
    "doctor": (0, set()),
    "doctor audit.json.yaml": (0, set()),
    "run audit.json.yaml": (0, set()),  # finds the published audit
    f"diff v1 v2 --dataset {DATASET}": (0, set()),
    f"review sample {DATASET} --output sample.csv": (0, set()),
    f"review export {DATASET} --output issues.csv": (0, set()),
    f"review import {DATASET} filled.csv --reviewer ann": (0, set()),
    f"review status {DATASET}": (0, set()),
    f"review export {DATASET} --what clean --output clean.csv": (0, set()),
    f"prove {DATASET}": (2, {"scipy"}),  # there are too few verdicts
    "features status out": (0, set()),
    "features prune out --dry-run": (0, set()),
    "publish-version versions.yaml fruit.csv --version v3": (0, set()),
    "detect oof.parquet --output elsewhere": (0, {"scipy", "scipy.stats"}),
    "dashboard nowhere --port {free}": (1, set()),
    "apply-automations --help": (0, set()),
    "apply-automations": (2, set()),  # no API is configured
}
# Of the AdamW that trains tables, see labelaudit/model/torch_optimizers.py.
TRAINING = {"torch", "sklearn", "scipy", "scipy.stats"}

FORKS = """
import json, os, socket, sys

# Light enough for every command, and imported once for all.
import numpy, pandas, pyarrow.compute, pyarrow.csv, pyarrow.parquet

request = json.load(sys.stdin)

def imported(work):
    read, write = os.pipe()
    if not os.fork():
        os.dup2(2, 1)
        code = work()
        found = [name for name in request["heavy"] if name in sys.modules]
        os.write(write, json.dumps([code, found]).encode())
        os._exit(0)
    os.close(write)
    with open(read) as answer:
        return json.load(answer)

def command(line):
    from labelaudit.cli.main import main
    sys.argv = ["labelaudit", *line.split()]
    try:
        main()
    except SystemExit as stop:
        return stop.code or 0

def fold():
    import labelaudit.local.worker_process
    from labelaudit.audits.references import PlanReference
    from labelaudit.pipeline.train import train_and_commit
    train_and_commit(PlanReference(**request["reference"]), 0)
    return 0

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = str(probe.getsockname()[1])
answers = {line: imported(lambda: command(line.replace("{free}", port))) for line in request["commands"]}
answers["fold"] = imported(fold)
json.dump(answers, open("answers.json", "w"))
"""


@pytest.fixture(scope="module")
def imports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Exit code and heavy imports by command, in a folder with two audited versions."""
    folder = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("LABELAUDIT_CACHE_DIR", str(folder / "cache"))
        patch.setenv("PREFECT_HOME", str(folder / "prefect"))
        patch.delenv("PREFECT_API_URL", raising=False)
        reference = _prepare_folder(folder)
        request = {"heavy": HEAVY, "commands": list(COMMANDS), "reference": reference}
        done = subprocess.run(
            [sys.executable, "-c", FORKS], input=json.dumps(request), capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads((folder / "answers.json").read_text())
    return {"stderr": done.stderr, **answers}


def _prepare_folder(folder: Path) -> dict[str, Any]:
    """The files that the commands name; returns the reference of a third audit, which is not trained yet."""
    frame = fruit(90)
    for version, rows in (("v1", 90), ("v2", 80)):
        frame[:rows].to_csv(folder / "fruit.csv", index=False)
        config = _config(version)
        audit(config)
    # Its suffix makes it a config, and JSON is YAML.
    (folder / "audit.json.yaml").write_text(json.dumps(config.model_dump(mode="json")))
    frame.assign(text="fruit of " + frame.id)[["id", "text", "label"]].to_csv(folder / "texts.csv", index=False)
    (folder / "versions.yaml").write_text("dataset: {url: 'versions/{version}/fruit.csv', name: fruit}\n")
    (folder / "filled.csv").write_text(f"example_id,given_label,verdict\n{frame.id[7]},{frame.label[7]},fine\n")
    certain = [[0.9 if name == right else 0.05 for name in ("apple", "pear", "plum")] for right in frame.true_label]
    frame[["id", "label"]].assign(pred_probs=certain).to_parquet(folder / "oof.parquet")
    return asdict(prepare(_config("v3", training={"epochs": 2})))


def _config(version: str, **sections: Any) -> AuditConfig:
    return settings("fruit.csv", "out", dataset={"name": "fruit", "version": version}, **sections)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_imports_what_the_table_says_and_no_more(imports: dict[str, Any], command: str) -> None:
    code, expected = COMMANDS[command]
    found_code, found = imports[command]
    assert (found_code, set(found)) == (code, expected), imports["stderr"]


def test_training_a_fold_imports_nothing_that_it_does_not_need(imports: dict[str, Any]) -> None:
    assert imports["fold"] == [0, [name for name in HEAVY if name in TRAINING]], imports["stderr"]
