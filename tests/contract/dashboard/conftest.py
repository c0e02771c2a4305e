"""Shared by the tests of pages without a browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.read_once import component_manifests


@pytest.fixture(scope="session", autouse=True)
def _components_searched_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        component_manifests(patch)
        yield
