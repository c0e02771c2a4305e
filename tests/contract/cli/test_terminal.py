"""Output of commands contains no control characters: a dataset cannot clear the screen or forge a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.cli.console import plain, say, show_json
from labelaudit.cli.main import main
from support.audits import fruit, write_fruit
from support.probabilities import audit_insects, insects

# Sets the title, clears the screen (twice, once by one character), turns the direction, and forges a line.
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b2J\u202eant\nerror: nothing"
QUICK = ["--set", "training.epochs=2", "--set", "cross_validation.folds=2"]

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run a command; returns exit code, stdout and stderr, after checking both for control characters."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["labelaudit", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        printed = capsys.readouterr()
        for stream in (printed.out, printed.err):
            assert [
                character for character in stream if category(character).startswith("C") and character != "\n"
            ] == []
        return int(str(stop.value.code or 0)), printed.out, printed.err

    return command


@pytest.fixture
def probabilities(tmp_path: Path) -> Path:
    """Flagged rows, some with a hostile label, all with a hostile id."""
    frame = insects(wrong=range(2, 30, 3))
    frame["label"] = frame.label.replace({"ant": HOSTILE})
    frame["id"] = [f"{HOSTILE}{number}" for number in range(len(frame))]
    frame.to_parquet(tmp_path / "oof.parquet", index=False)
    return tmp_path / "oof.parquet"


def test_detect(run: Command, probabilities: Path) -> None:
    code, _, err = run("detect", probabilities)
    assert code == 0
    assert "]0;owned" in err
    assert not [line for line in err.splitlines() if line.startswith("error")]


def test_the_error_of_a_gate(run: Command, probabilities: Path) -> None:
    """A limit fails the run only if an earlier audit exists."""
    run("detect", probabilities, "--version", "v1")
    limit = f"gate.max_class_flagged_share={json.dumps({HOSTILE: 0.0})}"
    code, _, err = run("detect", probabilities, "--version", "v2", "--set", limit)
    assert code == 3
    lines = err.rstrip("\n").split("\n")
    (first,) = (number for number, line in enumerate(lines) if line.startswith("error"))
    assert "]0;owned" in "".join(lines[first:])
    assert len(lines) > first + 2
    assert all(line.startswith("  ") for line in lines[first + 1 :])


def test_json_is_the_same_value(run: Command, probabilities: Path) -> None:
    _, out, _ = run("detect", probabilities, "--json")
    labels = {name for pair in json.loads(out)["confusions"] for name in (pair["given_label"], pair["suggested_label"])}
    assert HOSTILE in labels


def test_check_and_run(run: Command, tmp_path: Path) -> None:
    frame = fruit(90).drop(columns="true_label")
    frame["label"] = frame.label.replace({"apple": HOSTILE})
    frame = frame.rename(columns={"weight": HOSTILE})
    data = write_fruit(tmp_path / "fruit.parquet", frame)
    code, out, _ = run("check", data, *QUICK)
    assert code == 0
    assert "]0;owned" in out
    code, _, err = run("run", data, *QUICK)
    assert code == 0
    assert "]0;owned" in err


def test_diff(run: Command, tmp_path: Path) -> None:
    for version, wrong in (("v1", (0, 10)), ("v2", (0, 10, 20))):
        frame = insects(wrong=wrong)
        frame["label"] = frame.label.replace({"ant": HOSTILE})
        audit_insects(tmp_path, version, frame)
    _, out, _ = run("diff", "v1", "v2", "--dataset", "out/dataset=insects")
    assert "]0;owned" in out


@given(st.text())
def test_only_control_characters_are_replaced(text: str) -> None:
    shown = plain(text)
    assert len(shown) == len(text)
    assert all(not category(character).startswith("C") for character in shown)
    assert [a for a, b in zip(text, shown, strict=True) if a != b and not category(a).startswith("C")] == []


@given(value=st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5))
def test_json_of_any_text(value: object) -> None:
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("click.echo", lines.append)
        show_json(value)
    (line,) = lines
    assert json.loads(line) == value
    assert all(not category(character).startswith("C") for character in line)


def test_only_our_styles_are_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("click._compat.should_strip_ansi", lambda *_: False)
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda *_: False)
    say("\x1b[31mred", bold=True)
    assert capsys.readouterr().err == "\x1b[1m\N{REPLACEMENT CHARACTER}[31mred\x1b[0m\n"
