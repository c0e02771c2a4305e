"""The section `gate` of a config: ranges, class names, and what counts as a limit that is set."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from labelaudit.config import AuditConfig, parse_config
from labelaudit.errors import ConfigError, GateFailedError


def config(gate: str) -> AuditConfig:
    return parse_config(f"dataset: {{url: x}}\ngate: {{{gate}}}")


def limits(config: AuditConfig) -> dict[str, Any]:
    return config.gate.model_dump(exclude_none=True)


def test_limits_that_are_set() -> None:
    assert limits(config("")) == {}
    assert limits(config("max_flagged_share: null")) == {}
    found = config("max_new_issues: 0, max_flagged_share: 0.2, max_class_flagged_share: {3: 0.1, no: 0, 1.0: 1}")
    expected = {
        "max_new_issues": 0,
        "max_flagged_share": 0.2,
        "max_class_flagged_share": {"3": 0.1, "no": 0.0, "1.0": 1.0},
    }
    assert limits(found) == expected
    assert AuditConfig.model_validate(found.model_dump(mode="json")) == found
    overridden = parse_config("dataset: {url: x}", overrides=["gate.max_class_flagged_share={cat: 0.3}"])
    assert limits(overridden) == {"max_class_flagged_share": {"cat": 0.3}}


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ("max_flagged_share: 5", r"gate\.max_flagged_share: Input should be less than or equal to 1 \(given: 5\)"),
        ("max_flagged_share: .nan", r"gate\.max_flagged_share: .*\(given: nan\)"),
        ("max_new_issues: -1", r"gate\.max_new_issues: Input should be greater than or equal to 0"),
        ("max_new_issues: 2.5", r"gate\.max_new_issues: Input should be a valid integer"),
        ("min_canary_recall: high", r"gate\.min_canary_recall: Input should be a valid number"),
        (
            "max_class_flagged_share: {cat: 2}",
            r"gate\.max_class_flagged_share\.cat: .*than or equal to 1 \(given: 2\)\.$",
        ),
        ("max_class_flagged_share: 2", r"^[^\n]*\n  gate\.max_class_flagged_share: .*equal to 1 \(given: 2\)\.$"),
        ("max_class_flagged_share: {}", r"gate\.max_class_flagged_share.*at least 1 item"),
        ("max_flaged_share: 0.1", r"gate\.max_flaged_share is not a setting\. Did you mean max_flagged_share\?"),
    ],
)
def test_errors_name_key_value_and_rule(gate: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(gate)


def test_the_error_of_a_failed_gate_survives_pickle() -> None:
    error = pickle.loads(pickle.dumps(GateFailedError("the gate failed", {"audit_url": "s3://a"})))
    assert (str(error), error.audit, error.exit_code) == ("the gate failed", {"audit_url": "s3://a"}, 3)
