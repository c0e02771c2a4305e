"""The config of a command: what options give stays as it was typed, in a URL's config and on top of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelaudit.cli.dataset_options import DatasetOptions
from labelaudit.cli.options import config_from


def test_options_that_can_be_repeated() -> None:
    config = config_from("data.parquet", DatasetOptions(ignore=("a",), slices=("batch", "annotator")))
    assert (config.dataset.ignore, config.dataset.slices) == (("a",), ("batch", "annotator"))


@pytest.mark.parametrize("text", ["1.10", "007", "no", "2026-11-20", "äpfel \N{RED APPLE}", "it's: {a}", '"quoted"'])
def test_names_stay_as_typed(tmp_path: Path, text: str) -> None:
    file = tmp_path / "audit.yaml"
    file.write_text("dataset: {url: x, version: other}")
    options = DatasetOptions(name=text, version=text)
    for config in (config_from(str(file), options), config_from("data.parquet", options)):
        assert (config.dataset.name, config.dataset.version) == (text, text)
