"""The config of an audit: frozen sections that are checked when they are built."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NoReturn, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from labelaudit.errors import ConfigError
from labelaudit.schemas import AUTO_FILTER, Filter, InputKind, ViewName
from labelaudit.text import closest
from labelaudit.yaml_text import as_written, plain_values, read_as_written

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
# A storage option whose name contains one of these is a secret.
_SECRETS = ("secret", "password", "token", "sas", "credential", "private")
# Members of unions. pydantic puts them into the location of an error, where they mean nothing to a user.
_ONE = "<one>"
_SEVERAL = "<several>"


def _text(value: object) -> object:
    """Return the text of a scalar as it was written in YAML. Whole numbers that were given in Python become text."""
    written = as_written(value)
    if isinstance(written, bool | float) or written is None:
        raise ValueError("Must be text. Put quotes around it")
    return str(written) if isinstance(written, int) else written


def _none_if_auto(value: object) -> object:
    if value is None:
        raise ValueError("Must not be null. Leave the key out, or use auto")
    return None if value == "auto" else value


def _auto_if_none(value: object) -> object:
    return "auto" if value is None else value


def _bytes(value: object) -> object:
    """Return a number of bytes for a size such as `8GB` or `512 MiB`."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?\s*", value.upper())
    if match is None:
        raise ValueError("Must be auto, or a size such as 8GB, 512MiB or 1000000")
    return int(float(match[1]) * _UNITS[match[2] or ""])


def _one_or_several(value: object) -> str:
    return _SEVERAL if isinstance(value, list | tuple | dict) else _ONE


# The config says `auto`, the code reads None. Prefect checks parameters of deployments against the JSON schema.
_AUTO = (
    BeforeValidator(_none_if_auto, json_schema_input_type=float | str),
    PlainSerializer(_auto_if_none),
    Field(json_schema_extra={"default": "auto"}),
)
# YAML reads 1.10 and 007 as numbers, `no` as a boolean, and 2026-11-20 as a date. As text they stay as written.
Text = Annotated[str, BeforeValidator(_text, json_schema_input_type=str)]
_Plain = BeforeValidator(plain_values)
PositiveInt = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]
AutoInt = Annotated[PositiveInt | None, *_AUTO]
AutoSize = Annotated[Annotated[int, Field(ge=2**20)] | None, BeforeValidator(_bytes), *_AUTO]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CsvConfig(_Section):
    """How CSV and TSV files are written. auto: detected from the files, and reported."""

    delimiter: Annotated[Text, Field(min_length=1, max_length=4)] = Field("auto", description="one character, or auto")
    quote: Annotated[Text, Field(min_length=1, max_length=4)] = Field(
        "auto", description="one character, none (a quotation mark is text), or auto"
    )
    decimal: Literal["auto", ".", ","] = "auto"
    thousands: Literal["auto", "none", ".", ",", " ", "'"] = "auto"
    encoding: Text = Field("auto", description="a Python codec, such as utf-8 or cp1252, or auto")
    missing: Annotated[
        Annotated[Literal["auto"], Tag(_ONE)] | Annotated[tuple[Text, ...], Tag(_SEVERAL)],
        Discriminator(_one_or_several),
    ] = Field("auto", description="texts that mean that a value is missing")


class AnnotationColumnsConfig(_Section):
    """The columns of the table of annotations. None: found by their names."""

    id: Text | None = Field(None, description="column of example ids")
    annotator: Text | None = Field(None, description="column of annotators")
    label: Text | None = Field(None, description="column of their labels")


