"""Commands called in this process, with the results that a shell would get."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from labelaudit.cli.main import main


class Done(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


def labelaudit(*arguments: object, folder: Path, **environment: str) -> Done:
    """Run `labelaudit ARGUMENTS` in a folder, with additional environment variables."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.delenv("PREFECT_API_URL", raising=False)
        patch.setattr(sys, "argv", ["labelaudit", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
    assert "Traceback" not in err.getvalue()
    return Done(int(str(stop.value.code or 0)), out.getvalue(), err.getvalue())
