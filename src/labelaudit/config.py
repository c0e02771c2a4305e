"""The config of an audit: frozen, checked on construction, read by `audit`, the steps and the flows only."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NoReturn, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from labelaudit.errors import ConfigError

_UNITS = {
    "": 1,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "KI": 2**10,
    "MI": 2**20,
    "GI": 2**30,
    "TI": 2**40,
}
# Words in the name of a storage option that mark a secret.
_SECRETS = ("secret", "password", "token", "sas", "credential", "private")


def _bytes(value: Any) -> Any:
    """`8GB`, `512 MiB` or a number of bytes."""
    if not isinstance(value, str) or value == "auto":
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?\s*", value.upper())
    if match is None:
        raise ValueError("must be 'auto' or a size such as 8GB, 512MiB or 1000000")
    return int(float(match[1]) * _UNITS[match[2] or ""])


Auto = Literal["auto"]
PositiveInt = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Size = Annotated[Annotated[int, Field(ge=2**20)] | Auto, BeforeValidator(_bytes)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetConfig(_Section):
    """What is audited."""

    url: str = Field(description="file, folder of shards, image folder, CSV, TSV or JSONL; may hold {name}, {version}")
    name: str | None = Field(None, description="default: from the URL", min_length=1, max_length=200)
    version: str | None = Field(
        None, description="default: from the URL, else the start of the fingerprint; latest: the newest complete one"
    )
    label: str | None = Field(None, description="column of the given labels; image folders need none")
    id: str | None = Field(None, description="column of ids that are stable across versions")
    input: str | tuple[str, ...] = Field("auto", description="auto, one column or a list of columns")
    kind: Literal["auto", "image", "text", "table"] = "auto"
    group: str | None = Field(None, description="column whose examples stay in one fold")
    ignore: tuple[str, ...] = Field((), description="columns that are never used for anything")

    @field_validator("name", "version")
    @classmethod
    def _printable(cls, value: str | None) -> str | None:
        if value is not None and (not value.isprintable() or value.strip(". ") == ""):
            raise ValueError("must be printable and more than dots and spaces")
        return value

    @field_validator("version", mode="before")
    @classmethod
    def _version_text(cls, value: Any) -> Any:
        # YAML reads `version: 3` as a number.
        return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


class ModelConfig(_Section):
    """What is trained."""

    network: str = Field("auto", description="auto | mlp | cnn | ngrams | torchvision:resnet50 | my_package.nets:build")
    kwargs: dict[str, Any] = Field(default_factory=dict, description="arguments of the network")


class TrainingConfig(_Section):
    """How it is trained."""

    epochs: PositiveInt | Auto = "auto"
    batch_size: Annotated[int, Field(ge=2)] | Auto = "auto"
    learning_rate: Annotated[float, Field(gt=0, le=100)] | Auto = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class CrossValidationConfig(_Section):
    """How out-of-fold probabilities are made."""

    folds: Annotated[int, Field(ge=2, le=100)] = 5
    repeats: Annotated[int, Field(ge=1, le=20)] = 1
    rare_classes: Literal["set_aside", "error"] = "set_aside"


class DetectionConfig(_Section):
    """How label issues are found in the probabilities."""

    filter: Literal[
        "prune_by_noise_rate",
        "prune_by_class",
        "both",
        "confident_learning",
        "predicted_neq_given",
        "low_normalized_margin",
        "low_self_confidence",
    ] = "prune_by_noise_rate"


class VersionsConfig(_Section):
    """When a version is complete: by a file that is written last, or because nothing changes any more."""

    marker: str | None = Field(None, description="name of a file that completes a version", pattern=r"^[^/]+$")
    quiet_minutes: Annotated[float, Field(ge=0)] | None = Field(
        None, description="instead: a version is complete when no file of it changed for so long"
    )

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if self.marker is not None and self.quiet_minutes is not None:
            raise ValueError("set either marker or quiet_minutes: a version is complete by one rule")
        return self


class WorkersConfig(_Section):
    """Where folds are trained."""

    kind: Literal["local", "ray", "work-pool"] = "local"
    max_parallel: PositiveInt | Auto = "auto"
    threads: PositiveInt | Auto = Field("auto", description="CPU threads of a fold; auto: a fair share of the cores")
    gpus_per_fold: Annotated[float, Field(ge=0)] = Field(1, description="a fraction, or a whole number")
    address: str | None = Field(None, description="of a Ray cluster; default: Ray on this machine")
    deployment: str = Field(
        "train-fold/gpu", description="started once per fold on a work pool", pattern="^[^/]+/[^/]+$"
    )
    checkpoint_minutes: Annotated[float, Field(ge=0)] | None = Field(10, description="0: every epoch; null: never")

    @field_validator("gpus_per_fold")
    @classmethod
    def _fraction_or_whole(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError("must be a fraction up to 1, or a whole number")
        return value

    @model_validator(mode="after")
    def _settings_of_the_kind(self) -> Self:
        for name, kind in (("address", "ray"), ("deployment", "work-pool")):
            is_given = getattr(self, name) != type(self).model_fields[name].default
            if is_given and self.kind != kind:
                raise ValueError(f"{name} is for kind: {kind}, and kind is {self.kind}")
        return self


class GateConfig(_Section):
    """Limits that a version must keep; after its audit is published, a broken one fails the run. None: no limit."""

    max_flagged_share: Share | None = Field(None, description="flagged rows by scored rows")
    max_class_flagged_share: Share | Annotated[dict[str, Share], Field(min_length=1)] | None = Field(
        None, description="the same of each class: one number for all, or a number by class name"
    )
    max_new_issues: Annotated[int, Field(ge=0)] | None = Field(
        None, description="newly flagged since the version before"
    )
    max_new_issues_share: Share | None = Field(None, description="the same by scored rows")
    max_measured_error_rate: Share | None = Field(None, description="of a random sample that people judged")
    min_canary_recall: Share | None = Field(None, description="share of planted errors that must be caught")

    @field_validator("max_class_flagged_share", mode="before")
    @classmethod
    def _class_names(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if any(not isinstance(name, (str, int)) or isinstance(name, bool) for name in value):
            raise ValueError("class names must be text: put quotes around those that YAML reads as something else")
        # YAML reads the class `3:` as a number.
        return {str(name): share for name, share in value.items()}


class ReportConfig(_Section):
    examples: Annotated[int, Field(ge=0, le=1000)] = Field(200, description="worst examples shown in the page")
    previews: Annotated[int, Field(ge=0, le=20_000)] = Field(
        2000, description="worst examples that the dashboard can show without the dataset"
    )


class OutputConfig(_Section):
    url: str = Field("labelaudit-reports", description="where audits are published", min_length=1)


class StorageConfig(_Section):
    """fsspec options for remote URLs; secrets come from the environment, never from here."""

    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("options")
    @classmethod
    def _no_secrets(cls, options: dict[str, Any]) -> dict[str, Any]:
        for path in _option_names(options):
            name = path.rpartition(".")[2].lower()
            if name in ("key", "access_key") or any(word in name for word in _SECRETS):
                raise ValueError(
                    f"{path} is a secret: set it in the environment (AWS_ACCESS_KEY_ID, "
                    "AWS_SECRET_ACCESS_KEY, AWS_PROFILE, …) instead of the config"
                )
        return options


class LimitsConfig(_Section):
    """Bounds on this machine's memory and cache disk."""

    memory: Size = "auto"
    cache: Size = "auto"

    @property
    def memory_bytes(self) -> int | None:
        """Bytes that the processes of an audit may hold on this machine; None: no limit."""
        return None if self.memory == "auto" else self.memory

    @property
    def cache_bytes(self) -> int | None:
        """Bytes that the cache may take on disk; None: the cache decides."""
        return None if self.cache == "auto" else self.cache