class DatasetConfig(_Section):
    """What is audited."""

    url: Text = Field(
        description="file, folder of shards, image folder, CSV, TSV or JSONL; may contain {name} and {version}"
    )
    name: Text | None = Field(None, description="default: from the URL", min_length=1, max_length=200)
    version: Text | None = Field(
        None,
        description="default: from the URL, else the first digits of the fingerprint; latest: newest complete version",
    )
    label: Text | None = Field(None, description="column of the given labels; not needed for image folders")
    id: Text | None = Field(None, description="column of ids that stay the same in all versions")
    input: Annotated[
        Annotated[Text, Tag(_ONE)] | Annotated[tuple[Text, ...], Tag(_SEVERAL)], Discriminator(_one_or_several)
    ] = Field("auto", description="auto, one column or a list of columns")
    kind: InputKind = "auto"
    group: Text | None = Field(None, description="column whose examples stay in one fold")
    ignore: tuple[Text, ...] = Field((), description="columns that are not used at all")
    slices: tuple[Text, ...] = Field(
        (), description="columns whose values are compared, such as annotator or batch; they are not inputs"
    )
    rename: dict[Text, Text] = Field(
        default_factory=dict, description="other names for given labels, {old: new}, applied while reading"
    )
    annotations: Text | None = Field(
        None,
        description="table with a row for each answer of an annotator: example id, annotator, label; "
        "may contain {name} and {version}",
    )
    annotation_columns: AnnotationColumnsConfig = AnnotationColumnsConfig()
    csv: CsvConfig = CsvConfig()
    unreadable_files: Literal["error", "skip"] = Field(
        "error", description="skip: leave out files that look like data but cannot be read, and count them"
    )

    @property
    def has_version_in_url(self) -> bool:
        """Whether versions have URLs of their own. If not, the version is the content at the URL."""
        return "{version}" in self.url

    @field_validator("name", "version")
    @classmethod
    def _printable(cls, value: str | None) -> str | None:
        if value is not None and (not value.isprintable() or value.strip(". ") == ""):
            raise ValueError("Must be printable, and not only dots and spaces")
        return value

    @field_validator("slices")
    @classmethod
    def _distinct_slices(cls, slices: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(slices)) < len(slices):
            raise ValueError("Must name each column once")
        return slices

    @field_validator("rename")
    @classmethod
    def _names_of_classes(cls, rename: dict[str, str]) -> dict[str, str]:
        for old, new in rename.items():
            if not new.strip():
                raise ValueError(f"The new name of {old!r} must not be blank")
        return rename


class ModelConfig(_Section):
    """What is trained."""

    network: Text = Field(
        "auto", description="auto | mlp | cnn | ngrams | torchvision:resnet50 | my_package.nets:build"
    )
    kwargs: Annotated[dict[str, Any], _Plain] = Field(default_factory=dict, description="arguments of the network")
    encoder: Text = Field(
        "auto",
        description="auto | none | efficientnet-lite0 | minilm | torchvision:resnet50 | timm:<model> | "
        "open_clip:<model> | sentence-transformers:<model> | path or URL of weights | my_package.encoders:build",
    )
    encoder_kwargs: Annotated[dict[str, Any], _Plain] = Field(
        default_factory=dict, description="arguments of the encoder; also weights and input_size"
    )
    views: Annotated[
        Annotated[Literal["auto"], Tag(_ONE)] | Annotated[tuple[ViewName, ...], Field(min_length=1), Tag(_SEVERAL)],
        Discriminator(_one_or_several),
    ] = Field("auto", description="auto, or some of network, probe and neighbours")

    @field_validator("views")
    @classmethod
    def _distinct_views(cls, views: Literal["auto"] | tuple[ViewName, ...]) -> Literal["auto"] | tuple[ViewName, ...]:
        if views != "auto" and len(set(views)) < len(views):
            raise ValueError("Must name each view once")
        return views


