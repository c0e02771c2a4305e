"""`labelaudit features …`: what the feature store contains, and the removal of what nothing needs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from labelaudit.audits.history import find_datasets, read_history
from labelaudit.audits.published import open_audit
from labelaudit.cli.console import say, show, show_json
from labelaudit.cli.options import config_from
from labelaudit.config_files import is_config_file
from labelaudit.errors import ConfigError
from labelaudit.feature_store.inventory import PrunedShard, StoredEncoder, prune_features, survey_features
from labelaudit.schemas import EXAMPLES
from labelaudit.storage.layout import dataset_folder
from labelaudit.storage.store import Store
from labelaudit.strings import Strings
from labelaudit.text import closest, listing

_SECONDS_PER_DAY = 24 * 3600


@dataclass(frozen=True)
class FeaturesTarget:
    """The features that a command is about."""

    output: str  # URL of the folder with the audits; or a config, for its output.url
    dataset: str | None = None  # None: all

    def open(self) -> Store:
        if is_config_file(self.output):
            config = config_from(self.output)
            return Store(config.output.url, config.storage.options)
        return Store(self.output)

    def datasets(self, store: Store) -> list[str]:
        """Return the names of the datasets.

        Raises:
            ConfigError: there is none, or not the one that the user named.
        """
        known = find_datasets(store)
        if not known:
            raise ConfigError(f"{store.url} contains no dataset. Name the folder output.url of your audits.")
        if self.dataset is None:
            return known
        if self.dataset not in known:
            close = closest(self.dataset, known)
            hint = f" Did you mean {close!r}?" if close else ""
            raise ConfigError(
                f"{store.url_of(dataset_folder(self.dataset))} does not exist. Name one of the datasets "
                f"{listing(map(repr, known), shown=10)}.{hint}"
            )
        return [self.dataset]


def features_status_command(target: FeaturesTarget, *, verify: bool, as_json: bool) -> None:
    """Print the stored features of each dataset and encoder."""
    store = target.open()
    found = [
        entry
        for name in target.datasets(store)
        for entry in survey_features(store, name, _audits_by_encoder(store, name), verify=verify)
    ]
    if as_json:
        show_json({"encoders": [{**asdict(entry), "last_written": _time(entry)} for entry in found]})
        return
    if not found:
        show(f"No features are stored in {store.url}.")
    for entry in found:
        for line in _status_lines(entry):
            show(line)


def features_prune_command(
    target: FeaturesTarget, *, older_than: int, verify: bool, is_dry_run: bool, as_json: bool
) -> None:
    """Remove shards that no published audit needs."""
    store = target.open()
    before = time.time() - older_than * _SECONDS_PER_DAY
    pruned: list[PrunedShard] = []
    for name in target.datasets(store):
        used = _used_digests(store, name)
        pruned += prune_features(store, name, used, before=before, verify=verify, is_dry_run=is_dry_run)
    for shard in pruned:
        say(f"{shard.dataset}  {shard.encoder}  {shard.shard[:12]}  {shard.rows:,} rows  {shard.reason}")
    total = sum(shard.bytes for shard in pruned)
    did = "Would remove" if is_dry_run else "Removed"
    sentence = f"{did} {len(pruned):,} shards, {total / 1e6:,.1f} MB."
    if as_json:
        say(sentence)
        show_json({"dry_run": is_dry_run, "bytes": total, "shards": [asdict(shard) for shard in pruned]})
    else:
        show(sentence)


def _audits_by_encoder(store: Store, dataset: str) -> dict[str, int]:
    """Return the number of published audits of a dataset by key of the encoder that they used."""
    return Counter(record.features for record in read_history(store, dataset) if record.features is not None)


def _used_digests(store: Store, dataset: str) -> dict[str, Strings]:
    """Return the content digests of the published audits of a dataset by key of the encoder that they used."""
    found: dict[str, list[Strings]] = {}
    for record in read_history(store, dataset):
        audit = None if record.features is None else open_audit(store, record.folder)
        if audit is not None and record.features is not None:
            table = audit.table("examples.parquet", EXAMPLES, ["content_digest"])
            found.setdefault(record.features, []).append(Strings(table["content_digest"]))
    return {encoder: Strings.joined(digests) for encoder, digests in found.items()}


def _status_lines(entry: StoredEncoder) -> Iterator[str]:
    size = "" if entry.dim is None else f" of {entry.dim:,} features"
    yield f"{entry.dataset}  {entry.encoder}"
    yield f"  {entry.rows:,} rows{size} in {entry.shards:,} shards, {entry.bytes / 1e6:,.1f} MB"
    if entry.audits:
        yield f"  used by {entry.audits:,} published audit{'s' * (entry.audits > 1)}"
    else:
        yield "  no published audit used it, so `labelaudit features prune` removes it 30 days after the last write"
    if (written := _time(entry)) is not None:
        yield f"  last written {written[:16].replace('T', ' ')} UTC"
    if entry.unfinished:
        yield f"  {entry.unfinished:,} shards without an index: their writer is at work, or was killed"
    for note in entry.damaged:
        yield f"  damaged: {note}"


def _time(entry: StoredEncoder) -> str | None:
    if entry.last_written is None:
        return None
    return datetime.fromtimestamp(entry.last_written, UTC).isoformat(timespec="seconds")
