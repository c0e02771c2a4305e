"""Files of libraries that do not change during the tests, read once instead of for each client, request or page."""

from __future__ import annotations

import functools

import pytest


def service_models(patch: pytest.MonkeyPatch) -> None:
    """Share botocore's description of S3 between clients, and moto's list of services between requests."""
    import moto.backends  # as in conftest.py
    from botocore import loaders

    load_file = loaders.JSONFileLoader.load_file
    of_path = functools.cache(lambda path: load_file(loaders.JSONFileLoader(), path))
    patch.setattr(loaders.JSONFileLoader, "load_file", lambda self, path: of_path(path))
    services = tuple(moto.backends.list_of_moto_modules())
    patch.setattr(moto.backends, "list_of_moto_modules", lambda: services)


def component_manifests(patch: pytest.MonkeyPatch) -> None:
    """Share Streamlit's search for installed components between the pages."""
    from streamlit.components.v2 import manifest_scanner  # as in conftest.py

    patch.setattr(
        manifest_scanner, "scan_component_manifests", functools.cache(manifest_scanner.scan_component_manifests)
    )
