"""Prepare an audit: read and check the rows, assign folds, and replace every `auto` of the config."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from labelaudit.audits.audit_plan import RECORD, Plan, PlannedView, commit_record
from labelaudit.audits.comparison import find_predecessor
from labelaudit.audits.references import PlanReference
from labelaudit.audits.stored_answers import ANSWERS_FILE, answers_file
from labelaudit.audits.version import ROWS, Version
from labelaudit.audits.work_files import ROW_GROUP_ROWS, parquet_file, read_columns, unchanged_file
from labelaudit.codec import from_record, to_record
from labelaudit.config import AuditConfig
from labelaudit.data.annotations import AnswerTable
from labelaudit.data.columns import Columns, resolve_columns
from labelaudit.data.csv_dialect import CsvOptions
from labelaudit.data.dataset import Examples, set_aside_rare_classes
from labelaudit.data.file_layout import IMAGE_FOLDER
from labelaudit.data.folds import assign_folds
from labelaudit.data.label_hygiene import hygiene_warnings
from labelaudit.data.left_out import left_out_of_examples
from labelaudit.data.majority_vote import majority_of
from labelaudit.data.misleading import SampledInputs, misleading_inputs
from labelaudit.data.named_classes import check_class_names
from labelaudit.duplicates.content_codes import ContentCodes
from labelaudit.environment import machine, package_version, package_versions
from labelaudit.errors import ConfigError, DatasetError
from labelaudit.findings import LeftOut
from labelaudit.memory import release_if_grown
from labelaudit.model.encoders.encoder_spec import EncoderSpec
from labelaudit.model.recipes import Recipe, choose_recipe
from labelaudit.model.user_modules import code_sha256
from labelaudit.pipeline.answers_of_rows import find_answers, with_answers
from labelaudit.pipeline.copies import kept_together, with_copies
from labelaudit.pipeline.decoded_inputs import cache_key, decoding_key, decoding_threads, input_shape, scan
from labelaudit.pipeline.input_measures import INPUT_QUALITY, measured_quality
from labelaudit.pipeline.view_choice import ViewChoice, check_view_settings, choose_views
from labelaudit.quality.input_quality import InputMeasures, InputQuality
from labelaudit.reviews.snapshot import ReviewSnapshot
from labelaudit.reviews.snapshot_store import snapshot_sha256, store_snapshot, take_snapshot
from labelaudit.schemas import SCHEMA_VERSION, ViewName
from labelaudit.storage.cache import Cache
from labelaudit.storage.file_on_disk import FileOnDisk
from labelaudit.storage.layout import scan_data_key, scan_quality_key, scan_record_key
from labelaudit.storage.manifest import digest_of, dump_json, read_json, sha256_hex
from labelaudit.storage.store import DatasetFiles, Store
from labelaudit.storage.temporary_files import TemporaryFiles
from labelaudit.storage.versions import DatasetName, signature_of, version_state
from labelaudit.versions.discover import open_version
from labelaudit.versions.named import audited_name, open_output, version_in_url, with_annotations

# Increase it if a stored scan has other columns or another meaning.
SCAN_LAYOUT = 3
# Settings of the training that probe and neighbours depend on.
_USED_ON_FEATURES = ("device", "seed")


@dataclass(frozen=True)
class Scan:
    """The content of a dataset, before folds are assigned and rare classes are set aside."""

    columns: Columns
    examples: Examples
    files: int
    bytes: int
    warnings: tuple[str, ...] = ()  # sentences for people on what probably is a mistake in the data
    quality: InputQuality = field(default_factory=InputQuality.none)


@dataclass(frozen=True)
class _ScanRecord:
    columns: Columns
    fingerprint: str
    sha256: str  # of the Parquet file of the rows
    files: int
    bytes: int
    quality_sha256: str  # of the Parquet file of the quality of inputs
    warnings: tuple[str, ...] = ()


def prepare(config: AuditConfig) -> PlanReference:
    """Read and check one dataset version, choose folds and recipe, and store the plan.

    If the version was scanned before and its files did not change, it is not read again.

    Raises:
        DatasetError: nothing can be audited.
    """
    check_view_settings(config)
    source = open_version(config)
    store = open_output(config)
    # Before reading the dataset, which may take long.
    store.require_conditional_writes()
    name = audited_name(config)
    signature = _signature(config, source)
    scanned = _stored_scan(store, name.name, signature, config)
    columns = find_columns(source, config) if scanned is None else scanned.columns
    answers = find_answers(config, columns)
    # Before the rows are read, which may take long.
    choice = choose_views(config, columns)
    if scanned is None:
        scanned = scan_dataset(source, columns, config, answers)
        release_if_grown()
        # If a file changed while it was read, the scan belongs to neither signature.
        signature = signature if signature == _signature(config, source) else None
        _store_scan(store, name.name, signature, config, scanned)
    rows, recipe = divide_and_choose(scanned, config)
    release_if_grown()
    snapshot = take_snapshot(store, name.name, rows.examples.fingerprint)
    files = TemporaryFiles()
    file, quality = rows.to_file(files), parquet_file([scanned.quality.to_table()], files)
    of_answers = None if answers is None else answers_file(answers, files)
    plan = _make_plan(store, config, name, scanned, rows, recipe, choice, snapshot, file, quality)
    if answers is not None and of_answers is not None:
        plan = with_answers(plan, rows, answers, of_answers.sha256)
        store.write_file(f"{plan.work_folder}/{ANSWERS_FILE}", of_answers)
    store.write_file(f"{plan.work_folder}/{ROWS}", file)
    store.write_file(f"{plan.work_folder}/{INPUT_QUALITY}", quality)
    store_snapshot(store, plan, snapshot)
    record = commit_record(store, plan)
    return PlanReference(
        dataset_url=source.url,
        output_url=store.url,
        storage_options=config.storage.options,
        cache_bytes=config.limits.cache,
        key=f"{plan.work_folder}/{RECORD}",
        sha256=sha256_hex(record),
        marker=config.versions.marker,
        state=None if signature is None else version_state(version_in_url(config), signature),
        checkpoint_minutes=config.workers.checkpoint_minutes,
    )


def find_columns(source: DatasetFiles, config: AuditConfig) -> Columns:
    """Return how a version is read, from the config, the schema and the first rows.

    Raises:
        DatasetError: it cannot be read as the config says.
    """
    dataset = config.dataset
    columns = resolve_columns(
        source,
        label=dataset.label,
        id=dataset.id,
        input=dataset.input,
        kind=dataset.kind,
        group=dataset.group,
        ignore=dataset.ignore,
        slices=dataset.slices,
        image_size=_image_size(config),
        skips_unreadable=dataset.unreadable_files == "skip",
        csv=_csv_options(config),
        has_annotations=dataset.annotations is not None,
    )
    if dataset.annotations is not None and columns.id is None and columns.format != IMAGE_FOLDER:
        raise DatasetError(
            "dataset.annotations names rows by id, but no column of the dataset looks like an id. Name it with "
            "dataset.id (--id)."
        )
    return replace(columns, rename=dataset.rename)


def scan_dataset(
    source: DatasetFiles,
    columns: Columns,
    config: AuditConfig,
    answers: AnswerTable | None = None,
    *,
    keeps_inputs: bool = True,
) -> Scan:
    """Read the rows of a version once; with `keeps_inputs`, store its inputs in this machine's cache."""
    sample, codes, measures = SampledInputs(columns), ContentCodes(columns.kind), InputMeasures(columns.kind)
    read = partial(
        scan,
        source,
        columns,
        threads=decoding_threads(config),
        memory_limit=config.limits.memory,
        sample=sample,
        codes=codes,
        measures=measures,
        majority=majority_of(answers) if answers is not None and columns.is_voted else None,
    )
    if keeps_inputs:
        cache = Cache(max_bytes=config.limits.cache)
        with cache.staging() as folder:
            examples = read(folder=folder)
            cache.adopt(folder, cache_key(examples.fingerprint, columns))
    else:
        examples = read(folder=None)
    quality = measured_quality(examples, measures)
    examples = with_copies(examples, codes)
    files = source.files()
    warnings = (
        *examples.notes,
        *hygiene_warnings(examples.all_class_counts(), format=columns.format),
        *misleading_inputs(sample, examples),
    )
    return Scan(columns, examples, len(files), sum(file.size for file in files), warnings, quality)


