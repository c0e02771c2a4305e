"""The config: the contract's keys, clear errors, no secrets."""

from __future__ import annotations

import contextlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from labelaudit.config import AuditConfig, build_config, parse_config
from labelaudit.errors import ConfigError

FULL = """
dataset:
  name: cifar10n
  url: s3://datasets/cifar10n/{version}
  version: v3
  label: label
  id: id
  input: auto
  kind: auto
  group: null
  ignore: [true_label]
model: {network: auto, kwargs: {}, encoder: auto, encoder_kwargs: {}, views: auto}
training: {epochs: auto, batch_size: auto, learning_rate: auto, precision: auto, device: auto, seed: 0}
cross_validation: {folds: 5, repeats: 1, rare_classes: set_aside}
detection: {filter: auto, precision: null, recall: null}
workers: {kind: local, max_parallel: auto, gpus_per_fold: 1}
report: {examples: 200}
output: {url: s3://audits}
storage: {options: {}}
limits: {memory: auto, cache: auto}
"""


def test_the_keys_of_the_contract() -> None:
    config = parse_config(FULL)
    assert config.dataset.ignore == ("true_label",)
    # What is written there are the defaults.
    assert config.model_copy(update={"dataset": None, "output": None}) == parse_config("dataset: {url: x}").model_copy(
        update={"dataset": None, "output": None}
    )


def test_a_config_survives_json() -> None:
    config = parse_config(FULL, overrides=["limits.cache=2GB", "training.epochs=7"])
    assert AuditConfig.model_validate(config.model_dump(mode="json")) == config