class AuditConfig(_Section):
    """One audit. Only `dataset.url` has no default."""

    dataset: DatasetConfig
    versions: VersionsConfig = VersionsConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    cross_validation: CrossValidationConfig = CrossValidationConfig()
    detection: DetectionConfig = DetectionConfig()
    gate: GateConfig = GateConfig()
    workers: WorkersConfig = WorkersConfig()
    report: ReportConfig = ReportConfig()
    output: OutputConfig = OutputConfig()
    storage: StorageConfig = StorageConfig()
    limits: LimitsConfig = LimitsConfig()


def parse_config(text: str, *, overrides: Iterable[str] = (), source: str = "config") -> AuditConfig:
    """Config from YAML text, with `a.b=value` overrides on top; values of overrides are YAML too.

    Raises `ConfigError` with one line per problem.
    """
    values = parse_yaml(text, source)
    if not isinstance(values, dict):
        raise ConfigError(
            f"{source} must hold sections such as `dataset:`, not {type(values).__name__}. "
            "The smallest config is `dataset: {url: data.parquet}`."
        )
    return build_config(values, overrides=overrides, source=source)


def parse_yaml(text: str, source: str) -> Any:
    """Plain values of a YAML text. Raises `ConfigError` where it is none."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from error


def build_config(values: Mapping[str, Any], *, overrides: Iterable[str] = (), source: str = "config") -> AuditConfig:
    """Config from nested values. Raises `ConfigError` with one line per problem."""
    merged = {name: dict(value) if isinstance(value, dict) else value for name, value in values.items()}
    for override in overrides:
        _override(merged, override)
    try:
        return AuditConfig.model_validate(merged)
    except ValidationError as error:
        _raise_readable(error, source)


def with_version(config: AuditConfig, version: str | None) -> AuditConfig:
    """The config with another `dataset.version`. Raises `ConfigError` where that is no name of a version."""
    values = {**config.dataset.model_dump(exclude_unset=True), "version": version}
    try:
        dataset = DatasetConfig.model_validate(values)
    except ValidationError as error:
        _raise_readable(error, f"The version {version!r}")
    return config.model_copy(update={"dataset": dataset})


def _override(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    names = path.strip().split(".")
    if not equals or not all(names):
        raise ConfigError(f"--set {override!r} must look like training.epochs=3.")
    section = values
    for name in names[:-1]:
        section = section.setdefault(name, {})
        if not isinstance(section, dict):
            raise ConfigError(f"--set {override!r}: {name} is a value, not a section.")
    try:
        section[names[-1]] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override!r}: the value is not valid YAML.") from error


def _raise_readable(error: ValidationError, source: str) -> NoReturn:
    lines = {_problem(item["loc"], item) for item in error.errors()}
    raise ConfigError(f"{source} cannot be used:\n" + "\n".join(f"  {line}" for line in sorted(lines))) from error


def _problem(location: Sequence[int | str], item: Mapping[str, Any]) -> str:
    # Locations of unions end with the name of the tried member, which means nothing to a user.
    names = [str(name) for name in location if re.fullmatch(r"[a-z_]+", str(name)) and name != "function-before"]
    if item["type"] == "extra_forbidden":
        known = _known_keys(names[:-1])
        close = difflib.get_close_matches(names[-1] if names else str(location[-1]), known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}."
        return f"{'.'.join(map(str, location))} is not a setting; {hint}"
    names = [name for name in names if name not in ("int", "float", "str", "constrained", "literal")]
    if item["type"] == "missing":
        return f"{'.'.join(names)} is required."
    message = item["msg"].removeprefix("Value error, ")
    # What was given for the storage may hold a secret, so it is not repeated.
    given = "" if names[:1] == ["storage"] else f" (given: {item['input']!r})"
    return f"{'.'.join(names)}: {message}{given}"[:400]


def _known_keys(path: Sequence[str]) -> list[str]:
    model: Any = AuditConfig
    for name in path:
        model = model.model_fields[name].annotation
    return list(model.model_fields)


def _option_names(options: Mapping[str, Any], prefix: str = "storage.options") -> list[str]:
    names = []
    for name, value in options.items():
        names.append(f"{prefix}.{name}")
        if isinstance(value, Mapping):
            names += _option_names(value, f"{prefix}.{name}")
    return names