def divide_and_choose(scanned: Scan, config: AuditConfig) -> tuple[Version, Recipe]:
    """Assign the folds and choose the recipe of a scanned version.

    Raises:
        DatasetError: fewer than two classes are left, or the config limits a class that does not exist.
    """
    check_limited_classes(config, scanned.examples)
    validation = config.cross_validation
    examples = set_aside_rare_classes(scanned.examples, folds=validation.folds, policy=validation.rare_classes)
    examples = kept_together(examples, validation.folds)
    fold_of = assign_folds(
        examples.label,
        examples.group,
        examples.example_id,
        folds=validation.folds,
        repeats=validation.repeats,
        seed=config.training.seed,
    )
    recipe = choose_recipe(
        scanned.columns.kind,
        network=config.model.network,
        network_kwargs={
            # The size applies to decoding, not to the network.
            name: value
            for name, value in config.model.kwargs.items()
            if name != "image_size"
        },
        epochs=config.training.epochs,
        batch_size=config.training.batch_size,
        learning_rate=config.training.learning_rate,
        rows=int((examples.label >= 0).sum()) * (validation.folds - 1) // validation.folds,
        num_classes=len(examples.class_names),
        input_shape=input_shape(scanned.columns),
    )
    return Version(examples, fold_of), recipe


