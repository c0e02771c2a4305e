"""The command line as a user meets it: exit codes, stdout for machines, and never a traceback."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from labelaudit.cli.main import cli, main
from support.audits import fruit, write_fruit, write_squares
from support.waiting import PATIENCE_SECONDS, wait_for

QUICK = ["--ignore", "true_label", "--set", "training.epochs=10", "--set", "cross_validation.folds=3"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):  # type: ignore[no-untyped-def]
    """Run a command in an empty folder; returns exit code, stdout and stderr."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["labelaudit", *map(str, arguments)])
        code: object = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return int(str(code or 0)), printed.out, printed.err

    return command


def test_a_run_and_the_same_run_again(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    data = write_fruit(tmp_path / "fruit.parquet")
    code, out, err = run("run", data, "--output", tmp_path / "out", *QUICK)
    assert code == 0
    folder = Path(out.strip().splitlines()[-1])
    assert (folder / "report.html").is_file()
    assert "No Prefect API is configured" in err
    assert "guessed: label column: 'label'" in err
    assert re.search(r"fold 3/3  epoch \d+/\d+  loss", err)
    assert re.search(r"labels look wrong; (none is|\d+ (is|are)) flagged", err)
    assert f"Report: {folder}/report.html" in err

    code, out, err = run("run", data, "--output", tmp_path / "out", *QUICK, "--json")
    assert code == 0
    answer = json.loads(out)
    assert answer["audit_url"] == str(folder)
    assert answer["status"] == "already_published"
    assert answer["examples"] == 240
    assert answer["issues"] > 5
    assert "nothing had to be trained" in err


def test_a_config_file_with_overrides(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    data = write_fruit(tmp_path / "fruit.parquet")
    config = tmp_path / "audit.yaml"
    config.write_text(
        f"dataset: {{url: {data}, label: label, id: id, ignore: [true_label]}}\n"
        "training: {epochs: 10}\ncross_validation: {folds: 3}\n"
    )
    code, out, _ = run("check", config, "--name", "garden", "--version", "v9", "--json")
    assert code == 0
    assert json.loads(out)["dataset"] == "garden"
    assert json.loads(out)["version"] == "v9"
    code, _, err = run("check", config, "--label", "other")
    assert code == 2
    assert "--label describe a dataset URL, but" in err
    assert "--set dataset.label=label" in err


def test_check_tells_what_is_there(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = write_squares(tmp_path / "squares")
    (folder / "blue" / "03.png").write_bytes(b"no image")
    code, out, _ = run("check", folder)
    assert code == 0
    assert "40" in out
    assert "1 unreadable" in out
    assert "unreadable: blue/03.png" in out
    assert "20 blue" in out
    assert re.search(r"^views +network, probe, neighbours$", out, re.MULTILINE)
    assert re.search(r"^encoder +efficientnet-lite0: 1,280 features, images of 32x32 pixels", out, re.MULTILINE)
    assert re.search(r"^network +cnn, \d+ epochs, batches of \d+$", out, re.MULTILINE)
    assert re.search(r"^folds +5, \d+ at a time, \d+ CPU threads each$", out, re.MULTILINE)
    assert re.search(r"^time, memory +not measured: --estimate ", out, re.MULTILINE)
    assert not list(Path.cwd().iterdir()), "nothing is published"
    assert not list(Path(os.environ["LABELAUDIT_CACHE_DIR"]).rglob("*")), "nothing is decoded for later"


def test_check_measures_time_and_memory_when_it_is_asked_to(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    data = write_fruit(tmp_path / "fruit.parquet")
    code, out, _ = run("check", data, *QUICK, "--estimate")
    assert code == 0
    assert re.search(r"^time +about [\d,]+ s of encoding and training$", out, re.MULTILINE)
    assert re.search(r"^memory +about [\d.,]+ GB of [\d.,]+ GB$", out, re.MULTILINE)
    assert "not measured" not in out
    measured = json.loads(run("check", data, *QUICK, "--estimate", "--json")[1])
    plain = json.loads(run("check", data, *QUICK, "--json")[1])
    assert measured.keys() == plain.keys()
    missing = {"problem", "encoder"}  # tables need no encoder
    assert {name for name in plain if plain[name] is None} == {*missing, "expected_seconds", "expected_memory_bytes"}
    assert {name for name in measured if measured[name] is None} == missing


def test_check_builds_the_network_only_for_an_estimate(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    data = write_fruit(tmp_path / "fruit.parquet")
    network = ["--set", "model.network=nowhere:build"]
    assert run("check", data, *QUICK, *network)[0] == 0
    code, _, err = run("check", data, *QUICK, *network, "--estimate")
    assert code == 2
    assert "nowhere" in err


def test_check_of_what_cannot_be_audited(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    data = write_fruit(tmp_path / "fruit.parquet", fruit().assign(label="apple"))
    code, out, err = run("check", data)
    assert code == 2
    assert "240 apple" in out, "what was found is told all the same"
    assert "error" in err
    assert "class" in err


HTML = b"<!doctype html><html><body>403 Forbidden</body></html>"


@pytest.mark.parametrize(
    ("name", "content", "arguments", "message"),
    [
        ("none.parquet", None, [], "Nothing is stored at"),
        ("page.parquet", HTML, [], "HTML"),
        ("cut.parquet", "cut", [], "cut.parquet"),
        ("empty.csv", b"", [], "empty.csv"),
        ("fruit.parquet", "whole", ["--label", "lable"], "Did you mean"),
        ("fruit.parquet", "whole", ["--label", "weight"], "weight"),
        ("fruit.parquet", "whole", ["--set", "model.network=resnet"], "resnet"),
        ("fruit.parquet", "whole", ["--set", "training.epoch=3"], "Did you mean epochs?"),
        ("fruit.parquet", "whole", ["--set", "training.device=cuda"], "no CUDA device is visible"),
        ("audit.yaml", b"dataset: [", [], "not valid YAML"),
        ("none.yaml", None, [], "cannot be read"),
        ("latin.yaml", b"dataset: {url: \xff}", [], "is not valid UTF-8"),
    ],
)
def test_bad_input_is_one_message(run, tmp_path: Path, name: str, content, arguments, message: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        write_fruit(path)
        if content == "cut":
            path.write_bytes(path.read_bytes()[:3000])
    code, out, err = run("run", path, "--output", tmp_path / "out", *arguments)
    assert code == (1 if "CUDA" in message else 2)
    assert message in err
    assert out == ""
    assert not list(tmp_path.rglob("manifest.json"))


def test_detect_over_a_parquet_file(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    labels = np.arange(300) % 3
    given = np.where(np.arange(300) % 25 == 0, (labels + 1) % 3, labels)
    pred_probs = np.full((300, 3), 0.05) + 0.85 * np.eye(3)[labels] + np.random.default_rng(0).random((300, 3)) / 50
    pred_probs /= pred_probs.sum(axis=1, keepdims=True)
    table = pa.table(
        {
            "key": [f"k{number:03d}" for number in range(300)],
            "y": pa.array(np.array(["a", "b", "c"])[given]),
            "p": pa.array(list(pred_probs * 1.0001)),
        }
    )
    pq.write_table(table, tmp_path / "oof.parquet")
    columns = ["--label", "y", "--id", "key", "--pred-probs", "p"]
    code, out, err = run("detect", tmp_path / "oof.parquet", *columns, "--output", tmp_path / "out")
    assert code == 0
    folder = Path(out.strip().splitlines()[-1])
    issues = pd.read_parquet(folder / "issues.parquet")
    assert set(issues.example_id) == {f"k{number:03d}" for number in range(0, 300, 25)}
    assert "rounding" in err
    assert (folder / "manifest.json").is_file()


def test_detect_over_npy_files(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    labels = np.arange(200) % 2
    pred_probs = np.where(labels[:, None] == [[0, 1]], 0.9, 0.1)
    given = labels.copy()
    given[:6] = 1 - given[:6]
    np.save(tmp_path / "p.npy", pred_probs)
    np.save(tmp_path / "y.npy", given)
    labels_file = ["--label", tmp_path / "y.npy", "--classes", "no,yes"]
    code, out, _ = run("detect", tmp_path / "p.npy", *labels_file, "--output", tmp_path, "--json")
    assert code == 0
    answer = json.loads(out)
    assert answer["issues"] == 6
    issues = pd.read_parquet(Path(answer["audit_url"]) / "issues.parquet")
    assert set(issues.given_label) == {"no", "yes"}


def _damaged(kind: str, table: pd.DataFrame) -> pd.DataFrame:
    table = table.copy()
    if kind == "nan":
        table.at[3, "pred_probs"] = np.array([np.nan, 0.5])
    elif kind == "zero":
        table.at[3, "pred_probs"] = np.array([0.0, 0.0])
    elif kind == "doubled":
        table = pd.concat([table, table.iloc[[5]]])
    elif kind == "ragged":
        table.at[3, "pred_probs"] = np.array([0.2, 0.3, 0.5])
    elif kind == "random":
        table["pred_probs"] = list(np.random.default_rng(0).dirichlet([1, 1], len(table)))
    return table


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nan", r"\[not-finite\].*\(first: id-003\)"),
        ("zero", r"\[all-zero\].*\(first: id-003\)"),
        ("doubled", r"\[rows-doubled\].*\(first: id-005\)"),
        ("random", r"\[learned-nothing\]"),
        ("ragged", "must contain one list of K probabilities in every row"),
    ],
)
def test_detect_refuses_what_cannot_be_audited(run, tmp_path: Path, kind: str, message: str) -> None:  # type: ignore[no-untyped-def]
    labels = np.arange(200) % 2
    sound = pd.DataFrame(
        {
            "id": [f"id-{number:03d}" for number in range(200)],
            "label": np.array(["no", "yes"])[labels],
            "pred_probs": list(np.where(labels[:, None] == [[0, 1]], 0.9, 0.1)),
        }
    )
    _damaged(kind, sound).to_parquet(tmp_path / "oof.parquet")
    code, out, err = run("detect", tmp_path / "oof.parquet", "--output", tmp_path / "out")
    assert code == 2
    assert re.search(message, err)
    assert out == ""
    assert not (tmp_path / "out").exists()


def test_doctor(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    data = write_fruit(tmp_path / "fruit.parquet")
    code, out, _ = run("doctor", data)
    assert code == 0
    for word in ("packages", "device: cpu", "cache", "prefect", "dataset", "output"):
        assert word in out
    assert not [path for path in Path("labelaudit-reports").rglob("*") if path.is_file()], "the probe is gone"
    code, out, _ = run("doctor", tmp_path / "missing.parquet", "--json")
    assert code == 1
    assert {item["name"]: item["ok"] for item in json.loads(out)}["dataset"] is False


@pytest.mark.parametrize("command", ["run", "apply-automations"])
def test_a_prefect_api_that_does_not_answer(  # type: ignore[no-untyped-def]
    run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    command: str,
) -> None:
    url = "http://127.0.0.1:9/api"
    monkeypatch.setenv("PREFECT_API_URL", url)
    arguments = [write_fruit(tmp_path / "fruit.parquet"), "--label", "label"] if command == "run" else []
    # Prefect has read the environment already.
    with temporary_settings({PREFECT_API_URL: url}):
        code, out, err = run(command, *arguments)
    assert (code, out) == (2, "")
    assert f"error: The Prefect API {url}/ does not answer (" in err
    assert "Connection refused" in err
    assert "Start the server, or unset PREFECT_API_URL" in err


class Guarded(BaseHTTPRequestHandler):
    """A Prefect server with a password, which is asked for everything but its health."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/health" else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def test_a_prefect_api_that_refuses_its_user(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    with ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/api"
        monkeypatch.setenv("PREFECT_API_URL", url)
        with temporary_settings({PREFECT_API_URL: url}):
            code, out, err = run("run", write_fruit(tmp_path / "fruit.parquet"), "--label", "label")
        server.shutdown()
    assert (code, out) == (2, "")
    assert f"error: The Prefect API {url}/ refuses its user (401). Set PREFECT_API_AUTH_STRING" in err


def test_doctor_with_an_api_that_does_not_answer(run, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    code, out, _ = run("doctor")
    assert code == 1
    assert "http://127.0.0.1:9/api does not answer" in out


@pytest.mark.parametrize("arguments", [["run"], ["runn"], ["run", "x", "--nope"], ["detect"]])
def test_bad_usage(run, arguments) -> None:  # type: ignore[no-untyped-def]
    code, _, err = run(*arguments)
    assert code == 2
    assert "Usage" in err


@pytest.mark.parametrize("command", [[], *[[name] for name in cli.commands]])
def test_help_teaches(run, command) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run(*command, "--help")
    assert code == 0
    assert len(out) > 300


def test_help_imports_nothing_heavy() -> None:
    script = "import sys, labelaudit.cli.main; print(sorted({n.partition('.')[0] for n in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    for package in ("torch", "prefect", "pandas", "pyarrow", "sklearn", "cleanlab", "pydantic", "fsspec"):
        assert f"'{package}'" not in loaded


NETS = """
import torch

def build(num_classes, input_shape):
    return torch.nn.Linear(input_shape[0], num_classes)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's folder whose files have the names of other packages and of modules of the standard library."""
    # Python looks for `sitecustomize` at its start, and packages for others that may be installed.
    optional = ("sitecustomize.py", "usercustomize.py", "cupy.py", "xarray.py", "polars.py", "orjson.py")
    for name in ("random.py", "queue.py", "flows/__init__.py", "torch/__init__.py", *optional):
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"open({str(tmp_path / 'imported')!r}, 'a').write('{name} ')\n"
            f"raise SystemExit('{name} of the user was imported')"
        )
    (tmp_path / "project" / "nets.py").write_text(NETS)
    fruit().to_csv(tmp_path / "project" / "fruit.csv", index=False)
    return tmp_path / "project"


LABELAUDIT = (str(Path(sys.executable).with_name("labelaudit")),)
AS_MODULE = (sys.executable, "-m", "labelaudit.cli.main")


def _command_of_a_shell(
    folder: Path, *arguments: object, program: tuple[str, ...] = LABELAUDIT, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"} | variables
    done = subprocess.run(
        [*program, *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert not (folder.parent / "imported").exists(), (folder.parent / "imported").read_text()
    return done


@pytest.mark.parametrize("program", [LABELAUDIT, AS_MODULE])
def test_files_of_the_working_directory_do_not_replace_modules(project: Path, program: tuple[str, ...]) -> None:
    done = _command_of_a_shell(project, "check", "fruit.csv", *QUICK, program=program)
    assert done.returncode == 0, done.stderr
    assert "240 scored" in done.stdout


@pytest.mark.slow
def test_workers_find_the_network_of_the_working_directory_and_no_other_file(project: Path) -> None:
    """With a limit on memory, so that the rehearsal of a fold finds it too, and an empty entry of PYTHONPATH."""
    for name in ("sitecustomize", "usercustomize"):
        # Python itself imports these at its start because of the empty entry.
        (project / f"{name}.py").write_text("")
    settings = {"model.network": "nets:build", "training.learning_rate": 0.1, "limits.memory": "8GiB"}
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    paths = os.pathsep.join(["", os.environ.get("PYTHONPATH", "")])
    done = _command_of_a_shell(project, "run", "fruit.csv", *QUICK, *overrides, PYTHONPATH=paths)
    assert done.returncode == 0, done.stderr
    assert "4 columns of a table" in done.stderr
    assert list((project / "labelaudit-reports").rglob("memory.json")), "the rehearsal has succeeded"


def test_ctrl_c_ends_the_run_and_its_workers(tmp_path: Path) -> None:
    data = write_fruit(tmp_path / "fruit.parquet")
    command = [sys.executable, "-m", "labelaudit.cli.main", "run", str(data), "--output", str(tmp_path / "out")]
    process = subprocess.Popen(
        [*command, "--set", "training.epochs=100000"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, a shell has told them to ignore Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stderr is not None
        assert any("training" in line for line in process.stderr)
        wait_for(lambda: psutil.Process(process.pid).children())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Interrupted. Run the same command again" in err
    assert "Traceback" not in err
    assert out == ""


def test_an_unexpected_error_is_not_hidden(run, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """A defect of ours shows its traceback: only expected errors are messages."""
    monkeypatch.setattr("labelaudit.cli.doctor.examine", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("doctor")


def test_output_into_a_closed_pipe(tmp_path: Path) -> None:
    data = write_fruit(tmp_path / "fruit.parquet")
    command = f"{sys.executable} -m labelaudit.cli.main check {data} 2>{tmp_path / 'err'} | head -1"
    subprocess.run(["bash", "-c", command], check=True, env={**os.environ}, capture_output=True)
    assert "Traceback" not in (tmp_path / "err").read_text()


@pytest.mark.slow
def test_the_demo_finds_its_planted_errors(tmp_path: Path) -> None:
    """With the packaged encoder, as `make demo` runs it.

    In a process of its own, because Prefect reads its settings, such as how long its server may take to start, when it
    is imported.
    """
    command = [sys.executable, "-m", "labelaudit.cli.main", "demo", "--output", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = re.search(r"Of (\d+) planted errors, (\d+) are among the (\d+) flagged", done.stdout + done.stderr)
    assert found is not None
    planted, caught, flagged = map(int, found.groups())
    assert caught >= 0.85 * planted
    assert caught >= 0.85 * flagged
