"""The word list of docs/testing.md: words that make sentences hard to read, counted in code, docs and deployment files.

Only comments, docstrings and messages of Python files count, and only the prose of Markdown files.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.paths import ROOT

PROSE_TOKENS = {"COMMENT", "STRING", "FSTRING_MIDDLE"}
GENERATED = {"docs/gpu.md"}
FILES = (
    *("src/**/*.py", "src/**/*.jinja", "flows/*.py", "tests/support/*.py", "tests/conftest.py"),
    *("benchmarks/**/*.py", "deployments/**/*.y*ml", "deployments/**/*.sql", "deployments/**/*.py"),
    *("docker/*", "*.md", "docs/*.md", "benchmarks/**/*.md", "Makefile", ".ci/run"),
)


@dataclass(frozen=True)
class Rule:
    """A habit, how often it may occur (there are legitimate uses), and what to write instead."""

    name: str
    pattern: str
    allowed: int
    instead: str

    def find(self, text: str) -> Iterator[re.Match[str]]:
        # A phrase may continue on the next line of a docstring or page.
        return re.finditer(self.pattern.replace(" ", r"\s+"), text)


RULES = (
    Rule("where", r"\b[Ww]here\b", 36, "'if' or 'when' for a condition; 'where' only for a place"),
    Rule("is no", r"(?<!here\s)\b(?:is|are|was|were) no\b(?! longer| more than| less than)", 2, "'is not a'"),
    Rule("bears", r"\b[Bb]ear(?:s|ing)?\b", 2, "'has' or 'contains'"),
    Rule("anew", r"\banew\b", 2, "'again'"),
    Rule("whoever", r"\b[Ww](?:ho|hat|hom|hich)ever\b", 3, "'anyone who', 'anything that', or a name"),
    Rule("told", r"\b[Tt](?:old|ells?|elling)\b", 2, "'says', 'reports', 'returns' or 'shows'"),
    Rule("nobody", r"\b(?:[Nn]o|[Ss]ome|[Ee]very)body\b", 2, "who it is: the user, the reviewer"),
    Rule("# Of", r"(?m)^[ \t]*(?:#|--) Of\b", 1, "a sentence that says why"),
    Rule("of which", r"\bof (?:which|whom)\b", 6, "'whose', or two sentences"),
    Rule("goes on", r"\b(?:go|goes|going|gone|went) on\b", 2, "'resumes' or 'continues'"),
    Rule("lies", r"\b(?:lie|lies|lay|lain|lying)\b", 2, "'is' or 'is stored'"),
    Rule("beside", r"\b[Bb]esides?\b", 4, "'next to' or 'in addition to'"),
    Rule("hence", r"\b(?:[Hh]ence|[Tt]hereby|[Tt]hereof|[Ww]herein|[Tt]hereupon|[Ll]est)\b", 2, "'so' or 'therefore'"),
    Rule("ends to", r"\bends? to (?:hold|be)\b", 0, "'expires' or 'stops'"),
)


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the pieces of a file that people read, each with the number of its first line."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if tokenize.tok_name[token.type] in PROSE_TOKENS:
                yield token.start[0], token.string
    elif path.suffix == ".md":
        # Blank out code, keep its line breaks.
        code = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
        yield 1, code.sub(lambda match: re.sub(r"[^\n]", "~", match[0]), text)
    else:
        yield 1, text


def files() -> list[Path]:
    found = {path for pattern in FILES for path in ROOT.glob(pattern) if path.is_file()}
    return sorted(path for path in found if path.relative_to(ROOT).as_posix() not in GENERATED)


@pytest.fixture(scope="module")
def pieces() -> dict[str, list[tuple[int, str]]]:
    """The prose of each file, by its path below the root."""
    return {path.relative_to(ROOT).as_posix(): list(prose(path)) for path in files()}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name.replace(" ", "-"))
def test_words_to_avoid(rule: Rule, pieces: dict[str, list[tuple[int, str]]]) -> None:
    places = [
        (name, start + text.count("\n", 0, match.start()), " ".join(match[0].split()))
        for name, parts in pieces.items()
        for start, text in parts
        for match in rule.find(text)
    ]
    by_file = Counter(name for name, _, _ in places)
    table = "\n".join(f"{count:5}  {name}" for name, count in by_file.most_common())
    lines = "\n".join(f"{name}:{line}: {words}" for name, line, words in places)
    assert len(places) <= rule.allowed, (
        f"{len(places)} times {rule.name!r}, {rule.allowed} allowed. Write {rule.instead}.\n{table}\n\n{lines}"
    )


def test_code_is_not_prose(tmp_path: Path) -> None:
    """Names and code blocks do not count; comments, strings and text do."""
    module, page = tmp_path / "module.py", tmp_path / "page.md"
    module.write_text('whoever = 1  # whoever\nmessage = f"{whoever} bears"\n')
    page.write_text("Whoever\n```\nwhoever\n```\n`whoever` is\nno text\n")
    rules = {rule.name: rule for rule in RULES}

    def lines(name: str, path: Path) -> list[int]:
        return [
            start + text.count("\n", 0, match.start())
            for start, text in prose(path)
            for match in rules[name].find(text)
        ]

    assert lines("bears", module) == [2]
    assert lines("whoever", module)[0] == 1
    assert lines("whoever", page) == [1]
    assert lines("is no", page) == [5]
