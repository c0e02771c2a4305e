"""What is wrong with the encoder is reported before the rows are read, by `check` as by `run`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from labelaudit.config import AuditConfig
from labelaudit.errors import ConfigError
from labelaudit.pipeline import check, plan
from labelaudit.pipeline.check import check_dataset
from labelaudit.pipeline.plan import prepare
from support.audits import settings, write_reviews


def checked(config: AuditConfig) -> object:
    return check_dataset(config, parallel=1, threads=1)


@pytest.fixture(params=[prepare, checked])
def start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[AuditConfig], object]:
    """Return `run` or `check`, which fails the test when it begins to read the rows."""

    def scan(*_: object, **__: object) -> None:
        pytest.fail("The rows were read.")

    for module in (plan, check):
        monkeypatch.setattr(module, "scan_dataset", scan)
    found: Callable[[AuditConfig], object] = request.param
    return found


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"encoder": "efficientnet_b99"}, r"model\.encoder 'efficientnet_b99' is unknown"),
        ({"encoder": "./nowhere.pt"}, "do not exist on this machine"),
        ({"encoder": "minilm", "encoder_kwargs": {"depth": 3}}, "does not know model.encoder_kwargs depth"),
        ({"encoder": "minilm", "views": ["network"]}, "model.views names only the network, which uses no encoder"),
        ({"encoder": "none", "encoder_kwargs": {"depth": 3}}, "has no effect, because model.encoder is none"),
    ],
)
def test_before_the_dataset_is_opened(
    start: Callable[[AuditConfig], object], model: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        start(settings(tmp_path / "no-such-dataset.csv", tmp_path / "out", model=model))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"encoder": "efficientnet-lite0"}, "is for the kind 'image', but the rows are of kind 'text'"),
        ({"encoder": "nowhere_at_all:build"}, "Encoder 'nowhere_at_all:build' cannot be imported"),
        ({"encoder": "none", "views": ["probe"]}, "model.views names probe, which needs features of an encoder"),
    ],
)
def test_before_the_rows_are_read(
    start: Callable[[AuditConfig], object], model: dict[str, object], message: str, tmp_path: Path
) -> None:
    data = write_reviews(tmp_path / "reviews.jsonl")
    with pytest.raises(ConfigError, match=message):
        start(settings(data, tmp_path / "out", model=model))