def check_limited_classes(config: AuditConfig, examples: Examples) -> None:
    """Check that the classes in `gate.max_class_flagged_share` exist.

    Raises:
        DatasetError: one does not.
    """
    limited = config.gate.max_class_flagged_share
    if isinstance(limited, dict):
        known = {**dict.fromkeys(examples.class_names, 0), **examples.all_class_counts()}
        check_class_names(dict.fromkeys(limited, "gate.max_class_flagged_share limits"), known)


def _csv_options(config: AuditConfig) -> CsvOptions:
    """Return the settings of CSV files; None for what is detected."""
    csv = config.dataset.csv
    return CsvOptions(
        delimiter=None if csv.delimiter == "auto" else csv.delimiter,
        quote=None if csv.quote == "auto" else csv.quote,
        decimal=None if csv.decimal == "auto" else csv.decimal,
        thousands=None if csv.thousands == "auto" else csv.thousands,
        encoding=None if csv.encoding == "auto" else csv.encoding,
        missing=None if csv.missing == "auto" else csv.missing,
    )


def _image_size(config: AuditConfig) -> tuple[int, int] | None:
    """Return the size to which images are decoded for the network; None if their own size decides."""
    wanted = config.model.kwargs.get("image_size")
    if wanted is None and config.model.network.startswith("torchvision:"):
        wanted = 224
    if wanted is None:
        return None
    height, width = (wanted, wanted) if isinstance(wanted, int) else wanted
    return int(height), int(width)


def _signature(config: AuditConfig, source: DatasetFiles) -> str | None:
    """Return a digest of the files' names, sizes and change tokens; None if the storage has no change tokens."""
    files = source.files()
    if not files:
        raise DatasetError(f"{source.url} contains no files. Check the URL.")
    return signature_of(with_annotations(config, files))


def _scan_key(config: AuditConfig, signature: str) -> str:
    reading = config.dataset.model_dump(mode="json", exclude={"url", "name", "version"})
    return digest_of(SCAN_LAYOUT, signature, reading, _image_size(config), SCHEMA_VERSION, package_version())[:32]


def _stored_scan(store: Store, dataset: str, signature: str | None, config: AuditConfig) -> Scan | None:
    if signature is None:
        return None
    key = _scan_key(config, signature)
    if not store.exists(scan_record_key(dataset, key)):
        return None
    record = from_record(_ScanRecord, read_json(store, scan_record_key(dataset, key)))
    files = TemporaryFiles()
    file = unchanged_file(store, scan_data_key(dataset, key), record.sha256, files)
    examples = Examples.from_table(read_columns(file.path, None))
    file = unchanged_file(store, scan_quality_key(dataset, key), record.quality_sha256, files)
    quality = InputQuality.from_table(read_columns(file.path, None))
    return Scan(record.columns, examples, record.files, record.bytes, record.warnings, quality)


def _store_scan(store: Store, dataset: str, signature: str | None, config: AuditConfig, scanned: Scan) -> None:
    if signature is None:
        return
    key = _scan_key(config, signature)
    files = TemporaryFiles()
    file = parquet_file(scanned.examples.tables(ROW_GROUP_ROWS), files)
    store.write_file(scan_data_key(dataset, key), file)
    quality = parquet_file([scanned.quality.to_table()], files)
    store.write_file(scan_quality_key(dataset, key), quality)
    record = _ScanRecord(
        columns=scanned.columns,
        fingerprint=scanned.examples.fingerprint,
        sha256=file.sha256,
        quality_sha256=quality.sha256,
        files=scanned.files,
        bytes=scanned.bytes,
        warnings=scanned.warnings,
    )
    store.write(scan_record_key(dataset, key), dump_json(to_record(record)))