def test_auto_is_none_in_the_code_and_auto_in_files() -> None:
    config = parse_config(FULL)
    assert config.training.epochs is None
    assert config.limits.memory is None
    for mode in ("json", "python"):
        assert config.model_dump(mode=mode)["training"]["epochs"] == "auto"
        assert config.model_dump(mode=mode)["workers"]["max_parallel"] == "auto"


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        parse_config(FULL).training.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("training.epochs=3", "training", "epochs", 3),
        ("training.learning_rate=1e-2", "training", "learning_rate", 0.01),
        ("dataset.input=[a, b]", "dataset", "input", ("a", "b")),
        ("model.views=[probe, network]", "model", "views", ("probe", "network")),
        ("model.encoder=none", "model", "encoder", "none"),
        ("dataset.version=7", "dataset", "version", "7"),
        ("dataset.label=", "dataset", "label", None),
        ("limits.memory=8GB", "limits", "memory", 8_000_000_000),
        ("limits.memory=512 MiB", "limits", "memory", 512 * 2**20),
    ],
)
def test_overrides(override: str, section: str, key: str, value: object) -> None:
    config = parse_config("dataset: {url: x}", overrides=[override])
    assert getattr(getattr(config, section), key) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset: {url: x, lable: y}", r"dataset\.lable is not a setting\. Did you mean label\?"),
        ("dataset: {url: x}\ntrainin: {}", r"trainin is not a setting\. Did you mean training\?"),
        ("dataset: {url: x}\nqq: {}", r"qq is not a setting\. The settings are dataset, versions, model"),
        ("dataset: {}", r"dataset\.url is required"),
        ("model: {}", r"dataset is required"),
        ("[]", r"must have sections such as `dataset:`, but it is a list\."),
        ("a: [", r"is not valid YAML"),
        (
            "dataset: {url: x}\ntraining: {epochs: 0}",
            r"training\.epochs: .*greater than or equal to 1 \(given: 0\)",
        ),
        ("dataset: {url: x}\ntraining: {device: tpu}", r"training\.device: .*given: 'tpu'"),
        ("dataset: {url: x}\ncross_validation: {folds: 1}", r"cross_validation\.folds: .*given: 1"),
        ("dataset: {url: x}\ndetection: {filter: best}", r"detection\.filter: .*given: 'best'"),
        ("dataset: {url: x}\nlimits: {memory: much}", r"limits\.memory: Must be auto, or a size such as 8GB"),
        ("dataset: {url: x, name: '..'}", r"dataset\.name: Must be printable, and not only dots"),
        ("dataset: {url: x}\nworkers: {kind: moon}", r"workers\.kind: .*given: 'moon'"),
        ("dataset: {url: x}\nworkers: {gpus_per_fold: 1.5}", r"gpus_per_fold: Must be a fraction up to 1, or a whole"),
        (
            "dataset: {url: x}\nworkers: {address: a}",
            r"workers: address is for kind: ray, but kind is local",
        ),
        ("dataset: {url: x}\nworkers: {deployment: a/b}", r"workers: deployment is for kind: work-pool, but kind is"),
        (
            "dataset: {url: x}\nworkers: {kind: ray, encode_deployment: a/b}",
            r"workers: encode_deployment is for kind: work-pool, but kind is ray\. Leave encode_deployment out",
        ),
        ("dataset: {url: x}\nworkers: {kind: work-pool, deployment: a}", r"workers\.deployment: .*given: 'a'"),
        (
            "dataset: {url: x}\nversions: {marker: a, quiet_minutes: 1}",
            r"versions: Set either marker or quiet_minutes",
        ),
        ("dataset: {url: x}\nversions: {marker: a/b}", r"versions\.marker: .*given: 'a/b'"),
        ("dataset: {url: x}\ntraining: {epochs: null}", r"training\.epochs: Must not be null"),
        (
            "dataset: {url: x, input: [a, null]}",
            r"dataset\.input\.1: Must be text\. Put quotes around it \(given: None",
        ),
        ("dataset: {url: x, input: [a, [b]]}", r"dataset\.input\.1: .*valid string \(given: \['b'\]\)\.$"),
        ("dataset: {url: x, rename: {a: ' '}}", r"dataset\.rename: The new name of 'a' must not be blank"),
        ("dataset: {url: x, slices: [a, b, a]}", r"dataset\.slices: Must name each column once"),
        ("dataset: {url: x}\ngate: {max_slice_ratio: 0.5}", r"gate\.max_slice_ratio: .*given: 0\.5"),
        ("dataset: {url: x, csv: {missing: NA}}", r"dataset\.csv\.missing: Input should be 'auto' \(given: 'NA'\)\.$"),
        ("dataset: {url: x}\nmodel: {views: [probe, probe]}", r"model\.views: Must name each view once"),
        ("dataset: {url: x}\nmodel: {views: []}", r"model\.views: .*at least 1"),
        ("dataset: {url: x}\nmodel: {views: [prob]}", r"model\.views\.0: .*'network', 'probe' or 'neighbours'"),
        ("dataset: {url: x}\ntraining: {epochs: yes}", r"training\.epochs: .*valid integer.* \(given: 'yes'\)\.$"),
        ("dataset: {url: x, input: {a: 1}}", r"dataset\.input: .*valid tuple"),
    ],
)
def test_errors_name_key_value_and_rule(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(text)


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config("dataset: {url: x, a: 1}\ntraining: {seed: -1}\nreport: {examples: many}")
    assert str(caught.value).count("\n") == 3


@pytest.mark.parametrize("options", ["key: AKIA", "client_kwargs: {aws_secret_access_key: hunter2}", "token: t"])
def test_secrets_are_refused_and_not_repeated(options: str) -> None:
    with pytest.raises(ConfigError, match=r"is a secret\. Set it in the environment") as caught:
        parse_config(f"dataset: {{url: x}}\nstorage: {{options: {{{options}}}}}")
    assert "hunter2" not in str(caught.value)
    assert "AKIA" not in str(caught.value)


@pytest.mark.parametrize("override", ["training.epochs", "=3", "training.=3"])
def test_malformed_overrides(override: str) -> None:
    with pytest.raises(ConfigError, match=r"must look like training\.epochs=3"):
        parse_config("dataset: {url: x}", overrides=[override])


def test_an_override_through_a_value() -> None:
    with pytest.raises(ConfigError, match="url is a value, not a section"):
        parse_config("dataset: {url: x}", overrides=["dataset.url.deep=1"])


def test_an_override_that_is_not_yaml() -> None:
    with pytest.raises(
        ConfigError, match=r"^The value of --set dataset\.url is not valid YAML: while parsing a flow sequence"
    ):
        parse_config("dataset: {url: x}", overrides=["dataset.url=[1"])


@pytest.mark.parametrize(
    "written",
    [
        *(
            "1.10",
            "007",
            "2026-11-20",
            "2026-11-20 10:00:00",
            "2026-13-45",
            "12:30",
            "1e3",
            "0x1F",
            "1_000",
            "no",
            "True",
        ),
        *("3", "-0", ".5", "1.", "9" * 30, "0.1000000000000000055", "v1", "'quoted'"),
    ],
)
def test_text_stays_as_it_is_written(written: str) -> None:
    text = written.strip("'")
    settings = f"""
dataset:
  url: x
  version: {written}
  label: {written}
  ignore: [a, {written}]
  input: [{written}]
  rename: {{{written}: {written}}}
  csv: {{missing: [{written}]}}
versions: {{marker: {written}}}
gate:
  max_class_flagged_share: {{{written}: 0.5}}
"""
    config = parse_config(settings)
    assert (config.dataset.version, config.dataset.label) == (text, text)
    assert (config.dataset.ignore, config.dataset.input) == (("a", text), (text,))
    assert (config.dataset.rename, config.dataset.csv.missing) == ({text: text}, (text,))
    assert config.versions.marker == text
    assert config.gate.max_class_flagged_share == {text: 0.5}
    overrides = [f"dataset.version={written}", f"dataset.rename={{{written}: b}}"]
    assert parse_config("dataset: {url: x}", overrides=overrides).dataset.rename == {text: "b"}
    assert parse_config("dataset: {url: x}", overrides=overrides).dataset.version == text
    # Nothing but plain values is left, which survive JSON and pickle.
    assert AuditConfig.model_validate_json(config.model_dump_json()) == config
    assert type(config.dataset.version) is str


def test_other_values_are_plain() -> None:
    kwargs = (
        "{epochs: 0x10, share: 1.10, pretrained: no, layers: [1, [2.0, true]], head: {width: 3, 1: on}, text: 'no'}"
    )
    config = parse_config(f"dataset: {{url: x}}\nmodel: {{kwargs: {kwargs}}}\nstorage: {{options: {{anon: yes}}}}")
    found = config.model.kwargs
    assert found == {
        **{"epochs": 16, "share": 1.1, "pretrained": False, "layers": [1, [2.0, True]]},
        **{"head": {"width": 3, "1": True}, "text": "no"},
    }
    assert config.storage.options == {"anon": True}
    assert [type(value) for value in (found["epochs"], found["share"], found["layers"][0])] == [int, float, int]
    assert type(found["layers"][1][0]) is float
    assert pickle.loads(pickle.dumps(config)) == config


def test_a_number_that_python_gives_for_text() -> None:
    assert build_config({"dataset": {"url": "x", "version": 3}}).dataset.version == "3"
    for value in (1.1, True):
        with pytest.raises(ConfigError, match=r"dataset\.version: Must be text\. Put quotes around it \(given: "):
            build_config({"dataset": {"url": "x", "version": value}})


def test_an_override_of_a_value_that_an_alias_repeats() -> None:
    text = "dataset: {url: x}\nmodel: {kwargs: &a {deep: {size: 1}}}\nstorage: {options: *a}"
    config = parse_config(text, overrides=["model.kwargs.deep.size=2"])
    assert config.model.kwargs == {"deep": {"size": 2}}
    assert config.storage.options == {"deep": {"size": 1}}


def test_an_override_with_a_key_twice() -> None:
    with pytest.raises(
        ConfigError, match=r"^The value of --set dataset\.rename contains the key 'a' twice\. Remove one"
    ):
        parse_config("dataset: {url: x}", overrides=["dataset.rename={a: b, a: c}"])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.dictionaries(
            st.sampled_from(["dataset", "url", "training", "epochs", "limits", "memory", "x"]),
            inner,
            max_size=4,
        ),
    )
)
def test_any_mapping_gives_a_config_or_a_config_error(value: object) -> None:
    values = value if isinstance(value, dict) else {"dataset": value}
    with contextlib.suppress(ConfigError):
        assert build_config(values).dataset.url is not None