class TrainingConfig(_Section):
    """How it is trained. None: decided by the kind and size of the dataset."""

    epochs: AutoInt = None
    batch_size: Annotated[Annotated[int, Field(ge=2)] | None, *_AUTO] = None
    learning_rate: Annotated[Annotated[float, Field(gt=0, le=100)] | None, *_AUTO] = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: Annotated[Text, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class CrossValidationConfig(_Section):
    """How out-of-fold probabilities are made."""

    folds: Annotated[int, Field(ge=2, le=100)] = 5
    repeats: Annotated[int, Field(ge=1, le=20)] = 1
    rare_classes: Literal["set_aside", "error"] = "set_aside"


class DetectionConfig(_Section):
    """How label issues are found in the probabilities."""

    filter: Filter = Field(
        AUTO_FILTER, description="auto: the cut with the highest expected F1; or a filter of cleanlab"
    )
    precision: OpenShare | None = Field(
        None, description="flag as many rows as possible so that this share of them is expected to be wrong"
    )
    recall: OpenShare | None = Field(
        None, description="flag as few rows as possible so that this share of all wrong labels is expected among them"
    )

    @model_validator(mode="after")
    def _one_cut(self) -> Self:
        if self.precision is not None and self.recall is not None:
            raise ValueError("Only one of precision and recall can be promised. Leave one out")
        for name in ("precision", "recall"):
            if getattr(self, name) is not None and self.filter != AUTO_FILTER:
                raise ValueError(f"{name} needs filter: {AUTO_FILTER}, but filter is {self.filter}. Leave {name} out")
        return self


class VersionsConfig(_Section):
    """When a version is complete: a marker file exists, or no file has changed for some time."""

    marker: Text | None = Field(None, description="name of the file that is written last", pattern=r"^[^/]+$")
    quiet_minutes: Annotated[float, Field(ge=0)] | None = Field(
        None, description="instead of a marker: no file has changed for so long"
    )

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if self.marker is not None and self.quiet_minutes is not None:
            raise ValueError("Set either marker or quiet_minutes, not both")
        return self


class WorkersConfig(_Section):
    """Where rows are encoded and folds are trained."""

    kind: Literal["local", "ray", "work-pool"] = "local"
    max_parallel: AutoInt = Field(None, description="auto: one per GPU slot, else one per CPU core")
    threads: AutoInt = Field(None, description="CPU threads of a fold; auto: a fair share of the cores")
    gpus_per_fold: Annotated[float, Field(ge=0)] = Field(1, description="a fraction, or a whole number")
    address: Text | None = Field(None, description="of a Ray cluster; default: Ray on this machine")
    deployment: Text = Field(
        "train-fold/gpu", description="started once per fold on a work pool", pattern="^[^/]+/[^/]+$"
    )
    encode_deployment: Text = Field(
        "encode-shard/gpu", description="started once per shard of rows on a work pool", pattern="^[^/]+/[^/]+$"
    )
    checkpoint_minutes: Annotated[float, Field(ge=0)] | None = Field(10, description="0: every epoch; null: never")

    @field_validator("gpus_per_fold")
    @classmethod
    def _fraction_or_whole(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError("Must be a fraction up to 1, or a whole number")
        return value

    @model_validator(mode="after")
    def _settings_of_the_kind(self) -> Self:
        for name, kind in (("address", "ray"), ("deployment", "work-pool"), ("encode_deployment", "work-pool")):
            is_given = getattr(self, name) != type(self).model_fields[name].default
            if is_given and self.kind != kind:
                raise ValueError(f"{name} is for kind: {kind}, but kind is {self.kind}. Leave {name} out")
        return self


class GateConfig(_Section):
    """Limits for a version. If one is exceeded, the run fails after the audit is published. None: no limit."""

    max_flagged_share: Share | None = Field(None, description="flagged rows divided by scored rows")
    max_class_flagged_share: (
        Annotated[
            Annotated[Share, Tag(_ONE)] | Annotated[dict[Text, Share], Field(min_length=1), Tag(_SEVERAL)],
            Discriminator(_one_or_several),
        ]
        | None
    ) = Field(None, description="the same for each class: one number for all, or a number by class name")
    max_new_issues: Annotated[int, Field(ge=0)] | None = Field(
        None, description="rows that are flagged now and were not in the previous version"
    )
    max_new_issues_share: Share | None = Field(None, description="the same divided by scored rows")
    max_error_rate: Share | None = Field(
        None, description="share of wrong labels: fails if the whole range is above, warns if a part of it is"
    )
    max_measured_error_rate: Share | None = Field(None, description="error rate of a random sample that people judged")
    max_new_classes: Annotated[int, Field(ge=0)] | None = Field(
        None, description="classes that the previous version does not have"
    )
    max_class_share_change: Share | None = Field(
        None, description="largest change of a class's share of the labeled rows since the previous version"
    )
    min_canary_recall: Share | None = Field(None, description="share of planted errors that must be found")
    max_conflicting_copies: Annotated[int, Field(ge=0)] | None = Field(
        None, description="groups of copies and near-copies with different labels"
    )
    max_leaks: Annotated[int, Field(ge=0)] | None = Field(
        None, description="groups of copies and near-copies that are in several splits"
    )
    max_slice_ratio: Annotated[float, Field(ge=1)] | None = Field(
        None, description="how many times as many wrong labels a slice may have as the others"
    )
    max_input_issues_share: Share | None = Field(
        None, description="share of the rows whose inputs are hard to use, such as dark images or empty texts"
    )


class ReportConfig(_Section):
    """How many rows the report and the dashboard show."""

    examples: Annotated[int, Field(ge=0, le=1000)] = Field(200, description="worst examples shown in the page")
    previews: Annotated[int, Field(ge=0, le=20_000)] = Field(
        2000, description="worst examples that the dashboard can show without the dataset"
    )


class OutputConfig(_Section):
    """Where audits are published."""

    url: Text = Field("labelaudit-reports", description="where audits are published", min_length=1)


class StorageConfig(_Section):
    """fsspec options for remote URLs. Secrets come from the environment, never from here."""

    options: Annotated[dict[str, object], _Plain] = Field(default_factory=dict)

    @field_validator("options")
    @classmethod
    def _no_secrets(cls, options: dict[str, object]) -> dict[str, object]:
        for path in _option_names(options):
            name = path.rpartition(".")[2].lower()
            if name in ("key", "access_key") or any(word in name for word in _SECRETS):
                raise ValueError(
                    f"{path} is a secret. Set it in the environment (AWS_ACCESS_KEY_ID, "
                    "AWS_SECRET_ACCESS_KEY, AWS_PROFILE, …), not in the config"
                )
        return options


class LimitsConfig(_Section):
    """Limits for this machine, in bytes."""

    memory: AutoSize = Field(None, description="of all processes of an audit together; auto: no limit")
    cache: AutoSize = Field(None, description="of the cache on disk; auto: half of the free disk")


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
    """Return the config in a YAML text, with `a.b=value` overrides on top.

    Args:
        text: the YAML text.
        overrides: as `--set` takes them; their values are YAML too.
        source: what error messages call the text.

    Raises:
        ConfigError: with one line per problem.
    """
    values = read_as_written(text, source)
    if not isinstance(values, dict):
        raise ConfigError(
            f"{source} must have sections such as `dataset:`, but it is a {type(values).__name__}. "
            "The smallest config is `dataset: {url: data.parquet}`."
        )
    return build_config(values, overrides=overrides, source=source)


def build_config(values: Mapping[str, object], *, overrides: Iterable[str] = (), source: str = "config") -> AuditConfig:
    """Return the config with these nested values. Raises `ConfigError` with one line per problem."""
    merged = dict(values)
    for override in overrides:
        _override(merged, override)
    try:
        return AuditConfig.model_validate(merged)
    except ValidationError as error:
        _raise_readable(error, source)


def with_version(config: AuditConfig, version: str | None) -> AuditConfig:
    """Return the config with another `dataset.version`. Raises `ConfigError` if that cannot be a version's name."""
    values = {**config.dataset.model_dump(exclude_unset=True), "version": version}
    try:
        dataset = DatasetConfig.model_validate(values)
    except ValidationError as error:
        _raise_readable(error, f"The version {version!r}")
    return config.model_copy(update={"dataset": dataset})


def _override(values: dict[str, object], override: str) -> None:
    path, equals, text = override.partition("=")
    names = path.strip().split(".")
    if not equals or not all(names):
        raise ConfigError(f"--set {override!r} must look like training.epochs=3.")
    section = values
    for name in names[:-1]:
        found = section.get(name, {})
        if not isinstance(found, dict):
            raise ConfigError(f"--set {override!r} cannot be used: {name} is a value, not a section.")
        # A copy, because an alias may also use this mapping elsewhere.
        copy: dict[str, object] = dict(found)
        section[name] = copy
        section = copy
    section[names[-1]] = read_as_written(text, f"The value of --set {path.strip()}")


def _raise_readable(error: ValidationError, source: str) -> NoReturn:
    lines = sorted({_problem(item) for item in error.errors()})
    raise ConfigError("\n  ".join([f"{source} cannot be used:", *lines])) from error


def _problem(item: ErrorDetails) -> str:
    names = [str(name) for name in item["loc"] if name not in (_ONE, _SEVERAL)]
    path = ".".join(names)
    if item["type"] == "extra_forbidden":
        known = _known_keys(names[:-1])
        close = closest(names[-1], known)
        remedy = f"Did you mean {close}?" if close else f"The settings are {', '.join(known)}."
        return f"{path} is not a setting. {remedy}"
    if item["type"] == "missing":
        return f"{path} is required."
    message = item["msg"].removeprefix("Value error, ")
    # A value of the section `storage` may contain a secret, so it is not repeated.
    given = "" if names[:1] == ["storage"] else f" (given: {item['input']!r:.200})"
    return f"{path}: {message}{given}."


def _known_keys(path: Sequence[str]) -> list[str]:
    model: Any = AuditConfig
    for name in path:
        model = model.model_fields[name].annotation
    return list(model.model_fields)


def _option_names(options: Mapping[str, object], prefix: str = "storage.options") -> list[str]:
    names = []
    for name, value in options.items():
        names.append(f"{prefix}.{name}")
        if isinstance(value, Mapping):
            names += _option_names(value, f"{prefix}.{name}")
    return names