def _make_plan(
    store: Store,
    config: AuditConfig,
    name: DatasetName,
    scanned: Scan,
    rows: Version,
    recipe: Recipe,
    choice: ViewChoice,
    snapshot: ReviewSnapshot,
    file: FileOnDisk,
    quality: FileOnDisk,
) -> Plan:
    examples = rows.examples
    code = network_digest(config)
    is_network_trained = "network" in choice.names
    plan = Plan(
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        dataset=name.name,
        version=(version := name.version or examples.fingerprint[:12]),
        fingerprint=examples.fingerprint,
        audit_id="",
        config=config,
        columns=scanned.columns,
        recipe=recipe if is_network_trained else None,
        kind=scanned.columns.kind,
        class_names=examples.class_names,
        folds=config.cross_validation.folds,
        repeats=config.cross_validation.repeats,
        examples=len(examples.label),
        statuses=examples.status_counts(),
        versions=package_versions(),
        machine=machine(),
        rows_sha256=file.sha256,
        quality_sha256=quality.sha256,
        code=code if is_network_trained else None,
        predecessor=find_predecessor(store, name.name, version, has_version_in_url=config.dataset.has_version_in_url),
        review_sha256=snapshot_sha256(snapshot),
        left_out=(*scanned.columns.left_out, *left_out_of_examples(examples)),
        warnings=scanned.warnings,
        encoder=choice.encoder,
        views=tuple(
            PlannedView(view, _training_key(config, scanned, recipe, code, choice.encoder, view))
            for view in choice.names
        ),
        notes=choice.notes,
    )
    return plan.with_audit_id(rows.places())


def _training_key(
    config: AuditConfig,
    scanned: Scan,
    recipe: Recipe,
    code: str | None,
    encoder: EncoderSpec | None,
    view: ViewName,
) -> str:
    """Return a digest of everything that the probabilities of a view depend on.

    An audit with one more view trains only that view, and settings of the network do not train the others again.
    """
    settings = config.model_dump(mode="json", include={"training", "cross_validation"})
    fingerprint = scanned.examples.fingerprint
    # Copies stay in one fold, so folds depend on what is found to be a copy. Exact copies are in the fingerprint.
    examples = scanned.examples
    has_near_copies = bool(examples.copy_distance[examples.cluster >= 0].any())
    copies = sha256_hex(examples.cluster.astype("<i8").tobytes()) if has_near_copies else None
    decoding = decoding_key(fingerprint, scanned.columns)
    if view == "network":
        network = config.model.model_dump(mode="json", include={"network", "kwargs"})
        trained = {**settings, "model": network, "decoding": decoding, "recipe": recipe.to_record(), "code": code}
    else:
        features = decoding if encoder is None else encoder.key
        training = {name: settings["training"][name] for name in _USED_ON_FEATURES}
        trained = {**settings, "training": training, "view": view, "features": features}
    return digest_of(fingerprint, copies, trained, package_version())[:24]


def plan_probabilities(
    store: Store,
    config: AuditConfig,
    rows: Version,
    snapshot: ReviewSnapshot,
    *,
    has_made_up_ids: bool,
    left_out: Sequence[LeftOut],
) -> Plan:
    """Return the plan of an audit of external probabilities. Nothing is read or trained.

    `left_out` are the files that are not read.

    Raises:
        ConfigError: the config renames labels.
        DatasetError: the config limits a class that does not exist.
    """
    if config.dataset.rename:
        raise ConfigError(
            "dataset.rename cannot be used with probabilities, because each class has a column of them. "
            "Remove it, and rename the classes before the probabilities are computed."
        )
    check_limited_classes(config, rows.examples)
    name = audited_name(config)
    fingerprint = rows.examples.fingerprint
    version = name.version or fingerprint[:12]
    plan = Plan(
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        dataset=name.name,
        version=version,
        fingerprint=fingerprint,
        audit_id="",
        config=config,
        columns=None,
        recipe=None,
        kind="probabilities",
        class_names=rows.examples.class_names,
        folds=0,
        repeats=0,
        examples=len(rows.examples.label),
        statuses=rows.examples.status_counts(),
        versions=package_versions(),
        machine=machine(),
        rows_sha256="",
        # The URL names a file, not a template with a version.
        predecessor=find_predecessor(store, name.name, version, has_version_in_url=False),
        review_sha256=snapshot_sha256(snapshot),
        has_made_up_ids=has_made_up_ids,
        left_out=(*left_out, *left_out_of_examples(rows.examples)),
        warnings=hygiene_warnings(rows.examples.all_class_counts(), format=None),
    )
    return plan.with_audit_id(rows.places())


def network_digest(config: AuditConfig) -> str | None:
    """Return a digest of a user's own network code and local weights. If it changes, folds are trained again."""
    weights = config.model.kwargs.get("weights")
    parts: list[str] = []
    if isinstance(weights, str) and Path(weights).is_file():
        with open(weights, "rb") as file:
            parts.append(hashlib.file_digest(file, "sha256").hexdigest())
    module, colon, _ = config.model.network.partition(":")
    if colon and module != "torchvision":
        code = code_sha256(config.model.network)
        parts += [] if code is None else [code]
    return digest_of(*parts) if parts else None
